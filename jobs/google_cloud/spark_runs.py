"""What is submitted to Dataproc: the driver and its words, the code it imports, and what it runs on.

The id of a run is a hash of all that, and of the rows that it reads: a client that was lost finds its batch
again, and the same command twice does nothing twice.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from feature_repo.settings import BUCKET, DATASET
from jobs.google_cloud.names import PROJECT, REGION

RUNTIME = "2.3"  # Spark 3.5; the BigQuery connector is in it
LABELS = {"made-by": "endcap"}
BIGQUERY = "bigquery://"
PROPERTY = re.compile(r"spark\.[\w.-]+", re.ASCII)
# A GPU for each worker, which has it for itself. SQL stays on the CPU, and leaves the GPU's memory to torch.
GPU = {
    "spark.executor.resource.gpu.amount": "1",
    "spark.task.resource.gpu.amount": "1",
    "spark.rapids.sql.enabled": "false",
    "spark.rapids.memory.gpu.pool": "NONE",
}
GPU_OF_BATCHES = {
    "spark.dataproc.executor.compute.tier": "premium",
    "spark.dataproc.executor.disk.tier": "premium",
    "spark.dataproc.executor.resource.accelerator.type": "l4",
}


class SubmissionError(ValueError):
    """What is to be submitted cannot be; the message names the option, its value and what is valid."""


@dataclass(frozen=True)
class Where:
    """A project and region of Google Cloud, and a cluster in it, none for a Serverless batch."""

    project: str
    region: str
    cluster: str = ""

    def __post_init__(self) -> None:
        for name, value, valid, such_as in (
            ("project", self.project, PROJECT, "my-shop"),
            ("region", self.region, REGION, "europe-west4"),
        ):
            if not valid.fullmatch(value):
                raise SubmissionError(f"--{name} is {value!r}; use one such as {such_as}")


@dataclass(frozen=True)
class Code:
    """Where in a bucket the code lies, and its hash."""

    zip_uri: str
    driver_uri: str
    hash: str


@dataclass(frozen=True)
class SparkRun:
    """One step on Dataproc.

    Attributes
    ----------
    root
        URI of the lake
    rows
        what stands for the rows that it reads: with others, it is another run
    image
        of the workers, for what the runtime has not
    ttl_s
        when a batch ends itself, whatever it does
    """

    step: str
    root: str
    code: Code
    day: date | None = None
    tables: str = ""
    features: str = ""
    model: str = ""
    gpu: bool = False
    rows: str = ""
    runtime: str = RUNTIME
    image: str = ""
    service_account: str = ""
    subnet: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    ttl_s: int = 0

    def __post_init__(self) -> None:
        if not BUCKET.fullmatch(self.root):
            raise SubmissionError(f"--bucket is {self.root!r}; use gs://BUCKET or gs://BUCKET/FOLDER")
        for name, uri in (("tables", self.tables), ("features", self.features)):
            if uri and not (uri.startswith(BIGQUERY) and DATASET.fullmatch(uri.removeprefix(BIGQUERY))):
                raise SubmissionError(f"--{name} is {uri!r}; use bigquery://PROJECT.DATASET")
        if self.gpu and self.step != "embed-items":
            raise SubmissionError(f"--gpu is of use to embed-items, not to {self.step}; leave it out")

    def check_for(self, cluster: str) -> None:
        """SubmissionError for what only a batch can be given, where it would be a job of a cluster."""
        of_batches = {"image": self.image, "service-account": self.service_account, "subnet": self.subnet}
        for name in (name for name, value in of_batches.items() if cluster and value):
            raise SubmissionError(
                f"--{name} is of a batch, and the cluster {cluster} has its own; leave it out"
            )

    @property
    def words(self) -> list[str]:
        """The driver's command line."""
        day = self.day.isoformat() if self.day and self.step == "build-features" else ""
        options = {
            "root": self.root, "date": day, "tables": self.tables, "features": self.features,
            "model": self.model, "code": self.code.hash,
        }  # fmt: skip
        told = [word for name, value in options.items() if value for word in (f"--{name}", value)]
        return [self.step, *told, *(["--gpu"] if self.gpu else [])]

    @property
    def base_id(self) -> str:
        """Its id but for the number of the attempt: 50 of the 63 characters that an id may have."""
        what = [self.words, self.rows, self.runtime, self.image, self.service_account, self.subnet]
        told = json.dumps([*what, dict(self.properties)], sort_keys=True)
        day = f"-{self.day.isoformat()}" if self.day else ""
        return f"endcap-{self.step}{day}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"

    def batch(self) -> dict[str, Any]:
        """A Serverless batch, in the words of google.cloud.dataproc_v1.Batch."""
        gpu = {**GPU, **GPU_OF_BATCHES} if self.gpu else {}
        execution = {"service_account": self.service_account, "subnetwork_uri": self.subnet}
        if self.ttl_s:
            execution["ttl"] = f"{self.ttl_s}s"
        runtime = {"version": self.runtime, "properties": {**gpu, **self.properties}}
        return {
            "pyspark_batch": self._pyspark(),
            "runtime_config": {**runtime, **({"container_image": self.image} if self.image else {})},
            "environment_config": {
                "execution_config": {key: each for key, each in execution.items() if each}
            },
            "labels": dict(LABELS),
        }

    def job(self, cluster: str, job_id: str, project: str) -> dict[str, Any]:
        """A job of a cluster, in the words of google.cloud.dataproc_v1.Job."""
        return {
            "reference": {"project_id": project, "job_id": job_id},
            "placement": {"cluster_name": cluster},
            "pyspark_job": {
                **self._pyspark(),
                "properties": {**(GPU if self.gpu else {}), **self.properties},
            },
            "labels": dict(LABELS),
        }

    def _pyspark(self) -> dict[str, Any]:
        return {
            "main_python_file_uri": self.code.driver_uri,
            "args": self.words,
            "python_file_uris": [self.code.zip_uri],
        }


def properties(words: Iterable[str]) -> dict[str, str]:
    """NAME=VALUE words as Spark's properties; SubmissionError for one that is none."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not PROPERTY.fullmatch(name):
            raise SubmissionError(f"--property is {word!r:.80}; use one such as spark.executor.cores=8")
        found[name] = value
    return found
