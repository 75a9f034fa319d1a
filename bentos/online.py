"""The routes that are answered without BentoML's own handling: as much per request as the answer needs.

    curl localhost:3000/online/recommend -d '{"user_id": "2375", "k": 5}'

takes and gives what `POST /recommend` does, which is the documented twin, for half a millisecond less.
"""

from collections.abc import Callable
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bentos.api_models import RecommendRequest

PATH = "/online"
JSON = "application/json"
Answer = Callable[[RecommendRequest], dict[str, Any]]


def online_app() -> Starlette:
    """The application; `app.state.answer` is to be set to what answers a request."""
    return Starlette(routes=[Route("/recommend", recommend, methods=["POST"])])


async def recommend(request: Request) -> Response:
    """Recommend items to one user; 400 with the reason for a request that cannot be answered."""
    try:
        asked = RecommendRequest.model_validate_json(await request.body())
    except ValidationError as error:
        return json_response({"error": told(error)}, 400)
    answer: Answer = request.app.state.answer
    return json_response(answer(asked))


def told(error: ValidationError) -> str:
    """What is wrong with a request, in one line: where, and why."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in found[:5])


def json_response(content: dict[str, Any], status: int = 200) -> Response:
    """JSON without a detour through strings."""
    return Response(orjson.dumps(content), status, media_type=JSON)
