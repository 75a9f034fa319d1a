"""Steps that a Spark cluster has done: `jobs.dataproc_driver` leaves a record of each in the lake.

    result = done_elsewhere(settings, step, choices, since=ingested_at)

A record counts where it was begun after the rows that it reads were there, was made by this very code, and
what it tells of is there.
"""

import json
from datetime import date, datetime
from pathlib import Path

from feature_repo.settings import Settings
from jobs.google_cloud.package_zip import Package
from jobs.markers import result_of
from jobs.result import Result
from jobs.steps import Choices, Step

SPARK_STEPS = ("build-features", "embed-items")


class NotDoneElsewhereError(RuntimeError):
    """No cluster has done a step, or not with what is there now; the message says how to have it done."""


def record_file(settings: Settings, step: str, day: date | None) -> Path:
    """Where a driver leaves what it did."""
    suffix = f"-{day.isoformat()}" if day and step == "build-features" else ""
    return settings.state / "batches" / f"{step}{suffix}.json"


def done_elsewhere(settings: Settings, step: Step, choices: Choices, since: datetime | None) -> Result:
    """What a cluster did of a step.

    NotDoneElsewhereError where it has not since an instant, or by other code, with another model, or where
    what it left is not there.
    """
    name, day = step.name, choices.day
    path = record_file(settings, name, day)
    submit = f"endcap submit {name}{f' --date {day}' if day else ''} --project ... --region ... --again"
    if not path.is_file():
        raise NotDoneElsewhereError(f"No cluster has done {name}: there is no {path}; run `{submit}`")
    record, here = json.loads(path.read_text()), Package.made().hash
    if since is not None and datetime.fromisoformat(record["began_at"]) < since:
        raise NotDoneElsewhereError(
            f"{name} was begun on a cluster at {record['began_at']}, before the rows that it reads were there"
            f" ({since.isoformat()}); run `{submit}`"
        )
    if record["code"] != here:
        raise NotDoneElsewhereError(
            f"{name} was done on a cluster by code {record['code'] or 'without a name'}, and this is {here};"
            f" run `{submit}`, and make the DAG anew where one submits it"
        )
    if name == "embed-items" and record["model"] != (choices.model or ""):
        raise NotDoneElsewhereError(
            f"{name} was done on a cluster with --model {record['model']!r}, and it is asked for with"
            f" {choices.model or ''!r}; run `{submit}` with the same --model as here"
        )
    for missing in (each for each in step.outputs(settings, choices) if not each.exists()):
        raise NotDoneElsewhereError(
            f"{name} was done on a cluster, but there is no {missing}; run `{submit}`"
        )
    return result_of(record["result"])
