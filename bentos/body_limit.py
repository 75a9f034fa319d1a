"""A bound on request bodies, before anything of them is parsed."""

from collections.abc import Mapping
from typing import Any

import orjson

LIMIT = 64 * 1024  # a recommendation request is under 300 bytes


class BodyLimit:
    """ASGI middleware: a body above LIMIT bytes is answered with 413, whatever its headers said.

    `limits` are those of paths that have another.
    """

    def __init__(self, app: Any, limits: Mapping[str, int] | None = None) -> None:
        self.app, self.limits = app, limits or {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the body up to the limit, then hand the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope.get("path", ""), LIMIT)
        messages, size, more = [], 0, True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
            if size > limit:
                await refuse(send, 413, f"the body has more than {limit} bytes (read {size} so far)")
                return
        replay = iter(messages)

        async def received() -> Any:
            return next(replay, None) or await receive()

        await self.app(scope, received, send)


async def refuse(send: Any, status: int, error: str) -> None:
    """Answer in JSON that the request is not taken, and why."""
    body = orjson.dumps({"error": error})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
