"""Deploying to Vertex AI: what is asked of it, and how a run that was cut off is gone on with."""

import pytest
import vertex_shop
from vertex_behaviour import answers, empty
from vertex_shop import (
    ACCOUNT,
    IMAGE,
    NEW,
    OLD,
    SECRET,
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

from jobs.google_cloud import vertex, vertex_api, vertex_smoke

pytestmark = pytest.mark.gcp
cloud = pytest.fixture(vertex_shop.on_cloud)
serving = pytest.fixture(vertex_shop.on_serving_cloud)


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
    serving.behaviour[IMAGE.format("r2")] = empty
    counts = serving.calls.count("UploadModel"), serving.calls.count("DeployModel")
    assert deploy("r2").exit_code == 1
    assert as_before(serving)
    more = serving.calls.count("UploadModel") - counts[0], serving.calls.count("DeployModel") - counts[1]
    assert more == {"UploadModel": (1, 1)}.get(at, (0, 0))  # the upload is tried, and found under way


def test_what_others_made_is_not_removed(serving):
    """Neither an endpoint that is not ours, nor a model that is not, though it is deployed at ours."""
    uploaded(serving, wanted("r3"))
    del serving.models[wanted("r3").model_name].labels["made-by"]
    endpoint(serving).deployed_models = [*endpoint(serving).deployed_models, wanted("r3").deployed_model()]
    del endpoint(serving).labels["made-by"]
    kept = undeploy("--all")
    assert (kept.exit_code, "was not made by `endcap deploy vertex`" in kept.output) == (1, True)
    assert traffic(serving) == {OLD: 100}
    endpoint(serving).labels["made-by"] = "endcap"
    assert undeploy("--all").exit_code == 0
    assert (list(serving.endpoints), list(serving.models)) == ([], [wanted("r3").model_name])


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


def test_what_never_had_traffic_is_ended_and_no_more(serving, monkeypatch):
    """Cut off before its first percent, a deployment is undone by --to previous; the one before stays."""
    assert deploy("r2").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(vertex.Rollout, "put_back", lambda *_: None)
        patch.setattr(vertex.Rollout, "give", die)
        with pytest.raises(Killed):
            deploy("r3")
    assert sorted(deployed(serving)) == sorted([OLD, NEW, THIRD])
    assert undeploy("--to", "previous").exit_code == 0
    assert traffic(serving) == {NEW: 100}
    assert sorted(deployed(serving)) == sorted([OLD, NEW])


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
