"""Steps of cuts: each cut keeps its own markers, and a marker is believed only while it tells the truth."""

import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from feature_repo.settings import Settings
from jobs.benches.cut_steps import CutSteps
from jobs.markers import Marker, marker_file, read_marker, write_marker
from jobs.result import Result
from jobs.steps import Choices, Step


@pytest.fixture
def settings(tmp_path):
    """An installation with nothing in it."""
    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)


STEP = Step(
    name="count",
    module="jobs.result",
    outputs=lambda s, choices: (s.training / f"cut-{choices.cut}" / "count.txt",),
    arguments=lambda _, choices: {"cut": choices.cut},
)
AFTER = replace(STEP, name="square", after=("count",))


def counted(settings, cut):
    """Steps of a cut, and a work that leaves the step's output."""
    (path,) = STEP.outputs(settings, Choices(cut=cut))

    def work():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
        return Result("count", 1, "numbers", path)

    return CutSteps(settings, cut, (STEP, AFTER)), work, path


def test_cuts_are_done_side_by_side(settings):
    """A step done for one cut stays done while another cut's is done; parts that change undo it."""
    for cut in (45, 49):
        steps, work, _ = counted(settings, cut)
        assert steps.done(STEP) is None
        assert steps.do(STEP, work).result.rows == 1
    for cut in (45, 49):
        steps = counted(settings, cut)[0]
        assert steps.done(STEP) is not None
        assert steps.done(STEP, catalogue="another") is None
        assert steps.done(replace(STEP, libraries=("numpy",))) is None


def test_touched_or_missing_outputs_are_made_again(settings):
    """What was written after the marker, or has gone, is not what the marker speaks of."""
    steps, work, path = counted(settings, 49)
    steps.do(STEP, work)
    os.utime(path, (2e9, 2e9))
    assert steps.done(STEP) is None
    steps.do(STEP, work)
    path.unlink()
    assert steps.done(STEP) is None


def test_what_follows_a_step_is_done_again_with_it(settings):
    """A step's marker names the run of the step before."""
    steps, work, _ = counted(settings, 49)
    steps.do(STEP, work)
    steps.do(AFTER, work)
    assert steps.done(STEP) is None  # the work of the second has touched the output of the first
    steps.do(STEP, work)
    assert steps.done(AFTER) is None


def test_the_pipeline_s_work_counts(settings):
    """A marker of the pipeline makes a step done for its cut, and is removed when that cut is done anew."""
    steps, work, path = counted(settings, 49)
    result = work()
    marker = Marker("r", datetime.now(UTC).isoformat(), steps.parts(STEP), result, peak_bytes=0)
    write_marker(settings, "count", marker)
    assert steps.done(STEP) == read_marker(settings, "count")
    assert counted(settings, 45)[0].done(STEP) is None
    other, work_of_other, _ = counted(settings, 45)
    other.do(STEP, work_of_other)
    assert marker_file(settings, "count").exists()
    path.unlink()
    steps.do(STEP, work)
    assert not marker_file(settings, "count").exists()


def test_failed_work_leaves_no_marker(settings):
    """A step that breaks down must be done again, even if it was done before."""
    steps, work, _ = counted(settings, 49)
    steps.do(STEP, work)

    def broken():
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        steps.do(STEP, broken)
    assert steps.done(STEP) is None
