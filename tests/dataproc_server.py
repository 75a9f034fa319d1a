"""A server that speaks Dataproc's gRPC interface with Google's own request types, and keeps its state.

It has batches and jobs, which go through the states that a test gives them, a state a look, or really run.
What it refuses it refuses as Dataproc does; failures can be put in its way.
"""

import re
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.cloud import dataproc_v1 as dataproc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

PACKAGE = "google.cloud.dataproc.v1"
CODES = {code.name: code for code in grpc.StatusCode}
UNARY = {
    "BatchController": ("CreateBatch", "GetBatch"),
    "JobController": ("SubmitJob", "GetJob", "CancelJob"),
}
PARENT = "projects/my-shop/locations/europe-west4"
OUTPUT = "gs://dataproc-staging/driver-output"


class Refused(Exception):  # noqa: N818 - it is an answer
    """A call that is refused: gRPC's code and words."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


class Dataproc:
    """The state, what each run goes through, and what may go wrong."""

    def __init__(self, buckets):
        self.buckets, self.batches, self.jobs, self.running = buckets, {}, {}, {}
        self.calls, self.broken, self.hooks = [], defaultdict(list), {}
        self.states, self.message = ("PENDING", "RUNNING", "SUCCEEDED"), ""
        self.execute = None  # takes a batch, and gives what runs it: a thing with poll() like Popen's
        self.lock = threading.RLock()

    def fail(self, call, code, message="no", times=1):
        """Let the next calls of a name fail."""
        self.broken[call] += [Refused(code, message)] * times

    def create_batch(self, request):
        """A batch that says who and what it is; its code must be in the bucket."""
        name = f"{PARENT}/batches/{request.batch_id}"
        assert request.parent == PARENT
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{2,61}[a-z0-9]", request.batch_id)
        if name in self.batches:
            raise Refused("ALREADY_EXISTS", f"Already exists: Batch {name}")
        self.check(request.batch.pyspark_batch, request.batch.labels)
        batch = dataproc.Batch(request.batch)
        batch.name, batch.operation = (
            name,
            f"projects/my-shop/regions/europe-west4/operations/{len(self.batches)}",
        )
        batch.runtime_info.output_uri = OUTPUT
        self.batches[name] = batch
        self.running[name] = self.execute(batch) if self.execute else list(self.states)
        return operations_pb2.Operation(name=batch.operation)

    def get_batch(self, request):
        """The batch in its next state."""
        if request.name not in self.batches:
            raise Refused("NOT_FOUND", f"Not found: Batch {request.name}")
        batch = self.batches[request.name]
        batch.state = dataproc.Batch.State[self.next_state(request.name)]
        batch.state_message = self.message if batch.state.name == "FAILED" else ""
        return batch

    def next_state(self, name):
        """What a run is in now: the next of its states, or what its process is in."""
        running = self.running[name]
        if isinstance(running, list):
            return running.pop(0) if len(running) > 1 else running[0]
        return {None: "RUNNING", 0: "SUCCEEDED"}.get(running.poll(), "FAILED")

    def check(self, pyspark, labels):
        """Its files are in the bucket, and its labels are as Google has them."""
        files = [pyspark.main_python_file_uri, *pyspark.python_file_uris]
        assert all(uri in self.buckets.objects for uri in files), files
        assert all(re.fullmatch(r"[a-z0-9_-]{1,63}", word) for pair in labels.items() for word in pair)

    def submit_job(self, request):
        """A job of the cluster named spark, and of no other."""
        job_id = request.job.reference.job_id
        assert (request.project_id, request.region) == ("my-shop", "europe-west4")
        if request.job.placement.cluster_name != "spark":
            raise Refused("NOT_FOUND", f"Not found: Cluster {request.job.placement.cluster_name}")
        if job_id in self.jobs:
            raise Refused("ALREADY_EXISTS", f"Already exists: Job {job_id}")
        self.check(request.job.pyspark_job, request.job.labels)
        job = dataproc.Job(request.job)
        job.driver_output_resource_uri = OUTPUT
        self.jobs[job_id], self.running[job_id] = job, list(self.states)
        return job

    def get_job(self, request):
        """The job in its next state."""
        if request.job_id not in self.jobs:
            raise Refused("NOT_FOUND", f"Not found: Job {request.job_id}")
        job = self.jobs[request.job_id]
        job.status.state = dataproc.JobStatus.State[self.next_state(request.job_id)]
        job.status.details = self.message if job.status.state.name == "ERROR" else ""
        return job

    def cancel_job(self, request):
        """The job ends."""
        self.running[request.job_id] = ["CANCELLED"]
        return self.jobs[request.job_id]

    def cancel_operation(self, request):
        """The batch of that operation ends."""
        (name,) = (name for name, batch in self.batches.items() if batch.operation == request.name)
        self.running[name] = ["CANCELLED"]
        return empty_pb2.Empty()

    def handled(self, call, request, context):
        """One call: counted, hooked into, refused where that is due, done."""
        with self.lock:
            self.calls.append(call)
            self.hooks.get(call, lambda _: None)(request)
            try:
                if self.broken[call]:
                    raise self.broken[call].pop(0)
                return getattr(self, re.sub(r"(?<!^)([A-Z])", r"_\1", call).lower())(request)
            except Refused as refusal:
                context.abort(CODES[refusal.code], refusal.message)

    def handler(self, call, request_type):
        """How gRPC calls a method of ours."""
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.handled(call, request, context),
            request_deserializer=request_type,
            response_serializer=serialized,
        )


def serialized(message):
    """Bytes of a message of Google's, plain or wrapped."""
    plain = type(message).pb(message) if isinstance(type(message), type(dataproc.Batch)) else message
    return plain.SerializeToString()


@contextmanager
def serving(buckets):
    """The server, and the channel to it."""
    state = Dataproc(buckets)
    server = grpc.server(ThreadPoolExecutor(4))
    for service, calls in UNARY.items():
        handlers = {
            call: state.handler(call, getattr(dataproc, f"{call}Request").deserialize) for call in calls
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"{PACKAGE}.{service}", handlers)]
        )
    cancel = {
        "CancelOperation": state.handler("CancelOperation", operations_pb2.CancelOperationRequest.FromString)
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.longrunning.Operations", cancel)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield state, channel
    server.stop(0).wait()
