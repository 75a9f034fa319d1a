"""Decide whether the day's challenger may be released: every check, then the decision.

In: state/days/D/release and per_shopper.parquet, the champion in the model store, feature tables, stores and
tables. Out: state/days/D/gate.json. `state/gate.yaml` may set other thresholds (`training.gate_rules`).

    endcap gate --date 2017-12-10
    endcap gate --date 2017-12-10 --override "the window is a holiday"
"""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from bentos.release import ReleaseError
from feature_repo.settings import Settings
from jobs.gate.subject import Subject, challenger_folder, opened, values_file
from jobs.result import Result
from training.gate import Check, Decision, OverrideError, not_made, read_decision
from training.gate_rules import GateRules, load_gate_rules

CHECKS = (
    *("release", "features", "freshness", "leakage", "parity"),
    *("quality", "legacy", "jump", "latency", "coverage", "drift"),
)


def decision_file(settings: Settings, day: date) -> Path:
    """Where the day's decision is kept."""
    return settings.day(day) / "gate.json"


def rules_file(settings: Settings) -> Path:
    """An operator's thresholds."""
    return settings.state / "gate.yaml"


def decision_of(settings: Settings, day: date) -> Decision:
    """The decision of a day; FileNotFoundError before there is one."""
    return read_decision(decision_file(settings, day))


def run(settings: Settings, day: date, champion: str | None, override: str | None = None) -> Result:
    """Check the day's challenger against the champion and write the decision.

    Raises OverrideError for an override without a reason, GateRulesError for rules that cannot be used.
    """
    if override is not None and not override.strip():
        raise OverrideError("--override is empty; say why the challenger is to be released")
    started = time.perf_counter()
    checks = checked(settings, day, champion, load_gate_rules(rules_file(settings)))
    decision = Decision(day, named(settings, day), champion, checks, override)
    path = decision_file(settings, day)
    decision.write(path)
    return Result(
        step="gate",
        rows=len(checks),
        unit="checks",
        where=path,
        seconds=time.perf_counter() - started,
        detail=decision.verdict,
        notes=(decision.table(),),
    )


def checked(settings: Settings, day: date, champion: str | None, rules: GateRules) -> tuple[Check, ...]:
    """All checks, in their order; of a release that cannot be read no other one is made."""
    try:
        subject = opened(settings, day, champion, rules)
    except ReleaseError as error:
        broken = Check("release", passed=False, reason=str(error), final=True)
        why = "the release cannot be read"
        return (broken, *(not_made(name, why, allowed=True) for name in CHECKS[1:]))
    found = {check.name: check for check in made(subject)}
    return tuple(found[name] for name in CHECKS)


def made(subject: Subject) -> Iterator[Check]:
    """The checks of a release that can be read."""
    from jobs.gate import answers, leaks, stores
    from training.gate_quality import against_champion, against_rules, no_jump

    files = len(subject.challenger.manifest["files"])
    yield Check("release", passed=True, reason=f"{files} files, all as the manifest has them")
    features = stores.features(subject)
    yield features
    yield stores.freshness(subject)
    yield leaks.leakage(subject)
    yield leaks.drift(subject)
    values = subject.values()
    if values is None:
        path = values_file(subject.settings, subject.day)
        why = f"no values per shopper in {path}; run `endcap evaluate --date {subject.day}`"
        yield from (not_made(name, why, allowed=False) for name in ("quality", "legacy", "jump"))
    else:
        yield against_champion(values, subject.rules)
        yield against_rules(values, subject.rules)
        yield no_jump(values, subject.rules)
    if features.final or values is None:  # it cannot answer, or nobody is known who asks
        why = "features are missing" if features.final else why
        yield from (not_made(name, why, allowed=features.final) for name in ("latency", "coverage"))
    else:
        yield from answers.made(subject, values)
    why = "features are missing"
    yield not_made("parity", why, allowed=True) if features.final else stores.parity(subject)


def content_hash(manifest: dict[str, Any]) -> str:
    """Twelve digits that are the same for releases of the same files."""
    content = json.dumps(manifest["files"], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def named(settings: Settings, day: date) -> str:
    """The challenger's folder, and the hash of its content where that can be read."""
    folder = challenger_folder(settings, day)
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return f"{folder.parent.name}/{folder.name}@{content_hash(manifest)}"
    except (OSError, ValueError, KeyError):
        return f"{folder.parent.name}/{folder.name}"
