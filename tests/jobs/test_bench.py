"""Figures of benches: quantiles by definition, the whole process tree, a report that is replaced whole."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from feature_repo.settings import Settings
from jobs.bench import line, write
from jobs.benches.designs import Design
from jobs.benches.load import Load, ask_all
from jobs.benches.serving import comparisons, cpu_seconds, figures, processes, told
from jobs.local_server import LocalServer

BUSY = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\ntime.sleep(60)"
# The busy one leads a session of its own, as BentoML's workers may.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"


def test_figures_follow_their_definitions():
    """Of 1 to 101 ms the quantiles are 51, 96 and 100; CPU is per request, throughput per second."""
    load = Load(list(range(1, 102)), [], seconds=10.1)
    found = {name: value for name, value, _ in figures(load, 2.02, [1_000_000, 4_000_000])}
    expected = {
        "p50_ms": 51,
        "p95_ms": 96,
        "p99_ms": 100,
        "cpu_ms": 20,
        "rps": 10,
        "rps_a_core": 50,
        "rss_mb": 5,
        "rss_worker_mb": 4,
    }
    assert found == pytest.approx(expected)


class Counting(BaseHTTPRequestHandler):
    """Answers with the number that it was sent, and refuses sevens."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Give back what came."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = json.dumps({"number": body["number"], "path": self.path}).encode()
        self.send_response(400 if body["number"] == 7 else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def counting():
    """URL of a server of ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("concurrency", [1, 4, 50])
def test_a_load_asks_everything_once(counting, concurrency):
    """Answers and times stand in the order asked, over however many connections."""
    bodies = [{"number": 100 + number} for number in range(30)]
    load = ask_all(counting, "/count", bodies, concurrency=concurrency)
    assert load.answers == [{**body, "path": "/count"} for body in bodies]
    assert len(load.latencies_ms) == 30
    assert 0 < max(load.latencies_ms) <= load.seconds * 1e3


def test_a_load_stops_at_an_error(counting):
    """The answer's status and the request are told."""
    with pytest.raises(RuntimeError, match=r"answered 400 to \{'number': 7\}"):
        ask_all(counting, "/", [{"number": number} for number in range(9)], concurrency=2)


def test_comparisons_are_with_the_first_design():
    """CPU time over CPU time, and the share of shoppers who are shown the same, of those not late."""
    naive, packed = keys = [("naive", "sqlite"), ("packed", "sqlite")]
    designs = [Design(*key, "/", Settings(Path(), Path()), {}, (1,), 3) for key in keys]
    answers = {naive: [["a", "b"], ["c"], ["e"]], packed: [["a", "b"], ["d"], None]}
    found = list(comparisons(designs, answers, {naive: 90.0, packed: 3.0}, {naive: 50.0, packed: 0.5}))
    by_design = {(each["design"], each["metric"]): each["value"] for each in found}
    assert by_design == {
        ("naive", "item_read_cpu_ms"): 50.0,
        ("packed", "item_read_cpu_ms"): 0.5,
        ("packed", "cpu_times_less"): 30.0,
        ("packed", "item_read_cpu_times_less"): 100.0,
        ("packed", "late_answers"): 1,
        ("packed", "equal_top10"): 0.5,
    }
    assert {each["store"] for each in found} == {"sqlite"}


def test_a_degraded_answer_is_no_figure():
    """What is measured is the whole path."""
    with pytest.raises(RuntimeError, match="user 'u' is degraded"):
        told({"user_id": "u", "degraded": ["no online store: top sellers"], "items": []})
    assert told({"user_id": "u", "degraded": [], "items": [{"item_id": "a"}]}) == ["a"]


def test_an_answer_that_ran_out_of_time_is_counted_and_not_compared():
    """On a busy machine the ladder does its work; that is no difference between designs."""
    assert told({"user_id": "u", "degraded": ["out of time: ordered by the pool"], "items": []}) is None


def test_cpu_of_processes_below_the_server_counts():
    """A child in a session of its own is counted with its parent, and nobody else is."""
    process = subprocess.Popen([sys.executable, "-c", PARENT, BUSY], start_new_session=True)
    server = LocalServer("http://127.0.0.1:1", process.pid)
    try:
        deadline = time.monotonic() + 30
        while cpu_seconds(server) < 0.5 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert cpu_seconds(server) >= 0.5
        assert len(processes(server)) == 2
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)
        process.kill()
        process.wait()
    assert len(processes(LocalServer("", os.getpid()))) >= 1


def test_a_report_is_replaced_whole(tmp_path):
    """The records are there as written, the old ones and the file aside are gone; a line says it all."""
    settings = Settings(state=tmp_path, reports=tmp_path / "reports")
    record = {"report": "bench_x", "metric": "p50_ms", "value": 1.5, "unit": "ms", "stage": "user"}
    for records in ([record] * 3, [record]):
        path = write(settings, "x", records)
    assert json.loads(path.read_text()) == [record]
    assert [each.name for each in path.parent.iterdir()] == ["bench_x.json"]
    assert line(record).split() == ["bench_x", "p50_ms", "1.50", "ms", "stage", "user"]
    assert line({**record, "value": 0.99617, "unit": "share"}).split()[2] == "0.9962"
