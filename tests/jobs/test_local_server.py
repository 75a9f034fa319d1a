"""Every way to start the service: which command, in which folder, and what is said when it cannot start."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import httpx
import pytest
import served_shop
from served_shop import BENTOML, ROOT

from feature_repo.settings import Settings
from jobs.local_server import free_port, local_server
from jobs.recommend import ServerError, ask, is_ready

ENDCAP = (sys.executable, "-m", "jobs.cli")
# What must never be loaded to answer a request, also where it is installed.
UNWANTED = {"tensorflow", "tensorflow_recommenders", "tf_keras", "keras", "torch", "transformers", "pyspark"}
OURS = {"bentos", "feature_repo"}
FAKE = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""
ANSWER_ONCE = """
import json, sys
from bentos.recommend import recommend
from bentos.service import Endcap
service = Endcap.inner()
engine, now = service.live.engine, service.clock.now()
found = recommend(engine.release, engine.features, "u1", k=3, task="all", now=now)
print(json.dumps({"degraded": found.degraded, "items": len(found.slots), "modules": sorted(sys.modules)}))
"""
shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture
def settings(tmp_path):
    """An installation without anything."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    settings.state.mkdir()
    return settings


@pytest.fixture
def storeless(shop, settings):
    """An installation with the shop's release and no online store: its server starts without Feast."""
    settings.current_release.write_text(shop.tag + "\n")
    return settings


def said(command, environment, cwd):
    """Exit code and output of a program that ends by itself."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout


def test_endcap_serve_lives_in_the_block(shop, storeless, monkeypatch):
    """`endcap serve` answers with the current release in the block, and nothing listens there after it."""
    for name, value in served_shop.environment(storeless.state, shop.bentoml_home).items():
        monkeypatch.setenv(name, value)
    shutil.copy(shop.settings.online_store, storeless.online_store)
    with local_server(storeless) as server:
        answer = ask(server.url, "u1", k=2)
        assert (answer["release"], len(answer["items"])) == (shop.tag, 2)
    assert not is_ready(server.url)
    log = (storeless.state / "serve.log").read_text()
    assert f"release {shop.tag} as of 2024-03-04T05:00:00+00:00" in log
    assert "Traceback" not in log


def test_server_is_stopped_when_the_block_fails(settings, tmp_path):
    """An error inside the block ends the server too, and comes through."""
    (tmp_path / "server.py").write_text(FAKE)
    program = (sys.executable, str(tmp_path / "server.py"))
    with pytest.raises(ZeroDivisionError), local_server(settings, program=program) as server:  # noqa: PT012
        assert is_ready(server.url)
        _ = 1 / 0
    assert not is_ready(server.url)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_server_that_never_gets_ready_is_given_up(settings):
    """After the time that it was given, the end of its log is shown, and the process is gone."""
    program = (sys.executable, "-uc", "import os, time; print('still', os.getpid()); time.sleep(60)")
    with (
        pytest.raises(
            ServerError, match=r"(?s)not ready after 2 s; the end of .*serve\.log:\n    still"
        ) as told,
        local_server(settings, start_s=2, program=program),
    ):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(told.value).split()[-1]), 0)


def test_server_without_a_release_says_so(settings, monkeypatch):
    """The real server's own message, which names the next command, is in the error."""
    monkeypatch.setenv("BENTOML_HOME", str(settings.state / "bentoml"))
    begin = time.monotonic()
    with (
        pytest.raises(ServerError, match=r"ended with code 1(?s:.*)run `endcap publish`"),
        local_server(settings),
    ):
        pass
    assert time.monotonic() - begin < 60


def test_free_ports_are_free_and_local():
    """A port that is given can be bound on this machine's own address at once."""
    for port in {free_port() for _ in range(5)}:
        with socket.create_server(("127.0.0.1", port)):
            pass


