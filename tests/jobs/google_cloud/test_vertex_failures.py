"""Deploying to Vertex AI: whatever fails leaves the traffic as it was before."""

import os
import signal
import time

import pytest
import vertex_shop
from vertex_behaviour import Refused, answers, empty, fails
from vertex_shop import (
    IMAGE,
    NEW,
    OLD,
    THIRD,
    as_before,
    deploy,
    deployed,
    endpoint,
    traffic,
    undeploy,
    uploaded,
    wanted,
)

from jobs.google_cloud import vertex_smoke

pytestmark = pytest.mark.gcp
cloud = pytest.fixture(vertex_shop.on_cloud)
serving = pytest.fixture(vertex_shop.on_serving_cloud)


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
    refusal = Refused("FAILED_PRECONDITION", "Model server never became ready")
    serving.broken_operations[call_name] = refusal
    found = deploy("r2")
    assert (found.exit_code, "Model server never became ready" in found.output) == (1, True)
    assert as_before(serving)


BROKEN = {
    "fails": fails(),
    "has no items": empty,
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
    serving.behaviour[IMAGE.format("r2")] = empty
    broken = iter([True])

    def fall_silent(_):
        if next(broken, False):
            serving.fail("UpdateEndpoint", "UNAVAILABLE", times=3)
            serving.fail("GetEndpoint", "UNAVAILABLE", times=2)

    serving.hooks["Predict"] = lambda request: fall_silent(request) if NEW in traffic(serving) else None
    assert deploy("r2").exit_code == 1
    assert as_before(serving)


def test_a_model_that_cannot_be_taken_down_is_said_to_cost(serving):
    """The traffic is back all the same, and the same image can be deployed again."""
    serving.behaviour[IMAGE.format("r2")] = empty
    serving.fail("UndeployModel", "UNAVAILABLE")
    found = deploy("r2")
    assert found.exit_code == 1
    assert f"{NEW} has no traffic, may still be deployed, and costs then" in found.output
    assert (traffic(serving), deployed(serving)) == ({OLD: 100}, [OLD, NEW])
    serving.behaviour.clear()
    assert deploy("r2").exit_code == 0
    assert traffic(serving) == {NEW: 100}


@pytest.mark.parametrize("cut_off_by", ["timeout", "interrupt"])
def test_a_model_that_is_still_being_deployed_is_not_forgotten(serving, cut_off_by):
    """Google goes on with it: that is said, and going back takes it down as soon as it is there."""
    uploaded(serving, wanted("r2"))
    serving.polls = 10**9
    if cut_off_by == "interrupt":
        serving.hooks["GetOperation"] = lambda _: os.kill(os.getpid(), signal.SIGINT)
    found = deploy("r2", "--timeout", "1")
    assert found.exit_code != 0
    assert f"{NEW} is still being deployed, and costs once it is" in found.output
    assert "is undeployed" not in found.output
    serving.hooks.clear()
    serving.polls = 1
    for name, held in serving.operations.items():
        held["left"] = 0
        serving.poll(name)
    assert (traffic(serving), deployed(serving)) == ({OLD: 100}, [OLD, NEW])
    assert undeploy("--to", "previous").exit_code == 0
    assert as_before(serving)


def test_a_failed_return_leaves_what_was_kept_to_go_back_to(serving):
    """The model before, deployed again, fails: it stays deployed without traffic, and can be gone back to."""
    assert deploy("r2").exit_code == 0
    words = dict(endpoint(serving).labels)
    serving.behaviour[IMAGE.format("r1")] = empty
    assert deploy("r1").exit_code == 1
    assert (traffic(serving), deployed(serving)) == ({NEW: 100}, [OLD, NEW])
    assert dict(endpoint(serving).labels) == words
    assert undeploy("--to", "previous").exit_code == 0
    assert as_before(serving)


def test_traffic_that_cannot_be_put_back_is_said_aloud(serving):
    """With the command that does it later."""
    serving.behaviour[IMAGE.format("r2")] = empty
    serving.hooks["Predict"] = lambda _: serving.fail("UpdateEndpoint", "PERMISSION_DENIED", times=1)
    found = deploy("r2")
    assert found.exit_code == 1
    assert "NOT put back" in found.output
    assert "endcap undeploy vertex --to previous" in found.output
    serving.broken.clear()
    assert undeploy("--to", "previous").exit_code == 0
    assert as_before(serving)
