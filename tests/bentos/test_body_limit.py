"""What stands before the service: a bound on bodies and a check of content types, as ASGI applications."""

import asyncio
import json

import pytest

from bentos.body_limit import LIMIT, BodyLimit
from bentos.json_only import JsonOnly


class Inner:
    """An application that reads the whole body, keeps it, and answers 200."""

    def __init__(self):
        self.bodies, self.scopes, self.after = [], [], None

    async def __call__(self, scope, receive, send):
        """Answer once the body is read, and ask once more, as one who waits for the client to leave."""
        self.scopes.append(scope["type"])
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        self.after = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})


def chunks(*sizes):
    """Messages of a body that comes in pieces, then the client's leaving."""
    pieces = [b"x" * size for size in sizes]
    for place, piece in enumerate(pieces):
        yield {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
    yield {"type": "http.disconnect"}


def called(application, messages, scope=None):
    """What the application sends to the client, and how many messages it left unread."""
    waiting, sent = list(messages), []

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": [], **(scope or {})}
    asyncio.run(application(scope, receive, send))
    return sent, len(waiting)


@pytest.mark.parametrize("sizes", [(0,), (10,), (LIMIT,), (1, 2, 3), (LIMIT - 5, 5), (0, 0, 7)])
def test_body_up_to_the_limit_arrives_whole(sizes):
    """However it is cut, a body within the limit reaches the application, and so does what comes after it."""
    inner = Inner()
    sent, _ = called(BodyLimit(inner), chunks(*sizes))
    assert inner.bodies == [b"x" * sum(sizes)]
    assert inner.after == {"type": "http.disconnect"}
    assert sent[0]["status"] == 200


@pytest.mark.parametrize(
    "sizes", [(LIMIT + 1,), (LIMIT, 1), (1,) * (LIMIT // 1000) + (LIMIT,), (LIMIT, 0, 1)]
)
def test_body_above_the_limit_is_refused(sizes):
    """One byte too many, in whatever pieces, is answered with 413 in JSON and goes no further."""
    inner = Inner()
    sent, _ = called(BodyLimit(inner), chunks(*sizes))
    assert inner.bodies == []
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 413
    headers = dict(sent[0]["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert int(headers[b"content-length"]) == len(sent[1]["body"])
    assert f"more than {LIMIT} bytes" in json.loads(sent[1]["body"])["error"]


def test_reading_stops_at_the_limit():
    """Of a body without an end no more is read than it takes to see that it is too large."""
    inner = Inner()
    _, unread = called(BodyLimit(inner), chunks(*[LIMIT // 2] * 100))
    assert unread == 98  # three pieces were read of a hundred; the client's leaving was not


def test_client_that_leaves_half_way_does_not_hang():
    """A body that breaks off is handed on with the client's leaving."""
    inner = Inner()
    broken = [{"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"}]
    called(BodyLimit(inner), [*broken, {"type": "http.disconnect"}])
    assert inner.bodies == [b"ab"]


@pytest.mark.parametrize("middleware", [BodyLimit, JsonOnly])
@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_other_protocols_pass(middleware, kind):
    """What is no HTTP request is not touched, nor is anything read of it."""
    inner = Inner()
    sent, unread = called(middleware(inner), chunks(LIMIT * 2), {"type": kind})
    assert (inner.scopes, sent, unread) == ([kind], [], 2)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (None, True),
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"text/plain", False),
        (b"application/json-patch+json", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
        (b"\xff" * 5_000, False),
    ],
)
def test_only_json_is_posted(said, taken, method):
    """A POST of another content type is answered with 415; other methods have no body to speak of."""
    inner = Inner()
    headers = [(b"host", b"x"), *([(b"content-type", said)] if said is not None else [])]
    sent, _ = called(JsonOnly(inner), chunks(3), {"headers": headers, "method": method})
    assert sent[0]["status"] == (200 if taken or method == "GET" else 415)
    if sent[0]["status"] == 415:
        assert json.loads(sent[1]["body"])["error"].endswith("send it as application/json")
        assert len(sent[1]["body"]) < 400


def test_a_path_may_have_a_limit_of_its_own():
    """What is too much elsewhere is read there, and what is too much there is refused with that limit."""
    for path, size, status in (
        ("/large", LIMIT + 1, 200),
        ("/large", 2 * LIMIT + 1, 413),
        ("/", LIMIT + 1, 413),
    ):
        inner, sent, messages = Inner(), [], chunks(size)

        async def receive(messages=messages):
            return next(messages)

        async def send(message, sent=sent):
            sent.append(message)

        app = BodyLimit(inner, limits={"/large": 2 * LIMIT})
        asyncio.run(app({"type": "http", "path": path}, receive, send))
        assert sent[0]["status"] == status, (path, size)
