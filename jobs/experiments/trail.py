"""The trail of a rollout: every look on the disk before anything follows from it.

    state/rollouts/engine.jsonl     a line for each look: when, what was decided and why, users by arm
    state/rollouts.json             what the service follows; it can be made from the trails again

In: a `Look`. Out: its line, then the file. A crash between the two is made good by the next call, a line that
a crash cut off is none. Rollouts of several experiments may look at one time, two of one may not.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from bentos import json_lines
from bentos.rollouts import Rollout, load_rollouts, save_rollouts
from feature_repo.settings import Settings

WAIT, ADVANCE, STOP, SHIP, START = "wait", "advance", "stop", "ship", "start"


class RolloutError(RuntimeError):
    """A rollout cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True)
class Look:
    """What was decided and why, what that makes of the rollout, and since when."""

    looked_at: str  # by the clock of who looked
    action: str
    reason: str
    share: float  # of the users, that are to get the treatment
    ramp: float  # the share that is in the experiment
    settled: str | None
    since: str | None  # by the shop's clock, that this step lasts
    users: Mapping[str, int] = field(default_factory=dict)  # so far, by arm

    def __str__(self) -> str:
        served = f"all get {self.settled}" if self.settled else f"treatment at {percent(self.share)}"
        came = ", ".join(f"{n:,} {arm}" for arm, n in self.users.items()) or "nobody yet"
        return f"{self.action}: {self.reason} ({served}; users: {came})"

    @property
    def rollout(self) -> Rollout:
        """What the service is to follow."""
        return Rollout(ramp=self.ramp, settled=self.settled)


def percent(share: float) -> str:
    """A share in words: 5%, 0.25%."""
    return f"{share * 100:.3g}%"


def lock_file(settings: Settings, name: str) -> Path:
    """What is locked for as long as somebody looks at a rollout."""
    return trail_file(settings, name).with_suffix(".lock")


def trail_file(settings: Settings, name: str) -> Path:
    """Where the looks of a rollout are kept."""
    return settings.rollouts_file.parent / "rollouts" / f"{name}.jsonl"


def last_look(settings: Settings, name: str) -> Look | None:
    """The look that holds, None before the first; RolloutError where its line cannot be read."""
    path = trail_file(settings, name)
    lines = json_lines.whole_lines(path)
    if not lines:
        return None
    try:
        return Look(**json.loads(lines[-1]))
    except (ValueError, TypeError) as error:
        raise RolloutError(
            f"{path}: line {len(lines)} is no look ({error}); mend it, or take it out, and the one before"
            " holds"
        ) from error


def keep(settings: Settings, name: str, look: Look) -> None:
    """Have a look on the disk, then let the service follow it."""
    json_lines.append(trail_file(settings, name), asdict(look))
    publish(settings, name, look)


def publish(settings: Settings, name: str, look: Look) -> None:
    """Bring the file that the service follows up to a look; what it lacks of others is in their trails."""
    path = settings.rollouts_file
    with alone(path.with_suffix(".lock"), wait=True):
        rollouts = load_rollouts(path)
        trails = {each.stem for each in trail_file(settings, name).parent.glob("*.jsonl")}
        others = {each: last_look(settings, each) for each in sorted(trails - {*rollouts, name})}
        lacking = {each: found.rollout for each, found in others.items() if found}
        new = {**rollouts, **lacking, name: look.rollout}
        if new != rollouts:
            save_rollouts(path, new)


@contextmanager
def alone(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the kernel's lock on a file, which ends with the process; RolloutError where it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            flock(handle, LOCK_EX if wait else LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise RolloutError(
                f"Another `endcap rollout {path.stem}` is at work; wait until it is done"
            ) from error
        yield
