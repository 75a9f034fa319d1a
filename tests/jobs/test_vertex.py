"""Deploying to Vertex AI: what is asked of it, and that whatever fails leaves the traffic as it was."""

import os
import signal
import time

import pytest
import vertex_server
from click.testing import CliRunner
from google.cloud import aiplatform_v1 as api
from vertex_server import answers, fails

from jobs.cli import endcap
from jobs.google_cloud import vertex, vertex_api, vertex_smoke
from jobs.google_cloud.vertex_model import Place, Wanted

pytestmark = pytest.mark.gcp
PLACE = Place("my-shop", "europe-west4")
IMAGE = "europe-west4-docker.pkg.dev/my-shop/endcap/service:{}"
SECRET = "projects/my-shop/secrets/endcap-redis-url/versions/3"
ACCOUNT = "endcap-serving@my-shop.iam.gserviceaccount.com"


def wanted(tag, **more):
    """A model of the image with a tag."""
    return Wanted(PLACE, IMAGE.format(tag), **more)


OLD, NEW, THIRD = (wanted(tag).deployed_id for tag in ("r1", "r2", "r3"))


@pytest.fixture
def cloud(monkeypatch):
    """The server; clients of this process are its, wait for nothing, and sign in nowhere."""
    with vertex_server.serving() as (state, channel):

        def connected(place, say):
            def client(kind):
                kind = getattr(api, f"{kind}Client")
                return kind(transport=kind.get_transport_class("grpc")(channel=channel))

            clients = map(client, ("ModelService", "EndpointService", "PredictionService"))
            return vertex_api.Vertex(place, *clients, say)

        monkeypatch.setattr(vertex_api.Vertex, "connected", connected)
        monkeypatch.setattr(vertex_api, "POLL_S", 0.001)
        monkeypatch.setattr(vertex_api, "PATIENCE_S", 1.0)
        monkeypatch.setattr(vertex_smoke, "PAUSE_S", 0.0)
        before = [signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)]
        yield state
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def call(*words):
    """What a verb comes to in this process."""
    return CliRunner().invoke(endcap, words)


def deploy(tag, *more):
    """`endcap deploy vertex` of the image with a tag, observed for a moment."""
    words = ("--project", "my-shop", "--region", "europe-west4", "--image", IMAGE.format(tag))
    return call("deploy", "vertex", *words, "--observe", "0", *more)


def undeploy(*words):
    """`endcap undeploy vertex`."""
    return call("undeploy", "vertex", "--project", "my-shop", "--region", "europe-west4", *words)


def endpoint(cloud):
    """The endpoint as it is."""
    return cloud.endpoints[PLACE.name]


def traffic(cloud):
    """Its traffic."""
    return dict(endpoint(cloud).traffic_split)


def deployed(cloud):
    """Ids of what is deployed."""
    return [each.id for each in endpoint(cloud).deployed_models]


@pytest.fixture
def serving(cloud):
    """The server with one model that has all the traffic, and a person's own label."""
    assert deploy("r1").exit_code == 0
    endpoint(cloud).labels["team"] = "shop"
    cloud.splits.clear()
    cloud.calls.clear()
    return cloud


def as_before(cloud):
    """Whether nothing is left of a deployment but the model that serves."""
    words = {name for name in endpoint(cloud).labels if name.startswith("endcap-")}
    return (traffic(cloud), deployed(cloud), words) == ({OLD: 100}, [OLD], set())


