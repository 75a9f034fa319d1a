"""A server that speaks Vertex AI's gRPC interface with Google's own request types, and keeps its state.

It has models, endpoints with traffic and etags, operations that take a few polls, and predictions that are
split as the traffic is. What it refuses it refuses as Vertex does; failures can be put in its way.
"""

import itertools
import re
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.cloud import aiplatform_v1 as vertex
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2, json_format, struct_pb2
from google.rpc import status_pb2
from vertex_behaviour import Refused, answers

PACKAGE = "google.cloud.aiplatform.v1"
CODES = {code.name: code for code in grpc.StatusCode}
UNARY = {
    "ModelService": ("UploadModel", "GetModel", "DeleteModel"),
    "EndpointService": (
        *("CreateEndpoint", "GetEndpoint", "UpdateEndpoint", "DeleteEndpoint"),
        *("DeployModel", "UndeployModel"),
    ),
    "PredictionService": ("Predict",),
}


class VertexServer:
    """The state, and what may go wrong."""

    def __init__(self):
        self.models, self.endpoints, self.operations = {}, {}, {}
        self.calls, self.splits = [], []  # names of calls; each split that was ever in force
        self.polls = 1  # that an operation takes
        self.broken = defaultdict(list)  # by the name of a call: refusals of the next ones
        self.broken_operations = {}  # by the name of a call: how its operation ends, instead
        self.behaviour = {}  # by the image: what it predicts
        self.hooks = {}  # by the name of a call: what happens before each
        self.turns, self.numbers, self.lock = Counter(), itertools.count(1), threading.RLock()

    def fail(self, call, code, message="no", times=1):
        """Let the next calls of a name fail."""
        self.broken[call] += [Refused(code, message)] * times

    def begin(self, call, of, finish, result):
        """A new long-running operation; `finish` changes the state at its end."""
        name = f"{of}/operations/{next(self.numbers)}"
        metadata = getattr(vertex, f"{call}OperationMetadata", vertex.DeleteOperationMetadata)()
        raw = operations_pb2.Operation(name=name)
        raw.metadata.Pack(type(metadata).pb(metadata))
        self.operations[name] = {
            "raw": raw,
            "left": self.polls,
            "finish": finish,
            "result": result,
            "call": call,
        }
        return raw

    def poll(self, name):
        """One look at an operation: it comes to its end after so many."""
        if name not in self.operations:
            raise Refused("NOT_FOUND", f"operation {name}")
        held = self.operations[name]
        raw = held["raw"]
        if not raw.done and held["left"] <= 0:
            raw.done = True
            if refusal := self.broken_operations.get(held["call"]):
                raw.error.CopyFrom(
                    status_pb2.Status(code=CODES[refusal.code].value[0], message=refusal.message)
                )
            else:
                held["finish"]()
                result = held["result"]()
                raw.response.Pack(result if isinstance(result, empty_pb2.Empty) else type(result).pb(result))
        held["left"] -= 1
        return raw

    def get_operation(self, request):
        """google.longrunning.Operations.GetOperation."""
        return self.poll(request.name)

    def list_operations(self, request):
        """google.longrunning.Operations.ListOperations of one resource."""
        found = [held["raw"] for name, held in self.operations.items() if name.startswith(f"{request.name}/")]
        return operations_pb2.ListOperationsResponse(operations=found)

    def upload_model(self, request):
        """Refuses what Vertex does: another image's format, a taken or malformed id."""
        assert request.parent.startswith("projects/my-shop/locations/")
        assert re.fullmatch(r"[a-z_][a-z0-9_-]{0,62}", request.model_id)
        spec, name = request.model.container_spec, f"{request.parent}/models/{request.model_id}"
        if not (spec.image_uri and spec.predict_route and spec.health_route and spec.ports):
            raise Refused("INVALID_ARGUMENT", "container_spec is not complete")
        running = {each["call"] for key, each in self.operations.items() if key.startswith(f"{name}/")}
        if name in self.models or ("UploadModel" in running and not self.all_done(name)):
            raise Refused("ALREADY_EXISTS", f"model {request.model_id} exists")
        model = vertex.Model(request.model)
        model.name = name
        return self.begin(
            "UploadModel",
            name,
            lambda: self.models.update({name: model}),
            lambda: vertex.UploadModelResponse(model=name, model_version_id="1"),
        )

    def all_done(self, of):
        """Whether no operation of a resource goes on."""
        return all(each["raw"].done for key, each in self.operations.items() if key.startswith(f"{of}/"))

    def get_model(self, request):
        """The model, or NOT_FOUND."""
        return self.found(self.models, request.name)

    def delete_model(self, request):
        """Only one that is deployed nowhere."""
        self.found(self.models, request.name)
        used = [each for endpoint in self.endpoints.values() for each in endpoint.deployed_models]
        if request.name in {each.model for each in used}:
            raise Refused("FAILED_PRECONDITION", "the model is deployed")
        return self.begin("DeleteModel", request.name, lambda: self.models.pop(request.name), empty_pb2.Empty)

    def create_endpoint(self, request):
        """One that is empty."""
        name = f"{request.parent}/endpoints/{request.endpoint_id}"
        if name in self.endpoints:
            raise Refused("ALREADY_EXISTS", f"endpoint {request.endpoint_id} exists")
        endpoint = vertex.Endpoint(request.endpoint)
        endpoint.name, endpoint.etag = name, self.etag()
        return self.begin(
            "CreateEndpoint", name, lambda: self.endpoints.update({name: endpoint}), lambda: endpoint
        )

    def get_endpoint(self, request):
        """The endpoint, or NOT_FOUND."""
        return self.found(self.endpoints, request.name)

    def update_endpoint(self, request):
        """Traffic and labels, where the etag is the newest and the traffic is of models that are deployed."""
        endpoint = self.found(self.endpoints, request.endpoint.name)
        assert set(request.update_mask.paths) == {"traffic_split", "labels"}
        if request.endpoint.etag != endpoint.etag:
            raise Refused("ABORTED", "the etag is not that of the endpoint")
        for name, value in request.endpoint.labels.items():
            assert re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name)
            assert re.fullmatch(r"[a-z0-9_-]{0,63}", value)
        self.split(endpoint, dict(request.endpoint.traffic_split))
        endpoint.labels = dict(request.endpoint.labels)
        return endpoint

    def split(self, endpoint, to):
        """New traffic, which adds up to 100 and is of what is deployed; or none."""
        if not set(to) <= {each.id for each in endpoint.deployed_models} or sum(to.values()) not in (0, 100):
            raise Refused("INVALID_ARGUMENT", f"traffic_split {to}")
        to = {model: share for model, share in to.items() if share}
        if dict(endpoint.traffic_split) != to:
            self.splits.append(to)
            self.turns.clear()
        endpoint.traffic_split, endpoint.etag = to, self.etag()

    def delete_endpoint(self, request):
        """Only one that has nothing deployed."""
        if self.found(self.endpoints, request.name).deployed_models:
            raise Refused("FAILED_PRECONDITION", "models are deployed")
        return self.begin(
            "DeleteEndpoint", request.name, lambda: self.endpoints.pop(request.name), empty_pb2.Empty
        )

    def deploy_model(self, request):
        """A model that is there, under an id of ten digits at most that is free."""
        endpoint, wanted = self.found(self.endpoints, request.endpoint), request.deployed_model
        self.found(self.models, wanted.model)
        assert re.fullmatch(r"[0-9]{1,10}", wanted.id)
        assert wanted.dedicated_resources.machine_spec.machine_type
        assert (
            1 <= wanted.dedicated_resources.min_replica_count <= wanted.dedicated_resources.max_replica_count
        )
        if wanted.id in {each.id for each in endpoint.deployed_models}:
            raise Refused("ALREADY_EXISTS", f"{wanted.id} is deployed")

        def finish():
            endpoint.deployed_models = [*endpoint.deployed_models, wanted]
            endpoint.etag = self.etag()

        return self.begin(
            "DeployModel", request.endpoint, finish, lambda: vertex.DeployModelResponse(deployed_model=wanted)
        )

    def undeploy_model(self, request):
        """Only one without traffic."""
        endpoint = self.found(self.endpoints, request.endpoint)
        if endpoint.traffic_split.get(request.deployed_model_id):
            raise Refused("FAILED_PRECONDITION", "it has traffic")

        def finish():
            kept = [each for each in endpoint.deployed_models if each.id != request.deployed_model_id]
            endpoint.deployed_models, endpoint.etag = kept, self.etag()

        return self.begin("UndeployModel", request.endpoint, finish, vertex.UndeployModelResponse)

    def predict(self, request):
        """By one of the models, each in its turn as often as its share says."""
        endpoint = self.found(self.endpoints, request.endpoint)
        shares = {model: share for model, share in endpoint.traffic_split.items() if share}
        if not shares:
            raise Refused("FAILED_PRECONDITION", "the endpoint has no traffic")
        chosen = min(shares, key=lambda model: ((self.turns[model] + 1) / shares[model], model))
        self.turns[chosen] += 1
        (model,) = (each.model for each in endpoint.deployed_models if each.id == chosen)
        behave = self.behaviour.get(self.models[model].container_spec.image_uri, answers())
        told = [
            behave(json_format.MessageToDict(each)) for each in vertex.PredictRequest.pb(request).instances
        ]
        values = [json_format.ParseDict(each, struct_pb2.Value()) for each in told]
        answer = vertex.PredictResponse(deployed_model_id=chosen, model=model)
        vertex.PredictResponse.pb(answer).predictions.extend(values)
        return answer

    def found(self, held, name):
        """What has this name."""
        if name not in held:
            raise Refused("NOT_FOUND", f"{name} is not there")
        return held[name]

    def etag(self):
        """One that was never there."""
        return f"etag-{next(self.numbers)}"

    def handled(self, call, do, request, context):
        """One call: counted, hooked into, refused where that is due, done."""
        with self.lock:
            self.calls.append(call)
            self.hooks.get(call, lambda _: None)(request)
            try:
                if self.broken[call]:
                    raise self.broken[call].pop(0)
                return do(request)
            except Refused as refusal:
                context.abort(CODES[refusal.code], refusal.message)

    def handler(self, call, request_type, to_bytes):
        """How gRPC calls a method of ours."""
        do = getattr(self, re.sub(r"(?<!^)([A-Z])", r"_\1", call).lower())
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.handled(call, do, request, context),
            request_deserializer=request_type,
            response_serializer=to_bytes,
        )


def serialized(message):
    """Bytes of a message of Google's, plain or wrapped."""
    plain = type(message).pb(message) if isinstance(type(message), type(vertex.Model)) else message
    return plain.SerializeToString()


@contextmanager
def serving():
    """The server, and the channel to it."""
    state = VertexServer()
    server = grpc.server(ThreadPoolExecutor(4))
    for service, calls in UNARY.items():
        handlers = {
            call: state.handler(call, getattr(vertex, f"{call}Request").deserialize, serialized)
            for call in calls
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)]
        )
    operations = {
        "GetOperation": operations_pb2.GetOperationRequest,
        "ListOperations": operations_pb2.ListOperationsRequest,
    }
    handlers = {call: state.handler(call, kind.FromString, serialized) for call, kind in operations.items()}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.longrunning.Operations", handlers)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield state, channel
    server.stop(0).wait()
