"""The tables have each row of the logs once, whoever exports at one time, and wherever that is cut off."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from logged_shop import empty_logs, expected, exported, log_answers, log_events

from jobs.experiments import logs

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings over empty logs, of which seven rows at a time are exported."""
    monkeypatch.setattr(logs, "BATCH", 7)
    return empty_logs(tmp_path)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("write", [0, 3, 4, 5, 7, 11])
@pytest.mark.parametrize("step", ["write_table", "replace"])
def test_what_a_cut_off_export_has_left_counts_for_nothing(settings, monkeypatch, step, write):
    """Whichever part was being written, and though more was logged before the next call."""
    log_answers(settings, 0, 20)
    log_events(settings, 0, 20)
    count = iter(range(99))

    def after(original):
        def run(*arguments):
            original(*arguments)
            if next(count) == write:
                raise Killed

        return run

    with monkeypatch.context() as patch:
        owner = pq if step == "write_table" else Path
        patch.setattr(owner, step, after(getattr(owner, step)))
        with pytest.raises(Killed):
            logs.run(settings)
    log_answers(settings, 20, 5)
    log_events(settings, 20, 5)
    logs.run(settings)
    assert exported(settings) == expected(settings)
    assert list(settings.state.rglob("*.aside")) == []


EXPORT = """
import os, signal, sys
from pathlib import Path
from feature_repo.settings import Settings
from jobs.experiments import logs
logs.BATCH, write, count = 7, logs.write_part, iter(range(99))
def killing(*arguments):
    write(*arguments)
    if next(count) == 4:
        print("written", flush=True)
        signal.pause() if sys.argv[2] == "wait" else os.kill(os.getpid(), signal.SIGKILL)
logs.write_part = killing
logs.run(Settings(state=Path(sys.argv[1]), reports=Path(sys.argv[1])))
"""


def test_a_killed_process_holds_nobody_up(settings):
    """SIGKILL between two parts of one batch: the next call has all rows once, at once."""
    log_answers(settings, 0, 20)
    log_events(settings, 0, 20)
    command = [sys.executable, "-c", EXPORT, str(settings.state), "die"]
    assert (
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode
        == -signal.SIGKILL
    )
    assert exported(settings) != expected(settings)
    logs.run(settings)
    assert exported(settings) == expected(settings)


def test_another_export_is_waited_for(settings):
    """As long as a process writes, a call writes nothing; then it goes on behind that."""
    log_answers(settings, 0, 20)
    log_events(settings, 0, 20)
    command = [sys.executable, "-c", EXPORT, str(settings.state), "wait"]
    second = threading.Thread(target=logs.run, args=(settings,))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        before = sorted(settings.state.rglob("*.parquet"))
        second.start()
        second.join(0.3)
        waited = second.is_alive(), sorted(settings.state.rglob("*.parquet")) == before
        os.kill(first.pid, signal.SIGKILL)
    second.join(10)
    assert waited == (True, True)
    assert exported(settings) == expected(settings)


def test_exports_at_once_while_rows_are_appended(settings):
    """Four threads export as a fifth one logs: each row is in the tables once, in its order."""
    done = threading.Event()

    def export():
        while not done.is_set():
            logs.run(settings)

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(40):
            log_answers(settings, 3 * number, 3)
            log_events(settings, 3 * number, 3)
    finally:
        done.set()
    for thread in threads:
        thread.join()
    logs.run(settings)
    assert exported(settings) == expected(settings)
