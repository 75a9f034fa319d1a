"""What a shop's own users did before an experiment: the ground that it is planned on.

In: transactions, the experiment's start. Out: sums per user over as many days as it is to run, with the
13 weeks before them, and per user and day. Nothing of the experiment's own time is looked at.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from feature_repo.settings import all_parts
from jobs.experiments.outcomes import PRE
from jobs.experiments.power import PlanError

LINES = """
select user_id, basket_id, item_id, price_paid, event_timestamp as paid_at,
  event_timestamp >= $since as inside
from read_parquet($transactions)
where quantity > 0 and event_timestamp >= $before and event_timestamp < $until
"""
PER_USER = """
select user_id, sum(price_paid) filter (inside) as revenue, count(*) filter (inside) as items,
  count(distinct basket_id) filter (inside) as baskets,
  coalesce(sum(price_paid) filter (not inside), 0) as pre_revenue, count(*) filter (not inside) as pre_items,
  count(distinct basket_id) filter (not inside) as pre_baskets
from lines group by user_id having baskets > 0 order by user_id
"""
PER_DAY = """
select user_id, cast(floor((epoch(paid_at) - epoch($since)) / 86400) as int) as day,
  sum(price_paid) as revenue, count(*) as items, count(distinct basket_id) as baskets
from lines where inside group by all order by all
"""


@dataclass(frozen=True)
class History:
    """Frames of sums per user, and per user and day from 0."""

    since: datetime
    until: datetime
    per_user: Any
    per_day: Any

    @property
    def users_by_day(self) -> Any:
        """Different users seen from the first day to each, (n_days,)."""
        import numpy as np

        first = self.per_day.groupby("user_id").day.min().to_numpy()
        return np.bincount(first, minlength=(self.until - self.since).days).cumsum()


def history(transactions: Path, *, until: datetime, days: int) -> History:
    """The last `days` days before an instant; PlanError where nothing is known to be bought in them."""
    import duckdb

    if not transactions.is_file():
        raise PlanError(f"No transactions in {transactions}; run `endcap ingest`")
    since = until - timedelta(days=days)
    with duckdb.connect() as con:
        con.execute("set timezone = 'UTC'")
        facts = {
            "transactions": all_parts(transactions),
            "since": since,
            "before": since - PRE,
            "until": until,
        }
        con.execute(f"create temp table lines as {LINES}", facts)
        per_user, per_day = con.execute(PER_USER).df(), con.execute(PER_DAY, {"since": since}).df()
    if per_user.empty:
        raise PlanError(
            f"{transactions} has no purchases from {since:%Y-%m-%d} to {until:%Y-%m-%d}; an experiment is"
            " planned on what users did before its start: ingest that, or give it a later start"
        )
    return History(since, until, per_user, per_day)
