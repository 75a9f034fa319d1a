"""A/A tests on recorded data: how often a test finds a difference where there is none.

In: what the shop's users bought, by day. Each of many experiments assigns them anew by a salt of its own, as
the service would, to two arms that get the same, and looks at the end of each day. Out: the share of
experiments in which a test ever says that the arms differ, for the sequential test and for a plain z test
looked at as often: the first is to err in alpha of them at most, the second errs in many more.

    endcap experiment aa
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from bentos.assignment import place
from bentos.experiments import METRICS
from feature_repo.settings import Settings, all_parts
from feature_repo.stores.packed.instants import time_of
from jobs.experiments.history import History, history
from jobs.experiments.planning import BASKETS
from jobs.experiments.power import Users, planned_variance, spread_of
from jobs.experiments.ratio import looks
from jobs.experiments.sequential import ALPHA, confidence_sequence


@dataclass(frozen=True)
class Errors:
    """Experiments of one metric in which each test erred, at any look or, `once`, at the last."""

    metric: str
    experiments: int
    n_looks: int
    sequential: int
    naive: int
    once: int

    def told(self, count: int) -> str:
        """A count as a share with its 95 % interval (Clopper and Pearson 1934)."""
        found = binomtest(count, self.experiments).proportion_ci()
        return f"{count / self.experiments:.1%} [{found.low:.1%}, {found.high:.1%}]"


def aa(found: History, metric: str, experiments: int) -> Errors:
    """Many A/A experiments of one of BASKETS on a history."""
    rows, of = found.per_day, METRICS[metric]
    ids, users = np.unique(rows.user_id.to_numpy().astype(str), return_inverse=True)
    day, x, y = (rows[name].to_numpy() for name in ("day", of.numerator, of.denominator))
    totals = [np.bincount(users, weights=column) for column in (x, y)]
    half = len(ids) // 2
    plan = planned_variance(Users(half, len(ids) - half), spread_of(totals[0], totals[1]))
    critical, wrong = norm.isf(ALPHA / 2), np.zeros(3, dtype=np.int64)
    for n in range(experiments):
        treated = np.array([place(f"A/A {n}", user_id) < 0.5 for user_id in ids.tolist()]).astype(np.int64)
        seen = looks(users, treated[users], day.astype(np.int64), x, y)
        z = np.abs(seen.estimates) / np.sqrt(seen.variances)
        sure = confidence_sequence(*seen, planned_variance=plan)
        wrong += [bool(sure.p[-1] <= ALPHA), bool((z > critical).any()), bool(z[-1] > critical)]
    return Errors(metric, experiments, int(day.max()) + 1, *wrong.tolist())


def table(found: list[Errors]) -> str:
    """A line for each metric."""
    lines = [
        f"{each.metric}: {each.experiments:,} A/A experiments, {each.n_looks} looks each, alpha {ALPHA:.0%}:"
        f"\n    sequential {each.told(each.sequential)}"
        f"\n    z test at every look {each.told(each.naive)}"
        f"\n    z test at the end {each.told(each.once)}"
        for each in found
    ]
    return "\n".join(lines)


def run(settings: Settings, *, experiments: int, days: int) -> str:
    """All metrics that transactions tell, on the last days before the newest purchase, as text."""
    import duckdb

    path = settings.table("transactions")
    if not path.is_file():
        raise FileNotFoundError(f"No transactions in {path}; run `endcap ingest`")
    query = "select epoch_us(max(event_timestamp)) from read_parquet($1)"
    (newest,) = duckdb.execute(query, [all_parts(path)]).fetchone() or (0,)
    found = history(path, until=time_of(newest), days=days)
    return table([aa(found, metric, experiments) for metric in BASKETS])
