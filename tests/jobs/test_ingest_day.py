"""Days that are taken in one by one make the tables of a full ingest; corrections are found, gaps told."""

import json
from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import pytest

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TABLES
from jobs import ingest, ingest_day
from jobs.ingest_day import DayFile
from jobs.source_days import changed_days
from jobs.sources import IngestError
from jobs.steps import Choices

CALENDAR = ShopCalendar("Europe/Berlin", date(2024, 3, 25))
LAST = date(2024, 4, 9)  # a day on which clocks change lies between


@pytest.fixture
def shop(tmp_path):
    """A folder with sixteen days of a shop, none of 2024-04-05; an item that is not described is sold."""
    folder = tmp_path / "shop"
    folder.mkdir()
    rng = np.random.default_rng(3)
    begin = datetime(2024, 3, 25, tzinfo=UTC)
    at = [begin + timedelta(minutes=int(n)) for n in np.sort(rng.integers(0, 16 * 1440 - 180, 900))]
    lines = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 30, 900)],
            "item_id": [f"i{n}" for n in rng.integers(0, 25, 900)],
            "basket_id": [f"b{n}" for n in range(900)],
            "event_timestamp": at,
            "quantity": rng.choice([1.0, 2.0, -1.0], 900),
            "price_paid": rng.integers(-200, 900, 900) / 100,
            "discount": rng.integers(-50, 90, 900) / 100,
        }
    )
    lines = lines[
        [CALENDAR.day_at(when.to_pydatetime()) != date(2024, 4, 5) for when in lines.event_timestamp]
    ]
    lines.reset_index(drop=True).to_parquet(folder / "transactions.parquet")
    items = pd.DataFrame({"item_id": [f"i{n}" for n in range(24)], "title": "t"})
    items.to_parquet(folder / "items.parquet")
    starts = [begin + timedelta(days=int(n)) for n in range(-1, 15)]
    promotions = {"item_id": "i1", "kind": "mailer", "starts_at": starts, "store_share": 0.5}
    ends = [start + timedelta(days=7) for start in starts]
    pd.DataFrame({**promotions, "ends_at": ends}).to_parquet(folder / "promotions.parquet")
    (folder / "calendar.json").write_text(
        json.dumps({"timezone": "Europe/Berlin", "first_day": "2024-03-25"})
    )
    return folder


@pytest.fixture
def settings(tmp_path):
    """An empty installation."""
    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)


def rows(settings):
    """All rows of all tables, sorted."""
    found = {}
    for name, table in TABLES.items():
        columns = ", ".join(table.column_names)
        query = f"SELECT {columns} FROM read_parquet('{settings.table_parts(name)}') ORDER BY ALL"
        found[name] = duckdb.execute(query).fetchall()
    return found


def begun(settings, shop, until):
    """A full ingest up to a day."""
    return ingest.run(settings, f"folder:{shop}", until=until)


def taken(settings, shop, *days):
    """The days one by one; the last one's result."""
    return [ingest_day.run(settings, day, f"folder:{shop}") for day in days][-1]


def days_after(day, n):
    """The n days after a day."""
    return [day + timedelta(days=k) for k in range(1, n + 1)]


def test_days_one_by_one_make_the_tables_of_a_full_ingest(settings, shop, tmp_path):
    """Every row of every table, with a change of clocks and a day without data among the days."""
    begun(settings, shop, date(2024, 3, 29))
    taken(settings, shop, *days_after(date(2024, 3, 29), 11))
    whole = Settings(state=tmp_path / "whole", reports=tmp_path, threads=1)
    begun(whole, shop, LAST)
    assert rows(settings) == rows(whole)
    assert len(rows(whole)["transactions"]) > 700
    assert len(rows(whole)["promotions"]) == 16


def test_until_leaves_out_what_comes_after_and_counts_it(settings, shop):
    """The rows written are those of local days up to that day."""
    result = begun(settings, shop, date(2024, 3, 31))
    lines = pd.read_parquet(shop / "transactions.parquet")
    days = [CALENDAR.day_at(when.to_pydatetime()) for when in lines["event_timestamp"]]
    assert result.rows == sum(day <= date(2024, 3, 31) for day in days)
    assert any("left out: from 2024-03-31 22:00Z on" in note for note in result.notes)
    assert json.loads((settings.state / "tables" / "ingest.json").read_text())["until"] == "2024-03-31"


