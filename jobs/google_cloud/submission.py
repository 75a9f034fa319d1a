"""Submit a run to Dataproc and follow it to its end, or find the one that another client has submitted.

    done = Submission(runner, run, say=print).carried_out()

A run has an id of its own, and its attempts are numbered. The last of them counts: under way it is followed,
done it is not done again, and after one that has failed the next is tried.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep

from jobs.google_cloud import dataproc
from jobs.google_cloud.dataproc import Runner, Seen
from jobs.google_cloud.refusals import CloudError
from jobs.google_cloud.spark_runs import SparkRun

ATTEMPTS = 99
SAY_S = 30.0  # between two lines that say that it goes on
SECOND_THOUGHT_S = 5.0  # within which another Ctrl-C cancels

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ended:
    """A run that has ended well: its id, and whether it had before this command."""

    run_id: str
    seconds: float
    before: bool


@dataclass(frozen=True)
class Submission:
    """One run on its way.

    Attributes
    ----------
    again
        whether to do it anew where it is done already
    timeout_s
        how long it is followed
    begun
        called before a run is started or followed that may change what is there
    """

    runner: Runner
    run: SparkRun
    say: Say
    again: bool = False
    timeout_s: float = 86_400.0
    begun: Callable[[], None] = lambda: None

    def carried_out(self) -> Ended:
        """The run when it has ended well; CloudError with the reason where it has not."""
        began = monotonic()
        run_id, seen = self._started()
        if seen is not None and seen.good:
            self.say(f"{run_id} was done before")
            return Ended(run_id, 0.0, before=True)
        try:
            seen = self._end_of(run_id, began)
        except KeyboardInterrupt:
            self._interrupted(run_id)
            raise
        if not seen.good:
            raise CloudError(
                f"{run_id} has ended as {seen.state}: {seen.message.strip() or 'Dataproc does not say why'};"
                f" its driver's output lies in {seen.output or 'Cloud Logging'}"
            )
        return Ended(run_id, monotonic() - began, before=False)

    def _started(self) -> tuple[str, Seen | None]:
        """The id of the run that counts, and how it stood; a new one has been started."""
        last: Seen | None = None
        for number in range(1, ATTEMPTS + 1):
            run_id = f"{self.run.base_id}-{number}"
            seen = self.runner.seen(run_id)
            if seen is None:
                break
            last, last_id = seen, run_id
        else:
            raise CloudError(f"{self.run.base_id} was run {ATTEMPTS} times; mend what its output tells of")
        if last is not None and last.over and last.good and not self.again:
            return last_id, last
        self.begun()
        if last is not None and not last.over:
            self.say(f"{last_id} is under way; following it")
            return last_id, last
        started = self.runner.start(run_id, self.run)
        self.say(f"{run_id} is {'submitted' if started else 'under way already; following it'}")
        return run_id, None

    def _end_of(self, run_id: str, began: float) -> Seen:
        """How a run has ended, with a line for each state it is in."""
        state, said = "", began
        while True:
            seen, now = self.runner.seen(run_id), monotonic()
            if seen is None:
                raise CloudError(f"{run_id} is gone: somebody else has deleted it")
            if seen.state != state or now - said >= SAY_S:
                state, said = seen.state, now
                self.say(f"{run_id}: {state.lower().replace('_', ' ')}, {now - began:.0f} s")
            if seen.over:
                return seen
            if now - began > self.timeout_s:
                raise CloudError(
                    f"{run_id} has not ended after {self.timeout_s:.0f} s, and goes on; run the same command"
                    f" again to follow it, or cancel it: {self.runner.how_to_cancel(run_id)}"
                )
            sleep(dataproc.POLL_S)

    def _interrupted(self, run_id: str) -> None:
        """Say that the run goes on; cancel it at a second interrupt soon after."""
        self.say(
            f"{run_id} goes on; press Ctrl-C again within {SECOND_THOUGHT_S:.0f} s to cancel it, or later:"
            f" {self.runner.how_to_cancel(run_id)}"
        )
        try:
            sleep(SECOND_THOUGHT_S)
        except KeyboardInterrupt:
            self.runner.cancel(run_id)
            self.say(f"{run_id} is cancelled")
