"""The Bento as a container of Vertex AI runs it: port, routes and secret come from the environment alone.

The machine's metadata server and Secret Manager are one small HTTP server here; the store is a real Valkey.
"""

import base64
import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import served_shop

from jobs.child import stop
from jobs.local_server import free_port

HEALTH, PREDICT = "/v1/endpoints/17/deployedModels/4", "/v1/endpoints/17/deployedModels/4:predict"
SECRET = "projects/my-shop/secrets/endcap-redis-url/versions/latest"
TOKEN = "ya29.never-to-be-shown"


@dataclass
class Google:
    """What the machine's metadata server and Secret Manager say, and what they were asked."""

    secrets: dict[str, str]
    statuses: list[int] = field(default_factory=list)  # of the next answers of Secret Manager; then 200
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Authorization
    host: str = ""

    def variables(self, secret=SECRET):
        """Environment of a container that is to ask here."""
        return {
            "ENDCAP_REDIS_SECRET": secret,
            "GCE_METADATA_HOST": self.host,
            "SECRET_MANAGER_EMULATOR_HOST": f"http://{self.host}",
        }

    def answer(self, path, headers):
        """Status and content for one request."""
        self.asked.append((path, headers["Authorization"]))
        if path.startswith("/computeMetadata/"):
            asked_well = headers["Metadata-Flavor"] == "Google"
            return (200, {"access_token": TOKEN, "expires_in": 3599}) if asked_well else (403, {})
        status = self.statuses.pop(0) if self.statuses else 200
        name = path.removeprefix("/v1/").removesuffix(":access")
        if headers["Authorization"] != f"Bearer {TOKEN}":
            status = 401
        if status != 200 or name not in self.secrets:
            return (status if status != 200 else 404), {"error": {"code": status}}
        data = base64.b64encode(self.secrets[name].encode()).decode()
        return 200, {"name": name, "payload": {"data": data}}


@contextmanager
def google(**secrets):
    """A server that plays both; `secrets` by the part of the name that differs."""
    played = Google({SECRET.replace("redis-url", name.replace("_", "-")): it for name, it in secrets.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = played.answer(self.path, self.headers)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", f"http://{played.host}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        played.host = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield played
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Container:
    """Where a container answers, what it has printed so far, and how long it took to be ready."""

    url: str
    log: "object"
    seconds: float

    @property
    def predict(self):
        """URL of the route that Vertex sends batches to."""
        return f"{self.url}{PREDICT}"


def environment(folder, port, **variables):
    """Environment of a container: an empty model store, no state folder named, and Vertex's variables."""
    inherited = served_shop.environment(folder, folder / "empty")
    return {
        **{name: value for name, value in inherited.items() if name != "ENDCAP_STATE"},
        "BENTOML_HOST": "127.0.0.1",  # in a container: all addresses
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": HEALTH,
        "AIP_PREDICT_ROUTE": PREDICT,
        **variables,
    }


@contextmanager
def container(bento, python, folder, *, seconds=40, **variables):
    """A container for as long as the block lasts, which begins when its health route says so.

    It has the Bento to itself, in `folder/bento`, and writes there.
    """
    home, port = shutil.copytree(bento, folder / "bento"), free_port()
    log, began = folder / "container.log", time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "bentoml", "serve", home],  # the image's entry point
            env=environment(folder, port, **variables),
            cwd=home,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while not served_shop.answers(f"{url}{HEALTH}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < began + seconds, log.read_text()
            time.sleep(0.05)
        yield Container(url, log, time.monotonic() - began)
    finally:
        stop(process, grace_s=10)
