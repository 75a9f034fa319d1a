"""The DAG for Composer: Spark steps as batches that Dataproc takes, the others as verbs that endcap takes."""

import re
import sys
from datetime import UTC, date, datetime, timedelta
from types import ModuleType, SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from feature_rows import nasty_shop
from google.cloud.dataproc_v1 import Batch
from jinja2 import Template

from jobs.cli import endcap
from jobs.dataproc_driver import arguments
from jobs.days.airflow import dag_text as plain_text
from jobs.days.composer import dag_text
from jobs.days.steps import DAY_STEPS
from jobs.google_cloud.package_zip import Package
from jobs.google_cloud.spark_runs import Code, SparkRun, Where

pytestmark = pytest.mark.gcp
ROOT = "gs://my-shop-lake/state"
CODE = Code(f"{ROOT}/code/endcap-1a2b.zip", f"{ROOT}/code/endcap-1a2b.py", "1a2b")
RUNS = [SparkRun(step, ROOT, CODE, gpu=step == "embed-items") for step in ("build-features", "embed-items")]
NEW_YORK = {"timezone": "America/New_York", "first": date(2024, 3, 10), "schedule": "0 4 * * *"}
SPARK = ["build-features", "embed-items"]
MADE = []


class Instant(datetime):
    """Stands in for an instant of pendulum, as far as the file asks it."""

    def in_timezone(self, name):
        """The same instant by the clocks of a zone."""
        return self.astimezone(ZoneInfo(name))

    def subtract(self, *, days):
        """Earlier by some days."""
        return self - timedelta(days=days)

    def to_date_string(self):
        """Its day."""
        return self.date().isoformat()


# Four in the morning of New York, after a night that had 23 hours.
LOGICAL = Instant(2024, 3, 11, 8, tzinfo=UTC)
CONTEXT = {"dag_run": SimpleNamespace(logical_date=LOGICAL), "ti": SimpleNamespace(try_number=2)}


class Task:
    """Stands in for an operator: keeps what it was made with, and what follows it."""

    def __init__(self, **options):
        self.options, self.after = options, []
        MADE.append(self)

    def __rshift__(self, other):
        self.after.append(other.options["task_id"])
        return other


