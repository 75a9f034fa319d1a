"""The log of exposures keeps every answer whole and in order, whatever happens to who writes it."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from tiny_release import NOW, InMemory, user_row

from bentos.assignment import Assigned
from bentos.durable_log import LogError
from bentos.exposure_log import Exposure, ExposureLog
from bentos.exposures import Exposures
from bentos.recommend import Recommendation, recommend

NOTHING = Recommendation("u", "all", "endcap-release:tiny", slots=())


@pytest.fixture
def log(tmp_path):
    """An empty log."""
    log = ExposureLog(tmp_path / "state" / "exposures.db")
    yield log
    log.close()


def exposure(number, found=NOTHING):
    """An answer of its own number."""
    return Exposure(f"r{number}", found, 10, shown_us=number, latency_ms=1.5)


def names(log):
    """Request ids in the log's order."""
    return [request_id for _, request_id, *_ in log.after(0, 10**6)]


def test_an_answer_is_kept_whole(log, release):
    """Who, when, what, by which arms and how: as it was given, to the last digit."""
    reader = InMemory({"Zoë 購物": user_row()})
    found = recommend(release, reader, "Zoë 購物", k=5, task="all", now=NOW)
    assigned = Assigned({"engine": "new"}, {"before": "old"}, forced=True, held_out=("page",))
    log.append([Exposure("r1", found, 5, 1_709_553_600_000_001, 3.141, assigned)])
    ((seq, request_id, user_id, shown_us, content),) = log.after(0, 10)
    assert (seq, request_id, user_id, shown_us) == (1, "r1", "Zoë 購物", 1_709_553_600_000_001)
    assert content["items"] == [slot.item_id for slot in found.slots]
    assert content["scores"] == [slot.score for slot in found.slots]
    assert content["bought_before"] == [slot.item_id in ("i03", "i07", "i13") for slot in found.slots]
    told = {
        "task": "all",
        "k": 5,
        "release": "endcap-release:tiny",
        "rules": "release",
        "latency_ms": 3.141,
        "degraded": [],
        "arms": {"engine": "new"},
        "settled": {"before": "old"},
        "held_out": ["page"],
        "forced": True,
    }
    assert told.items() <= content.items()
    assert len(content["items"]) == 5


def test_a_fallback_is_kept_with_its_reason(log, release):
    """An answer that was poorer says so in the log too, and no arm is no arm."""
    log.append([exposure(1, recommend(release, InMemory({}), "nobody", k=2, task="all", now=NOW))])
    content = log.after(0, 1)[0][-1]
    assert content["degraded"] == ["unknown user: top sellers"]
    assert content["items"] == ["i00", "i01"]
    assert (content["arms"], content["settled"], content["held_out"], content["forced"]) == (
        {},
        {},
        [],
        False,
    )


def test_what_is_to_be_learnt_from_waits_for_no_other_answer(log, monkeypatch):
    """An experiment's answer is on the disk before it is given, while others are gathered and come later."""
    monkeypatch.setattr("bentos.exposures.GATHER_S", 1.0)
    monkeypatch.setattr("bentos.exposures.KEEP_S", 10.0)
    assigned = Assigned({"engine": "new"})

    async def some():
        exposures = Exposures(log)
        for number in range(3):
            assert await exposures.keep(exposure(number))
        assert await exposures.keep(replace(exposure(3), assigned=assigned))
        early = names(log)
        while len(names(log)) < 4:
            await asyncio.sleep(0.01)
        return early

    assert asyncio.run(asyncio.wait_for(some(), 20)) == ["r3"]
    assert names(log) == ["r3", "r0", "r1", "r2"]


def test_rows_come_in_the_order_they_were_kept(log):
    """A page at a time, each after the last row of the one before."""
    log.append([exposure(5), exposure(3)])
    log.append([exposure(4), exposure(3)])
    assert names(log) == ["r5", "r3", "r4", "r3"]
    first = log.after(0, 3)
    assert [row[1] for row in first] == ["r5", "r3", "r4"]
    assert [row[1] for row in log.after(first[-1][0], 3)] == ["r3"]
    assert log.after(4, 3) == []


def test_a_batch_is_kept_whole_or_not_at_all(log):
    """What fails in the middle leaves no row, and no transaction that would keep others from writing."""
    boom = "CREATE TRIGGER boom BEFORE INSERT ON exposures WHEN new.request_id = 'r2' BEGIN"
    log._connection.execute(f"{boom} SELECT RAISE(FAIL, 'disk trouble'); END")
    with pytest.raises(sqlite3.Error, match="disk trouble"):
        log.append([exposure(1), exposure(2), exposure(3)])
    assert names(log) == []
    log.append([exposure(4)])
    assert names(log) == ["r4"]


def test_workers_share_a_log(log):
    """Four writers leave all of their rows, each in its order."""

    def write(worker):
        mine = ExposureLog(log.path)
        for number in range(50):
            mine.append([exposure(f"{worker}-{number}")])
        mine.close()

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = names(log)
    for worker in range(4):
        assert [name for name in kept if name.startswith(f"r{worker}")] == [
            f"r{worker}-{n}" for n in range(50)
        ]


@pytest.mark.parametrize("content", [b"something else" * 99, None], ids=["another file", "a folder"])
def test_what_is_no_log_is_named(tmp_path, content):
    """Nothing is overwritten: the message says to move it away."""
    path = tmp_path / "exposures.db"
    path.write_bytes(content) if content else path.mkdir()
    with pytest.raises(LogError, match=r"exposures\.db cannot be used as a log of exposures .*move it away"):
        ExposureLog(path)
    assert path.read_bytes() == content if content else path.is_dir()


WRITER = """
import sys
from pathlib import Path
from bentos.exposure_log import Exposure, ExposureLog
from bentos.exposures import Exposures
from bentos.recommend import Recommendation
log, found = ExposureLog(Path(sys.argv[1])), Recommendation("u", "all", "r", slots=())
for number in range(10**9):
    log.append([Exposure(f"{sys.argv[2]}-{number}-{n}", found, 10, 0, 1.0) for n in range(3)])
    print(f"{sys.argv[2]}-{number}", flush=True)
"""


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path):
    """After each of four kills all acknowledged batches are there, and the last one whole or not at all."""
    path, told = tmp_path / "exposures.db", []
    for life in range(4):
        command = [sys.executable, "-c", WRITER, str(path), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            told += [writer.stdout.readline().strip() for _ in range(10)]
            writer.kill()
            told += writer.stdout.read().split()
        log = ExposureLog(path)
        kept = names(log)
        log.close()
        acknowledged = [f"{batch}-{n}" for batch in told for n in range(3)]
        assert set(acknowledged) <= set(kept)
        assert len(kept) % 3 == 0
        assert len(kept) <= len(acknowledged) + 3 * (life + 1)
