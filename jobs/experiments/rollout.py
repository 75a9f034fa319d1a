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
follows. A mended treatment gets an experiment of another name: what was learnt of the old one is not of it.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from bentos.experiments import Experiment, RolloutPlan, load_experiments
from bentos.rollouts import Rollout, load_rollouts, save_rollouts
from feature_repo.settings import Settings
from jobs.experiments.figures import figures
from jobs.experiments.sequential import sample_ratio_p
from jobs.experiments.verdict import Verdict, in_doubt, verdict

WAIT, ADVANCE, STOP, SHIP, START = "wait", "advance", "stop", "ship", "start"


class RolloutError(RuntimeError):
    """A rollout cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Seen:
    """What a look finds.

    `newest` is the newest answer's time by the shop's clock, `doubt` what speaks against going on.
    """

    users: Mapping[str, int]
    newest: datetime | None
    verdict: Verdict | None  # None before anybody was in it
    doubt: str = ""


@dataclass(frozen=True)
class Look:
    """One line of the trail: what was decided and why, what that makes of the rollout, and since when."""

    looked_at: str
    action: str
    reason: str
    step: int  # of the plan, from 0
    ramp: float
    settled: str | None
    since: str | None  # by the shop's clock, that this step lasts
    users: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        served = f"all get {self.settled}" if self.settled else f"step {self.step + 1}, {self.ramp:.0%} in it"
        came = ", ".join(f"{n:,} {arm}" for arm, n in self.users.items()) or "nobody yet"
        return f"{self.action}: {self.reason} ({served}; users: {came})"

    @property
    def rollout(self) -> Rollout:
        """What the service is to follow."""
        return Rollout(ramp=self.ramp, settled=self.settled)


def decided(experiment: Experiment, last: Look | None, seen: Seen) -> Look:
    """What follows from a look; `last` is the one before, None at the beginning."""
    plan = plan_of(experiment)
    treatment, newest = experiment.treatments[0], seen.newest.isoformat() if seen.newest else None

    def look(
        action: str, reason: str, step: int, settled: str | None = None, since: str | None = newest
    ) -> Look:
        ramp = min(1.0, plan.steps[step] / experiment.arms[treatment].share)
        return Look(
            datetime.now(UTC).isoformat(), action, reason, step, ramp, settled, since, dict(seen.users)
        )

    if last is None:
        return look(START, f"{plan.steps[0]:.0%} of the users get {treatment}", 0)
    if last.settled is not None:
        return look(WAIT, f"settled for {last.settled} before", last.step, last.settled, since=last.since)
    if seen.verdict is not None and seen.verdict.word in ("stop", "invalid"):
        return look(STOP, seen.verdict.reason, last.step, experiment.control)
    if waiting := what_lacks(experiment, last, seen):
        return look(WAIT, waiting, last.step, since=last.since or newest)
    if last.step + 1 < len(plan.steps):
        share = plan.steps[last.step + 1]
        return look(ADVANCE, f"no harm found: {share:.0%} of the users get {treatment}", last.step + 1)
    return look(SHIP, f"no harm found at the last step: all get {treatment}", last.step, treatment)


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
    fewest = min((seen.users.get(arm, 0) for arm in experiment.arms), default=0)
    if seen.newest is None or last.since is None or seen.verdict is None:
        return "nobody has been in it yet"
    hours = (seen.newest - datetime.fromisoformat(last.since)).total_seconds() / 3600
    if hours < plan.hours:
        return f"the step has lasted {hours:.1f} of {plan.hours:g} hours"
    if fewest < plan.users:
        return f"an arm has {fewest:,} of {plan.users:,} users"
    return seen.doubt


def run(settings: Settings, name: str, *, stop: str | None = None) -> Look:
    """Look once and do what follows; with `stop`, the reason of a person, roll back at once."""
    experiment = load_experiments(settings.experiments_file).named(name)
    with alone(settings):
        looks = trail(settings, name)
        last = looks[-1] if looks else None
        if last is not None:
            publish(settings, name, last)  # where a crash came between trail and file
        if stop is not None:
            look = stopped(experiment, last, stop)
        else:
            look = decided(experiment, last, seen(settings, experiment))
        keep(settings, name, look)
    return look


def watched(settings: Settings, name: str, *, stop: str | None, every_s: float | None) -> Iterator[Look]:
    """One look or, with `every_s`, one after the other until the rollout is settled."""
    while True:
        look = run(settings, name, stop=stop)
        yield look
        if every_s is None or look.settled is not None:
            return
        time.sleep(every_s)


def stopped(experiment: Experiment, last: Look | None, reason: str) -> Look:
    """What a person decided: all get the control's arm. RolloutError where nothing was begun."""
    if last is None:
        raise RolloutError(f"The rollout of {experiment.name} has not begun; there is nothing to stop")
    at = datetime.now(UTC).isoformat()
    return replace(last, looked_at=at, action=STOP, reason=f"by hand: {reason}", settled=experiment.control)


def seen(settings: Settings, experiment: Experiment) -> Seen:
    """What the log says of an experiment now."""
    found = figures(settings, experiment)
    if found is None:
        return Seen({}, None, None)
    shares = {name: arm.share for name, arm in experiment.arms.items() if arm.share > 0}
    p = sample_ratio_p([found.users.get(name, 0) for name in shares], list(shares.values()))
    # The report's own check is for one look, this one for as many as there will be.
    records = [{**each, "value": p} if each["metric"] == "srm" else each for each in found.records]
    doubt = next(in_doubt(records, experiment), "")
    return Seen(found.users, found.newest, verdict(records, experiment), doubt)


def trail_file(settings: Settings, name: str) -> Path:
    """Where the looks of a rollout are kept."""
    return settings.rollouts_file.parent / "rollouts" / f"{name}.jsonl"


def trail(settings: Settings, name: str) -> list[Look]:
    """All looks of a rollout, the oldest first; a last line that a crash cut off is none."""
    path = trail_file(settings, name)
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [Look(**json.loads(line)) for line in lines]


def keep(settings: Settings, name: str, look: Look) -> None:
    """Have a look on the disk, then let the service follow it."""
    path = trail_file(settings, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(content.rfind(b"\n") + 1)  # of a line that a crash cut off
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(asdict(look)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    publish(settings, name, look)


def publish(settings: Settings, name: str, look: Look) -> None:
    """Bring the file that the service follows up to a look."""
    rollouts = load_rollouts(settings.rollouts_file)
    if rollouts.get(name) != look.rollout:
        save_rollouts(settings.rollouts_file, {**rollouts, name: look.rollout})


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """One rollout looks at a time; RolloutError where another does."""
    path = settings.rollouts_file.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            flock(handle, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RolloutError("Another `endcap rollout` is at work; wait until it is done") from error
        yield