def test_first_deployment_makes_all_that_it_needs(cloud):
    """Model, endpoint and deployment are as options say; it is asked for real, and has all the traffic."""
    more = ("--redis-secret", SECRET, "--service-account", ACCOUNT, "--env", "ENDCAP_LOG_FEATURES=0.1")
    machines = ("--machine-type", "n2-standard-4", "--min-replicas", "2", "--max-replicas", "5")
    found = deploy("r1", *more, *machines)
    assert found.exit_code == 0, found.output
    (model,) = cloud.models.values()
    spec = model.container_spec
    assert spec.image_uri == IMAGE.format("r1")
    assert {each.name: each.value for each in spec.env} == {
        "ENDCAP_PROFILE": "gcp",
        "ENDCAP_LOG_FEATURES": "0.1",
        "ENDCAP_REDIS_SECRET": SECRET,
    }
    assert (spec.predict_route, spec.health_route) == ("/vertex/predict", "/vertex/health")
    assert [each.container_port for each in spec.ports] == [8080]
    start = spec.startup_probe
    assert (start.http_get.path, start.http_get.port) == ("/vertex/health", 8080)
    assert start.period_seconds * start.failure_threshold == 120
    (running,) = endpoint(cloud).deployed_models
    assert (running.service_account, running.model) == (ACCOUNT, model.name)
    machine = running.dedicated_resources
    assert machine.machine_spec.machine_type == "n2-standard-4"
    assert (machine.min_replica_count, machine.max_replica_count) == (2, 5)
    assert traffic(cloud) == {running.id: 100}
    assert cloud.calls.count("Predict") == vertex_smoke.HITS
    assert f"{running.id} serves endcap-release:r1; nothing else is deployed" in found.output


def test_next_deployment_gets_the_traffic_bit_by_bit(serving):
    """One percent for the smoke test, then the canary's share, then all; what served stays to go back to."""
    serving.behaviour[IMAGE.format("r2")] = answers("endcap-release:r2")
    found = deploy("r2", "--canary", "20")
    assert found.exit_code == 0, found.output
    assert serving.splits == [{OLD: 99, NEW: 1}, {OLD: 80, NEW: 20}, {NEW: 100}]
    assert deployed(serving) == [OLD, NEW]
    assert f"{NEW} serves endcap-release:r2; {OLD} stay deployed to go back to" in found.output
    assert endpoint(serving).labels["team"] == "shop"


def test_same_deployment_twice_makes_nothing_twice(serving):
    """It says that it serves, after one more smoke test."""
    again = deploy("r1")
    assert again.exit_code == 0, again.output
    assert f"{OLD} serves already" in again.output
    assert set(serving.calls) == {"GetModel", "GetEndpoint", "Predict"}


def test_retired_models_are_taken_down(serving):
    """With --retire nothing is left beside it, and nothing to go back to."""
    assert deploy("r2", "--retire").exit_code == 0
    assert (traffic(serving), deployed(serving)) == ({NEW: 100}, [NEW])
    back = undeploy("--to", "previous")
    assert (back.exit_code, "nothing to go back to" in back.output) == (1, True)


def test_going_back_and_removing(serving):
    """--to previous gives the old model the traffic and takes the new one down; --all leaves nothing."""
    assert deploy("r2").exit_code == 0
    back = undeploy("--to", "previous")
    assert back.exit_code == 0, back.output
    assert as_before(serving)
    gone = undeploy("--all")
    assert gone.exit_code == 0, gone.output
    assert serving.endpoints == {}
    assert [each.container_spec.image_uri for each in serving.models.values()] == [IMAGE.format("r2")]
    assert undeploy("--all").exit_code == 0


REFUSED = [
    ("UploadModel", "PERMISSION_DENIED", "grant roles/aiplatform.user to who runs this"),
    ("DeployModel", "RESOURCE_EXHAUSTED", "ask for more quota"),
    ("DeployModel", "DEADLINE_EXCEEDED", "run the same command again to follow it"),
    ("DeployModel", "UNAVAILABLE", "run the same command again in a minute"),
    ("UpdateEndpoint", "PERMISSION_DENIED", "grant roles/aiplatform.admin, and roles/iam.serviceAccountUser"),
    ("Predict", "PERMISSION_DENIED", "grant roles/aiplatform.user"),
]


@pytest.mark.parametrize(("step", "code", "advice"), REFUSED, ids=lambda value: str(value)[:24])
def test_a_refused_call_is_one_line_and_changes_nothing(serving, step, code, advice):
    """Quota, permission, time-out: what was tried, why, what to do; then the same goes through."""
    serving.fail(step, code, "it is\nso")
    found = deploy("r2")
    assert found.exit_code == 1
    last = found.output.splitlines()[-1]
    assert last.startswith("Error: Google Cloud could not")
    assert ": it is so; " in last
    assert advice in last
    assert "Traceback" not in found.output
    assert as_before(serving)
    assert deploy("r2").exit_code == 0
    assert traffic(serving) == {NEW: 100}


