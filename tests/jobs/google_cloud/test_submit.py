"""`endcap submit`: what Dataproc is asked for, how it is followed, and what becomes of each way to fail."""

import dataproc_shop
import pytest
from click.testing import CliRunner
from dataproc_shop import LAKE, batch_ids, last_line, submit

from jobs.cli import endcap
from jobs.dataproc_driver import arguments
from jobs.google_cloud import submission
from jobs.google_cloud.dataproc import Batches
from jobs.google_cloud.package_zip import Package
from jobs.google_cloud.refusals import CloudError
from jobs.google_cloud.spark_runs import Code, SparkRun, Where
from jobs.google_cloud.submission import Submission

pytestmark = pytest.mark.gcp
CODE = Package.made()
DAY = ("--date", "2017-12-04")


@pytest.fixture
def cloud(tmp_path):
    """Dataproc, and a machine on which the bucket is not mounted."""
    with dataproc_shop.cloud(tmp_path / "nothing") as server:
        yield server


def only(found):
    """The only one of some values."""
    (one,) = found
    return one


def test_a_batch_is_submitted_and_followed(cloud):
    """The driver's words, the code, the runtime and the account are Dataproc's; each state is a line."""
    more = (
        "--service-account",
        "spark@my-shop.iam",
        "--subnet",
        "lake",
        "--tables",
        "bigquery://my-shop.endcap",
    )
    told = submit("build-features", *DAY, *more, "--property", "spark.executor.cores=8")
    assert told.exit_code == 0, told.output
    batch = only(cloud.batches.values())
    asked = arguments(list(batch.pyspark_batch.args))
    assert (asked.step, asked.root, str(asked.date)) == ("build-features", LAKE, "2017-12-04")
    assert (asked.tables, asked.code) == ("bigquery://my-shop.endcap", CODE.hash)
    assert batch.pyspark_batch.main_python_file_uri == f"{LAKE}/code/{CODE.driver_name}"
    assert cloud.buckets.objects[only(batch.pyspark_batch.python_file_uris)] == CODE.zipped
    assert cloud.buckets.objects[batch.pyspark_batch.main_python_file_uri] == CODE.driver
    assert (batch.runtime_config.version, batch.runtime_config.container_image) == ("2.3", "")
    assert dict(batch.runtime_config.properties) == {"spark.executor.cores": "8"}
    execution = batch.environment_config.execution_config
    assert (execution.service_account, execution.subnetwork_uri) == ("spark@my-shop.iam", "lake")
    assert execution.ttl.total_seconds() == 6 * 3_600
    name = only(batch_ids(cloud))
    states = [
        line.partition(": ")[2].partition(",")[0] for line in told.output.splitlines() if f"{name}: " in line
    ]
    assert states == ["pending", "running", "succeeded"]


def test_a_gpu_is_for_each_worker_that_embeds(cloud):
    """L4s of a batch, one for a worker at a time; SQL is kept off them."""
    assert submit("embed-items", "--gpu", "--image", "r/p/spark:1", "--model", "gs://m/bert").exit_code == 0
    batch = only(cloud.batches.values())
    asked = arguments(list(batch.pyspark_batch.args))
    assert (asked.step, asked.gpu, asked.model) == ("embed-items", True, "gs://m/bert")
    told = dict(batch.runtime_config.properties)
    assert told["spark.dataproc.executor.resource.accelerator.type"] == "l4"
    assert (told["spark.task.resource.gpu.amount"], told["spark.rapids.sql.enabled"]) == ("1", "false")
    assert batch.runtime_config.container_image == "r/p/spark:1"


def test_a_cluster_gets_a_job(cloud):
    """The same words on a cluster; one that is not there, or a job that fails, is told."""
    cloud.states = ("PENDING", "SETUP_DONE", "RUNNING", "DONE")
    assert submit("build-features", "--cluster", "spark").exit_code == 0
    job = only(cloud.jobs.values())
    assert arguments(list(job.pyspark_job.args)).root == LAKE
    assert (job.placement.cluster_name, cloud.batches) == ("spark", {})
    cloud.states, cloud.message = ("RUNNING", "ERROR"), "Task was not acquired"
    told = submit("build-features", "--cluster", "spark", "--again")
    assert (told.exit_code, "ended as ERROR: Task was not acquired; its driver's" in told.output) == (1, True)
    told = submit("build-features", *DAY, "--cluster", "other")
    assert "Not found: Cluster other; check the project, the region and the name" in last_line(told)


