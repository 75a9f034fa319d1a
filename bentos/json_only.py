"""A check of what a request says its body is: JSON, the only thing that the service reads."""

from typing import Any

from bentos.body_limit import refuse

JSON = "application/json"


class JsonOnly:
    """ASGI middleware: a POST that names another content type is answered with 415; naming none is fine."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand the request on, or say what to send."""
        said = media_type(scope) if scope["type"] == "http" and scope["method"] == "POST" else JSON
        if said == JSON:
            await self.app(scope, receive, send)
        else:
            await refuse(send, 415, f"the body is said to be {said:.80}; send it as {JSON}")


def media_type(scope: Any) -> str:
    """Content type of a request without its parameters, in lower case."""
    said = dict(scope["headers"]).get(b"content-type", JSON.encode())
    return str(said.decode("latin-1").partition(";")[0].strip().lower())
