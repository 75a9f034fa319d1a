"""A child's whole session is measured and, when it must be, ended."""

import subprocess
import sys
import time

import pytest

from jobs.child import run_child, session_processes, stop

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
inner = "import os, time; os.setpgid(0, 0); print('up', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", inner])
time.sleep(60)
"""


def test_peak_memory_counts_the_child_and_its_children():
    """Two processes of 100 MB each, one the child of the other, are seen as more than 200 MB."""
    hold = (
        "import time; held = bytearray(100_000_000); held[::4096] = b'x' * len(held[::4096]); time.sleep(0.6)"
    )
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; p.wait()"
    finished = run_child([sys.executable, "-c", both])
    assert finished.code == 0
    assert 200e6 < finished.peak_bytes < 300e6
    assert finished.seconds > 0.6


def test_cpu_time_counts_what_nobody_waits_for():
    """A grandchild that works for .8 s of CPU, its parent never asking, counts; a sleeper does not."""
    work = "import time\nwhile time.process_time() < 0.8: pass\ntime.sleep(0.6)"
    orphan = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {work!r}]); time.sleep(4)"
    )
    worked = run_child([sys.executable, "-c", orphan]).cpu_seconds
    slept = run_child([sys.executable, "-c", "import time; time.sleep(1)"]).cpu_seconds
    assert 0.7 < worked < 1.6  # it is counted in hundredths, and sampled
    assert slept < 0.5


def test_exit_code_and_signal_are_told():
    """A failure is its exit code, an end by signal its negative number."""
    assert run_child([sys.executable, "-c", "raise SystemExit(3)"]).code == 3
    assert run_child([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).code == -9


def test_environment_is_passed_on():
    """The child sees the environment that it is given."""
    program = "import os; raise SystemExit(int(os.environ['ANSWER']))"
    assert run_child([sys.executable, "-c", program], environment={"ANSWER": "42"}).code == 42


def test_stop_ends_even_what_ignores_interrupts_and_leaves_its_group():
    """A child that ignores the interrupt and a grandchild with a process group of its own are both killed."""
    command = [sys.executable, "-c", STUBBORN]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        assert len(session_processes(process.pid)) == 2
        stop(process, grace_s=0.2)
        deadline = time.monotonic() + 5
        while session_processes(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert process.returncode == -9


def test_an_error_while_waiting_ends_the_child(monkeypatch):
    """Whatever ends the wait, the child does not outlive it."""
    started = []

    class Interrupted(subprocess.Popen):
        def wait(self, timeout=None):
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", "import time; time.sleep(60)"])
    assert started[0].returncode is not None