@pytest.mark.parametrize("target", [(), ("service:Endcap",)], ids=["plain", "with a target"])
def test_bentoml_serve_starts_in_bentos(shop, storeless, tmp_path, target):
    """In bentos/, `bentoml serve` serves the current release, with and without a target.

    In the root it is what test_service runs.
    """
    home = served_shop.environment(storeless.state, shop.bentoml_home)
    serve, log = (*BENTOML, "serve", *target), tmp_path / "serve.log"
    there = {"environment": home, "cwd": ROOT / "bentos", "log": log, "until": "/livez"}
    with served_shop.serving(*serve, **there) as url:
        answer = httpx.post(f"{url}/recommend", json={"user_id": "u1", "k": 2}).json()
    assert answer["release"] == shop.tag
    assert answer["degraded"] == ["no online store (run `endcap materialize`): top sellers"]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("program", "folder"),
    [((*BENTOML, "serve"), "."), ((*BENTOML, "serve"), "bentos"), ((*ENDCAP, "serve"), ".")],
    ids=["bentoml in the root", "bentoml in bentos", "endcap"],
)
@pytest.mark.parametrize("pointer", [None, "endcap-release:gone"])
def test_start_without_a_release_ends_in_one_line(settings, tmp_path, program, folder, pointer):
    """No current release, or one that the store has lost: one line says so and names `endcap publish`."""
    if pointer:
        settings.current_release.write_text(pointer)
    home = served_shop.environment(settings.state, tmp_path / "bentoml")
    code, output = said([*program, "--port", str(free_port())], home, ROOT / folder)
    errors = [line for line in output.splitlines() if "[INFO]" not in line]
    assert code == 1
    assert len(errors) == 1, output
    assert "run `endcap publish`" in errors[0]
    assert (pointer or str(settings.current_release)) in errors[0]


@pytest.mark.parametrize("name", ["events.db", "exposures.db"])
def test_a_log_that_is_none_does_not_start(shop, settings, name):
    """A folder in the place of a log ends the start in one line that names it: no worker tries for ever."""
    settings.current_release.write_text(shop.tag)
    (settings.state / name).mkdir()
    home = served_shop.environment(settings.state, shop.bentoml_home)
    code, output = said([*ENDCAP, "serve", "--port", str(free_port())], home, ROOT)
    errors = [line for line in output.splitlines() if "[INFO]" not in line]
    assert code == 1
    assert len(errors) == 1, output
    assert f"{settings.state / name} cannot be used as a log" in errors[0]


def test_damaged_release_does_not_start(shop, settings, tmp_path):
    """A release whose files were touched is refused before any worker starts, not tried for ever."""
    settings.current_release.write_text(shop.tag)
    model = tmp_path / "bentoml" / "models" / shop.tag.replace(":", "/")
    kept = shop.bentoml_home / "models" / shop.tag.replace(":", "/")
    model.mkdir(parents=True)
    for path in kept.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / "rules.yaml").write_text("{}")
    home = served_shop.environment(settings.state, tmp_path / "bentoml")
    code, output = said([*BENTOML, "serve", "--port", str(free_port())], home, ROOT)
    assert code == 1
    assert f"{model / 'rules.yaml'} is damaged" in output
    assert "Traceback" not in output


@pytest.fixture(scope="module")
def answered(shop):
    """What a process had loaded after it had opened the service and answered once from the online store."""
    output = subprocess.check_output([sys.executable, "-c", ANSWER_ONCE], env=shop.environment, cwd=ROOT)
    return json.loads(output.splitlines()[-1])


def test_no_training_framework_is_loaded_to_answer(answered):
    """TensorFlow, torch and Spark stay out of the server's process though they are installed beside it."""
    assert (answered["degraded"], answered["items"]) == ([], 3)
    assert {name.split(".")[0] for name in answered["modules"]} & UNWANTED == set()


def test_of_ours_only_the_serving_packages_are_loaded(answered):
    """Neither training nor jobs is, nor what makes frames: Feast would bring it along."""
    loaded = {name.split(".")[0] for name in answered["modules"]}
    assert loaded & {"bentos", "feature_repo", "training", "jobs"} == OURS
    frames = {"feast", "pandas", "pyarrow", "duckdb", "ibis", "sqlalchemy", "dask", "sklearn"}
    assert loaded & {*frames, "matplotlib", "tea_tasting", "snowflake", "boto3"} == set()