def test_a_second_run_of_a_day_changes_no_byte(settings, shop):
    """Parts and the word that is left of them are replaced by equal ones."""
    begun(settings, shop, date(2024, 4, 1))
    taken(settings, shop, date(2024, 4, 2))
    before = {path: path.read_bytes() for path in (settings.state / "tables").rglob("*") if path.is_file()}
    taken(settings, shop, date(2024, 4, 2))
    assert {path: path.read_bytes() for path in before} == before


def test_a_day_without_data_is_taken_in_as_such(settings, shop):
    """It has a part without rows, and says so; the day after goes on."""
    begun(settings, shop, date(2024, 4, 4))
    result = taken(settings, shop, date(2024, 4, 5))
    assert result.rows == 0
    assert "no rows at all" in result.notes[0]
    assert settings.table_part("transactions", date(2024, 4, 5)).exists()
    assert taken(settings, shop, date(2024, 4, 6)).rows > 0


def test_a_day_that_the_source_has_not_yet_is_an_error(settings, shop):
    """Nothing of it and nothing after it: it may come; nothing is written."""
    begun(settings, shop, LAST)
    with pytest.raises(IngestError, match="no row of 2024-04-10 and none after it"):
        taken(settings, shop, date(2024, 4, 10))
    assert not settings.table_part("transactions", date(2024, 4, 10)).exists()
    assert DayFile.read(settings, date(2024, 4, 10)) is None


def test_a_day_needs_a_full_ingest_before_it(settings, shop):
    """The command is named."""
    with pytest.raises(FileNotFoundError, match="run `endcap ingest --until DAY`"):
        taken(settings, shop, date(2024, 4, 1))


def test_corrections_of_the_three_days_before_are_found(settings, shop):
    """A price, a row more and a row less are; a day that is as it was, or further back, is not."""
    begun(settings, shop, date(2024, 3, 30))
    taken(settings, shop, *days_after(date(2024, 3, 30), 7))
    choices = Choices(day=date(2024, 4, 7), source=f"folder:{shop}")
    assert changed_days(settings, choices) == []
    lines = pd.read_parquet(shop / "transactions.parquet")
    days = np.array([CALENDAR.day_at(when.to_pydatetime()) for when in lines["event_timestamp"]])
    lines.loc[np.flatnonzero(days == date(2024, 4, 6))[0], "price_paid"] += 0.01
    lines = lines.drop(index=np.flatnonzero(days == date(2024, 4, 4))[:1])
    lines = lines.drop(index=np.flatnonzero(days == date(2024, 4, 1))[:1])
    lines.to_parquet(shop / "transactions.parquet")
    assert changed_days(settings, choices) == [date(2024, 4, 4), date(2024, 4, 6)]
    taken(settings, shop, date(2024, 4, 4), date(2024, 4, 6))
    assert changed_days(settings, choices) == []


def test_the_order_of_rows_is_no_correction(settings, shop):
    """A file that is exported anew has other row groups and another order."""
    begun(settings, shop, date(2024, 3, 30))
    taken(settings, shop, *days_after(date(2024, 3, 30), 3))
    path = shop / "transactions.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=1).to_parquet(path, row_group_size=50, index=False)
    assert changed_days(settings, Choices(day=date(2024, 4, 3), source=f"folder:{shop}")) == []


def test_a_full_ingest_takes_the_place_of_days(settings, shop):
    """No part of a day is left beside it."""
    begun(settings, shop, date(2024, 4, 1))
    taken(settings, shop, date(2024, 4, 2))
    begun(settings, shop, date(2024, 4, 3))
    assert [path.name for path in settings.table("transactions").parent.iterdir()] == ["base.parquet"]


def test_a_disk_that_is_full_leaves_the_day_undone(settings, shop, monkeypatch):
    """The tables are as before, nothing lies about, and the next run takes the day in."""
    begun(settings, shop, date(2024, 4, 1))
    before = rows(settings)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ingest_day, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            taken(settings, shop, date(2024, 4, 2))
    assert rows(settings) == before
    assert DayFile.read(settings, date(2024, 4, 2)) is None
    assert not (settings.state / "tables" / ".aside").exists()
    assert taken(settings, shop, date(2024, 4, 2)).rows > 0
