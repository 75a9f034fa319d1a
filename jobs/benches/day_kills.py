"""Killed at random: whether a day that is killed again and again ends as one that was not.

In: the base of a daily bench (`jobs.benches.daily`), before its first day. The first days are played twice
from copies of it, once undisturbed and once with all processes killed at random moments and the same command
given again. Out: one record of the kills and one of the files that differ; RuntimeError names these.

    endcap bench-daily --kills 20
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from jobs.child import session_processes
from jobs.days.publish import tag_of
from jobs.pipeline import Say, environment
from jobs.steps import Choices

LIFE_S = (1.0, 60.0)  # from start to killed, drawn evenly: through all steps but a week's training
SEED = 7
CREATED_AT = 16  # in a packed row: behind schema and event time, eight bytes each
QUIET_S = 1.5  # until the children of a killed process have ended by themselves
Record = dict[str, Any]


def records(
    base: Settings, days: Sequence[date], choices: Choices, kills: int, head: Say
) -> Iterator[Record]:
    """The two runs and what differs; RuntimeError where anything does."""
    quiet, killed = (fresh_copy(base, name) for name in ("quiet", "killed"))
    for day in days:
        head(f"undisturbed: {day}")
        done(quiet, day, choices)
    n = killed_again_and_again(killed, days, choices, kills, head)
    wrong = differences(contents(quiet, days), contents(killed, days))
    tags = {"report": "bench_daily", "design": "killed"}
    yield {**tags, "metric": "kills", "value": n, "unit": "kills"}
    yield {**tags, "metric": "differing_files", "value": len(wrong), "unit": "files"}
    if wrong:
        raise RuntimeError(f"After {n} kills these are not as in an undisturbed run: {', '.join(wrong)}")


def fresh_copy(base: Settings, name: str) -> Settings:
    """Settings of a copy of a base, with a model store of its own."""
    copy = replace(base, state=base.state.with_name(f"{base.state.name}-{name}"))
    shutil.rmtree(copy.state, ignore_errors=True)
    shutil.copytree(base.state, copy.state)
    return copy


def command(settings: Settings, day: date, choices: Choices) -> tuple[list[str], dict[str, str]]:
    """Words and environment of one day's run."""
    words = [sys.executable, "-m", "jobs.cli", "daily", "--date", day.isoformat(), "--source", choices.source]
    if choices.scale is not None:
        words += ["--scale", str(choices.scale)]
    return words, {**environment(settings), "BENTOML_HOME": str(settings.state / "bentoml")}


def done(settings: Settings, day: date, choices: Choices) -> None:
    """One day to its end; a refusal is an end too."""
    words, variables = command(settings, day, choices)
    code = subprocess.run(words, env=variables, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, 3):
        raise RuntimeError(f"The run of {day} failed with exit code {code}; its message stands above")


def killed_again_and_again(
    settings: Settings, days: Sequence[date], choices: Choices, kills: int, head: Say
) -> int:
    """Run the days, killed at random moments, then to their end; how often they were killed."""
    rng, n = random.Random(SEED), 0  # noqa: S311 - the same moments in every run
    for number, day in enumerate(days, 1):
        while n < kills * number / len(days):
            words, variables = command(settings, day, choices)
            process = subprocess.Popen(
                words, env=variables, start_new_session=True, stdout=subprocess.DEVNULL
            )
            try:
                process.wait(rng.uniform(*LIFE_S))
            except subprocess.TimeoutExpired:
                kill(process)
                n += 1
                head(f"killed {n} times, in {day}")
            else:
                break
        done(settings, day, choices)
    return n


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process as nothing can be handled; its children end as they notice, or are waited for."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(QUIET_S)
    while session_processes(process.pid):
        time.sleep(QUIET_S)


def contents(settings: Settings, days: Sequence[date]) -> dict[str, str]:
    """Hash of each thing that days leave, without when it was written."""
    found = {"current": settings.current_release.read_text()}
    for day in days:
        for name in ("transactions", "promotions"):
            found[f"tables/{name}/{day}"] = rows_hash(settings.table_part(name, day))
        for name in ("user_stats", "user_history", "item_stats"):
            found[f"features/{name}/{day}"] = rows_hash(settings.feature_table(name) / f"day-{day}.parquet")
        found[f"release of {day}"] = tag_of(settings, day)
        found[f"figures of {day}"] = (settings.day(day) / "quality.json").read_text()
        decision = json.loads((settings.day(day) / "gate.json").read_text())
        found[f"decision of {day}"] = str(decision["promoted"])
    return {**found, **store_hashes(settings)}


def rows_hash(path: Path) -> str:
    """Hash of a part's rows in an order of their own, without when they were created."""
    import pyarrow.parquet as pq

    if not path.exists():
        return ""
    rows = pq.read_table(path)
    columns = [rows[name].to_pylist() for name in rows.column_names if name != "created_timestamp"]
    text = "\n".join(sorted(map(repr, zip(*columns, strict=True))))
    return hashlib.sha256(text.encode()).hexdigest()


def store_hashes(settings: Settings) -> dict[str, str]:
    """Hash of the online store's rows by table: keys, event times and packed values, not when created."""
    found = {}
    with closing(sqlite3.connect(settings.online_store)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = {column[1] for column in connection.execute(f'PRAGMA table_info("{name}")')}
            if {"key", "event_us", "row"} <= columns:
                digest = hashlib.sha256()
                rows = connection.execute(f'SELECT key, event_us, row FROM "{name}" ORDER BY key')
                for key, event_us, row in rows:
                    digest.update(repr((key, event_us, row[:CREATED_AT], row[CREATED_AT + 8 :])).encode())
                found[f"online {name}"] = digest.hexdigest()
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names of what differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
