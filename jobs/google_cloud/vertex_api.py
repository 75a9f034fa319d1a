"""Vertex AI of one project in one region, through Google's generated clients.

    vertex = Vertex.connected(place, say=print)
    vertex.upload(wanted)

Each call is made with a deadline, told in one line where it fails, and can be made again: what is there is
used, and a long-running operation that another run began is followed to its end.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.google_cloud.refusals import CloudError, told
from jobs.google_cloud.vertex_model import MADE_BY, Place, Wanted
from jobs.google_cloud.vertex_traffic import same
from jobs.google_cloud.vertex_traffic import told as split_told

POLL_S, SAY_S, CALL_S = 5.0, 30.0, 60.0
PATIENCE_S = 120.0  # for what is read, and for a split to be written, while others write or nobody answers
UPLOADER = "roles/aiplatform.user"
DEPLOYER = "roles/aiplatform.admin, and roles/iam.serviceAccountUser on the service account,"
Say = Callable[[str], None]


class MovedError(CloudError):
    """Somebody else has changed the traffic of the endpoint meanwhile."""


@dataclass(frozen=True)
class Prediction:
    """One answer of an endpoint: which deployed model gave it, and how long it took."""

    deployed_id: str
    content: Mapping[str, Any]
    latency_ms: float


@dataclass(frozen=True)
class Vertex:
    """Google's three clients for one place; tests give them channels to a server of their own."""

    place: Place
    models: Any
    endpoints: Any
    predictions: Any
    say: Say

    @classmethod
    def connected(cls, place: Place, say: Say) -> "Vertex":
        """Clients with the credentials of the machine or the person."""
        from google.cloud import aiplatform_v1

        options = {"api_endpoint": f"{place.region}-aiplatform.googleapis.com"}
        with told("sign in", project=place.project):
            return cls(
                place,
                aiplatform_v1.ModelServiceClient(client_options=options),
                aiplatform_v1.EndpointServiceClient(client_options=options),
                aiplatform_v1.PredictionServiceClient(client_options=options),
                say,
            )

    def model(self, name: str) -> Any | None:
        """A model by its resource name; None where there is none."""
        return self._found(lambda how: self.models.get_model(name=name, **how), f"look for {short(name)}")

    def endpoint(self) -> Any | None:
        """The endpoint; None where there is none."""
        place = self.place
        return self._found(
            lambda how: self.endpoints.get_endpoint(name=place.name, **how), f"look for {short(place.name)}"
        )

    def upload(self, wanted: Wanted, timeout_s: float) -> None:
        """Have the model there: found, followed where another run uploads it, or uploaded."""
        if self.model(wanted.model_name) is not None:
            self.say(f"model {wanted.model_id} is there")
            return
        request = {"parent": self.place.parent, "model_id": wanted.model_id, "model": wanted.model()}
        self._make(
            f"upload model {wanted.model_id}",
            lambda: self.models.upload_model(request=request, timeout=CALL_S),
            wanted.model_name,
            "UploadModel",
            timeout_s,
            needs=UPLOADER,
        )

    def make_endpoint(self, timeout_s: float) -> None:
        """Have the endpoint there."""
        if self.endpoint() is not None:
            return
        place = self.place
        wanted = {"display_name": place.endpoint, "labels": MADE_BY}
        request = {"parent": place.parent, "endpoint_id": place.endpoint, "endpoint": wanted}
        self._make(
            f"make endpoint {place.endpoint}",
            lambda: self.endpoints.create_endpoint(request=request, timeout=CALL_S),
            place.name,
            "CreateEndpoint",
            timeout_s,
            needs=DEPLOYER,
        )

    def deploy(self, wanted: Wanted, timeout_s: float) -> None:
        """Have the model deployed, without traffic."""
        what = f"deploy {wanted.model_id} as {wanted.deployed_id}"
        self.settle(timeout_s)
        if wanted.deployed_id in self.deployed():
            self.say(f"{wanted.model_id} is deployed as {wanted.deployed_id}")
            return
        request = {"endpoint": self.place.name, "deployed_model": wanted.deployed_model()}
        self._make(
            what,
            lambda: self.endpoints.deploy_model(request=request, timeout=CALL_S),
            self.place.name,
            "DeployModel",
            timeout_s,
            needs=DEPLOYER,
        )

    def settle(self, timeout_s: float) -> None:
        """Follow the deployments to this endpoint that are under way, whatever they come to."""
        for running in self._running(self.place.name, "DeployModel"):
            self.say("a deployment to this endpoint is under way; following it")
            try:
                self._follow(running, "follow a deployment", timeout_s, needs=DEPLOYER)
            except CloudError as error:
                self.say(str(error))

    def deploying(self) -> bool:
        """Whether a deployment to this endpoint is under way."""
        return any(self._running(self.place.name, "DeployModel"))

    def deployed(self) -> dict[str, str]:
        """Resource names of the models that are deployed here, by the ids of their deployments."""
        endpoint = self.endpoint()
        return {each.id: each.model for each in endpoint.deployed_models} if endpoint else {}

    def undeploy(self, deployed_id: str, timeout_s: float) -> None:
        """Take down what has no traffic; nothing where it is down."""
        if deployed_id in self.deployed():
            request = {"endpoint": self.place.name, "deployed_model_id": deployed_id}
            self._make(
                f"undeploy {deployed_id}",
                lambda: self.endpoints.undeploy_model(request=request, timeout=CALL_S),
                self.place.name,
                "UndeployModel",
                timeout_s,
                needs=DEPLOYER,
            )

    def delete(self, name: str, timeout_s: float) -> None:
        """Delete a model or the endpoint; nothing where it is not there."""
        from google.api_core.exceptions import NotFound

        of_model = "/models/" in name
        call = self.models.delete_model if of_model else self.endpoints.delete_endpoint
        with told(f"delete {short(name)}", needs=DEPLOYER, project=self.place.project):
            try:
                operation = call(name=name, timeout=CALL_S)
            except NotFound:
                return
        self._follow(operation, f"delete {short(name)}", timeout_s, needs=DEPLOYER)

    def shift(
        self, to: Mapping[str, int], *, seen: Mapping[str, int], labels: Callable[[Any], dict[str, str]]
    ) -> None:
        """Split the traffic anew, if it is as it was seen last; MovedError where somebody else has moved it.

        `labels` are those of the endpoint as they are to be. The endpoint's etag tells a change by others
        between our reading and writing; then it is read again.
        """
        from google.api_core import exceptions as google

        passing = (
            google.Conflict,
            google.FailedPrecondition,
            google.ServiceUnavailable,
            google.GatewayTimeout,
        )
        ends = time.monotonic() + PATIENCE_S
        while True:
            endpoint = self.endpoint()
            if endpoint is None:
                raise MovedError(f"Endpoint {self.place.endpoint} is gone: somebody else has deleted it")
            now, wanted = dict(endpoint.traffic_split), labels(dict(endpoint.labels))
            if same(now, to) and wanted == dict(endpoint.labels):
                return
            if not same(now, to) and not same(now, seen):
                was, is_now = split_told(seen), split_told(now)
                raise MovedError(f"Somebody else has moved the traffic: it was {was}, and is {is_now}")
            with told("split the traffic anew", needs=DEPLOYER, project=self.place.project):
                try:
                    self._update(endpoint, to, wanted)
                    return
                except passing:
                    if time.monotonic() > ends:
                        raise
            time.sleep(min(POLL_S, 1.0))

    def predict(self, instances: list[Mapping[str, Any]], timeout_s: float = 10.0) -> Prediction:
        """The first prediction of a real request to the endpoint; Google's own errors as they are."""
        from google.protobuf import json_format, struct_pb2

        values = [json_format.ParseDict(each, struct_pb2.Value()) for each in instances]
        began = time.perf_counter()
        answer = self.predictions.predict(endpoint=self.place.name, instances=values, timeout=timeout_s)
        latency_ms = (time.perf_counter() - began) * 1e3
        told_all = json_format.MessageToDict(type(answer).pb(answer)).get("predictions", [])
        content = told_all[0] if told_all and isinstance(told_all[0], dict) else {}
        return Prediction(str(answer.deployed_model_id), content, latency_ms)

    def _update(self, endpoint: Any, split: Mapping[str, int], labels: Mapping[str, str]) -> None:
        from google.cloud import aiplatform_v1
        from google.protobuf.field_mask_pb2 import FieldMask

        changed = aiplatform_v1.Endpoint(
            name=endpoint.name, etag=endpoint.etag, traffic_split=dict(split), labels=dict(labels)
        )
        mask = FieldMask(paths=["traffic_split", "labels"])
        self.endpoints.update_endpoint(endpoint=changed, update_mask=mask, timeout=CALL_S)

    def _make(
        self, what: str, begin: Callable[[], Any], of: str, method: str, timeout_s: float, *, needs: str
    ) -> None:
        """Begin a long-running operation, or find the one that another run has begun, and follow it."""
        from google.api_core.exceptions import Aborted, AlreadyExists, FailedPrecondition

        with told(what, needs=needs, project=self.place.project):
            try:
                self.say(what)
                operations = [begin()]
            except (Aborted, AlreadyExists, FailedPrecondition):
                operations = list(self._running(of, method))
                if not operations:
                    raise
                self.say(f"{what}: under way already; following it")
        for operation in operations:
            self._follow(operation, what, timeout_s, needs=needs)

    def _running(self, of: str, method: str) -> Iterator[Any]:
        """Operations of a resource that go on, by the name of the call that began them."""
        from google.api_core.operation import from_gapic
        from google.cloud import aiplatform_v1
        from google.longrunning import operations_pb2

        client = self.models if "/models/" in of else self.endpoints
        request = operations_pb2.ListOperationsRequest(name=of)
        found = self._found(
            lambda how: client.list_operations(request=request, **how), f"list operations of {short(of)}"
        )
        for each in found.operations if found else ():
            if not each.done and each.metadata.type_url.endswith(f".{method}OperationMetadata"):
                result = getattr(aiplatform_v1, f"{method}Response", aiplatform_v1.Endpoint)
                yield from_gapic(each, client.transport.operations_client, result)  # type: ignore[no-untyped-call]

    def _follow(self, operation: Any, what: str, timeout_s: float, *, needs: str) -> None:
        """Wait for the end of an operation, telling every SAY_S seconds that it goes on."""
        begun = said = time.monotonic()
        with told(what, needs=needs, project=self.place.project):
            while not operation.done(retry=patient()):
                now = time.monotonic()
                if now - begun > timeout_s:
                    raise CloudError(
                        f"Google Cloud has not finished after {timeout_s:.0f} s to {what}, and goes on;"
                        " run the same command again to follow it"
                    )
                if now - said >= SAY_S:
                    said = now
                    self.say(f"{what}: {now - begun:.0f} s")
                time.sleep(POLL_S)
            operation.result()

    def _found(self, call: Callable[[dict[str, Any]], Any], what: str) -> Any | None:
        """What a call finds, asked again while Google's side does not answer; None for what is not there."""
        from google.api_core.exceptions import NotFound

        with told(what, needs="roles/aiplatform.viewer", project=self.place.project):
            try:
                return call({"retry": patient(), "timeout": CALL_S})
            except NotFound:
                return None


def patient() -> Any:
    """How what only reads is asked again."""
    from google.api_core import exceptions
    from google.api_core.retry import Retry, if_exception_type

    passing = if_exception_type(exceptions.ServiceUnavailable)
    return Retry(predicate=passing, initial=min(POLL_S, 1.0), maximum=POLL_S * 2, timeout=PATIENCE_S)


def short(name: str) -> str:
    """A resource name without where it lies."""
    kind, _, last = name.rpartition("/")
    return f"{kind.rpartition('/')[2].removesuffix('s')} {last}"
