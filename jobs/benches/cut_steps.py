"""Steps of one cut beside the pipeline's: their markers lie in the cut's own folder, so that cuts coexist.

The pipeline knows one cut at a time: the next one's marker replaces it. Here a step is done when a marker,
the cut's own or the pipeline's, has its parts, and what it left has not been touched since.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from uuid import uuid4

from feature_repo.settings import Settings
from jobs.markers import Marker, read_marker, remove_marker, write_marker
from jobs.pipeline import options
from jobs.result import Result
from jobs.source_code import code_hash
from jobs.steps import Choices, Step

Parts = dict[str, str]


@dataclass(frozen=True)
class CutSteps:
    """One cut of one installation, and the table of its steps."""

    settings: Settings
    cut: int
    steps: tuple[Step, ...]

    @property
    def own(self) -> Settings:
        """Where the cut's markers lie: in steps/ of its folder, as the pipeline's do in the state's."""
        return replace(self.settings, state=self.settings.training / f"cut-{self.cut}")

    def done(self, step: Step, **more: str) -> Marker | None:
        """The marker by which `step` is done; None if it must be done. `more` adds to its parts."""
        parts = self.parts(step, **more)
        for place in (self.own, self.settings):
            marker = read_marker(place, step.name)
            if marker is not None and marker.parts == parts and self._untouched(step, marker):
                return marker
        return None

    def do(self, step: Step, work: Callable[[], Result], **more: str) -> Marker:
        """Do `work`, then say that `step` is done; a failure leaves no marker."""
        parts = self.parts(step, **more)
        for place in (self.own, self.settings):
            marker = read_marker(place, step.name)
            if marker is not None and marker.parts["arguments"] == parts["arguments"]:
                remove_marker(place, step.name)  # what it says of this cut is about to change
        begin = perf_counter()
        result = replace(work(), seconds=perf_counter() - begin)
        marker = Marker(uuid4().hex[:16], datetime.now(UTC).isoformat(), parts, result, peak_bytes=0)
        write_marker(self.own, step.name, marker)
        return marker

    def parts(self, step: Step, **more: str) -> Parts:
        """What the outputs of `step` depend on, named as in the pipeline's markers."""
        arguments = step.arguments(self.settings, Choices(cut=self.cut))
        return {
            "arguments": " ".join(options(arguments)),
            "code": code_hash((step.module, *step.more_code), step.files),
            "libraries": " ".join(f"{name} {version(name)}" for name in step.libraries),
            **{f"step {name}": self._run_of(name) for name in step.after},
            **more,
        }

    def _run_of(self, name: str) -> str:
        """Which run of an earlier step counts: this cut's, or the pipeline's of a step that has no cut."""
        ours = {step.name: step for step in self.steps}
        marker = self.done(ours[name]) if name in ours else read_marker(self.settings, name)
        return marker.run if marker else ""

    def _untouched(self, step: Step, marker: Marker) -> bool:
        """Whether the outputs are there, and written before the marker."""
        finished = datetime.fromisoformat(marker.finished_at).timestamp()
        paths = step.outputs(self.settings, Choices(cut=self.cut))
        return all(path.exists() and path.stat().st_mtime <= finished for path in paths)
