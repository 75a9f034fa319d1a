"""`endcap deploy vertex` and `endcap undeploy vertex` in this process, against a Vertex AI of our own."""

import signal

import vertex_server
from click.testing import CliRunner
from google.cloud import aiplatform_v1 as api

from jobs.cli import endcap
from jobs.google_cloud import vertex_api, vertex_smoke
from jobs.google_cloud.vertex_model import Place, Wanted

PLACE = Place("my-shop", "europe-west4")
IMAGE = "europe-west4-docker.pkg.dev/my-shop/endcap/service:{}"
SECRET = "projects/my-shop/secrets/endcap-redis-url/versions/3"
ACCOUNT = "endcap-serving@my-shop.iam.gserviceaccount.com"


def wanted(tag, **more):
    """A model of the image with a tag."""
    return Wanted(PLACE, IMAGE.format(tag), **more)


OLD, NEW, THIRD = (wanted(tag).deployed_id for tag in ("r1", "r2", "r3"))


def on_cloud(monkeypatch):
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


def on_serving_cloud(cloud):
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


def uploaded(cloud, wanted):
    """The model is there."""
    model = wanted.model()
    model.name = wanted.model_name
    cloud.models[model.name] = model
