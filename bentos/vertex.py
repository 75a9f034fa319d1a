"""Vertex AI's contract for containers, beside the service's own API: where Vertex sets its variables.

    AIP_HTTP_PORT       the port to listen on
    AIP_HEALTH_ROUTE    GET: 200 once models are loaded and the store has been reached, 503 before
    AIP_PREDICT_ROUTE   POST {"instances": [{"user_id": "2375", "k": 5}], "parameters": {"task": "all"}}

`predictions` has one answer of POST /recommend for each instance, in order; `parameters` are what instances
do not say themselves. Vertex has read numbers as floats, so k = 5.0 is 5 here. All instances are checked
before the first is answered; who calls sees which one is wrong, and its value. What was answered before the
time was over has been logged as shown.
"""

import asyncio
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bentos.api_models import RecommendRequest, within_limit
from bentos.online import OUR_ROUTES, Answer, json_response

MAX_INSTANCES = 64
MAX_ITEMS = 1_600  # of all instances: Vertex lets an answer have 1.5 MB, and an explained item has 900 bytes
MAX_BODY = 3 * 2**19  # 1.5 MiB: what Vertex lets a request have
BUDGET_S = 8.0  # BentoML gives up after 10 s and would not say why
SHOWN = 5  # mistakes that one answer names
ROUTE = re.compile(r"/[\w/.:~@-]{0,250}", re.ASCII)
SHORT = reprlib.Repr()
SHORT.maxstring, SHORT.maxother, SHORT.maxdict, SHORT.maxlist, SHORT.maxlevel = 60, 60, 2, 2, 2


class ContractError(ValueError):
    """A variable of Vertex cannot be used; the message names it, its value and what is valid."""


class InstancesError(ValueError):
    """A batch that is not answered; the message says which instance is wrong, or what was too much."""


class OutOfTimeError(RuntimeError):
    """A batch that took too long; the message says how far it came."""


class Parameters(BaseModel):
    """What instances do not say themselves."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, BeforeValidator(within_limit)] = 10
    task: Literal["all", "discover"] = "all"
    explain: bool = False


@dataclass(frozen=True)
class Contract:
    """What Vertex wants of this container; nothing outside of Vertex."""

    port: int | None = None
    health: str | None = None
    predict: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Contract":
        """Read the variables above; ContractError for one that is of no use."""
        port = environ.get("AIP_HTTP_PORT") or None
        if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65_535):
            raise ContractError(f"AIP_HTTP_PORT is {port!r:.40}; use a port from 1 to 65535")
        health, predict = (environ.get(f"AIP_{name}_ROUTE") or None for name in ("HEALTH", "PREDICT"))
        for name, route in (("HEALTH", health), ("PREDICT", predict)):
            if route is not None and not ROUTE.fullmatch(route):
                raise ContractError(f"AIP_{name}_ROUTE is {route!r:.80}; use a path like /vertex/predict")
        if predict in OUR_ROUTES:
            raise ContractError(
                f"AIP_PREDICT_ROUTE is {predict!r}, which the service uses itself; use /vertex/predict"
            )
        return cls(int(port) if port else None, health, predict)

    @property
    def listening(self) -> dict[str, Any]:
        """The port as BentoML's configuration of a service has it."""
        return {"http": {"port": self.port}} if self.port else {}

    @property
    def limits(self) -> dict[str, int]:
        """Bytes that a body may have, by path, where that is more than elsewhere."""
        return {self.predict: MAX_BODY} if self.predict else {}

    def routes(self) -> list[Route]:
        """What to mount: nothing outside of Vertex."""
        found = [Route(self.health, health, methods=["GET"])] if self.health else []
        return [*found, Route(self.predict, predict, methods=["POST"])] if self.predict else found


def health(request: Request) -> Response:
    """Whether traffic may be sent here: as /readyz."""
    if request.app.state.ready():
        return json_response({"status": "ready"})
    return json_response({"error": "the online store has not been reached yet"}, 503)


