"""The Redis URL out of Secret Manager, over real HTTP; whatever goes wrong is told without what is in it."""

import socket
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer

import bento_container
import pytest
from bento_container import SECRET, TOKEN
from served_shop import ROOT

from bentos import secret_manager
from bentos.secret_manager import SecretError, take_redis_url

pytestmark = pytest.mark.gcp
REDIS = "rediss://:swordfish@10.0.0.3:6378/0"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Tries follow each other at once."""
    monkeypatch.setattr(secret_manager, "PAUSE_S", 0.0)


@pytest.fixture
def google():
    """The metadata server and Secret Manager, with one good secret and one that is none of ours."""
    with bento_container.google(redis_url=f" {REDIS}\n", other="swordfish") as played:
        yield played


def taken(environ):
    """The environment afterwards."""
    take_redis_url(environ)
    return environ


def refused(environ):
    """What is said instead; never what is in a secret, or who asks."""
    with pytest.raises(SecretError) as found:
        take_redis_url(environ)
    assert "ENDCAP_REDIS_URL" not in environ
    said = str(found.value)
    assert (TOKEN in said, "swordfish" in said, "\n" in said) == (False, False, False)
    assert found.value.__cause__ is None
    return said


def test_the_secret_that_is_named_becomes_the_url(google):
    """Asked for with the token of the machine's service account; white space around it is not part of it."""
    assert taken(google.variables())["ENDCAP_REDIS_URL"] == REDIS
    assert google.asked == [
        ("/computeMetadata/v1/instance/service-accounts/default/token", None),
        (f"/v1/{SECRET}:access", f"Bearer {TOKEN}"),
    ]


def test_nobody_is_asked_without_need(google):
    """Where no secret is named, or a URL is set, as in a worker of a service that has asked."""
    url = {"ENDCAP_REDIS_URL": "redis://localhost:6379/0"}
    assert taken({}) == {}
    assert taken({**google.variables(), **url})["ENDCAP_REDIS_URL"] == url["ENDCAP_REDIS_URL"]
    assert google.asked == []


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "the service account is not known there"),
        (403, "refused with 403; grant roles/secretmanager.secretAccessor on it"),
        (404, "there is no such secret or version"),
        (302, "refused with 302"),
    ],
)
def test_refusals_are_told_with_what_to_do(google, status, says):
    """At once: asking again would not help."""
    google.statuses = [status]
    said = refused(google.variables())
    assert said.startswith(f"ENDCAP_REDIS_SECRET: {SECRET} is refused with {status}")
    assert says in said
    assert len(google.asked) == 2


def test_passing_failures_are_tried_again(google):
    """Two of three tries may fail; three are an error."""
    google.statuses = [503, 500]
    assert taken(google.variables())["ENDCAP_REDIS_URL"] == REDIS
    google.statuses = [503] * 3
    assert "run it again in a minute" in refused(google.variables())


@pytest.mark.parametrize(
    "name", ["redis-url", "projects/p/secrets/s", f"{SECRET}/../x", f"{SECRET}?a=b", "http://x"]
)
def test_a_name_that_is_none_is_refused(google, name):
    """Nobody is asked for it."""
    said = refused(google.variables(name))
    assert "use projects/PROJECT/secrets/NAME/versions/latest" in said
    assert google.asked == []


def test_a_secret_that_is_no_url_is_refused(google):
    """Its content is not shown."""
    said = refused(google.variables(SECRET.replace("redis-url", "other")))
    assert "holds no Redis URL" in said


def test_outside_of_google_cloud_the_way_is_named(google):
    """Without a metadata server there is nobody to be."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    said = refused({**google.variables(), "GCE_METADATA_HOST": host})
    assert f"the metadata server {host} gives no token" in said
    assert "set ENDCAP_REDIS_URL instead" in said


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"payload": {"data": "%%%"}}', b'{"payload": {"data": "/w=="}}']
)
def test_an_answer_that_is_none_is_told(google, body):
    """Whatever a proxy or another server says in its place."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        where = {"SECRET_MANAGER_EMULATOR_HOST": f"http://127.0.0.1:{server.server_port}"}
        said = refused({**google.variables(), **where})
        server.shutdown()
        thread.join()
    assert "gave no secret for" in said


def test_an_answer_that_is_no_http_is_told(google):
    """Whatever listens there: both of whom the container asks."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def garble():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"swordfish\r\n\r\n")

        threading.Thread(target=garble, daemon=True).start()
        place = f"127.0.0.1:{server.getsockname()[1]}"
        assert "gives no token (BadStatusLine)" in refused({**google.variables(), "GCE_METADATA_HOST": place})
        manager = {"SECRET_MANAGER_EMULATOR_HOST": f"http://{place}"}
        assert "does not answer" in refused({**google.variables(), **manager})


def test_nothing_of_google_is_imported():
    """Neither by what reads the secret, nor by the verbs before they run."""
    program = (
        "import sys, jobs.cli, bentos.vertex, bentos.secret_manager as s\n"
        "try: s.take_redis_url({'ENDCAP_REDIS_SECRET': 'projects/p/secrets/s/versions/1',"
        " 'GCE_METADATA_HOST': '127.0.0.1:1'})\n"
        "except s.SecretError: pass\n"
        "theirs = ('google.cloud.', 'google.auth', 'google.api', 'google.protobuf', 'grpc')\n"
        "print([name for name in sys.modules if name.startswith(theirs)])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
