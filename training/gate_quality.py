"""Whether a challenger recommends worse: against the champion and against the rules that it is to beat.

In: values per shopper of the newest window (`training.per_shopper`, models challenger, champion, segment and
buy_again). Out: checks. Shoppers are paired, so what makes a week hard for all does not count.

What decides: recall@10 and NDCG@10 of `all`, a page and its order; recall@20 and NDCG@10 of `discover`, where
hits are rare and twice as many places make for less noise.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from training.gate import Check, not_made
from training.gate_rules import GateRules
from training.intervals import Interval, paired_lift

CHALLENGER, CHAMPION, SEGMENT, PERSONAL = "challenger", "champion", "segment", "buy_again"
DECISIVE: Mapping[str, tuple[str, ...]] = {
    "all": ("recall@10", "ndcg@10"),
    "discover": ("recall@20", "ndcg@10"),
}
JUMP = "recall@10"  # what is not to grow by half in a day
APART = ("recall_repeat@10", "recall_new@10")  # of `all`: told, not decided by


def pairs_of(values: pd.DataFrame, task: str, other: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The challenger's rows and the other model's of the same shoppers, in one order; None without either."""
    rows = values[values["task"] == task]
    mine, theirs = (rows[rows["model"] == model].set_index("user_id") for model in (CHALLENGER, other))
    shared = mine.index.intersection(theirs.index)
    return (mine.loc[shared], theirs.loc[shared]) if len(shared) else None


def lift(values: pd.DataFrame, task: str, metric: str, other: str) -> Interval | None:
    """Relative lift of the challenger over another model, paired by shopper; None without pairs."""
    found = pairs_of(values, task, other)
    if found is None or metric not in values:
        return None
    return paired_lift(found[0][metric].to_numpy(), found[1][metric].to_numpy())


def told(task: str, metric: str, found: Interval) -> str:
    """A lift in words: "discover recall@20 -3.1 % [-5.0, -1.2]"."""
    return f"{task} {metric} {found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"


def lifts_of(values: pd.DataFrame, other: str) -> dict[tuple[str, str], Interval]:
    """The challenger's lifts over another model in what decides, where that is measured."""
    found = {
        (task, metric): lift(values, task, metric, other)
        for task, metrics in DECISIVE.items()
        for metric in metrics
    }
    return {key: each for key, each in found.items() if each is not None}


def figures_of(values: pd.DataFrame, lifts: Mapping[tuple[str, str], Interval], other: str) -> dict[str, Any]:
    """Lifts by name, repeats and new items apart, and the number of shoppers by task."""
    apart = {("all", metric): lift(values, "all", metric, other) for metric in APART}
    every = {**lifts, **{key: each for key, each in apart.items() if each is not None}}
    shoppers = {
        task: 0 if (found := pairs_of(values, task, other)) is None else len(found[0]) for task in DECISIVE
    }
    return {
        "versus": other,
        "shoppers": shoppers,
        "lifts": {f"{task} {metric}": list(each) for (task, metric), each in every.items()},
    }


def loses(found: Interval, margin: float, big_loss: float) -> bool:
    """Whether a lift is a loss: for sure beyond the margin, or big; one that is undefined is none."""
    return found.high < -margin or found.value < -big_loss


def against_champion(values: pd.DataFrame, rules: GateRules) -> Check:
    """Refuses what is surely worse than the champion, or much worse, in any task."""
    lifts = lifts_of(values, CHAMPION)
    if not lifts:
        return not_made("quality", "there is no champion that could be measured on this window", allowed=True)
    if missing := missing_tasks(lifts):
        return not_made(
            "quality", f"nothing was measured of {missing}; run `endcap evaluate --date`", allowed=False
        )
    worse = [told(*key, each) for key, each in lifts.items() if loses(each, rules.margin, rules.big_loss)]
    figures = figures_of(values, lifts, CHAMPION)
    if worse:
        return Check(
            "quality", passed=False, reason=f"worse than the champion: {'; '.join(worse)}", figures=figures
        )
    firsts = [told(task, names[0], lifts[task, names[0]]) for task, names in DECISIVE.items()]
    return Check(
        "quality", passed=True, reason=f"no worse than the champion: {'; '.join(firsts)}", figures=figures
    )


def missing_tasks(lifts: Mapping[tuple[str, str], Interval]) -> str:
    """What is not measured of what decides, in words; empty where all is."""
    lacking = [
        f"{task} {name}" for task, names in DECISIVE.items() for name in names if (task, name) not in lifts
    ]
    return ", ".join(lacking)


def against_rules(values: pd.DataFrame, rules: GateRules) -> Check:
    """Refuses what does not surely beat the segment rule, or surely loses to personal frequency on `all`."""
    segment, personal = lifts_of(values, SEGMENT), lifts_of(values, PERSONAL)
    if missing := missing_tasks(segment) or missing_tasks(personal):
        why = f"nothing was measured of {missing} against the rules; run `endcap evaluate --date`"
        return not_made("legacy", why, allowed=False)
    firsts = [(task, names[0]) for task, names in DECISIVE.items()]
    wrong = [
        f"not surely better than the segment rule: {told(*key, segment[key])}"
        for key in firsts
        if not segment[key].low > 0
    ]
    wrong += [
        f"worse than personal frequency: {told(*key, each)}"
        for key, each in personal.items()
        if key[0] == "all" and loses(each, rules.rule_margin, rules.big_loss)
    ]
    figures = {
        SEGMENT: figures_of(values, segment, SEGMENT),
        PERSONAL: figures_of(values, personal, PERSONAL),
    }
    if wrong:
        return Check("legacy", passed=False, reason="; ".join(wrong), figures=figures)
    better = "; ".join(told(*key, segment[key]) for key in firsts)
    return Check("legacy", passed=True, reason=f"better than the segment rule: {better}", figures=figures)


def no_jump(values: pd.DataFrame, rules: GateRules) -> Check:
    """Refuses what is too good to be true: a sure gain, beyond `most_gain`, over the champion."""
    lifts = {task: lift(values, task, JUMP, CHAMPION) for task in DECISIVE}
    found = {task: each for task, each in lifts.items() if each is not None}
    if not found:
        return not_made("jump", "there is no champion that could be measured on this window", allowed=True)
    figures = {f"{task} {JUMP}": list(each) for task, each in found.items()}
    wild = [
        told(task, JUMP, each)
        for task, each in found.items()
        if each.value > rules.most_gain and each.low > 0
    ]
    if wild:
        why = f"too good to be true, a leak is likelier: {'; '.join(wild)} over the champion"
        return Check("jump", passed=False, reason=why, figures=figures)
    most = max(found, key=lambda task: found[task].value)
    return Check("jump", passed=True, reason=f"at most {told(most, JUMP, found[most])}", figures=figures)
