"""Google's clients of one region: who one is, and that long work is seen to go on."""

import google.auth
import pytest
import vertex_shop
from google.auth import _default
from google.auth.credentials import AnonymousCredentials
from vertex_shop import NEW, OLD, PLACE, call, deploy, wanted

from jobs.google_cloud import vertex_api
from jobs.google_cloud.vertex_api import Vertex

pytestmark = pytest.mark.gcp
cloud = pytest.fixture(vertex_shop.on_cloud)
serving = pytest.fixture(vertex_shop.on_serving_cloud)


def test_clients_speak_to_their_own_region(monkeypatch):
    """Vertex AI's endpoints are regional: a model of one region is not known in another."""
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), None))
    vertex = Vertex.connected(PLACE, print)
    assert {each.api_endpoint for each in (vertex.models, vertex.endpoints, vertex.predictions)} == {
        "europe-west4-aiplatform.googleapis.com"
    }


def test_without_credentials_the_way_to_some_is_named(monkeypatch, tmp_path):
    """By the real clients, in one line and before anything is asked."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(google.auth, "default", _default.default)  # the emulated profile has nobody's
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    found = call("undeploy", "vertex", "--project", "my-shop", "--region", "europe-west4", "--all")
    assert (found.exit_code, found.output.count("\n")) == (1, 1)
    assert found.output.startswith("Error: Google Cloud could not sign in in project my-shop: ")
    assert "run `gcloud auth application-default login`" in found.output


def test_long_work_is_told_as_it_goes_on(serving, monkeypatch):
    """Every half minute a line, with what is waited for and since when."""
    monkeypatch.setattr(vertex_api, "SAY_S", 0.0)
    serving.polls = 3
    found = deploy("r2")
    assert f"deploy {wanted('r2').model_id} as {NEW}: 0 s" in found.output


@pytest.mark.usefixtures("serving")
def test_steps_are_told_in_their_order():
    """What is made, what is tried, and each split of the traffic as it comes into force."""
    lines = deploy("r2", "--canary", "20").output.splitlines()
    model = wanted("r2").model_id
    assert lines[:3] == [
        f"upload model {model}",
        f"deploy {model} as {NEW}",
        f"traffic: 99 % to {OLD}, 1 % to {NEW}",
    ]
    assert [line.split()[1] for line in lines if line.startswith("traffic: ")] == ["99", "80", "100"]
    assert sum(line.startswith("smoke test ") for line in lines) == 3
