"""Figures of benches: quantiles by definition, the whole process tree, a report that is replaced whole."""

import json
import os
import subprocess
import sys
import time

import pytest

from feature_repo.settings import Settings
from jobs.bench import line, write
from jobs.benches.serving import cpu_seconds, figures, stats
from jobs.local_server import LocalServer

BUSY = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(60)"
# The busy one leads a session of its own, as BentoML's workers may.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"


def test_figures_follow_their_definitions():
    """Of 1 to 101 ms the quantiles are 51, 96 and 100; CPU is per request, throughput per second."""
    found = {name: value for name, value, _ in figures(list(range(1, 102)), 10.1, 2.02, 5_000_000)}
    expected = {"p50_ms": 51, "p95_ms": 96, "p99_ms": 100, "cpu_ms": 20, "rps": 10, "rss_mb": 5}
    assert found == pytest.approx(expected)


def test_cpu_of_processes_below_the_server_counts():
    """A child in a session of its own is counted with its parent, and nobody else is."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, BUSY], start_new_session=True)
    server = LocalServer("http://127.0.0.1:1", process.pid)
    try:
        deadline = time.monotonic() + 30
        while cpu_seconds(server) < 0.5 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert cpu_seconds(server) >= 0.5
        assert len(stats(server)) == 2
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
        process.kill()
        process.wait()
    assert len(stats(LocalServer("", os.getpid()))) >= 1


def test_a_report_is_replaced_whole(tmp_path):
    """The records are there as written, the old ones and the file aside are gone; a line says it all."""
    settings = Settings(state=tmp_path, reports=tmp_path / "reports")
    record = {"report": "bench_x", "metric": "p50_ms", "value": 1.5, "unit": "ms", "stage": "user"}
    for records in ([record] * 3, [record]):
        path = write(settings, "x", records)
    assert json.loads(path.read_text()) == [record]
    assert [each.name for each in path.parent.iterdir()] == ["bench_x.json"]
    assert line(record).split() == ["bench_x", "p50_ms", "1.50", "ms", "stage", "user"]
