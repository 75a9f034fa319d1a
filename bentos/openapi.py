"""The OpenAPI page: BentoML describes the routes that it handles, and here the others are added to it.

    curl localhost:3000/docs.json

http://127.0.0.1:3000 shows the page, with an example for each route.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bentos.api_models import (
    ClockSetting,
    EventAnswer,
    EventBatch,
    RecommendAnswer,
    RecommendRequest,
    Refusal,
    ShopperEvent,
    SimilarAnswer,
)
from bentos.similar import VECTORS

PAGE = "/docs.json"
TAGS = ["Service APIs"]  # as BentoML has it for its own
REF = "#/components/schemas/{model}"
MODELS: tuple[type[BaseModel], ...] = (
    ClockSetting,
    EventAnswer,
    EventBatch,
    RecommendAnswer,
    RecommendRequest,
    Refusal,
    ShopperEvent,
    SimilarAnswer,
)


class Described:
    """ASGI middleware: what BentoML answers for PAGE, with the routes of `bentos.online` added."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand the request on, and add to the answer."""
        if scope["type"] != "http" or scope["path"] != PAGE:
            await self.app(scope, receive, send)
            return
        messages: list[Any] = []

        async def keep(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        if messages[0]["status"] == 200:
            messages = described(messages)
        for message in messages:
            await send(message)


def described(messages: list[Any]) -> list[Any]:
    """The messages of an answer with a specification, with our routes in it."""
    spec = orjson.loads(b"".join(message.get("body", b"") for message in messages))
    body = orjson.dumps(with_routes(spec))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start = {**messages[0], "headers": headers}
    return [start, {"type": "http.response.body", "body": body}]


def with_routes(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification with our routes and what they take and give."""
    _, schemas = models_json_schema([(model, "validation") for model in MODELS], ref_template=REF)
    components = dict(spec.get("components") or {})
    components["schemas"] = {**components.get("schemas", {}), **schemas["$defs"]}
    return {**spec, "components": components, "paths": {**spec["paths"], **routes()}}


def routes() -> dict[str, Any]:
    """Our paths, as OpenAPI describes them."""
    recommended = told("recommend", "As /recommend, with less handling", RecommendAnswer, 400)
    kept = told("events", "Keep an event or a batch: answered when all is on the disk", EventAnswer, 400, 503)
    alike = told("similar", "Items like one item, by their text or their buyers", SimilarAnswer, 400, 404)
    moved = told("clock", "Move the clock of a replay", ClockSetting, 400)
    by = {"type": "string", "enum": sorted(VECTORS), "default": "behaviour"}
    return {
        "/online/recommend": {"post": recommended | taken(RecommendRequest)},
        "/events": {"post": kept | taken(ShopperEvent, EventBatch)},
        "/clock": {"put": moved | taken(ClockSetting)},
        "/items/{item_id}/similar": {
            "get": {
                **alike,
                "parameters": [
                    parameter("item_id", "path", {"type": "string"}, "819063"),
                    parameter("by", "query", by, "behaviour"),
                    parameter("k", "query", {"type": "integer", "minimum": 1, "default": 10}, 5),
                ],
            }
        },
    }


def told(name: str, summary: str, answer: type[BaseModel], *refused: int) -> dict[str, Any]:
    """An operation and its answers."""
    answers = {"200": {"description": "SUCCESS", "content": content(answer)}}
    for status in refused:
        answers[str(status)] = {"description": "Says what is wrong", "content": content(Refusal)}
    return {"operationId": f"online_{name}", "summary": summary, "tags": TAGS, "responses": answers}


def taken(*models: type[BaseModel]) -> dict[str, Any]:
    """The body of a request: one of some models, with the example that the last one has."""
    example = models[-1].model_config["json_schema_extra"]["example"]  # type: ignore[index]
    return {"requestBody": {"required": True, "content": content(*models, example=example)}}


def content(*models: type[BaseModel], example: Any = None) -> dict[str, Any]:
    """JSON that is one of some models."""
    refs = [{"$ref": REF.format(model=model.__name__)} for model in models]
    schema = refs[0] if len(refs) == 1 else {"oneOf": refs}
    return {"application/json": {"schema": schema} | ({} if example is None else {"example": example})}


def parameter(name: str, where: str, schema: Mapping[str, Any], example: Any) -> dict[str, Any]:
    """A parameter of a path or a query."""
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "example": example}
