"""The daily bench: its picture shows its figures, killed days are held against quiet ones to the last bit."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.settings import Settings
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import SqliteRows
from jobs.benches import daily_plot, day_kills, warm_start
from jobs.benches.daily import line

DAYS = ("2017-12-04", "2017-12-05", "2017-12-06")
STAGES = ("ingest", "build-features", "gate")


def quality():
    """Records of three days, both tasks and four models, and of all days."""
    rng = np.random.default_rng(4)
    for day in (*DAYS, "all"):
        for task in daily_plot.TASKS:
            for model in daily_plot.MODELS:
                value = float(rng.uniform(0.1, 0.3))
                tags = {"report": "bench_daily", "day": day, "task": task, "metric": "recall@10"}
                yield {**tags, "model": model, "value": value, "low": value - 0.01, "high": value + 0.01}
                if model != "fresh":
                    lift = float(rng.uniform(-0.05, 0.2))
                    ends = {"low": lift - 0.03, "high": lift + 0.03}
                    yield {**tags, "model": "fresh", "versus": model, "value": lift, **ends}


def costs():
    """Records of the full build and of each day's steps, and one of another bench."""
    for n, stage in enumerate(STAGES):
        tags = {"report": "bench_daily", "metric": "cpu_s", "stage": stage}
        yield {**tags, "value": 100.0 * (n + 1), "design": "full"}
        for m, day in enumerate(DAYS):
            yield {**tags, "value": 10.0 * (n + 1) + m, "design": "day", "day": day}
    yield {"report": "warm_start", "metric": "cpu_s", "value": 1e6, "cut": 49, "design": "warm_start"}


@pytest.fixture(scope="module")
def records():
    """All of them."""
    return [*quality(), *costs()]


def test_lines_are_the_figures_by_day(records):
    """A line for each model, with its value on each day; of both tasks."""
    for panel, task in zip(daily_plot.figure(records).axes[:2], daily_plot.TASKS, strict=True):
        drawn = {each.get_label(): each.get_ydata().tolist() for each in panel.lines}
        assert drawn == {
            name: [
                each["value"]
                for day in DAYS
                for each in records
                if (each.get("day"), each.get("task"), each.get("model")) == (day, task, model)
                and "versus" not in each
            ]
            for model, (name, _) in daily_plot.MODELS.items()
        }


def test_lifts_over_the_frozen_release_are_dots_with_intervals(records):
    """One for each task and day, and for all days."""
    panel = daily_plot.figure(records).axes[2]
    lifts = [each for each in records if each.get("versus") == "frozen"]
    dots = sorted(
        each.get_ydata()[0] for each in panel.lines if each.get_marker() == "o" and len(each.get_xdata())
    )
    assert dots == pytest.approx(sorted(100 * each["value"] for each in lifts))
    bars = sorted(tuple(each.get_ydata()) for each in panel.lines if len(each.get_xdata()) == 2 and
                  each.get_xdata()[0] == each.get_xdata()[1])  # fmt: skip
    assert np.array(bars) == pytest.approx(np.array(sorted((100 * e["low"], 100 * e["high"]) for e in lifts)))


def test_bars_add_up_to_what_a_day_takes(records, tmp_path):
    """The full build first, then each day; another bench's figures are in none."""
    panel = daily_plot.figure(records).axes[3]
    tops = {}
    for bar in panel.patches:
        place = round(bar.get_x() + bar.get_width() / 2)
        tops[place] = max(tops.get(place, 0.0), bar.get_y() + bar.get_height())
    assert tops == {0: 600.0, 1: 60.0, 2: 63.0, 3: 66.0}
    assert [each.get_text() for each in panel.get_xticklabels()] == ["full", "4\nDec", "5", "6"]
    assert daily_plot.write(tmp_path, records).stat().st_size > 10_000


def test_a_figure_reads_as_a_person_says_it():
    """Levels as shares, lifts in per cent, both with their intervals."""
    level = {"task": "all", "model": "fresh", "metric": "recall@10", "value": 0.21, "low": 0.2, "high": 0.22}
    assert line(level).split() == ["all", "fresh", "recall@10", "0.2100", "[0.2000,", "0.2200]"]
    lift = {**level, "versus": "frozen", "value": 0.173, "low": 0.078, "high": 0.283}
    assert line(lift).split()[-3:] == ["+17.3%", "[+7.8%,", "+28.3%]"]


LAYOUT = Layout("user_stats", (("user_spend_7d", "DOUBLE"),), 0)


def stored(folder, created_us=1, value=2.5, event_us=7):
    """Settings of a state folder whose online store has one row."""
    settings = Settings(state=folder, reports=folder)
    folder.mkdir()
    rows = SqliteRows(settings.online_store, "endcap")
    packed = pack(LAYOUT, {"user_spend_7d": value}, event_us=event_us, created_us=created_us)
    rows.write({"user_stats": [("u1", event_us, created_us, packed)]}, layouts=[LAYOUT])
    rows.close()
    return settings


def test_stores_are_compared_but_for_when_rows_were_created(tmp_path):
    """One bit of a value or another event time tells two stores apart; another day of creation does not."""
    first, *others = (
        day_kills.store_hashes(stored(tmp_path / str(n), **options))
        for n, options in enumerate(
            ({}, {"created_us": 99}, {"value": np.nextafter(2.5, 3)}, {"event_us": 8})
        )
    )
    assert [each == first for each in others] == [True, False, False]
    assert day_kills.differences(first, others[1]) == list(first)
    with closing(sqlite3.connect(tmp_path / "0" / "online_store.db")) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert any(f"online {name}" in first for (name,) in names)


def test_parts_are_compared_by_their_rows(tmp_path):
    """In any order and whenever created; a part that is missing is none of them."""
    rows = pa.table({"id": ["a", "b"], "value": [1.0, 2.0], "created_timestamp": [1, 2]})
    changes = (
        rows.take([1, 0]),
        rows.set_column(2, "created_timestamp", pa.array([3, 4])),
        rows.set_column(1, "value", pa.array([1.0, np.nextafter(2.0, 3)])),
        rows.slice(0, 1),
    )
    hashes = []
    for n, each in enumerate((rows, *changes)):
        pq.write_table(each, tmp_path / f"{n}.parquet")
        hashes.append(day_kills.rows_hash(tmp_path / f"{n}.parquet"))
    assert [each == hashes[0] for each in hashes] == [True, True, True, False, False]
    assert day_kills.rows_hash(tmp_path / "none.parquet") == ""


def test_differences_are_named_and_what_one_lacks():
    """In order."""
    assert day_kills.differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9"}) == ["b", "c"]


def test_a_training_that_is_missing_is_named_with_its_command(tmp_path):
    """Going on from a week needs that week's training."""
    settings = replace(Settings(state=tmp_path, reports=tmp_path), threads=1)
    with pytest.raises(FileNotFoundError, match="run `endcap train --cut 48`"):
        warm_start.Pair.of(settings, 49)