class Dag(SimpleNamespace):
    """Stands in for a DAG."""

    def __init__(self, name, **options):
        super().__init__(name=name, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


BatchTask, RunTask = type("BatchTask", (Task,), {}), type("RunTask", (Task,), {})
STAND_INS = {
    "pendulum": {"datetime": lambda *day, tz: datetime(*day, tzinfo=ZoneInfo(tz))},
    "airflow.sdk": {"DAG": Dag},
    "airflow.providers.google.cloud.operators.cloud_run": {"CloudRunExecuteJobOperator": RunTask},
    "airflow.providers.google.cloud.operators.dataproc": {"DataprocCreateBatchOperator": BatchTask},
    "airflow.timetables.trigger": {"CronTriggerTimetable": lambda cron, timezone: (cron, timezone)},
}


def executed(text, stand_ins=STAND_INS):
    """Tasks by name of a DAG file, which is run with stand-ins, and the DAG."""
    parts = [name.split(".") for name in stand_ins]
    names = {".".join(part[: end + 1]) for part in parts for end in range(len(part))}
    before = {name: sys.modules.get(name) for name in names}
    MADE.clear()
    try:
        sys.modules.update({name: ModuleType(name) for name in names})
        for name, members in stand_ins.items():
            vars(sys.modules[name]).update(members)
        found = {}
        exec(compile(text, "endcap_daily.py", "exec"), found)
        return {task.options["task_id"]: task for task in MADE}, found["dag"]
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def rendered(value):
    """A templated value as Airflow gives it to an operator at four in the morning of the second try."""
    if isinstance(value, dict):
        return {key: rendered(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rendered(each) for each in value]
    return Template(value).render(**CONTEXT) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def text():
    """The file of a shop in New York."""
    where = Where("my-shop", "europe-west4")
    return dag_text(
        DAY_STEPS, where=where, job="endcap", runs=RUNS, choices=["--source", "synthetic"], **NEW_YORK
    )


@pytest.fixture(scope="module")
def tasks(text):
    """Its tasks by name."""
    return executed(text)[0]


def args_of(task):
    """The rendered command line of a Cloud Run task."""
    (container,) = rendered(task.options["overrides"])["container_overrides"]
    return container["args"]


def test_tasks_are_the_steps_in_their_order(tasks, text):
    """A chain as in the table, one run at a time, and the same retries and hours as the plain DAG's."""
    names = [step.name for step in DAY_STEPS]
    chain = {name: [each for each in task.after if each != "monitor"] for name, task in tasks.items()}
    assert [chain[name] for name in names] == [*([name] for name in names[1:]), []]
    assert [name for name, task in tasks.items() if isinstance(task, BatchTask)] == SPARK
    dag = executed(text)[1]
    assert (dag.catchup, dag.max_active_runs, dag.default_args["depends_on_past"]) == (True, 1, True)
    plain = re.findall(r'^    \("[\w-]+", \d, \d\),$', plain_text(DAY_STEPS, **NEW_YORK), re.MULTILINE)
    assert re.findall(r'^    \("[\w-]+", \d, \d\),$', text, re.MULTILINE) == plain
    assert tasks["ingest"].options["retries"] == 2


def test_composer_may_have_airflow_2(text):
    """There is no airflow.sdk there, and a DAG is Airflow's own."""
    older = {name: members for name, members in STAND_INS.items() if name != "airflow.sdk"}
    tasks, dag = executed(text, {**older, "airflow": {"DAG": Dag}})
    assert (len(tasks), dag.name) == (len(DAY_STEPS) + 1, "endcap_daily")


def test_runs_are_verbs_that_endcap_takes(tasks):
    """Each Cloud Run task's args are a command line of endcap, for the day that has ended, up to its step."""
    for name, task in tasks.items():
        if isinstance(task, RunTask):
            verb, *words = args_of(task)
            made = endcap.commands[verb].make_context(verb, words)
            assert made.params["day"] == date(2024, 3, 10)
            if name != "monitor":
                assert made.params["until"] == name
                assert made.params["source"] == "synthetic"
                assert made.params["elsewhere"] == tuple(SPARK)
                assert made.params["refusal_passes"]
            assert task.options["job_name"] == "endcap"


def test_batches_are_what_dataproc_and_the_driver_take(tasks):
    """Each Spark task's batch is one of Dataproc's, with args that the driver takes, and an id of its own."""
    for name in SPARK:
        options = rendered(tasks[name].options)
        batch = Batch(options["batch"])
        asked = arguments(list(batch.pyspark_batch.args))
        day = date(2024, 3, 10) if name == "build-features" else None
        assert (asked.step, asked.root, asked.code, asked.date) == (name, ROOT, "1a2b", day)
        assert list(batch.pyspark_batch.python_file_uris) == [CODE.zip_uri]
        assert batch.runtime_config.version == "2.3"
        assert options["batch_id"] == f"endcap-{name}-2024-03-10-2"
        assert (options["project_id"], options["region"]) == ("my-shop", "europe-west4")


def test_a_day_is_monitored_whatever_becomes_of_its_challenger(tasks):
    """By a task that nothing waits for, not even the next day's."""
    assert "monitor" in tasks["materialize"].after
    assert (tasks["monitor"].after, tasks["monitor"].options["depends_on_past"]) == ([], False)


def test_a_step_without_a_batch_is_a_run_of_the_job():
    """Then `endcap daily` is told of the other one alone."""
    where = Where("my-shop", "europe-west4")
    tasks, _ = executed(dag_text(DAY_STEPS, where=where, job="endcap", runs=RUNS[:1], **NEW_YORK))
    assert [name for name, task in tasks.items() if isinstance(task, BatchTask)] == SPARK[:1]
    made = endcap.commands["daily"].make_context("daily", args_of(tasks["embed-items"])[1:])
    assert (made.params["until"], made.params["elsewhere"]) == ("embed-items", ("build-features",))


@pytest.fixture
def call(tmp_path, monkeypatch):
    """`endcap airflow-dag` over a shop whose days begin after its full ingest."""
    settings = nasty_shop().write(tmp_path / "state")
    (settings.state / "tables" / "ingest.json").write_text('{"until": "2024-03-08"}')
    monkeypatch.setenv("ENDCAP_STATE", str(settings.state))
    monkeypatch.setenv("ENDCAP_PROFILE", "gcp")
    words = ("airflow-dag", "--on", "composer", "--project", "my-shop", "--region", "europe-west4")
    return lambda *more: CliRunner().invoke(endcap, [*words, *more])


def test_the_verb_writes_the_file(call, tmp_path):
    """With the code as it is here, which it names, and the choices of the command line."""
    out = tmp_path / "dags" / "endcap_daily.py"
    told = call("--bucket", ROOT, "--job", "days", "--image", "r/p/spark:1", "--gpu", "--out", str(out))
    assert told.exit_code == 0, told.output
    assert f"{ROOT}/code/{Package.made().zip_name}; bring it there: endcap submit code" in told.output
    tasks, dag = executed(out.read_text())
    assert dag.start_date == datetime(2024, 3, 10, tzinfo=ZoneInfo("America/New_York"))
    assert "load" in tasks
    assert tasks["ingest"].options["job_name"] == "days"
    embed, build = (Batch(rendered(tasks[name].options["batch"])) for name in reversed(SPARK))
    assert embed.runtime_config.container_image == "r/p/spark:1"
    ends = build.environment_config.execution_config.ttl
    assert ends == tasks["build-features"].options["execution_timeout"]  # else two tries would run at a time
    assert embed.runtime_config.properties["spark.dataproc.executor.resource.accelerator.type"] == "l4"
    assert (build.runtime_config.container_image, dict(build.runtime_config.properties)) == ("", {})


def test_what_is_missing_is_told(call, monkeypatch):
    """Without a bucket, an image for GPUs, or the gcp profile, there is no DAG for Composer."""
    assert "give --bucket gs://BUCKET/FOLDER, or set ENDCAP_BUCKET" in call().output
    assert "give --image with torch and BERT" in call("--bucket", ROOT, "--gpu").output
    monkeypatch.setenv("ENDCAP_PROFILE", "embedded")
    told = call("--bucket", ROOT)
    assert (told.exit_code, "set ENDCAP_PROFILE=gcp" in told.output) == (2, True)
