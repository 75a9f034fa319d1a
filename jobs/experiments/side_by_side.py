"""Arms held side by side on the same trips of a replay: each was shown to a tester, so none had better users.

In: the replay's log with forced answers (`endcap replay --every-arm`) and the recorded trips. Out: records of
method `side by side`. A slot counts as clicked where its item is in the trip's basket. It is a comparison of
lists, which no live test can have: a shopper sees one page.
"""

from typing import Any

import numpy as np

from bentos.experiments import Experiment
from feature_repo.settings import Settings
from jobs.experiments import logs
from training.intervals import Interval, paired_lift

Record = dict[str, Any]
SUMS = {"ctr": "clicks", "slot_revenue": "revenue"}
QUERY = """
with pages as (
  select request_id, arm, user_id, shown_at from read_parquet($exposures)
  where forced and experiment = $experiment
), bought as (
  select user_id, event_timestamp as paid_at, item_id, sum(price_paid) as paid
  from read_parquet($transactions) where quantity > 0 group by all
)
select p.arm, p.user_id, count(*) as slots, count(distinct p.request_id) as pages,
  count(b.item_id) as clicks, coalesce(sum(b.paid), 0) as revenue
from pages p join read_parquet($slots) s using (request_id)
  left join bought b on b.user_id = p.user_id and b.paid_at = p.shown_at and b.item_id = s.item_id
group by all order by all
"""


def side_by_side(settings: Settings, experiment: Experiment) -> list[Record]:
    """CTR and slot revenue of each arm on all trips, and their lifts over the control; empty without any.

    Intervals are over users, drawn together for all arms (`training.intervals`).
    """
    import duckdb

    found = duckdb.execute(
        QUERY,
        {
            "exposures": str(logs.table(settings, "exposures") / "part-*.parquet"),
            "slots": str(logs.table(settings, "slots") / "part-*.parquet"),
            "transactions": str(settings.table("transactions")),
            "experiment": experiment.name,
        },
    ).df()
    if found.empty:
        return []
    per_arm = {arm: rows.set_index("user_id").sort_index() for arm, rows in found.groupby("arm")}
    records = []
    for metric, column in SUMS.items():
        own = {arm: rows[column].to_numpy(np.float64) for arm, rows in per_arm.items()}
        per_page = "slots" if metric == "ctr" else "pages"
        for arm, sums in own.items():
            shown = per_arm[arm][per_page].to_numpy(np.float64)
            level = paired_lift(sums, shown)  # a ratio of sums less 1
            records.append(record(experiment, metric, arm, Interval(*(each + 1 for each in level))))
            if arm != experiment.control:
                for other in (each for each in own if each != arm):
                    lift = paired_lift(sums, own[other])
                    records.append({**record(experiment, metric, arm, lift), "versus": other})
    return records


def record(experiment: Experiment, metric: str, arm: str, figure: Interval) -> Record:
    """One figure in the tidy form of reports."""
    return {
        "report": "experiment",
        "experiment": experiment.name,
        "metric": metric,
        "arm": arm,
        "method": "side by side",
        **figure._asdict(),
    }