@pytest.mark.parametrize(
    "call_name", ["UploadModel", "DeployModel"], ids=["model cannot be read", "container does not start"]
)
def test_an_operation_that_ends_badly_is_told(serving, call_name):
    """A container that does not become ready, or an image that is not there, leave nothing."""
    refusal = vertex_server.Refused("FAILED_PRECONDITION", "Model server never became ready")
    serving.broken_operations[call_name] = refusal
    found = deploy("r2")
    assert (found.exit_code, "Model server never became ready" in found.output) == (1, True)
    assert as_before(serving)


BROKEN = {
    "fails": fails(),
    "has no items": lambda _: {"items": [], "release": "r"},
    "is no answer": lambda _: {"error": "no"},
    "lacks its store": answers(degraded=["online store does not answer: top sellers"]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_failing_smoke_test_puts_the_traffic_back(serving, how):
    """Whatever is wrong with the new model's answers, it had one percent at most and is taken down."""
    serving.behaviour[IMAGE.format("r2")] = BROKEN[how]
    found = deploy("r2")
    assert found.exit_code == 1, found.output
    assert as_before(serving)
    assert serving.splits == [{OLD: 99, NEW: 1}, {OLD: 100}]
    assert f"traffic: 100 % to {OLD}" in found.output


def test_a_named_user_must_be_known(serving):
    """Nobody in particular may be unknown to the shop, a user that --smoke-user names may not."""
    serving.behaviour[IMAGE.format("r2")] = answers(degraded=[vertex_smoke.UNKNOWN])
    named = deploy("r2", "--smoke-user", "2375")
    assert (named.exit_code, "user 2375: unknown user" in named.output) == (1, True)
    assert as_before(serving)
    assert deploy("r2").exit_code == 0


def slow(instance):
    """An answer that takes its time."""
    time.sleep(0.02)
    return answers()(instance)


def flaky():
    """Answers well as long as it is smoke-tested, then every other time."""
    asked = iter(range(10**6))

    def predict(instance):
        number = next(asked)
        return fails()(instance) if number >= vertex_smoke.HITS and number % 2 else answers()(instance)

    return predict


@pytest.mark.parametrize(
    ("behaviour", "says"), [(slow, "ms for 95 % of requests, above 10 ms"), (flaky(), "failed, above 2.0%")]
)
def test_a_failing_canary_puts_the_traffic_back(serving, behaviour, says):
    """One that is slow, or that fails too often, loses its share again."""
    serving.behaviour[IMAGE.format("r2")] = behaviour
    found = deploy("r2", "--observe", "30", "--canary", "50", "--max-p95-ms", "10")
    assert found.exit_code == 1
    assert says in found.output
    assert as_before(serving)
    assert serving.splits == [{OLD: 99, NEW: 1}, {OLD: 50, NEW: 50}, {OLD: 100}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_canary_puts_the_traffic_back(serving, number):
    """Ctrl-C or SIGTERM, and a second one while it is put back."""

    def interrupt(_):
        if {OLD: 90, NEW: 10} in serving.splits:
            os.kill(os.getpid(), number)

    serving.hooks["Predict"] = serving.hooks["UndeployModel"] = interrupt
    found = deploy("r2", "--observe", "60")
    assert found.exit_code == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert as_before(serving)
    assert f"{NEW} is undeployed" in found.output


class Killed(BaseException):
    """The machine is gone: nothing is put back."""


def die(*_, **__):
    """It is gone now."""
    raise Killed


@pytest.mark.parametrize("at", ["UploadModel", "DeployModel", "smoke", "canary"])
def test_a_half_done_deployment_is_gone_on_with(serving, monkeypatch, at):
    """Killed anywhere, the same command makes nothing anew, follows what runs, and knows what was before."""
    serving.polls = 5
    with monkeypatch.context() as patch:
        patch.setattr(vertex.Rollout, "put_back", lambda *_: None)
        where = {"smoke": (vertex, "smoke"), "canary": (vertex, "observe")}
        patch.setattr(*where.get(at, (vertex_api.Vertex, "_follow")), die)
        if at == "DeployModel":
            patch.setattr(vertex_api.Vertex, "upload", lambda _, wanted, __: uploaded(serving, wanted))
        with pytest.raises(Killed):
            deploy("r2")
    assert traffic(serving) == {"smoke": {OLD: 99, NEW: 1}, "canary": {OLD: 90, NEW: 10}}.get(at, {OLD: 100})
    serving.behaviour[IMAGE.format("r2")] = BROKEN["has no items"]
    counts = serving.calls.count("UploadModel"), serving.calls.count("DeployModel")
    assert deploy("r2").exit_code == 1
    assert as_before(serving)
    more = serving.calls.count("UploadModel") - counts[0], serving.calls.count("DeployModel") - counts[1]
    assert more == {"UploadModel": (1, 1)}.get(at, (0, 0))  # the upload is tried, and found under way


def uploaded(cloud, wanted):
    """The model is there."""
    model = wanted.model()
    model.name = wanted.model_name
    cloud.models[model.name] = model


def test_a_half_done_deployment_can_be_ended(serving, monkeypatch):
    """--to previous undoes one that was cut off; another image is not deployed into it."""
    with monkeypatch.context() as patch:
        patch.setattr(vertex.Rollout, "put_back", lambda *_: None)
        patch.setattr(vertex, "observe", die)
        with pytest.raises(Killed):
            deploy("r2")
    other = deploy("r3")
    assert (other.exit_code, f"A deployment of {NEW} is under way" in other.output) == (1, True)
    assert undeploy("--to", "previous").exit_code == 0
    assert as_before(serving)


def test_an_operation_that_takes_too_long_is_left_to_go_on(serving):
    """After --timeout the traffic is as it was; the same command follows what still runs."""
    serving.polls = 10**9
    found = deploy("r2", "--timeout", "1")
    assert (found.exit_code, "run the same command again to follow it" in found.output) == (1, True)
    assert as_before(serving)
    serving.polls = 1
    for each in serving.operations.values():
        each["left"] = 1
    assert deploy("r2").exit_code == 0
    assert serving.calls.count("UploadModel") == 2
    assert traffic(serving) == {NEW: 100}


def test_a_changed_etag_is_read_again(serving):
    """Somebody who changes something else at the same time costs a try, not the deployment."""
    once = iter([True])

    def touch(_):
        if next(once, False):
            endpoint(serving).etag = serving.etag()

    serving.hooks["UpdateEndpoint"] = touch
    assert deploy("r2").exit_code == 0
    assert traffic(serving) == {NEW: 100}


def test_traffic_that_somebody_else_has_moved_stays_theirs(serving):
    """Their split is not overwritten, neither on the way nor by putting back."""
    uploaded(serving, wanted("r3"))
    endpoint(serving).deployed_models = [*endpoint(serving).deployed_models, wanted("r3").deployed_model()]

    def move(_):
        if traffic(serving) == {OLD: 99, NEW: 1}:
            serving.split(endpoint(serving), {OLD: 30, THIRD: 70})

    serving.hooks["Predict"] = move
    found = deploy("r2")
    assert found.exit_code == 1
    assert "has answered 0 of" in found.output or "Somebody else has moved the traffic" in found.output
    assert traffic(serving) == {OLD: 30, THIRD: 70}
    assert sorted(deployed(serving)) == sorted([OLD, THIRD])


def test_an_unavailable_side_is_asked_again_while_the_traffic_is_put_back(serving):
    """Putting back goes on through failures that pass."""
    serving.behaviour[IMAGE.format("r2")] = BROKEN["has no items"]
    broken = iter([True])

    def fall_silent(_):
        if next(broken, False):
            serving.fail("UpdateEndpoint", "UNAVAILABLE", times=3)
            serving.fail("GetEndpoint", "UNAVAILABLE", times=2)

    serving.hooks["Predict"] = lambda request: fall_silent(request) if NEW in traffic(serving) else None
    assert deploy("r2").exit_code == 1
    assert as_before(serving)


def test_traffic_that_cannot_be_put_back_is_said_aloud(serving):
    """With the command that does it later."""
    serving.behaviour[IMAGE.format("r2")] = BROKEN["has no items"]
    serving.hooks["Predict"] = lambda _: serving.fail("UpdateEndpoint", "PERMISSION_DENIED", times=1)
    found = deploy("r2")
    assert found.exit_code == 1
    assert "NOT put back" in found.output
    assert "endcap undeploy vertex --to previous" in found.output
    serving.broken.clear()
    assert undeploy("--to", "previous").exit_code == 0
    assert as_before(serving)