REFUSED = [
    ("CreateBatch", "RESOURCE_EXHAUSTED", "Insufficient 'CPUS' quota", "ask for more quota"),
    (
        "CreateBatch",
        "PERMISSION_DENIED",
        "no",
        "grant roles/dataproc.editor, and roles/iam.serviceAccountUser",
    ),
    ("CreateBatch", "DEADLINE_EXCEEDED", "late", "run the same command again to follow it"),
    (
        "CreateBatch",
        "INVALID_ARGUMENT",
        "Subnetwork has no Private Google Access",
        "correct what is named there",
    ),
    ("GetBatch", "PERMISSION_DENIED", "no", "grant roles/dataproc.viewer"),
]


@pytest.mark.parametrize(("call", "code", "message", "advice"), REFUSED, ids=lambda value: str(value)[:20])
def test_a_refused_call_is_one_line_and_the_command_can_be_run_again(cloud, call, code, message, advice):
    """Quota, permission, time-out: what was tried, why, what to do; then the same goes through once."""
    cloud.fail(call, code, message)
    told = submit("build-features")
    assert told.exit_code == 1
    assert "Error: Google Cloud could not" in last_line(told)
    assert message in last_line(told)
    assert advice in last_line(told)
    assert "Traceback" not in told.output
    assert submit("build-features").exit_code == 0
    assert len(cloud.batches) == 1


def test_a_refused_upload_submits_nothing(cloud):
    """The role and the bucket are named."""
    cloud.buckets.refuse = (403, "spark does not have storage.objects.create access")
    told = submit("build-features")
    assert told.exit_code == 1
    assert f"could not upload the code to {LAKE} in project my-shop: Forbidden" in last_line(told)
    assert "grant roles/storage.objectUser on the bucket" in last_line(told)
    assert cloud.batches == {}


def test_code_is_uploaded_once(cloud):
    """A second command finds it there; `submit code` names where it lies."""
    submit("build-features")
    assert cloud.buckets.uploads == [f"{LAKE}/code/{CODE.zip_name}", f"{LAKE}/code/{CODE.driver_name}"]
    told = CliRunner().invoke(endcap, ["submit", "code", "--project", "my-shop"])
    assert told.output.splitlines() == cloud.buckets.uploads
    assert len(cloud.buckets.uploads) == 2


def test_a_batch_that_fails_is_told_and_tried_anew_by_the_next_command(cloud):
    """Dataproc's reason and where the output lies; the same command then submits the next number."""
    cloud.states, cloud.message = ("RUNNING", "FAILED"), "Job failed with message [No items in gs://..]"
    told = submit("build-features")
    assert told.exit_code == 1
    assert "ended as FAILED: Job failed with message [No items" in last_line(told)
    assert "its driver's output lies in gs://dataproc-staging/driver-output" in last_line(told)
    cloud.states = ("SUCCEEDED",)
    assert submit("build-features").exit_code == 0
    first, second = batch_ids(cloud)
    assert (first[-2:], second) == ("-1", first[:-1] + "2")


def test_a_batch_that_is_done_is_not_done_again(cloud):
    """Unless that is asked, or a word is another."""
    asked = [((), 1, False), ((), 1, True), (("--again",), 2, False), ((), 2, True), (DAY, 3, False)]
    for words, count, before in asked:
        told = submit("build-features", *words)
        assert (told.exit_code, len(cloud.batches)) == (0, count)
        assert ("was done before" in told.output) == before


