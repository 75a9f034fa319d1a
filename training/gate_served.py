"""Whether a challenger can stand in the champion's place: features, freshness, coverage, latency, drift.

In: figures, collected elsewhere. Out: checks. Pure functions.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.drift import Drift
from training.gate import Check, not_made
from training.gate_quality import CHALLENGER, CHAMPION, SEGMENT
from training.gate_rules import GateRules
from training.intervals import paired_lift

Floats = NDArray[np.float64]
MOST_NAMED = 4  # names in one sentence


def listed(names: Sequence[str]) -> str:
    """A few names and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def same_features(
    release: Mapping[str, Sequence[str]],
    registered: Mapping[str, Sequence[str]],
    held: Mapping[str, Sequence[str]] | None,
) -> Check:
    """Features by kind ("user", "item") of the release against the registry's services and the online store.

    One that is missing is final: requests cannot be answered with it. `held` is None without an online store.
    """
    missing, new, unordered = [], [], []
    for kind, wanted in release.items():
        missing += [name for name in wanted if name not in registered[kind]]
        missing += [
            name for name in wanted if held is not None and name not in held[kind] and name not in missing
        ]
        new += [name for name in registered[kind] if name not in wanted]
        unordered += [kind] if list(wanted) != list(registered[kind]) else []
    figures = {"missing": missing, "new": new, "features": sum(map(len, release.values()))}
    if missing:
        why = f"the release reads {listed(missing)}, which the registry or the online store lacks"
        return Check(
            "features", passed=False, reason=f"{why}; run `endcap apply`", figures=figures, final=True
        )
    if new:
        why = f"the release was trained without {listed(new)}, which the registry has; train again"
        return Check("features", passed=False, reason=why, figures=figures)
    if unordered:
        why = f"the {' and '.join(unordered)} features stand in another order than the registry's"
        return Check("features", passed=False, reason=why, figures=figures)
    where = "the registry" if held is None else "the registry and the online store"
    return Check(
        "features",
        passed=True,
        reason=f"{figures['features']} features, as {where} has them",
        figures=figures,
    )


def told(instant: datetime | None) -> str:
    """An instant in words."""
    return "nothing" if instant is None else f"{instant:%Y-%m-%d %H:%M:%SZ}"


def fresh(
    as_of: datetime,
    learnt_until: datetime | None,
    known: datetime,
    newest: Mapping[str, tuple[datetime | None, datetime | None]],
    rules: GateRules,
) -> Check:
    """Whether facts are of the day's end, what was learnt is not old, and all features have arrived.

    `newest` has for each place the newest row up to the day's end, and what it should be.
    """
    wrong = []
    if as_of != known:
        wrong.append(f"the release is as of {told(as_of)}, not {told(known)}")
    if learnt_until is None or known - learnt_until > timedelta(days=rules.oldest_days):
        age = "at no known time" if learnt_until is None else f"until {told(learnt_until)}"
        wrong.append(f"it has learnt {age}, more than {rules.oldest_days:g} days before the day's end")
    wrong += [
        f"{place} ends with {told(found)}, not {told(wanted)}"
        for place, (found, wanted) in newest.items()
        if found != wanted
    ]
    figures = {
        "as_of": as_of.isoformat(),
        "learnt_until": None if learnt_until is None else learnt_until.isoformat(),
        "newest": {
            place: None if found is None else found.isoformat() for place, (found, _) in newest.items()
        },
    }
    reason = "; ".join(wrong) or f"as of {told(known)}, and so are {len(newest)} tables and stores"
    return Check("freshness", passed=not wrong, reason=reason, figures=figures)


