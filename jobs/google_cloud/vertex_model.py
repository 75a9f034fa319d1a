"""What is to be deployed on Vertex AI: an image of the service, its environment, and the machines it gets.

The ids of the model and of its deployment are hashes of what they are, so that a run that was cut off finds
what it has made already, and the same command twice makes nothing twice.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bentos.secret_manager import NAME as SECRET_VERSION
from jobs.google_cloud.names import PROJECT, REGION

PORT = 8080
HEALTH_ROUTE, PREDICT_ROUTE = "/vertex/health", "/vertex/predict"  # of `bentos.vertex`, as Vertex tells it
PROBE_EVERY_S, PROBES_AT_START = 5, 24  # so a container has two minutes to be ready; it takes 10 to 20 s
MADE_BY = {"made-by": "endcap"}
IMAGE = re.compile(r"[a-z0-9.-]+-docker\.pkg\.dev/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})", re.ASCII)
ENDPOINT = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_NAME = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^\s/@]*:[^\s/@]+@")


class DeployError(ValueError):
    """What is to be deployed cannot be; the message names the option, its value and what is valid."""


def variables(words: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE words as a mapping; DeployError for one that is of no use or looks like a secret.

    A model's environment can be read by all who may look at it, so that no secret may stand there.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not NAME.fullmatch(name):
            raise DeployError(f"--env has {name!r:.60}; use NAME=VALUE")
        if name in found:
            raise DeployError(f"--env has {name} twice; give it once")
        if name.startswith("AIP_"):
            raise DeployError(f"--env has {name}, which Vertex AI sets itself; leave it out")
        if SECRET_NAME.search(name) or PASSWORD_IN_URL.search(value):
            raise DeployError(
                f"--env has {name}, which looks like a secret, and who may see the model could read it;"
                " put it into Secret Manager and name that with --redis-secret"
            )
        found[name] = value
    return found


@dataclass(frozen=True)
class Place:
    """An endpoint of a project in a region."""

    project: str
    region: str
    endpoint: str = "endcap"

    def __post_init__(self) -> None:
        for option, value, pattern, example in (
            ("--project", self.project, PROJECT, "my-shop"),
            ("--region", self.region, REGION, "europe-west4"),
            ("--endpoint", self.endpoint, ENDPOINT, "endcap"),
        ):
            if not pattern.fullmatch(value):
                raise DeployError(f"{option} is {value!r:.60}; use one like {example}")

    @property
    def parent(self) -> str:
        """Where models and endpoints lie."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def name(self) -> str:
        """The endpoint's resource name."""
        return f"{self.parent}/endpoints/{self.endpoint}"


@dataclass(frozen=True)
class Wanted:
    """A model as it is to be, and the machines that it is to run on."""

    place: Place
    image: str
    env: Mapping[str, str] = field(default_factory=dict)
    redis_secret: str | None = None
    service_account: str | None = None
    machine_type: str = "n2-standard-2"
    min_replicas: int = 1
    max_replicas: int = 3

    def __post_init__(self) -> None:
        if not IMAGE.fullmatch(self.image) or self.image.endswith(":latest"):
            raise DeployError(
                f"--image is {self.image!r:.120}; use REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG,"
                " and no :latest, as one must be able to go back to what it is now"
            )
        if not self.image.startswith(f"{self.place.region}-docker.pkg.dev/"):
            raise DeployError(
                f"--image is {self.image!r:.120}, outside of --region {self.place.region}; push it to a"
                " repository of that region, from which alone Vertex AI takes images"
            )
        if self.redis_secret and not SECRET_VERSION.fullmatch(self.redis_secret):
            raise DeployError(
                f"--redis-secret is {self.redis_secret!r:.120};"
                " use projects/PROJECT/secrets/NAME/versions/VERSION"
            )
        if self.redis_secret and not self.service_account:
            raise DeployError(
                "--redis-secret is given without --service-account; name one that has"
                " roles/secretmanager.secretAccessor on the secret"
            )
        if self.min_replicas > self.max_replicas:
            raise DeployError(
                f"--min-replicas is {self.min_replicas}, above --max-replicas ({self.max_replicas})"
            )

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the container, by name."""
        secret = {"ENDCAP_REDIS_SECRET": self.redis_secret} if self.redis_secret else {}
        return dict(sorted({"ENDCAP_PROFILE": "gcp", **self.env, **secret}.items()))

    @property
    def model_id(self) -> str:
        """Of image, environment, port, routes and probes."""
        probes = [PROBE_EVERY_S, PROBES_AT_START]
        return (
            f"endcap-{hashed([self.image, self.environment, PORT, HEALTH_ROUTE, PREDICT_ROUTE, probes])[:16]}"
        )

    @property
    def deployed_id(self) -> str:
        """Of the model and its machines: ten digits, as Vertex wants it."""
        machines = [self.machine_type, self.min_replicas, self.max_replicas, self.service_account]
        return str(10**9 + int(hashed([self.model_id, *machines]), 16) % (9 * 10**9))

    @property
    def model_name(self) -> str:
        """The model's resource name."""
        return f"{self.place.parent}/models/{self.model_id}"

    def model(self) -> Any:
        """What is uploaded: google.cloud.aiplatform_v1.Model."""
        from google.cloud import aiplatform_v1 as vertex

        def probe(tries: int) -> Any:
            get = vertex.Probe.HttpGetAction(path=HEALTH_ROUTE, port=PORT)
            return vertex.Probe(
                http_get=get, period_seconds=PROBE_EVERY_S, timeout_seconds=5, failure_threshold=tries
            )

        container = vertex.ModelContainerSpec(
            image_uri=self.image,
            env=[vertex.EnvVar(name=name, value=value) for name, value in self.environment.items()],
            ports=[vertex.Port(container_port=PORT)],
            predict_route=PREDICT_ROUTE,
            health_route=HEALTH_ROUTE,
            startup_probe=probe(PROBES_AT_START),
            health_probe=probe(3),
        )
        return vertex.Model(display_name=self.model_id, container_spec=container, labels=MADE_BY)

    def deployed_model(self) -> Any:
        """How it is deployed: google.cloud.aiplatform_v1.DeployedModel."""
        from google.cloud import aiplatform_v1 as vertex

        return vertex.DeployedModel(
            id=self.deployed_id,
            model=self.model_name,
            display_name=self.model_id,
            service_account=self.service_account or "",
            dedicated_resources=vertex.DedicatedResources(
                machine_spec=vertex.MachineSpec(machine_type=self.machine_type),
                min_replica_count=self.min_replicas,
                max_replica_count=self.max_replicas,
            ),
        )


def hashed(what: Any) -> str:
    """Hexadecimal digits of something that is JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
