"""Arms held side by side on the same trips of a replay: each was shown to a tester, so none had better users.

In: the replay's log with forced answers (`endcap replay --every-arm`) and the recorded trips. Out: records of
method `side by side`. A slot counts as clicked where its item is in the trip's basket. It is a comparison of
lists, which no live test can have: a shopper sees one page.
"""

from itertools import permutations
from typing import Any

import numpy as np

from bentos.experiments import Experiment
from feature_repo.settings import Settings
from jobs.experiments import logs
from training.intervals import Interval, paired_lift

Record = dict[str, Any]
SUMS = {"ctr": ("clicks", "slots"), "slot_revenue": ("revenue", "pages")}
QUERY = """
with forced as (
  select request_id, arm, user_id, shown_at from read_parquet($exposures)
  where forced and experiment = $experiment
), trips as (
  select user_id, shown_at from forced
  group by all having count(*) = $arms and count(distinct arm) = $arms
), bought as (
  select user_id, event_timestamp as shown_at, item_id, sum(price_paid) as paid
  from read_parquet($transactions) where quantity > 0 group by all
)
select arm, user_id, count(item_id) as slots, count(distinct request_id) as pages,
  count(paid) as clicks, coalesce(sum(paid), 0) as revenue
from forced semi join trips using (user_id, shown_at)
  left join read_parquet($slots) using (request_id)
  left join bought using (user_id, shown_at, item_id)
group by all order by all
"""


def side_by_side(settings: Settings, experiment: Experiment) -> list[Record]:
    """CTR and slot revenue of each arm on all trips, and their lifts over the control; empty without any.

    Intervals are over users, drawn together for all arms (`training.intervals`). Left out are trips that not
    every arm was shown yet, and two of one shopper at one instant, whose pages nothing tells apart.
    """
    import duckdb

    found = duckdb.execute(
        QUERY,
        {
            "exposures": str(logs.table(settings, "exposures") / "part-*.parquet"),
            "slots": str(logs.table(settings, "slots") / "part-*.parquet"),
            "transactions": settings.table_parts("transactions"),
            "experiment": experiment.name,
            "arms": len(experiment.arms),
        },
    ).df()
    if found.empty:
        return []
    per_arm = {arm: rows.set_index("user_id").sort_index() for arm, rows in found.groupby("arm")}
    records = []
    for metric, (top, bottom) in SUMS.items():
        earned = {}
        for arm, rows in per_arm.items():
            sums, shown = (rows[name].to_numpy(np.float64) for name in (top, bottom))
            level = paired_lift(sums, shown)  # a ratio of sums less 1
            records.append(record(experiment, metric, arm, Interval(*(each + 1 for each in level))))
            earned[arm] = sums / shown.mean()
        for arm, other in permutations(earned, 2):
            if arm != experiment.control:
                lift = paired_lift(earned[arm], earned[other])
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
