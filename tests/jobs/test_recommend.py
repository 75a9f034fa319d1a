"""Asking a server from the command line: the table, and what is said when there is no good answer."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from jobs.local_server import free_port
from jobs.recommend import ServerError, ask, is_ready, table

ITEM = {"item_id": "1", "title": "Milk", "score": 1.25, "rank": 1, "sources": ["buy_again"], "reason": "Yes"}
ANSWER = {"items": [ITEM], "release": "endcap-release:1", "latency_ms": 3.21, "degraded": []}


@contextmanager
def answering(status, body, asked=None):
    """A server with one answer to everything, which keeps what it was asked; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            if asked is not None:
                length = int(self.headers["Content-Length"])
                asked.append((self.path, self.headers["Content-Type"], json.loads(self.rfile.read(length))))
            self.do_GET()

        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def speaking(line):
    """A server that is none of HTTP: it says one line to whoever calls, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk():
            while True:
                connection, _ = listener.accept()
                with connection:
                    if connection.recv(1) == b"!":
                        return
                    connection.sendall(line)

        thread = threading.Thread(target=talk)
        thread.start()
        address = listener.getsockname()
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            with socket.create_connection(address) as last:
                last.sendall(b"!")
            thread.join()


@pytest.mark.parametrize("slash", ["", "/"])
def test_ask_posts_json_and_returns_the_answer(slash):
    """User, k and task go as JSON to /recommend, also with a slash after the URL; the answer comes back."""
    asked = []
    with answering(200, json.dumps(ANSWER).encode(), asked) as url:
        assert ask(url + slash, "Zoë 購物", k=3, task="discover") == ANSWER
    body = {"user_id": "Zoë 購物", "k": 3, "task": "discover"}
    assert asked == [("/recommend", "application/json", body)]


def test_refusal_is_told_with_the_servers_words():
    """What the server says against a request is passed on with its status."""
    with (
        answering(400, b'{"error": "k is 0"}\n') as url,
        pytest.raises(ServerError, match=r"answered 400 for user 'u1': \{\"error\": \"k is 0\"\}$"),
    ):
        ask(url, "u1", k=0)


@pytest.mark.parametrize("body", [b"<html>It works!</html>", b"", b"\xff"])
def test_answer_that_is_no_json_is_told(body):
    """Another web server on that port is told as such, not as a failure of ours."""
    with answering(200, body) as url, pytest.raises(ServerError, match="did not answer in JSON"):
        ask(url, "u1")


@pytest.mark.parametrize(
    "line", [b"SSH-2.0-OpenSSH_9.6\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_what_does_not_speak_http_is_no_server(line):
    """A port where something else answers, hangs up or breaks off is no answer, and no traceback."""
    with speaking(line) as url:
        with pytest.raises(ServerError, match="start the server with: endcap serve"):
            ask(url, "u1")
        assert is_ready(url) == line.startswith(b"HTTP")


def test_closed_port_names_the_command():
    """Where nobody listens, the error says how to start the server."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ServerError, match=rf"No answer from {url} .*start the server with: endcap serve"):
        ask(url, "u1")
    assert not is_ready(url)


@pytest.mark.parametrize("url", ["", "localhost:3000", "ftp://x", "file:///etc/passwd"])
def test_url_must_be_http(url):
    """Anything but http and https is refused with an example, by both calls."""
    for call in (lambda: ask(url, "u1"), lambda: is_ready(url)):
        with pytest.raises(ServerError, match=rf"The URL is '{url}'; give one like http://127.0.0.1:3000"):
            call()


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False), (404, False)])
def test_ready_is_what_the_probe_says(status, ready):
    """Only a probe that answers 200 is ready."""
    with answering(status, b"\n") as url:
        assert is_ready(url) is ready


def test_table_has_a_line_for_each_item():
    """Rank, score, title, sources and reason stand in columns; long texts are cut, and the total follows."""
    long = {
        **ITEM,
        "title": "Bread " * 12,
        "rank": 2,
        "score": -0.5,
        "sources": ["buy_again", "two_tower"] * 3,
    }
    head, milk, bread, total = table({**ANSWER, "items": [ITEM, long]}).splitlines()
    assert head.split() == ["score", "title", "sources", "reason"]
    assert milk.split() == ["1", "1.250", "Milk", "buy_again", "Yes"]
    assert bread.split()[:3] == ["2", "-0.500", "Bread"]
    assert bread.count("…") == 2
    assert {line.index("Yes") for line in (milk, bread)} == {head.index("reason")}
    assert {milk.index("Milk"), bread.index("Bread")} == {head.index("title")}
    assert total == "2 items from endcap-release:1 in 3.2 ms"


def test_table_tells_what_was_degraded():
    """Each thing that was missing has a line of its own at the end, also when nothing else is there."""
    lines = table({**ANSWER, "items": [], "degraded": ["no store", "late"]}).splitlines()
    assert lines[1:] == ["0 items from endcap-release:1 in 3.2 ms", "degraded: no store", "degraded: late"]
