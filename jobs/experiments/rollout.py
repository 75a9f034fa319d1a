"""Roll a treatment out step by step, and roll it back by itself when it does harm.

Each call looks once: at the log, at the guardrails and the primary metric by tests that one may look at as
often as one likes. Then it waits, goes on to the next step, stops (all get the control's arm again) or, after
the last step, ships (all get the treatment). The service follows `state/rollouts.json` within seconds. Run it
from cron, or with --watch.

    endcap rollout engine
    endcap rollout engine --watch 60
    endcap rollout engine --stop "complaints by phone"

The shares of control and treatment among the users of a step are those of the experiment, and who is in stays
in, so all that was learnt stays comparable. Every look is kept in `state/rollouts/NAME.jsonl` before anything
follows (`trail.py`). A mended treatment gets an experiment of another name: what was learnt of the old one is
not of it.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bentos.experiments import HANDFUL, Experiment, RolloutPlan, load_experiments
from bentos.rollouts import load_rollouts
from feature_repo.settings import Settings
from jobs.experiments.figures import Figures, figures
from jobs.experiments.log_rows import NoLogsError
from jobs.experiments.sequential import sample_ratio_p
from jobs.experiments.trail import (
    ADVANCE,
    SHIP,
    START,
    STOP,
    WAIT,
    Look,
    RolloutError,
    alone,
    keep,
    last_look,
    lock_file,
    percent,
    publish,
    trail_file,
)
from jobs.experiments.verdict import SRM, Verdict, in_doubt, verdict
from jobs.pipeline import Say

SAME = 1e-9  # shares that are no further apart


@dataclass(frozen=True)
class Seen:
    """What a look finds.

    `newest` is the newest answer's time by the shop's clock, `doubt` what speaks against going on.
    """

    users: Mapping[str, int]
    newest: datetime | None
    verdict: Verdict | None  # None where nothing can be said yet
    doubt: str = ""


def decided(experiment: Experiment, last: Look | None, seen: Seen) -> Look:
    """What follows from a look; `last` is the one before, None at the beginning. Nothing is settled yet.

    RolloutError for an experiment without a rollout, and for one that has ended.
    """
    plan, treatment = plan_of(experiment), experiment.treatments[0]
    since = seen.newest.isoformat() if seen.newest else None

    def look(action: str, reason: str, share: float, settled: str | None = None) -> Look:
        ramp = min(1.0, share / experiment.arms[treatment].share)
        return Look(_now(), action, reason, share, ramp, settled, since, dict(seen.users))

    if last is not None and seen.verdict is not None and seen.verdict.word in ("stop", "invalid"):
        return look(STOP, seen.verdict.reason, last.share, experiment.control)
    if experiment.end is not None and seen.newest is not None and seen.newest >= experiment.end:
        raise RolloutError(
            f"{experiment.name} ended on {experiment.end.isoformat()}, and nobody is in it any more;"
            " give it a later end, or --stop"
        )
    if last is None:
        return look(START, f"{percent(plan.steps[0])} of the users get {treatment}", plan.steps[0])
    if waiting := what_lacks(experiment, last, seen):
        waited = replace(last, looked_at=_now(), action=WAIT, reason=waiting, users=dict(seen.users))
        return replace(waited, since=last.since or since)
    for share in plan.steps:
        if share > last.share + SAME:  # by shares, as steps may have been edited since
            return look(ADVANCE, f"no harm found: {percent(share)} of the users get {treatment}", share)
    return look(SHIP, f"no harm found at the last step: all get {treatment}", last.share, treatment)


def plan_of(experiment: Experiment) -> RolloutPlan:
    """How an experiment is to be rolled out; RolloutError where it says nothing of it."""
    if experiment.rollout is None:
        raise RolloutError(
            f"{experiment.name} has no rollout; give it one, such as"
            " rollout: {steps: [0.01, 0.05, 0.25, 0.5], hours: 24, users: 100}"
        )
    return experiment.rollout


def what_lacks(experiment: Experiment, last: Look, seen: Seen) -> str:
    """What a step lacks to be over, empty for nothing."""
    plan = plan_of(experiment)
    if seen.newest is None or last.since is None:
        return "nobody has been in it yet"
    hours = (seen.newest - datetime.fromisoformat(last.since)).total_seconds() / 3600
    if hours < plan.hours:
        return f"the step has lasted {hours:.1f} of {plan.hours:g} hours"
    if (fewest := _fewest(experiment, seen.users)) < plan.users:
        return f"an arm has {fewest:,} of {plan.users:,} users"
    return seen.doubt


def run(settings: Settings, name: str, *, stop: str | None = None) -> Look:
    """Look once and do what follows; with `stop`, the reason of a person, roll back at once.

    Once settled, only a person changes it. RolloutError while another looks; a person waits for that instead.
    """
    experiment = load_experiments(settings.experiments_file).named(name)
    with alone(lock_file(settings, name), wait=stop is not None):
        last = last_look(settings, name)
        if last is None:
            may_begin(settings, experiment)
        else:
            publish(settings, name, last)  # where a crash came between trail and file
        if stop is not None:
            look = stopped(experiment, last, stop)
        elif last is not None and last.settled is not None:
            return replace(last, action=WAIT, reason=f"settled for {last.settled} on {last.looked_at}")
        else:
            look = decided(experiment, last, seen(settings, experiment))
        keep(settings, name, look)
    return look


def watched(
    settings: Settings, name: str, *, stop: str | None, every_s: float | None, say: Say
) -> Iterator[Look]:
    """One look or, with `every_s`, one after the other until the rollout is settled.

    What goes wrong at a later look is said, and the next one tries again: a watch that ends guards nothing.
    """
    look = run(settings, name, stop=stop)
    yield look
    while every_s is not None and look.settled is None:
        time.sleep(every_s)
        try:
            look = run(settings, name)
        except (ValueError, OSError, NoLogsError, RolloutError) as error:
            say(f"could not look: {error}")
        else:
            yield look


def may_begin(settings: Settings, experiment: Experiment) -> None:
    """RolloutError where it was decided, or begun and the trail is gone: beginning anew would undo that."""
    name, path = experiment.name, settings.rollouts_file
    if experiment.settled is not None:
        raise RolloutError(
            f"{name} is settled for {experiment.settled} in {settings.experiments_file};"
            " take that out to roll it out"
        )
    if name in load_rollouts(path):
        raise RolloutError(
            f"{path} has {name}, and {trail_file(settings, name)} is not there; bring that back, or take"
            f" {name} out of the former, and it begins anew"
        )


def stopped(experiment: Experiment, last: Look | None, reason: str) -> Look:
    """What a person decided: all get the control's arm. RolloutError where nothing was begun."""
    if last is None:
        raise RolloutError(f"The rollout of {experiment.name} has not begun; there is nothing to stop")
    return replace(
        last, looked_at=_now(), action=STOP, reason=f"by hand: {reason}", settled=experiment.control
    )


def seen(settings: Settings, experiment: Experiment) -> Seen:
    """What the log says of an experiment now."""
    found = figures(settings, experiment)
    return Seen({}, None, None) if found is None else judged(experiment, found)


def judged(experiment: Experiment, found: Figures) -> Seen:
    """What figures say for and against going on.

    Of a handful of users only the shares in which they came are believed: an arm that nobody has been in yet,
    one outcome that cannot be, or an interval that is right for many say nothing then.
    """
    shares = {name: arm.share for name, arm in experiment.arms.items()}
    p = sample_ratio_p([found.users.get(name, 0) for name in shares], list(shares.values()))
    # The report's own check is for one look, this one for as many as there will be.
    records = [{**each, "value": p} if each["metric"] == "srm" else each for each in found.records]
    said = verdict(records, experiment)
    if _fewest(experiment, found.users) < HANDFUL and p >= SRM:
        return Seen(found.users, found.newest, None)
    return Seen(found.users, found.newest, said, next(in_doubt(records, experiment), ""))


def _fewest(experiment: Experiment, users: Mapping[str, int]) -> int:
    """Users of the arm that has the fewest."""
    return min(users.get(arm, 0) for arm in experiment.arms)


def _now() -> str:
    return datetime.now(UTC).isoformat()
