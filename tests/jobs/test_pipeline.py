"""The pipeline skips what is done, does again what must be, and survives whatever ends it."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import fake_shop
import pytest

from feature_repo.settings import FEATURE_STORE, Settings
from feature_repo.stores.packed.opened import store_server
from jobs.markers import marker_file
from jobs.pipeline import StepFailedError, options, result_lines
from jobs.result import Result
from jobs.steps import STEPS, Choices
from jobs.writer_lock import StateIsBusyError, holder, writer_lock

ALL = ["pick", "double", "square", "report"]


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline of the fake shop over a folder of its own."""
    return fake_shop.shop(tmp_path)


def run(pipeline, cut=1, **options):
    """Run the pipeline; return the steps that were really done, and the lines said."""
    log = pipeline.settings.state / "calls.log"
    log.unlink(missing_ok=True)
    lines = []
    pipeline.run(Choices(cut=cut), say=lines.append, head=lambda _: None, **options)
    return (log.read_text().split() if log.exists() else []), lines


def outputs(pipeline):
    """The numbers that the steps have left."""
    return {name: int((pipeline.settings.state / f"{name}.txt").read_text()) for name in ALL}


EXPECTED = {"pick": 7, "double": 2 * 7 + 1, "square": 49, "report": 64}


def test_steps_run_in_order_and_each_says_one_line(pipeline):
    """A first run does every step in order, one line each with what and how many, then the total."""
    done, lines = run(pipeline)
    assert done == ALL
    assert outputs(pipeline) == EXPECTED
    assert [line.split()[:3] for line in lines[:4]] == [[n, str(EXPECTED[n]), "numbers"] for n in ALL]
    assert lines[4].startswith("pipeline ")
    assert "peak memory 0." in lines[4]  # a child is a copy of the test's process until it is another program


def test_second_run_does_nothing(pipeline):
    """A second run with the same arguments skips every step and says so on its line."""
    run(pipeline)
    done, lines = run(pipeline)
    assert done == []
    assert all("done before" in line for line in lines[:4])
    assert lines[4].endswith("everything was done before")


def test_changed_argument_reruns_what_depends_on_it(pipeline):
    """Another cut does again the step that takes it and the one after that, not the others."""
    run(pipeline)
    done, _ = run(pipeline, cut=2)
    assert done == ["double", "report"]
    assert outputs(pipeline) == {"pick": 7, "double": 16, "square": 49, "report": 65}


def test_another_server_is_filled(pipeline):
    """A step that fills a server is done again for another server, and what stands after it too."""
    servers = ["redis at here"]
    steps = [replace(s, server=lambda _: servers[-1]) if s.name == "square" else s for s in pipeline.steps]
    pipeline = replace(pipeline, steps=tuple(steps))
    run(pipeline)
    assert run(pipeline)[0] == []
    servers.append("redis at there")
    assert run(pipeline)[0] == ["square", "report"]


def test_only_a_server_is_one(tmp_path, monkeypatch):
    """Files are seen to be there or not; of a server the place counts, without its password."""
    settings = Settings(state=tmp_path, reports=tmp_path)
    assert store_server(settings) is None
    redis = FEATURE_STORE.with_name("feature_store.redis.yaml")
    monkeypatch.setenv("ENDCAP_REDIS_URL", "redis://:secret@shop.example:6379/0")
    assert store_server(replace(settings, feature_store=redis)) == "Redis at shop.example:6379"
    assert {step.name for step in STEPS if step.server(replace(settings, feature_store=redis))} == {
        "apply",
        "materialize",
    }


def test_missing_output_reruns(pipeline):
    """A step whose output has gone is done again, and so is what was made from it."""
    run(pipeline)
    (pipeline.settings.state / "square.txt").unlink()
    done, _ = run(pipeline)
    assert done == ["square", "report"]


def test_changed_code_reruns(pipeline, tmp_path):
    """A change of a module that a step imports makes the step run again; a comment does not."""
    run(pipeline)
    (tmp_path / "fakes" / "double.py").write_text("import fakes.shared  # said otherwise\n")
    assert run(pipeline)[0] == []
    (tmp_path / "fakes" / "double.py").write_text("import fakes.other\n")
    (tmp_path / "fakes" / "other.py").write_text("X = 1\n")
    assert run(pipeline)[0] == ["double", "report"]
    (tmp_path / "fakes" / "other.py").write_text("X = 2\n")
    assert run(pipeline)[0] == ["double", "report"]


def test_reason_names_what_changed(pipeline):
    """A person is told why a step is done again."""
    double = pipeline.steps[1]
    assert pipeline.reason_to_run(double, Choices(cut=1)) == "not done yet"
    run(pipeline)
    assert pipeline.reason_to_run(double, Choices(cut=1)) is None
    assert pipeline.reason_to_run(double, Choices(cut=2)) == "arguments changed"
    run(pipeline, until="pick", again="pick")
    assert pipeline.reason_to_run(double, Choices(cut=1)) == "step pick changed"