def covers(
    full: Mapping[str, float],
    variety: Mapping[str, Mapping[str, float]],
    catalogue: Mapping[str, int],
    rules: GateRules,
) -> Check:
    """Whether pages are full, lists differ between shoppers, and the catalogue has not shrunk.

    `full` is the share of full answers by task; `variety` by task the share of the catalogue that stands in
    somebody's first ten, by model; `catalogue` the items, by model. Without a champion the segment rule,
    which shows all shoppers of a segment one list, is the floor of variety.
    """
    wrong = [
        f"only {value:.1%} of the shoppers get a full page of {task}"
        for task, value in full.items()
        if value < rules.full_answers
    ]
    for task, shares in variety.items():
        other = CHAMPION if CHAMPION in shares else SEGMENT
        least = shares.get(other, 0.0) * (rules.least_variety if other == CHAMPION else 1.0)
        if shares[CHALLENGER] < least:
            wrong.append(
                f"the pages of {task} show {shares[CHALLENGER]:.2%} of the catalogue,"
                f" the {other}'s {shares[other]:.2%}"
            )
    size, before = catalogue[CHALLENGER], catalogue.get(CHAMPION)
    if not size or (before is not None and size < before * rules.smallest_catalogue):
        wrong.append(f"the catalogue has {size:,} items, the champion's {before or 0:,}")
    figures = {"full_answers": dict(full), "variety": variety, "catalogue": dict(catalogue)}
    reason = "; ".join(wrong) or (
        f"{min(full.values()):.1%} full pages, {size:,} items,"
        f" {variety['all'][CHALLENGER]:.2%} of them on the pages of all"
    )
    return Check("coverage", passed=not wrong, reason=reason, figures=figures)


def quick(challenger: Floats, champion: Floats | None, users: Sequence[str], rules: GateRules) -> Check:
    """CPU milliseconds per answer (n,), paired with the champion's of the same requests, by user."""
    median, p95 = np.quantile(challenger, [0.5, 0.95])
    figures: dict[str, Any] = {
        "p50_ms": round(median, 3),
        "p95_ms": round(p95, 3),
        "answers": len(challenger),
    }
    wrong = [] if p95 <= rules.p95_ms else [f"p95 is {p95:.1f} ms of CPU, the budget {rules.p95_ms:g}"]
    compared = "without a champion to compare with"
    if champion is not None:
        lift = paired_lift(challenger, champion, users=np.asarray(users))
        ratio = [value + 1 for value in lift]
        compared = f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}] times the champion's"
        figures |= {"ratio": ratio, "champion_p50_ms": round(float(np.median(champion)), 3)}
        if ratio[1] > rules.slower:
            wrong.append(f"an answer takes {compared}")
    reason = "; ".join(wrong) or f"p50 {median:.1f} ms, p95 {p95:.1f} ms of CPU, {compared}"
    return Check("latency", passed=not wrong, reason=reason, figures=figures)


def steady(found: Sequence[Drift], since: datetime, rules: GateRules) -> Check:
    """Warns of features that moved since `since`; refuses what no season does."""
    if not found:
        return not_made("drift", f"there are no features as of {told(since)} to compare with", allowed=True)
    moved = [each for each in found if each.psi > rules.psi]
    extreme = [each for each in found if each.psi > rules.extreme_psi]
    lost = [each for each in found if each.null_jump > rules.null_jump]
    figures = {
        "since": since.isoformat(),
        "psi": {each.feature: round(each.psi, 4) for each in found},
        "null_jump": {each.feature: round(each.null_jump, 4) for each in found if each.null_jump},
    }
    wrong = [f"{each.feature} lost {each.null_jump:.0%} of its values" for each in lost]
    if len(extreme) > rules.drifted:
        names = listed([f"{each.feature} ({each.psi:.2f})" for each in extreme])
        wrong.append(f"{len(extreme)} features have a PSI above {rules.extreme_psi:g}: {names}")
    if wrong:
        return Check("drift", passed=False, reason=f"since {told(since)} {'; '.join(wrong)}", figures=figures)
    most = f"most {found[0].feature} ({found[0].psi:.2f})"
    reason = (
        f"{len(moved)} of {len(found)} features have a PSI above {rules.psi:g} since {told(since)}, {most}"
    )
    warns = len(moved) > rules.drifted
    return Check("drift", passed=True, reason=reason, figures=figures, warning=warns)


def equal_rows(name: str, wrong: Mapping[str, int], rows: int, meaning: str) -> Check:
    """Refuses where a feature differs in any of the sampled rows; `wrong` counts them by feature."""
    worst = sorted(wrong, key=lambda feature: (-wrong[feature], feature))
    figures = {"rows": rows, "wrong": dict(wrong)}
    if not wrong:
        return Check(name, passed=True, reason=f"{rows} sampled rows, every feature equal", figures=figures)
    said = listed([f"{feature} in {wrong[feature]}" for feature in worst])
    return Check(name, passed=False, reason=f"{meaning}: {said} of {rows} sampled rows", figures=figures)