async def predict(request: Request) -> Response:
    """Answer a batch; 400 with the place and the reason where one instance is wrong, 504 out of time."""
    answer: Answer = request.app.state.answer
    try:
        asked = instances(await request.body())
        check_all(asked, request.app.state.check)
        return json_response({"predictions": await predictions(answer, asked, BUDGET_S)})
    except InstancesError as error:
        return json_response({"error": str(error)}, 400)
    except OutOfTimeError as error:
        return json_response({"error": str(error)}, 504)


def check_all(asked: Sequence[RecommendRequest], check: Callable[[RecommendRequest], None]) -> None:
    """InstancesError for the first request that the service could not answer."""
    for position, request in enumerate(asked):
        try:
            check(request)
        except ValidationError as error:
            raise InstancesError("; ".join(mistakes(error, f"instances[{position}]"))) from error


async def predictions(
    answer: Answer, asked: Sequence[RecommendRequest], budget_s: float
) -> list[dict[str, Any]]:
    """An answer for each request, one after the other; others' requests get their turns in between."""
    began, found = monotonic(), []
    for position, request in enumerate(asked):
        if monotonic() - began > budget_s:
            raise OutOfTimeError(
                f"{budget_s:g} s were over after {position} of {len(asked)} instances; send fewer at once"
            )
        try:
            found.append(await answer(request))
        except ValidationError as error:  # an arm that is not there
            raise InstancesError("; ".join(mistakes(error, f"instances[{position}]"))) from error
        await asyncio.sleep(0)
    return found


def instances(body: bytes) -> list[RecommendRequest]:
    """The requests of a batch; InstancesError where it, or any of them, is wrong."""
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InstancesError(f"the body is no JSON: {error}") from error
    if not isinstance(batch, dict):
        raise InstancesError(f'the body is {SHORT.repr(batch)}; send {{"instances": [...]}}')
    if unknown := [name for name in batch if name not in ("instances", "parameters")]:
        raise InstancesError(f"{SHORT.repr(unknown[0])} is unknown; use instances and parameters")
    given = batch.get("instances")
    if not isinstance(given, list) or not given:
        raise InstancesError(f"instances is {SHORT.repr(given)}; use a list of at least one")
    if len(given) > MAX_INSTANCES:
        raise InstancesError(f"there are {len(given)} instances; send at most {MAX_INSTANCES} at once")
    return checked(given, defaults(batch.get("parameters")))


def defaults(parameters: Any) -> dict[str, Any]:
    """What `parameters` says, checked."""
    if parameters is None:
        return {}
    try:
        return Parameters.model_validate(with_whole_k(parameters)).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise InstancesError("; ".join(mistakes(error, "parameters"))) from error


def checked(given: Sequence[Any], parameters: Mapping[str, Any]) -> list[RecommendRequest]:
    """Instances as requests; InstancesError names the first that are wrong."""
    found, wrong = [], []
    for position, instance in enumerate(given):
        if not isinstance(instance, dict):
            wrong.append(f'instances[{position}] is {SHORT.repr(instance)}; use {{"user_id": "2375"}}')
            continue
        said = {**parameters, **instance}
        try:
            found.append(RecommendRequest.model_validate(with_whole_k(said)))
        except ValidationError as error:
            wrong += mistakes(error, f"instances[{position}]")
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise InstancesError("; ".join(wrong[:SHOWN]) + more)
    if (items := sum(request.k for request in found)) > MAX_ITEMS:
        raise InstancesError(
            f"the instances want {items} items in all; at most {MAX_ITEMS} fit into an answer:"
            " send fewer at once, or with a smaller k"
        )
    return found


def with_whole_k(said: Any) -> Any:
    """The same with k = 5.0 as 5."""
    k = said.get("k") if isinstance(said, dict) else None
    if isinstance(k, float) and k.is_integer() and abs(k) < 2**31:
        return {**said, "k": int(k)}
    return said


def mistakes(error: ValidationError, place: str) -> list[str]:
    """What is wrong, each with its place and its value."""
    found = []
    for each in error.errors(include_url=False, include_context=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part:.60}" for part in each["loc"])
        value, message = SHORT.repr(each["input"]), each["msg"].removeprefix("Value error, ")
        found.append(f"{place}{where}: {message}" + ("" if value in message else f" (given {value})"))
    return found