def test_until_and_again(pipeline):
    """`until` ends the run after a step; `again` does a finished step anew and all that depends on it."""
    assert run(pipeline, until="double")[0] == ["pick", "double"]
    assert run(pipeline)[0] == ["square", "report"]
    assert run(pipeline, again="square")[0] == ["square", "report"]
    with pytest.raises(ValueError, match="No step is named 'cook'; use one of pick, double"):
        run(pipeline, until="cook")


def test_failed_step_is_named_and_resumed(pipeline, monkeypatch):
    """A step that fails ends the run with its name and leaves the steps before it done."""
    monkeypatch.setenv("FAKE_FAIL", "square")
    with pytest.raises(StepFailedError, match=r"Step square failed with exit code 1.*run the same command"):
        run(pipeline)
    assert not marker_file(pipeline.settings, "square").exists()
    monkeypatch.delenv("FAKE_FAIL")
    assert run(pipeline)[0] == ["square", "report"]
    assert outputs(pipeline) == EXPECTED


def test_unreadable_marker_counts_as_none(pipeline):
    """A marker that another version wrote, or that is damaged, makes its step run again."""
    run(pipeline)
    marker_file(pipeline.settings, "report").write_text('{"run": "x"}')
    assert run(pipeline)[0] == ["report"]


def test_step_by_hand_counts_as_done(pipeline, tmp_path, monkeypatch):
    """A step that was run by hand with the same arguments need not run again."""
    run(pipeline, until="square")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fakes" / "report.py").write_text(
        "from jobs.result import Result\n"
        "def run(settings):\n"
        "    (settings.state / 'report.txt').write_text('64')\n"
        "    return Result(step='report', rows=64, unit='numbers', where='here')\n"
    )
    assert pipeline.run_here("report", {}).rows == 64
    assert run(pipeline)[0] == []


@pytest.fixture
def hanging(tmp_path):
    """A pipeline process whose step `square` hangs, and that step's process id."""
    environment = {**os.environ, "FAKE_HANG": "square"}
    command = [sys.executable, fake_shop.__file__, "pipeline", tmp_path]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)
    hanging = tmp_path / "state" / "hanging.pid"
    wait_until(lambda: hanging.exists() and hanging.read_text())
    yield process, int(hanging.read_text())
    process.kill()
    process.communicate()


def wait_until(condition, seconds=15.0):
    """Return as soon as `condition()` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(pid):
    """Whether a process runs, zombies apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_ended_pipeline_takes_its_child_along_and_can_go_on(pipeline, hanging, sent):
    """An ended pipeline leaves no child and no marker behind; the next run ends with equal outputs."""
    process, child = hanging
    process.send_signal(sent)
    process.wait(15)
    wait_until(lambda: not is_alive(child))
    assert not marker_file(pipeline.settings, "square").exists()
    wait_until(lambda: holder(pipeline.settings) is None)
    assert run(pipeline)[0] == ["square", "report"]
    assert outputs(pipeline) == EXPECTED


def test_killed_step_ends_the_run(hanging):
    """A step that the system kills is told as such."""
    process, child = hanging
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=15)
    assert b"Step square was ended by SIGKILL (the machine may be out of memory)" in errors


def test_lock_refuses_a_second_writer(pipeline, hanging):
    """While a pipeline runs, a second one is refused with the first one's process id and what to do."""
    process, _ = hanging
    assert holder(pipeline.settings) == process.pid
    with pytest.raises(StateIsBusyError, match=f"Process {process.pid} is writing to .*: kill {process.pid}"):
        run(pipeline)


def test_lock_is_free_after_use(pipeline):
    """A lock that was given back names nobody and can be taken again."""
    for _ in range(2):
        with writer_lock(pipeline.settings):
            assert holder(pipeline.settings) == os.getpid()
        assert holder(pipeline.settings) is None


def test_notes_follow_the_result_line():
    """What a step has to say besides its line stands below it, indented; it can be left out."""
    result = Result(step="ingest", rows=1, unit="rows", where="here", detail="all", notes=("two\nlines",))
    assert result_lines(result, "0.1 GB") == f"{replace(result, detail='all (0.1 GB)')}\n    two\n    lines"
    assert result_lines(result, notes=False) == str(result)


def test_options_are_what_a_person_types():
    """Arguments become command-line options; None is left out."""
    assert options({"cut": 49, "scale": None, "end_week": "x"}) == ("--cut", "49", "--end-week", "x")


def test_table_of_steps_is_in_order():
    """Every step stands after the steps that it depends on, and the order is the one documented."""
    names = [step.name for step in STEPS]
    for position, step in enumerate(STEPS):
        assert set(step.after) <= set(names[:position])
    assert names == [
        *("ingest", "build-features", "embed-items", "load", "apply"),
        *("train", "evaluate", "publish", "materialize"),
    ]
