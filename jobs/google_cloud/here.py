"""A Spark step of this installation, done by Dataproc: with the bucket mounted, as if it had been done here.

The lake is the state folder. Where that is mounted here, as the record of its last ingest tells, the writers'
lock is held while the batch runs, and the pipeline takes the step as done when it is. Where it is not, only
the batch is run.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from feature_repo.settings import Settings
from jobs.days.steps import DAY_STEPS
from jobs.google_cloud import dataproc
from jobs.google_cloud.code_upload import code_at, upload
from jobs.google_cloud.package_zip import Package
from jobs.google_cloud.spark_runs import SparkRun, Where
from jobs.google_cloud.submission import Ended, Submission
from jobs.markers import remove_marker
from jobs.pipeline import Pipeline, result_lines
from jobs.steps import STEPS, Choices, Step, step_named
from jobs.writer_lock import writer_lock


@dataclass(frozen=True)
class Here:
    """One step of this installation, of a day or of the whole."""

    settings: Settings
    step: str
    day: date | None
    say: Callable[[str], None]
    model: str = ""
    mounted: bool = False

    def submitted(self, where: Where, options: Mapping[str, Any], *, again: bool) -> str:
        """Do the step on Dataproc; the line that says what came of it."""
        package = Package.made()
        code = code_at(options["root"], package)
        run = SparkRun(self.step, code=code, day=self.day, rows=self._rows(), **options)
        run.check_for(where.cluster)
        runner = dataproc.runner_of(where)
        with self._lock():
            brought = upload(where.project, run.root, package)
            self.say(f"code {package.hash} {'brought to' if brought else 'is in'} {run.root}/code")
            submission = Submission(
                runner, run, self.say, again=again, timeout_s=run.ttl_s, begun=self._begun
            )
            return self._taken(submission.carried_out())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not self.mounted:
            yield
            return
        with writer_lock(self.settings):
            yield

    def _rows(self) -> str:
        """The runs of the steps that wrote what it reads, where they can be seen."""
        if not self.mounted:
            return ""
        step = step_named(self.step, self._steps)
        return " ".join(marker.run for marker in self._pipeline.read_by(step, self._choices))

    def _begun(self) -> None:
        """What is there of the step counts no longer."""
        if self.mounted:
            remove_marker(self.settings, step_named(self.step, self._steps).marker(self._choices))

    def _taken(self, ended: Ended) -> str:
        """Let the pipeline take the step as done, if it does not already."""
        if not self.mounted:
            return (
                f"{ended.run_id} is done in {ended.seconds:.0f} s; its lake is not mounted as"
                f" {self.settings.state}, where nothing has changed"
            )
        step, pipeline = step_named(self.step, self._steps), self._pipeline
        if ended.before and pipeline.reason_to_run(step, self._choices) is None:
            return f"{ended.run_id} was done before"
        marker = pipeline.taken_over(step, self._choices)
        return result_lines(marker.result, ended.run_id)

    @property
    def _steps(self) -> tuple[Step, ...]:
        return DAY_STEPS if self.day else STEPS

    @property
    def _choices(self) -> Choices:
        return Choices(day=self.day, model=self.model or None)

    @property
    def _pipeline(self) -> Pipeline:
        return Pipeline(self.settings, steps=self._steps)
