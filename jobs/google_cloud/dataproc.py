"""Dataproc of one project in one region: Serverless batches and jobs of a cluster, told alike.

runner = Batches.connected(where)
runner.start("endcap-build-features-1a2b3c4d-1", run)
runner.seen("endcap-build-features-1a2b3c4d-1")
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from jobs.google_cloud.refusals import told
from jobs.google_cloud.spark_runs import SparkRun, Where

CALL_S, POLL_S, PATIENCE_S = 60.0, 5.0, 120.0
EDITOR = "roles/dataproc.editor, and roles/iam.serviceAccountUser on the service account,"
GOOD, OVER = ("SUCCEEDED", "DONE"), ("SUCCEEDED", "DONE", "FAILED", "ERROR", "CANCELLED")


@dataclass(frozen=True)
class Seen:
    """How a run stands: Google's word for it, what is said of it, and where its driver's output lies."""

    state: str
    message: str = ""
    output: str = ""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER

    @property
    def good(self) -> bool:
        """Whether it has ended well."""
        return self.state in GOOD


class Runner(Protocol):
    """What runs Spark drivers."""

    def seen(self, run_id: str) -> Seen | None:
        """How a run stands; None where there is none."""

    def start(self, run_id: str, run: SparkRun) -> bool:
        """Start a run; whether it was started now, and not by somebody else."""

    def cancel(self, run_id: str) -> None:
        """End a run."""

    def how_to_cancel(self, run_id: str) -> str:
        """The command that ends a run."""


@dataclass(frozen=True)
class Batches:
    """Serverless batches; tests give it a client of a server of their own."""

    where: Where
    client: Any

    @classmethod
    def connected(cls, where: Where) -> "Batches":
        """With the credentials of the machine or the person."""
        from google.cloud import dataproc_v1

        with told("sign in", project=where.project):
            return cls(where, dataproc_v1.BatchControllerClient(client_options=of_region(where)))

    def seen(self, run_id: str) -> Seen | None:
        """How a batch stands; None where there is none."""
        found = self._batch(run_id)
        if found is None:
            return None
        return Seen(found.state.name, found.state_message, found.runtime_info.output_uri)

    def start(self, run_id: str, run: SparkRun) -> bool:
        """Create a batch; False where somebody else has created it."""
        from google.api_core.exceptions import AlreadyExists

        request = {"parent": self._parent, "batch_id": run_id, "batch": run.batch()}
        with told(f"submit {run_id}", needs=EDITOR, project=self.where.project):
            try:
                self.client.create_batch(request=request, timeout=CALL_S)
            except AlreadyExists:
                return False
        return True

    def cancel(self, run_id: str) -> None:
        """Cancel the operation that the batch is."""
        found = self._batch(run_id)
        with told(f"cancel {run_id}", needs=EDITOR, project=self.where.project):
            if found is not None:
                self.client.cancel_operation({"name": found.operation}, timeout=CALL_S)

    def how_to_cancel(self, run_id: str) -> str:
        """The command that cancels a batch."""
        place = f"--project {self.where.project} --region {self.where.region}"
        return f"gcloud dataproc batches cancel {run_id} {place}"

    @property
    def _parent(self) -> str:
        return f"projects/{self.where.project}/locations/{self.where.region}"

    def _batch(self, run_id: str) -> Any | None:
        name = f"{self._parent}/batches/{run_id}"
        return found(
            lambda how: self.client.get_batch(name=name, **how), f"look for {run_id}", self.where.project
        )


@dataclass(frozen=True)
class Jobs:
    """Jobs of a cluster."""

    where: Where
    client: Any

    @classmethod
    def connected(cls, where: Where) -> "Jobs":
        """With the credentials of the machine or the person."""
        from google.cloud import dataproc_v1

        with told("sign in", project=where.project):
            return cls(where, dataproc_v1.JobControllerClient(client_options=of_region(where)))

    def seen(self, run_id: str) -> Seen | None:
        """How a job stands; None where there is none."""
        request = {**self._place, "job_id": run_id}
        job = found(
            lambda how: self.client.get_job(request=request, **how),
            f"look for {run_id}",
            self.where.project,
        )
        if job is None:
            return None
        return Seen(job.status.state.name, job.status.details, job.driver_output_resource_uri)

    def start(self, run_id: str, run: SparkRun) -> bool:
        """Submit a job; False where somebody else has submitted it."""
        from google.api_core.exceptions import AlreadyExists

        job = run.job(self.where.cluster, run_id, self.where.project)
        with told(f"submit {run_id}", needs=EDITOR, project=self.where.project):
            try:
                self.client.submit_job(request={**self._place, "job": job}, timeout=CALL_S)
            except AlreadyExists:
                return False
        return True

    def cancel(self, run_id: str) -> None:
        """Cancel a job."""
        with told(f"cancel {run_id}", needs=EDITOR, project=self.where.project):
            self.client.cancel_job(request={**self._place, "job_id": run_id}, timeout=CALL_S)

    def how_to_cancel(self, run_id: str) -> str:
        """The command that cancels a job."""
        return (
            f"gcloud dataproc jobs kill {run_id} --project {self.where.project} --region {self.where.region}"
        )

    @property
    def _place(self) -> dict[str, str]:
        return {"project_id": self.where.project, "region": self.where.region}


def of_region(where: Where) -> dict[str, str]:
    """The endpoint of a region: Dataproc has no other."""
    return {"api_endpoint": f"{where.region}-dataproc.googleapis.com:443"}


def found(call: Callable[[dict[str, Any]], Any], what: str, project: str) -> Any | None:
    """What a call finds, asked again while Google's side does not answer; None for what is not there."""
    from google.api_core import exceptions
    from google.api_core.retry import Retry, if_exception_type

    passing = if_exception_type(exceptions.ServiceUnavailable, exceptions.DeadlineExceeded)
    retry = Retry(predicate=passing, initial=min(POLL_S, 1.0), maximum=POLL_S * 2, timeout=PATIENCE_S)
    with told(what, needs="roles/dataproc.viewer", project=project):
        try:
            return call({"retry": retry, "timeout": CALL_S})
        except exceptions.NotFound:
            return None


def runner_of(where: Where) -> Runner:
    """What runs there: the cluster's jobs where one is named, else batches."""
    return Jobs.connected(where) if where.cluster else Batches.connected(where)
