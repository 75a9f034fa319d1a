"""One Airflow DAG file made from the table of a day's steps: a task a step, each of which only shells out.

In: the table, the shop's time zone, the last day that is in. Out: the text of a file that imports nothing of
ours: Airflow has an environment of its own, in which `endcap` need only be a command. Tasks call it with
`daily --until STEP`, so what is done already is skipped, and lock, order and markers are the pipeline's.

    endcap airflow-dag --out dags/endcap_daily.py
"""

import json
import shlex
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from jobs.days.cli import REFUSED
from jobs.days.steps import LAST_OF_DATA
from jobs.steps import Step

HOURS = {"train": 6}  # until a step is given up; others have DEFAULT_HOURS
DEFAULT_HOURS = 2
RETRIES = 2  # of steps of the data: a source may be late, a disk full for a while
TEXT = '''"""A day of the shop, from its rows to the release that serves.

Made by `endcap airflow-dag`: make it anew where a step was added or the schedule is another, and change
nothing here. A run at {schedule} ({timezone}) does the local day that ended before it. A day follows the one
before, so a run waits for that, and days that were missed are caught up in order. Where the gate refuses a
challenger its task is skipped, and so are those that would release it: alert on skipped tasks, and on the
monitor's, which fails where the day's rows, features or answers are not in order.
"""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

TIMEZONE = {timezone_text}
DAY = "{{{{ dag_run.logical_date.in_timezone('{timezone}').subtract(days=1).to_date_string() }}}}"
STEPS = (  # name, retries, hours until it is given up
{steps}
)

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
        task = BashOperator(
            task_id=name,
            bash_command=f"{command} --date {{DAY}} --until {{name}}",
            append_env=True,  # ENDCAP_STATE and the like are the worker's
            skip_on_exit_code={refused},
            retries=retries,
            execution_timeout=timedelta(hours=hours),
        )
        if before is not None:
            before >> task
        if name == {last_of_data}:
            task >> BashOperator(  # a day that is not in order fails here, and holds up nothing
                task_id="monitor",
                bash_command=f"{monitor} --date {{DAY}}",
                append_env=True,
                depends_on_past=False,
                execution_timeout=timedelta(hours={hours}),
            )
        before = task
'''


def dag_text(
    steps: Sequence[Step], *, timezone: str, first: date, schedule: str, choices: Sequence[str] = ()
) -> str:
    """The file; `first` is the local day of the first run, which does the day before it.

    `choices` are words for `endcap daily`.
    """
    return TEXT.format(
        schedule=schedule,
        schedule_text=json.dumps(schedule),
        timezone=timezone,
        timezone_text=json.dumps(timezone),
        steps=rows_of(steps),
        first=f"{first.year}, {first.month}, {first.day}",
        command=shlex.join(["endcap", "daily", *choices]),
        monitor="endcap monitor",
        last_of_data=json.dumps(LAST_OF_DATA),
        hours=DEFAULT_HOURS,
        refused=REFUSED,
    )


def rows_of(steps: Sequence[Step]) -> str:
    """A line for each step: its name, how often it is tried again, the hours until it is given up."""
    names = [step.name for step in steps]
    data = names[: names.index(LAST_OF_DATA) + 1]
    return "\n".join(
        f"    ({json.dumps(name)}, {RETRIES if name in data else 0}, {HOURS.get(name, DEFAULT_HOURS)}),"
        for name in names
    )


def write(path: Path, text: str) -> None:
    """Replace the file, aside and then renamed: a scheduler never reads half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    aside.write_text(text)
    aside.replace(path)
