"""What is deployed: refused where it is of no use or shows a secret, and the same under the same id."""

from dataclasses import replace

import pytest
from vertex_shop import ACCOUNT, IMAGE, PLACE, SECRET, call, wanted

from jobs.google_cloud.vertex_model import DeployError, Place, variables

pytestmark = pytest.mark.gcp


@pytest.mark.parametrize(
    "word",
    [
        "REDIS_PASSWORD=x",
        "api_key=x",
        "MY_TOKEN=x",
        "ENDCAP_REDIS_SECRET=projects/p/secrets/s/versions/1",
        "GOOGLE_CREDENTIALS={}",
        "ENDCAP_REDIS_URL=rediss://:swordfish@10.0.0.3:6378/0",
        "URL=https://me:swordfish@shop/",
    ],
)
def test_secrets_are_no_variables(word):
    """By their names or by a password in their URLs; the message names the way, and not the value."""
    with pytest.raises(DeployError, match="Secret Manager and name that with --redis-secret") as found:
        variables([word])
    assert "swordfish" not in str(found.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["A"], "use NAME=VALUE"),
        (["=x"], "use NAME=VALUE"),
        (["9=x"], "use NAME=VALUE"),
        (["A=1", "A=2"], "A twice"),
        (["AIP_HTTP_PORT=1"], "which Vertex AI sets itself"),
    ],
)
def test_variables_that_are_of_no_use_are_refused(words, says):
    """Without a name, named twice, or Vertex's own."""
    with pytest.raises(DeployError, match=says):
        variables(words)


def test_variables_keep_all_of_their_values():
    """An equals sign may be in a value, which may be empty; a URL without a password is no secret."""
    assert variables(["A=b=c", "B=", "ENDCAP_REDIS_URL=redis://10.0.0.3:6379/0"]) == {
        "A": "b=c",
        "B": "",
        "ENDCAP_REDIS_URL": "redis://10.0.0.3:6379/0",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image": "service"}, "--image is 'service'"),
        ({"image": IMAGE.format("latest")}, "and no :latest"),
        ({"image": IMAGE.format("r1").rpartition(":")[0]}, "--image is"),
        (
            {"image": IMAGE.format("r1").replace("europe-west4", "us-central1")},
            "outside of --region europe-west4",
        ),
        ({"redis_secret": "redis-url", "service_account": ACCOUNT}, "--redis-secret is 'redis-url'"),
        ({"redis_secret": SECRET}, "without --service-account"),
        ({"min_replicas": 4}, "--min-replicas is 4, above --max-replicas"),
    ],
)
def test_models_that_are_of_no_use_are_refused(change, says):
    """The message names the option and its value."""
    with pytest.raises(DeployError, match=says):
        replace(wanted("r1"), **change)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (("My-Shop", "europe-west4", "endcap"), "--project is 'My-Shop'"),
        (("my-shop", "europe-west4/x", "endcap"), "--region is"),
        (("my-shop", "europe-west4", "End cap"), "--endpoint is"),
    ],
)
def test_places_that_cannot_be_are_refused(place, says):
    """Before anything is asked of Google."""
    with pytest.raises(DeployError, match=says):
        Place(*place)


def test_ids_are_of_what_is_deployed():
    """The same is the same, in whatever order it is said; another image, variable or machine is another."""
    one = wanted("r1", env={"A": "1", "B": "2"})
    assert one.model_id == wanted("r1", env={"B": "2", "A": "1"}).model_id
    others = [wanted("r2", env=one.env), wanted("r1"), wanted("r1", env={**one.env, "B": "3"})]
    assert len({each.model_id for each in (one, *others)}) == 4
    larger = replace(one, machine_type="n2-standard-8")
    assert (larger.model_id, larger.deployed_id == one.deployed_id) == (one.model_id, False)
    assert len(one.deployed_id) == 10
    assert one.deployed_id.isdecimal()
    assert one.model_name == f"{PLACE.parent}/models/{one.model_id}"


def test_wrong_words_are_told_in_one_line():
    """By the verb, without a traceback."""
    words = ("--project", "my-shop", "--region", "europe-west4", "--image", IMAGE.format("r1"))
    found = call("deploy", "vertex", *words, "--env", "KEY=1")
    assert (found.exit_code, found.output.count("\n")) == (1, 1)
    assert found.output.startswith("Error: --env has KEY, which looks like a secret")
    both = call(
        "undeploy", "vertex", "--project", "my-shop", "--region", "europe-west4", "--all", "--to", "previous"
    )
    assert (both.exit_code, "give either --to previous or --all" in both.output) == (2, True)
