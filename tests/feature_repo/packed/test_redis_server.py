"""The way to a Redis server: TLS as Memorystore has it, whom to trust, and a start without a server."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import redis_servers
import served_shop
from served_shop import NOW, USERS

from bentos import online_features
from bentos.event_log import Event, EventLog
from bentos.live_rows import LiveRows
from bentos.online_features import OnlineFeatures
from bentos.release import load
from feature_repo.settings import FEATURE_STORE, SettingsError
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import Layout, PackedStoreError, RefusedError
from feature_repo.stores.packed.opened import check_server, open_rows
from feature_repo.stores.packed.reader import PackedReader
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.redis_server import connected
from feature_repo.stores.packed.row import pack
from jobs import materialize

pytestmark = pytest.mark.gcp
shop = pytest.fixture(scope="session")(served_shop.installed)
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
COUNTS = Layout("counts", (("n", "INT64"),))


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch):
    """Nobody has set any."""
    monkeypatch.delenv("ENDCAP_REDIS_CA", raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Who signs the server's certificate."""
    return redis_servers.Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Who does not."""
    return redis_servers.Authority(tmp_path_factory.mktemp("stranger"), "theirs")


@pytest.fixture(scope="module")
def port(redis_url, authority):
    """A port of the server at which TLS is spoken."""
    with redis_servers.tls_before(port_of(redis_url), authority.server_side()) as port:
        yield port


@pytest.fixture(scope="module")
def nameless_port(redis_url, authority):
    """The same with a certificate that has the address as its common name only, as Memorystore's."""
    inner = port_of(redis_url)
    with redis_servers.tls_before(inner, authority.server_side(alternative=False)) as port:
        yield port


def port_of(url):
    """The port in a URL of this machine."""
    return int(url.rpartition(":")[2].partition("/")[0])


def secure(port, options=""):
    """Rows at a port at which TLS is spoken."""
    return RedisRows(f"rediss://127.0.0.1:{port}/0{options}", "p", timeout_s=2.0)


def refusal(rows):
    """What is said as a server is refused."""
    with pytest.raises(RefusedError) as found:
        rows.check()
    return str(found.value)


# ---- TLS


@pytest.mark.parametrize("told", ["in the URL", "by file", "by text"])
def test_rows_are_read_as_they_were_written_over_tls(port, authority, monkeypatch, told):
    """The authority may stand in the URL or the environment, there as a file or as its text."""
    if told != "in the URL":
        text = authority.path.read_text() if told == "by text" else str(authority.path)
        monkeypatch.setenv("ENDCAP_REDIS_CA", text)
    rows = secure(port, f"?ssl_ca_certs={authority.path}" if told == "in the URL" else "")
    made = [(str(n), n, 0, pack(COUNTS, {"n": n}, event_us=n)) for n in range(1, 3_000)]
    rows.write({"counts": made}, replace=True, layouts=[COUNTS])
    found = PackedReader(rows).read_matrix("counts", ["7", "2999", "none"], ["n"], now_us=9_000)
    np.testing.assert_array_equal(found.values, [[7], [2999], [np.nan]])
    rows.close()


def test_a_certificate_of_a_stranger_is_refused(port, stranger, monkeypatch):
    """With another authority, with the system's, and also where the name is not asked for."""
    said = refusal(secure(port, f"?ssl_ca_certs={stranger.path}"))
    assert said.startswith(f"Redis at 127.0.0.1:{port} has a certificate that no known authority signed")
    assert "ENDCAP_REDIS_CA" in said
    assert refusal(secure(port)).startswith(said[:60])
    monkeypatch.setenv("ENDCAP_REDIS_CA", str(stranger.path))
    assert "no known authority signed" in refusal(secure(port, "?ssl_check_hostname=false"))


def test_a_certificate_for_a_common_name_needs_leave(nameless_port, authority, monkeypatch):
    """Then the message names the option, and with it the authority still counts."""
    monkeypatch.setenv("ENDCAP_REDIS_CA", str(authority.path))
    assert "add ?ssl_check_hostname=false" in refusal(secure(nameless_port))
    secure(nameless_port, "?ssl_check_hostname=false").check()


def test_the_wrong_scheme_is_named(port, redis_url, authority):
    """Without TLS at a port with it, and with TLS at one without: what the URL should begin with."""
    with pytest.raises(PackedStoreError, match="the URL begins with rediss://"):
        RedisRows(f"redis://127.0.0.1:{port}/0", "p", timeout_s=0.3).check()
    url = f"rediss://127.0.0.1:{port_of(redis_url)}/0?ssl_ca_certs={authority.path}"
    with pytest.raises(PackedStoreError, match="the URL begins with redis://"):
        RedisRows(url, "p", timeout_s=0.3).check()


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_authorities_that_cannot_be_read_are_refused_at_once(tmp_path, monkeypatch, content):
    """A file that is not there or has no certificates: before anything is asked of a server."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("ENDCAP_REDIS_CA", str(path))
    with pytest.raises(SettingsError, match=f"No certificates can be read from {path}"):
        secure(9)


def test_a_connection_is_made_within_a_request(port, authority):
    """Authorities are read once and not again for each connection, which takes longer than a request has."""
    client = connected(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.path}", timeout_s=2.0)
    contexts = set()
    for _ in range(3):
        connection = client.connection_pool.get_connection()
        contexts.add(id(connection._sock.context))
        connection.disconnect()
        client.connection_pool.release(connection)
    assert len(contexts) == 1


def test_a_shop_is_filled_served_and_added_to_over_tls(shop, port, authority, monkeypatch, tmp_path):
    """Materialized through TLS, a user's and items' features are those of the file, and a purchase counts."""
    monkeypatch.setenv("ENDCAP_REDIS_CA", str(authority.path))
    monkeypatch.setenv("ENDCAP_REDIS_URL", f"rediss://127.0.0.1:{port}/3")
    monkeypatch.setattr(online_features, "TIMEOUT_S", 5.0)
    settings, release = replace(shop.settings, feature_store=REDIS_YAML), load(shop.release)
    materialize.run(settings)
    theirs, ours = (OnlineFeatures(each, release, lambda: NOW) for each in (settings, shop.settings))
    every = np.arange(len(release.catalogue.item_ids))
    np.testing.assert_array_equal(theirs.read_items(every), ours.read_items(every))
    for user in USERS:
        assert repr(theirs.read_user(user)) == repr(ours.read_user(user))
    log = EventLog(tmp_path / "events.db")
    log.append([[Event("e1", "purchase", USERS[0], "i03")]], now_us=microseconds(NOW) + 1, arrived_s=0.0)
    rows = open_rows(settings, timeout_s=1.0, read_only=False, create=False)
    assert LiveRows(rows, log).apply([USERS[0]], now_us=microseconds(NOW) + 2) == []
    bought, before = (each.read_user(USERS[0]) for each in (theirs, ours))
    assert sum(bought["history_counts"]) == sum(before["history_counts"]) + 1
    log.close()


def test_a_service_starts_over_a_server_that_does_not_answer(shop, monkeypatch, caplog):
    """It will be asked again: that is said, and nothing is refused. Nor is a store that nobody has named."""
    settings = replace(shop.settings, feature_store=REDIS_YAML)
    monkeypatch.setenv("ENDCAP_REDIS_URL", "redis://127.0.0.1:9/0")
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        check_server(settings)
    assert "Redis at 127.0.0.1:9 cannot be used now" in caplog.text
    monkeypatch.delenv("ENDCAP_REDIS_URL")
    check_server(settings)
    check_server(shop.settings)
