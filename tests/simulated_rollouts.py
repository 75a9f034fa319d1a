"""Rollouts in a simulated shop: who comes, what they are shown and click, what is decided from look to look.

Users have a place in the experiment's layer, so that a growing ramp takes more and moves nobody. What a look
finds is made of sums per user, by the same tests as a real look's, without a log.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import numpy as np
from experiment_log import START, experiment

from bentos.experiments import METRICS
from jobs.experiments.figures import Figures
from jobs.experiments.over_time import alpha_of, planned_variance
from jobs.experiments.ratio import log_lift, ratio_of_sums
from jobs.experiments.rollout import decided, judged
from jobs.experiments.sequential import confidence_sequence
from jobs.experiments.trail import Look

METRICS_SEEN = ("ctr", "latency_ms")
PLAN = {"steps": (0.01, 0.05, 0.25, 0.5), "hours": 72, "users": 50}
SLOWER = ({"metric": "latency_ms", "worst": 0.5},)


class Harm(NamedTuple):
    """What the treatment does to the click rate and to the time of an answer, as shares of the control's."""

    ctr: float = 0.0
    latency: float = 0.0


class Shoppers:
    """Users of one shop, (n_users,) each: click rates are Beta with mean 0.1, times of answers Gamma."""

    def __init__(self, rng: np.random.Generator, n: int, harm: Harm) -> None:
        self.rng, self.place, self.treated = rng, rng.random(n), rng.random(n) < 0.5
        self.rate = rng.gamma(0.7, 0.6, n)  # answers a day
        self.propensity = np.minimum(rng.beta(1, 9, n) * (1 + harm.ctr * self.treated), 1)
        self.slowness = 1 + harm.latency * self.treated
        self.sums: Mapping[str, np.ndarray] = {
            name: np.zeros(n) for name in ("answers", "slots", "clicks", "latency_ms")
        }

    def pass_time(self, days: float, ramp: float) -> None:
        """Add what those who are in the experiment see and do in so many days."""
        answers = self.rng.poisson(self.rate * days * (self.place < ramp))
        self.sums["answers"] += answers
        self.sums["slots"] += 10 * answers
        self.sums["clicks"] += self.rng.binomial(10 * answers, self.propensity)
        noise = np.where(answers > 0, self.rng.gamma(np.maximum(4 * answers, 1), 3.0), 0.0)
        self.sums["latency_ms"] += noise * self.slowness

    def figures(self, shop, at) -> Figures:
        """What a look finds of all until now, as the records of a real one."""
        came = self.sums["answers"] > 0
        arms = {"a": came & ~self.treated, "b": came & self.treated}
        users = {arm: int(who.sum()) for arm, who in arms.items()}
        records = [{"metric": "users", "arm": arm, "value": n} for arm, n in users.items()]
        records.append({"metric": "srm", "value": 1.0})  # which a rollout does not look at
        for name in METRICS_SEEN if all(users.values()) else ():
            metric = METRICS[name]
            found = {
                arm: ratio_of_sums(self.sums[metric.numerator][who], self.sums[metric.denominator][who])
                for arm, who in arms.items()
            }
            records += [{"metric": name, "arm": arm, "value": each.value} for arm, each in found.items()]
            lift = log_lift(found["b"], found["a"])
            sure = confidence_sequence(
                [lift.value], [lift.variance], planned_variance=planned_variance(shop, name),
                alpha=alpha_of(shop),
            )  # fmt: skip
            numbers = {"value": lift.value, "low": sure.low[0], "high": sure.high[0]}
            told = {key: None if np.isnan(each) else np.expm1(each) for key, each in numbers.items()}
            records.append({"metric": name, "arm": "b", "method": "sequential", **told})
        return Figures(records, users, at, log=None)


def simulated(
    seed: int, harm: Harm, *, n: int = 10_000, every: timedelta = timedelta(hours=12), **more
) -> list[Look]:
    """The looks of one rollout, until it is settled or 60 days have passed."""
    shop = experiment(rollout={**PLAN, **more}, guardrails=SLOWER)
    shoppers = Shoppers(np.random.default_rng(seed), n, harm)
    at, looks = START, [decided(shop, None, judged_at(shop, shoppers, START))]
    while looks[-1].settled is None and at < START + timedelta(days=60):
        at += every
        shoppers.pass_time(every / timedelta(days=1), looks[-1].ramp)
        looks.append(decided(shop, looks[-1], judged_at(shop, shoppers, at)))
    return looks


def judged_at(shop, shoppers, at):
    """What is seen at an instant."""
    return judged(shop, shoppers.figures(shop, at))
