"""Run the table of steps, each in a process of its own; what is done already is skipped.

In goes the table (`jobs.steps`) and a person's choices, out comes a finished state folder and one line a
step. Kill it at any time and run the same command again: it goes on with the first unfinished step.

    endcap run --cut 49
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from feature_repo.settings import Settings
from jobs.batches import SPARK_STEPS, done_elsewhere
from jobs.child import run_child
from jobs.markers import Marker, read_marker, remove_marker, result_of, write_marker
from jobs.result import Result
from jobs.source_code import ROOT, code_hash
from jobs.steps import STEPS, Arguments, Choices, Step, step_named, steps_here
from jobs.writer_lock import writer_lock

Say = Callable[[str], None]


class StepFailedError(RuntimeError):
    """A step ended without a result; what it said about it stands above on the terminal."""


class RefusedError(RuntimeError):
    """A step is done, and what it found forbids the steps after it; the message says why."""


@dataclass(frozen=True)
class Pipeline:
    """A table of steps over one state folder; `program` is what a step's verb and options are passed to.

    Steps named in `elsewhere` are not run: what a cluster has done of them is taken as done.
    """

    settings: Settings
    steps: tuple[Step, ...] = STEPS
    program: tuple[str, ...] = (sys.executable, "-m", "jobs.cli")
    root: Path = ROOT
    elsewhere: tuple[str, ...] = ()

    def run(
        self,
        choices: Choices,
        *,
        say: Say,
        head: Say,
        until: str | None = None,
        again: str | None = None,
        notes: bool = True,
    ) -> None:
        """Do every step that is not done yet, up to `until`; `again` names one to do in any case.

        `say` takes the result lines (with the steps' own notes, if `notes`), `head` a line before each step
        that will take its time.
        """
        steps = steps_here(self.settings, self.steps)
        last = step_named(until, steps) if until else steps[-1]
        begin, peaks = time.perf_counter(), []
        where = self.settings
        head(f"profile {where.profile}, {where.threads} threads, state {where.state}")
        with writer_lock(self.settings) as lock:
            if again:
                remove_marker(self.settings, step_named(again, self.steps).marker(choices))
            for number, step in enumerate(steps, 1):
                reason = self.reason_to_run(step, choices)
                if reason is None:
                    say(result_lines(self._marker(step, choices).result, "done before", notes=False))
                else:
                    head(f"[{number}/{len(steps)}] {step.name}: {reason}")
                    outside = step.name in self.elsewhere
                    marker = (
                        self.taken_over(step, choices) if outside else self._run_step(step, choices, lock)
                    )
                    peaks.append(marker.peak_bytes)
                    say(result_lines(marker.result, f"{marker.peak_bytes / 1e9:.1f} GB", notes=notes))
                if refusal := step.refusal(self.settings, choices):
                    raise RefusedError(refusal)
                if step is last:
                    break
        work = f"peak memory {max(peaks) / 1e9:.1f} GB" if peaks else "everything was done before"
        say(f"pipeline {time.perf_counter() - begin:.0f} s, {work}")

    def reason_to_run(self, step: Step, choices: Choices) -> str | None:
        """Why `step` must be done, None if it is done; ask it of the steps in their order."""
        marker = self.marker_of(step, choices)
        if marker is None:
            return "not done yet"
        parts = self._parts(step, choices)
        for name in sorted(parts.keys() | marker.parts.keys()):
            if parts.get(name) != marker.parts.get(name) and not (step.pinned and name.startswith("step ")):
                return f"{name} changed"
        for path in step.outputs(self.settings, choices):
            if not path.exists():
                return f"no {path}"
        return None

    def marker_of(self, step: Step, choices: Choices) -> Marker | None:
        """The marker of `step`, None if there is none; for a pinned one, that without a scope will do."""
        found = read_marker(self.settings, step.marker(choices))
        return read_marker(self.settings, step.name) if found is None and step.pinned else found

    def run_here(self, name: str, arguments: Arguments, choices: Choices | None = None) -> Result:
        """Run one step by hand, in this process; the pipeline will take it as done."""
        step, choices = step_named(name, self.steps), choices or Choices()
        with writer_lock(self.settings):
            remove_marker(self.settings, step.marker(choices))
            begin = time.perf_counter()
            parts = {**self._parts(step, choices), "arguments": " ".join(options(arguments))}
            result: Result = import_module(step.module).run(self.settings, **arguments)
            result = replace(result, seconds=time.perf_counter() - begin)
            self._write(step, choices, parts, result)
        return result

    def taken_over(self, step: Step, choices: Choices) -> Marker:
        """The marker of a step that a cluster has done; NotDoneElsewhereError where none has."""
        remove_marker(self.settings, step.marker(choices))
        times = (datetime.fromisoformat(marker.finished_at) for marker in self.read_by(step, choices))
        since = max(times, default=None)
        result = done_elsewhere(self.settings, step, choices, since)
        return self._write(step, choices, self._parts(step, choices), result)

    def read_by(self, step: Step, choices: Choices) -> tuple[Marker, ...]:
        """Markers of what a Spark step reads: other steps before it, and its own of the day before."""
        steps = steps_here(self.settings, self.steps)
        before = [each for each in steps[: steps.index(step)] if each.name not in SPARK_STEPS]
        found = [self.marker_of(each, choices) for each in before]
        return tuple(filter(None, [*found, self._yesterday(step, choices)]))

    def _yesterday(self, step: Step, choices: Choices) -> Marker | None:
        """The marker of the day before of a step that goes on from it."""
        if not (step.daily and choices.day):
            return None
        return self.marker_of(step, replace(choices, day=day_before(choices.day)))

    def _run_step(self, step: Step, choices: Choices, lock: int) -> Marker:
        """Run one step in a child and write its marker; StepFailedError without a marker if it fails."""
        remove_marker(self.settings, step.marker(choices))
        parts, arguments = self._parts(step, choices), step.arguments(self.settings, choices)
        with tempfile.TemporaryDirectory(prefix="endcap-") as folder:
            answer = Path(folder) / "result.json"
            command = (
                *self.program,
                "--with-parent",
                "--result-file",
                str(answer),
                step.name,
                *options(arguments),
            )
            child = run_child(command, environment=environment(self.settings), keep_open=[lock])
            if child.code != 0 or not answer.exists():
                raise StepFailedError(_failure(step, child.code))
            result = replace(result_of(json.loads(answer.read_text())), seconds=child.seconds)
        return self._write(step, choices, parts, result, child.peak_bytes, child.cpu_seconds)

    def _write(
        self,
        step: Step,
        choices: Choices,
        parts: dict[str, str],
        result: Result,
        peak_bytes: int = 0,
        cpu_seconds: float = 0.0,
    ) -> Marker:
        finished = datetime.now(UTC).isoformat()
        run = hashlib.sha256(json.dumps([finished, parts], sort_keys=True).encode()).hexdigest()[:16]
        marker = Marker(run, finished, parts, result, peak_bytes, cpu_seconds)
        write_marker(self.settings, step.marker(choices), marker)
        return marker

    def _marker(self, step: Step, choices: Choices) -> Marker:
        marker = self.marker_of(step, choices)
        if marker is None:
            raise StepFailedError(f"The marker of {step.name} has gone; run the same command again")
        return marker

    def _parts(self, step: Step, choices: Choices) -> dict[str, str]:
        """What the outputs of `step` depend on, each under the name that a person is told when it changes."""
        named = {each.name: each for each in steps_here(self.settings, self.steps) if each.name in step.after}
        before = {f"step {name}": self.marker_of(each, choices) for name, each in named.items()}
        if step.daily and choices.day:
            before["step of the day before"] = self._yesterday(step, choices)
        server = step.server(self.settings)
        return {
            "arguments": " ".join(options(step.arguments(self.settings, choices))),
            "code": code_hash((step.module, *step.more_code), step.files, root=self.root),
            "libraries": " ".join(f"{name} {version(name)}" for name in step.libraries),
            **({} if server is None else {"online store": server}),
            **{f"file {path.name}": content_hash(path) for path in step.reads(self.settings)},
            **{name: marker.run if marker else "" for name, marker in before.items()},
        }


def day_before(day: date) -> date:
    """The day before a day."""
    return day - timedelta(days=1)


def content_hash(path: Path) -> str:
    """Hash of a file's content, empty for a file that is not there."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def options(arguments: Arguments) -> tuple[str, ...]:
    """Keyword arguments of a verb's `run` as a person types them; None is left out."""
    words: list[str] = []
    for name, value in arguments.items():
        if value is not None:
            text = value.isoformat() if isinstance(value, date) else str(value)
            words += ["--date" if name == "day" else f"--{name.replace('_', '-')}", text]
    return tuple(words)


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a child that is to have the same settings."""
    return {
        **os.environ,
        "ENDCAP_PROFILE": settings.profile,
        "ENDCAP_STATE": str(settings.state),
        "ENDCAP_REPORTS": str(settings.reports),
        "ENDCAP_THREADS": str(settings.threads),
        "ENDCAP_BIGQUERY_DATASET": settings.bigquery_dataset,
        "ENDCAP_BUCKET": settings.bucket,
        "ENDCAP_LOG_FEATURES": str(settings.log_features),
        "FEAST_FS_YAML_FILE_PATH": str(settings.feature_store),
    }


def result_lines(result: Result, remark: str = "", *, notes: bool = True) -> str:
    """A result's line with a remark after its detail, then its notes, indented."""
    detail = f"{result.detail} ({remark})".strip() if remark else result.detail
    indented = ["    " + note.replace("\n", "\n    ") for note in result.notes] if notes else []
    return "\n".join([str(replace(result, detail=detail)), *indented])


def _failure(step: Step, code: int) -> str:
    """What to tell of a step that ended with `code`, and what to do."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the machine may be out of memory)" if -code == signal.SIGKILL else ""
        how = f"was ended by {name}{hint}"
    else:
        how = f"failed with exit code {code}; its message stands above"
    return f"Step {step.name} {how}. When that is mended, run the same command again to go on"
