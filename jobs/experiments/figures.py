"""All figures of one experiment from the logs of an installation: levels, lifts, tests, by day and in all.

In: `state/logs` and, for the pre-period, `state/tables`; under the gcp profile tables of the same names in
BigQuery. Out: the records of a report, in DESIGN's tidy form. The sums per user are made where the logs lie;
what arrives here is small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bentos.experiments import METRICS, Experiment
from feature_repo.settings import Settings, all_parts
from jobs.experiments import logs
from jobs.experiments.analysis import analyse, log_records
from jobs.experiments.attribution import instant, rejected
from jobs.experiments.log_rows import TABLES, TIMES
from jobs.experiments.outcomes import funnel, latency, per_user, per_user_day, with_activity
from jobs.experiments.over_time import by_day, day_records

Record = dict[str, Any]
BEFORE = timedelta(weeks=4)  # an outcome that names an answer older than that is of an unknown one


@dataclass(frozen=True)
class Figures:
    """Records, users by arm, and the time of the log's newest answer: how late it is by the shop's clock."""

    records: list[Record]
    users: Mapping[str, int]
    newest: datetime
    log: "Log"


@dataclass(frozen=True)
class Log:
    """The tables of a log since shortly before an experiment, as Ibis has them from DuckDB or BigQuery."""

    exposures: Any
    slots: Any
    draws: Any
    events: Any
    transactions: Any  # None where there is no such table

    @classmethod
    def of(cls, settings: Settings, experiment: Experiment) -> "Log | None":
        """The log with what is new in it; None where nothing was shown yet."""
        from ibis import _

        logs.run(settings)
        found = in_bigquery(settings) if settings.in_bigquery else in_parquet(settings)
        if found is None:
            return None
        since = instant(experiment.start - BEFORE)
        return cls(**found | {name: found[name].filter(_[time] >= since) for name, time in TIMES.items()})

    def users(self, experiment: Experiment) -> Any:
        """`per_user` with the activity before the start, made once for all that is asked of it."""
        import ibis

        found = per_user(self.exposures, self.slots, self.events, experiment, pre=self.transactions)
        if self.transactions is not None:
            found = with_activity(found)
        return ibis.memtable(found.to_pyarrow())


def in_parquet(settings: Settings) -> dict[str, Any] | None:
    """The tables by name from `state/logs` and `state/tables`, None where nothing was shown yet."""
    import ibis

    folder, con = logs.logs_folder(settings), ibis.duckdb.connect()
    if not logs.parts(folder / "exposures"):
        return None
    tables = {
        name: con.read_parquet(str(folder / name / "part-*.parquet"))
        if logs.parts(folder / name)
        else ibis.memtable(schema.empty_table())
        for name, schema in TABLES.items()
    }
    path = settings.table("transactions")
    return {**tables, "transactions": con.read_parquet(all_parts(path)) if path.is_file() else None}


def in_bigquery(settings: Settings) -> dict[str, Any] | None:
    """The tables by name from the dataset, into which other services may load too."""
    from jobs.experiments.bigquery_log import tables

    return tables(settings)


def users_of(settings: Settings, experiment: Experiment) -> Any:
    """The users of an experiment as an Ibis table, None where nothing was shown yet."""
    log = Log.of(settings, experiment)
    return None if log is None else log.users(experiment)


def figures(settings: Settings, experiment: Experiment) -> Figures | None:
    """The figures, None where nobody has been in the experiment yet. New rows of the logs are taken first."""
    log = Log.of(settings, experiment)
    if log is None:
        return None
    users = log.users(experiment)
    if not users.count().execute():
        return None
    tables = (log.exposures, log.slots, log.events)
    days = per_user_day(*tables, experiment).to_pandas()
    over_time = {
        (arm, name): by_day(days, experiment, arm, METRICS[name])
        for arm in experiment.treatments
        for name in METRICS
    }
    sure = {key: found[-1].sure for key, found in over_time.items() if found}
    records = analyse(users, experiment, sequential=sure)
    records += log_records(
        rejected(*tables, experiment), funnel(users), latency(log.exposures, experiment), experiment
    )
    records += day_records(over_time, experiment)
    by_arm = {each["arm"]: int(each["value"]) for each in records if each["metric"] == "users"}
    return Figures(records, by_arm, log.exposures.shown_at.max().execute().to_pydatetime(), log)
