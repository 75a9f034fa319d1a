"""Steps that a Spark cluster has done: `jobs.dataproc_driver` leaves a record of each in the lake.

    result = done_elsewhere(settings, "build-features", day, since=ingested_at)

A record counts where it was begun after the rows that it reads were there, and was made by this very code.
"""

import json
from datetime import date, datetime
from pathlib import Path

from feature_repo.settings import Settings
from jobs.google_cloud.package_zip import Package
from jobs.markers import result_of
from jobs.result import Result

SPARK_STEPS = ("build-features", "embed-items")


class NotDoneElsewhereError(RuntimeError):
    """No cluster has done a step, or not with what is there now; the message says how to have it done."""


def record_file(settings: Settings, step: str, day: date | None) -> Path:
    """Where a driver leaves what it did."""
    suffix = f"-{day.isoformat()}" if day and step == "build-features" else ""
    return settings.state / "batches" / f"{step}{suffix}.json"


def done_elsewhere(settings: Settings, step: str, day: date | None, since: datetime | None) -> Result:
    """What a cluster did; NotDoneElsewhereError where it has not since an instant, or by other code."""
    path = record_file(settings, step, day)
    submit = f"endcap submit {step}{f' --date {day}' if day else ''} --project ... --region ..."
    if not path.is_file():
        raise NotDoneElsewhereError(f"No cluster has done {step}: there is no {path}; run `{submit}`")
    record = json.loads(path.read_text())
    if since is not None and datetime.fromisoformat(record["began_at"]) < since:
        raise NotDoneElsewhereError(
            f"{step} was begun on a cluster at {record['began_at']}, before the rows that it reads were there"
            f" ({since.isoformat()}); run `{submit} --again`"
        )
    here = Package.made().hash
    if record["code"] != here:
        raise NotDoneElsewhereError(
            f"{step} was done on a cluster by code {record['code'] or 'without a name'}, and this is {here};"
            f" run `{submit}`, and make the DAG anew where one submits it"
        )
    return result_of(record["result"])