def test_the_last_attempt_counts(cloud):
    """One that failed is done anew, although one before ended well: it may have changed what was there."""
    submit("build-features")
    cloud.states = ("FAILED",)
    assert submit("build-features", "--again").exit_code == 1
    cloud.states = ("SUCCEEDED",)
    told = submit("build-features")
    assert (told.exit_code, "was done before" in told.output) == (0, False)
    assert [name[-2:] for name in batch_ids(cloud)] == ["-1", "-2", "-3"]


@pytest.mark.parametrize("lost_by", ["network", "kill"])
def test_a_lost_client_finds_its_batch_again(cloud, lost_by, monkeypatch):
    """Google does not answer for long, or the client is ended: the same command follows the same batch."""
    cloud.states = ("PENDING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED")
    if lost_by == "network":
        cloud.hooks["CreateBatch"] = lambda _: cloud.fail("GetBatch", "UNAVAILABLE", "gone away", times=5_000)
        told = submit("build-features")
        assert told.exit_code == 1
        assert "it did not answer in time" in last_line(told)
        assert "run the same command again" in last_line(told)
        cloud.broken.clear()
    else:
        with monkeypatch.context() as patch:
            patch.setattr(submission, "sleep", ended)
            assert submit("build-features").exit_code == 143
    told = submit("build-features")
    assert (told.exit_code, len(cloud.batches)) == (0, 1)
    assert "is under way; following it" in told.output


def ended(_):
    """A sleep in which the process is ended."""
    raise SystemExit(143)


def test_somebody_else_submits_the_same_at_the_same_time(cloud):
    """Both follow the one batch."""

    def created_meanwhile(request):
        if not cloud.batches:
            cloud.create_batch(request)

    cloud.hooks["CreateBatch"] = created_meanwhile
    told = submit("build-features")
    assert (told.exit_code, len(cloud.batches)) == (0, 1)
    assert "is under way already; following it" in told.output


@pytest.mark.parametrize("interrupts", [1, 2])
def test_an_interrupt_leaves_the_batch_and_a_second_cancels_it(cloud, monkeypatch, interrupts):
    """The first says how to cancel; another within five seconds does."""
    cloud.states = ("RUNNING",)
    left = [interrupts]

    def sleep(_):
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt

    monkeypatch.setattr(submission, "sleep", sleep)
    told = submit("build-features")
    name = only(batch_ids(cloud))
    assert told.exit_code == 130
    assert f"gcloud dataproc batches cancel {name} --project my-shop --region europe-west4" in told.output
    assert ("CancelOperation" in cloud.calls, f"{name} is cancelled" in told.output) == (interrupts == 2,) * 2


def test_a_batch_that_takes_too_long_is_left_and_named(cloud):
    """After --timeout it is followed no longer; how to cancel it is told."""
    cloud.states = ("RUNNING",)
    run = SparkRun("build-features", LAKE, Code("gs://b/z", "gs://b/d", "0"))
    cloud.buckets.objects.update({"gs://b/z": b"", "gs://b/d": b""})
    batches = Batches.connected(Where("my-shop", "europe-west4"))
    with pytest.raises(
        CloudError, match=r"not ended after 0 s, and goes on; .* gcloud dataproc batches cancel"
    ):
        Submission(batches, run, print, timeout_s=0).carried_out()


WRONG = [
    (("--region", "mars"), "--region is 'mars'; use one such as europe-west4"),
    (("--project", "My Shop"), "--project is 'My Shop'; use one such as my-shop"),
    (("--bucket", "s3://lake"), "--bucket is 's3://lake'; use gs://BUCKET or gs://BUCKET/FOLDER"),
    (("--property", "cores=8"), "--property is 'cores=8'; use one such as spark.executor.cores=8"),
    (
        ("--cluster", "spark", "--image", "r/p/spark:1"),
        "--image is of a batch, and the cluster spark has its",
    ),
    (("--tables", "my-shop.endcap"), "--tables is 'my-shop.endcap'; use bigquery://PROJECT.DATASET"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=lambda value: str(value)[:20])
def test_a_wrong_option_is_told_with_a_valid_one(cloud, words, message):
    """Nothing is submitted."""
    told = submit("build-features", *words)
    assert (told.exit_code, message in last_line(told)) == (1, True), told.output
    assert cloud.calls == []
