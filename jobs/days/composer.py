"""The DAG of a day for Composer: Spark steps as Dataproc batches, others as runs of a Cloud Run job.

In: the table of steps, the shop's time zone, where it runs, and the batches. Out: the text of a file that
imports nothing of ours. The Cloud Run job's image has `endcap` as its entry point, and the bucket mounted as
the state folder; each run is given `daily --until STEP`, so that lock, order and markers are the pipeline's,
which takes the Spark steps as done by the batches. A Cloud Run job knows success and failure alone, so a
refusal of the gate counts as success there: `current` does not move, and nothing is alerted that is in order.

    endcap airflow-dag --on composer --project my-shop --region europe-west4 --out dags/endcap_daily.py
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from jobs.days.airflow import DEFAULT_HOURS, rows_of
from jobs.days.steps import LAST_OF_DATA
from jobs.google_cloud.spark_runs import SparkRun, Where
from jobs.steps import Step

TEXT = '''"""A day of the shop on Google Cloud, from its rows to the release that serves.

Made by `endcap airflow-dag --on composer`: make it anew where a step was added, the code or the schedule is
another, and change nothing here. A run at {schedule} ({timezone}) does the local day that ended before it. A
day follows the one before, so a run waits for that, and days that were missed are caught up in order. Where
the gate refuses a challenger the tasks that would release it do nothing, and succeed: the log of gate tells.
Alert on failed tasks, the monitor's too, which fails where the day's rows, features or answers are not in
order.
"""

from datetime import timedelta

import pendulum
from airflow.providers.google.cloud.operators.cloud_run import CloudRunExecuteJobOperator
from airflow.providers.google.cloud.operators.dataproc import DataprocCreateBatchOperator
from airflow.timetables.trigger import CronTriggerTimetable

try:
    from airflow.sdk import DAG
except ImportError:  # before Airflow 3
    from airflow import DAG

TIMEZONE = {timezone_text}
DAY = "{{{{ dag_run.logical_date.in_timezone('{timezone}').subtract(days=1).to_date_string() }}}}"
PLACE = {{"project_id": {project}, "region": {region}}}
JOB = {job}  # of Cloud Run
WORDS = {words}
STEPS = (  # name, retries, hours until it is given up
{steps}
)
BATCHES = {batches}


def spark(name, **options):
    """A step as a Dataproc batch; each try is a batch of its own."""
    batch = {{**BATCHES[name], "pyspark_batch": dict(BATCHES[name]["pyspark_batch"])}}
    if name == "build-features":
        batch["pyspark_batch"]["args"] = [*batch["pyspark_batch"]["args"], "--date", DAY]
    batch_id = f"endcap-{{name}}-{{DAY}}-{{{{{{{{ ti.try_number }}}}}}}}"
    return DataprocCreateBatchOperator(task_id=name, batch=batch, batch_id=batch_id, **PLACE, **options)


def endcap(name, args, **options):
    """A command line of endcap as a run of the Cloud Run job."""
    overrides = {{"container_overrides": [{{"args": args}}], "task_count": 1}}
    return CloudRunExecuteJobOperator(task_id=name, job_name=JOB, overrides=overrides, **PLACE, **options)


with DAG(
    "endcap_daily",
    schedule=CronTriggerTimetable({schedule_text}, timezone=TIMEZONE),
    start_date=pendulum.datetime({first}, tz=TIMEZONE),
    catchup=True,
    max_active_runs=1,
    default_args={{"depends_on_past": True, "retry_delay": timedelta(minutes=15)}},
    tags=["endcap"],
) as dag:
    before = None
    for name, retries, hours in STEPS:
        options = {{"retries": retries, "execution_timeout": timedelta(hours=hours)}}
        if name in BATCHES:
            task = spark(name, **options)
        else:
            task = endcap(name, [*WORDS, "--date", DAY, "--until", name], **options)
        if before is not None:
            before >> task
        if name == {last_of_data}:
            task >> endcap(  # a day that is not in order fails here, and holds up nothing
                "monitor",
                ["monitor", "--date", DAY],
                depends_on_past=False,
                execution_timeout=timedelta(hours={hours}),
            )
        before = task
'''


def dag_text(
    steps: Sequence[Step],
    *,
    timezone: str,
    first: date,
    schedule: str,
    where: Where,
    job: str,
    runs: Sequence[SparkRun],
    choices: Sequence[str] = (),
) -> str:
    """The file; `first` is the local day of the first run, `choices` are words for `endcap daily`.

    Steps in `runs` are batches, all others runs of the job.
    """
    batches: Mapping[str, Any] = {run.step: run.batch() for run in runs}
    elsewhere = [word for step in batches for word in ("--elsewhere", step)]
    words = ["daily", *choices, *elsewhere, "--refusal-passes"]
    return TEXT.format(
        schedule=schedule,
        schedule_text=json.dumps(schedule),
        timezone=timezone,
        timezone_text=json.dumps(timezone),
        project=json.dumps(where.project),
        region=json.dumps(where.region),
        job=json.dumps(job),
        words=json.dumps(words),
        steps=rows_of(steps),
        batches=json.dumps(batches, indent=4),
        first=f"{first.year}, {first.month}, {first.day}",
        last_of_data=json.dumps(LAST_OF_DATA),
        hours=DEFAULT_HOURS,
    )
