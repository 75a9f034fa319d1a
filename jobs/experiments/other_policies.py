"""What other ways to fill the explored slots would have earned, before one of them is tried on shoppers.

In: the log of an arm that draws its last slots. Out: clicks of an answer's drawn slots by the policy that was
served, and by softmax policies of other temperatures over the same scores; 0 is greedy, the best that may
stand there. Each by five estimators (`off_policy.py`).

    endcap experiment off-policy explored --temperature 0 --temperature 0.5
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bentos.experiments import Experiment, load_experiments
from feature_repo.settings import Settings
from jobs.experiments.attribution import answers_of, judged
from jobs.experiments.figures import Log
from jobs.experiments.off_policy import (
    Draws,
    Estimate,
    Floats,
    Ints,
    Mask,
    OffPolicyError,
    estimates,
    softmax_policy,
    target_chances,
)
from jobs.experiments.replay_state import replayed
from jobs.experiments.reward_model import FOLDS, reward_to_go

Record = dict[str, Any]
METHODS = {
    "ips": "ips",
    "snips": "snips",
    "clipped_ips": "clipped",
    "direct": "dm",
    "doubly_robust": "dr",
}


def run(settings: Settings, name: str, temperatures: Sequence[float], *, replay: bool = False) -> str:
    """The estimates as text; OffPolicyError where no arm explores or nothing was drawn yet."""
    own = replayed(settings, name) if replay else settings
    experiment = load_experiments(own.experiments_file).named(name)
    log = Log.of(own, experiment)
    arms = [arm for arm, each in experiment.arms.items() if each.explore]
    if not arms:
        raise OffPolicyError(f"No arm of {name} explores; give one `explore: {{slots: 2, temperature: 1.0}}`")
    if log is None:
        raise OffPolicyError(f"Nothing was shown yet, as {own.exposure_log} says; serve {name}, or replay it")
    found = {arm: drawn(log, experiment, arm) for arm in arms}
    return table([each for arm in arms for each in records_of(found[arm], experiment, arm, temperatures)])


def table(records: Sequence[Record]) -> str:
    """A line for each policy and estimator."""
    lines = [f"{'policy':<40} {'by':<8} {'clicks':>8}  {'95 % interval':<20} {'effective answers':>17}"]
    for each in records:
        ends = f"[{each['low']:.4f}, {each['high']:.4f}]"
        line = f"{each['policy']:<40} {each['method']:<8} {each['value']:>8.4f}  {ends:<20}"
        lines.append(f"{line} {each['ess']:>17,.0f}")
    return "\n".join([*lines, "clicks: of an answer's drawn slots"])


@dataclass(frozen=True)
class Drawn:
    """Answers of one arm whose last slots were drawn: n answers, m draws, n_pool places, filled up.

    What an answer lacks of m is a draw of one place that earns nothing.
    """

    rewards: Floats  # (n, m) 1 for a click
    logged: Floats  # (n, m) propensities
    chosen: Ints  # (n, m) places in the pool
    scores: Floats  # (n, n_pool) -inf where a pool has no such place
    eligible: Mask  # (n, m, n_pool)
    users: Any  # (n,)
    temperature: float


def drawn(log: Log, experiment: Experiment, arm: str) -> Drawn:
    """The log of one arm; OffPolicyError where it drew at more than one temperature, or for few or nobody."""
    answers = answers_of(log.exposures, experiment)
    answers = answers.filter(answers.arm == arm, ~answers.left_out).select("request_id", "user_id")
    rows = log.draws.inner_join(answers, "request_id").order_by("request_id").to_pyarrow().to_pylist()
    if not rows:
        raise OffPolicyError(
            f"{arm} of {experiment.name} has drawn nothing yet: give it `explore` and traffic"
        )
    if (n_users := len({row["user_id"] for row in rows})) < FOLDS:
        raise OffPolicyError(
            f"{arm} of {experiment.name} has drawn for {n_users} users; an estimate takes {FOLDS} or more"
        )
    temperatures = {row["temperature"] for row in rows}
    if len(temperatures) > 1:
        raise OffPolicyError(
            f"{arm} has drawn at temperatures {sorted(temperatures)}; a changed arm is another experiment"
        )
    outcomes = judged(log.exposures, log.slots, log.events, experiment)
    outcomes = outcomes.filter(outcomes.reason.isnull(), outcomes.kind == "click")
    clicked = set(
        outcomes.select("request_id", "item_id").distinct().to_pandas().itertuples(index=False, name=None)
    )
    shown = log.slots.filter(log.slots.explored).semi_join(answers, "request_id")
    pages: dict[str, list[tuple[str, float]]] = {}
    for slot in shown.order_by("request_id", "position").to_pyarrow().to_pylist():
        pages.setdefault(slot["request_id"], []).append((slot["item_id"], slot["propensity"]))
    return filled(rows, pages, clicked, temperatures.pop())


def filled(
    rows: Sequence[Record],
    pages: dict[str, list[tuple[str, float]]],
    clicked: set[tuple[str, str]],
    temperature: float,
) -> Drawn:
    """Arrays of answers with their drawn items and propensities, and what was clicked."""
    able = [np.reshape(row["eligible"], (-1, len(row["pool"]))) for row in rows]  # (drawn slots, pool)
    n, m, n_pool = len(rows), max(map(len, able)), max(len(row["pool"]) for row in rows)
    rewards, logged = np.zeros((n, m)), np.ones((n, m))
    chosen, scores = np.zeros((n, m), dtype=np.int64), np.full((n, n_pool), -np.inf)
    eligible = np.zeros((n, m, n_pool), dtype=bool)
    eligible[:, :, 0] = True
    for place, row in enumerate(rows):
        size, page = len(row["pool"]), pages.get(row["request_id"], [])
        scores[place, :size] = row["scores"]
        at = {item: n for n, item in enumerate(row["pool"])}
        for draw, ((item, propensity), who) in enumerate(zip(page, able[place], strict=True)):
            rewards[place, draw] = (row["request_id"], item) in clicked
            logged[place, draw], chosen[place, draw] = propensity, at[item]
            eligible[place, draw, :size] = who
            eligible[place, draw, size:] = False
    users = np.array([row["user_id"] for row in rows])
    return Drawn(rewards, logged, chosen, scores, eligible, users, temperature)


def policy(found: Drawn, temperature: float) -> tuple[Estimate, ...]:
    """All estimates of a softmax policy of that temperature."""
    target = softmax_policy(found.scores, found.eligible, found.chosen, temperature)
    draws = Draws(found.rewards, found.logged, target, found.users)
    whole = target_chances(found.scores, found.eligible, temperature)
    predicted = reward_to_go(found.rewards, found.scores, whole, found.chosen, found.users)
    return estimates(draws, predicted)


def policy_records(log: Log, experiment: Experiment) -> Iterator[Record]:
    """Records of all arms that explore: the policy served, and greedy; none where the log tells nothing."""
    for arm in (name for name, each in experiment.arms.items() if each.explore):
        try:
            found = drawn(log, experiment, arm)
        except OffPolicyError:
            continue
        yield from records_of(found, experiment, arm)


def records_of(
    found: Drawn, experiment: Experiment, arm: str, temperatures: Sequence[float] = ()
) -> Iterator[Record]:
    """Records of one arm: the policy served, greedy, and those of other temperatures."""
    for temperature in dict.fromkeys((found.temperature, 0.0, *temperatures)):
        name = "as served" if temperature == found.temperature else f"temperature {temperature:g}"
        for each in policy(found, temperature):
            yield {
                "report": "experiment",
                "experiment": experiment.name,
                "metric": "off_policy",
                "arm": arm,
                "policy": f"{arm}, {'greedy' if temperature == 0 else name}",
                "method": METHODS[each.name],
                "value": each.value,
                "low": each.low,
                "high": each.high,
                "ess": each.ess,
                "users": len(np.unique(found.users)),
                "unit": "clicks of drawn slots per answer",
            }
