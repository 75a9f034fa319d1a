"""A small nasty shop for feature engineering: its lines, and the means to compute features another way.

`nasty_shop` is hand-made where windows, clocks and ties are hard, and random (seeded) elsewhere. `open_lines`
puts a shop into DuckDB with instants as microseconds, where a test recomputes features from raw lines.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from table_files import first_part

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TABLES

Line = dict[str, Any]
ZONE = ZoneInfo("America/New_York")
FIRST_DAY = date(2017, 10, 2)  # a Monday; clocks change in the nights of 2017-11-05 and 2018-03-11
N_WEEKS = 32
CALENDAR = ShopCalendar("America/New_York", FIRST_DAY)
N_USERS, N_ITEMS, N_DEPARTMENTS = 24, 40, 36
MICROSECOND = timedelta(microseconds=1)
ARROW_TYPES = {"VARCHAR": pa.string(), "JSON": pa.string(), "DOUBLE": pa.float64(),
               "TIMESTAMPTZ": pa.timestamp("us", tz="UTC")}  # fmt: skip
SPANS = {"7d": 1, "28d": 4, "91d": 13, "182d": 26}


@dataclass(frozen=True)
class Shop:
    """Rows of the contract's tables as dictionaries."""

    lines: list[Line]
    items: list[Line]
    promotions: list[Line]

    def write(self, state: Path, *, without: str = "") -> Settings:
        """Settings of an installation that holds these tables, all but `without`, and the calendar."""
        settings = Settings(state=state, reports=state / "reports", threads=2)
        settings.shop_calendar.parent.mkdir(parents=True, exist_ok=True)
        if without != "calendar":
            CALENDAR.save(settings.shop_calendar)
        tables = {"transactions": self.lines, "items": self.items, "promotions": self.promotions}
        for name, rows in tables.items():
            columns = [(column.name, ARROW_TYPES[column.type]) for column in TABLES[name].columns]
            if name != without:
                pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), first_part(settings, name))
        return settings

    def shuffled(self) -> "Shop":
        """The same rows in another order."""
        rng = np.random.default_rng(5)
        return Shop(*[[rows[at] for at in rng.permutation(len(rows))]
                      for rows in (self.lines, self.items, self.promotions)])  # fmt: skip

    def with_another_future(self, instant: datetime) -> "Shop":
        """The same past; from `instant` on everything happens to other users, items, prices, and later.

        Promotions that nobody knew at `instant` are gone.
        """
        known = [row for row in self.promotions if (row["announced_at"] or row["ends_at"]) <= instant]
        past = [line for line in self.lines if line["event_timestamp"] < instant]
        future = [line for line in self.lines if line["event_timestamp"] >= instant]
        moved = [
            line | {"event_timestamp": line["event_timestamp"] + timedelta(days=9), "price_paid": 77.0}
            | {key: other[key] for key in ("user_id", "item_id", "quantity")}
            for line, other in zip(future, reversed(future), strict=True)
        ]  # fmt: skip
        return replace(self, lines=past + moved, promotions=known)


def local(week: int, day: int = 0, **since_midnight: float) -> datetime:
    """UTC instant in a shop week (from 1), counted from a local midnight."""
    midnight = datetime.combine(FIRST_DAY + timedelta(weeks=week - 1, days=day), datetime.min.time(), ZONE)
    return midnight.astimezone(UTC) + timedelta(**since_midnight)


def line(user: str, item: str, at: datetime, basket: str = "", **values: Any) -> Line:
    """One line; a basket is a user's lines of one instant unless named."""
    usual = {"quantity": 1.0, "price_paid": 2.3, "discount": 0.1, "store_id": "s"}
    basket_id = basket or f"{user}@{at.timestamp()}"
    return {"user_id": user, "item_id": item, "event_timestamp": at, "basket_id": basket_id} | usual | values


def around_midnights() -> list[Line]:
    """Purchases on both sides of midnights: of week ends around both changes of clocks, of changes' days."""
    starts = [local(week) for week in (5, 6, 7, 23, 24, 25)]
    changes = [local(5, 6, hours=5.5), local(5, 6, hours=6.5), local(23, 6, hours=1.9), local(23, 6)]
    shifts = [timedelta(minutes=m) for m in (-61, -59, -2, 0, 2, 59, 61)] + [-MICROSECOND, MICROSECOND]
    instants = [start + shift for start in starts for shift in shifts] + changes
    return [line("night", f"i{n % 5:02d}", at) for n, at in enumerate(instants)]


def at_window_edges() -> list[Line]:
    """Repeat purchases as many weeks apart as a window is long, one less and one more, at week starts too."""
    found = []
    for weeks in (1, 3, 4, 5, 12, 13, 14, 25, 26, 27):
        for shift in (timedelta(0), timedelta(days=3), timedelta(days=7) - 2 * timedelta(hours=1)):
            user = f"edge-{weeks}-{shift.days}"
            found += [line(user, "edge", local(2) + shift), line(user, f"edge-{weeks}", local(2) + shift)]
            week_start, rest = local(2 + weeks), shift
            found += [line(user, "edge", week_start + rest), line(user, f"edge-{weeks}", week_start + rest)]
    return found


def rare_lines() -> list[Line]:
    """Returns, silence, free lines, baskets of several times or users, ties, strange identifiers."""
    noon = {"hours": 12}
    several = [local(3, 6, hours=23.9), local(4, 0, minutes=6), local(4, 1), local(9)]
    instant = local(8, 2, **noon)
    tied = ["10", "9", "B", "a", "é", "i00", "i01"]
    return [
        *[line("spread", f"i{n:02d}", at, "spread-basket") for n, at in enumerate(several)],
        *[line(user, "shared", local(3, 1), "basket-1") for user in ("one", "two", "three")],
        *[line(user, "shared", local(w, 2), f"basket-{w}") for w in (5, 17) for user in ("one", "two")],
        line("silent", "i03", local(2)), line("silent", "i04", local(20, 3)),
        line("one", "leaves", local(1, 2)), line("two", "leaves", local(29, 2), price_paid=9.99),
        line("one", "pauses", local(1, 2), quantity=0.5), line("one", "pauses", local(16), quantity=3.0),
        line("returns", "i05", local(4), quantity=-1.0, price_paid=-5.0),
        line("one", "only-returned", local(4), quantity=-2.0, price_paid=-5.0),
        line("two", "i06", local(4), quantity=0.0), line("two", "i06", local(1), quantity=-1.0),
        line("one", "free", local(6), price_paid=0.0, discount=0.0),
        line("freeloader", "free", local(6, 1), price_paid=0.0, discount=0.0),
        line("two", "gift", local(6), price_paid=0.0, discount=1.7),
        *[line("ties", item, instant) for item in tied],
        *[line("ties", item, instant + MICROSECOND) for item in tied[3:]],
        line("ties", "9", instant + MICROSECOND, "another basket"),
        *[line("ties", item, local(30, 2, **noon)) for item in tied[:2]],
        *[line("hoarder", f"i{n:02d}", local(7)) for n in range(N_ITEMS)],
        *[line("others", f"i{n:02d}", local(7)) for n in (30, 31, 32, 33, 34, 35, 1)],
    ]  # fmt: skip


def random_lines(rng: np.random.Generator) -> list[Line]:
    """Baskets of users with favourites, at any time of some weeks; one in ten lines is a return."""
    found = []
    for user in range(N_USERS):
        favourites = rng.permutation(N_ITEMS)
        for week in rng.choice(np.arange(1, N_WEEKS + 1), rng.integers(2, 26)):
            at = local(int(week), int(rng.integers(7)), seconds=float(rng.integers(86_000_000)) / 1_000)
            chosen = np.unique(favourites[rng.geometric(0.15, rng.integers(1, 6)) % N_ITEMS])
            cents = rng.integers(0, 999, (len(chosen), 2)) / 100
            found += [
                line(f"u{user:02d}", f"i{item:02d}", at, price_paid=paid, discount=max(0.0, off - 5),
                     quantity=float(rng.choice([1, 1, 1, 1, 2, 2, 3, 3, 0.25, -1])))
                for item, (paid, off) in zip(chosen, cents, strict=True)
            ]  # fmt: skip
    return found


def random_promotions(rng: np.random.Generator) -> list[Line]:
    """Promotions of one to three weeks; known from nobody knows when, before, during or long after."""
    found = []
    for n in range(90):
        week, whole = int(rng.integers(1, N_WEEKS - 3)), bool(rng.integers(2))
        starts = local(week) + timedelta(hours=0 if whole else int(rng.integers(168)))
        ends = local(week + 1 + int(rng.integers(3))) + timedelta(hours=0 if whole else int(rng.integers(9)))
        known = [None, starts - timedelta(days=5), local(week + 1), local(week + 1) + MICROSECOND,
                 ends, ends + timedelta(days=4)][n % 6]  # fmt: skip
        found.append({"item_id": f"i{rng.integers(12):02d}", "kind": str(rng.choice(["mailer", "display"])),
                      "starts_at": starts, "ends_at": max(ends, starts + timedelta(hours=1)),
                      "announced_at": known, "store_share": rng.integers(1, 100) / 100})  # fmt: skip
    return found


def nasty_shop(seed: int = 11) -> Shop:
    """All of the above; more departments than slots, the last ones named to sort first and last."""
    rng = np.random.default_rng(seed)
    lines = around_midnights() + at_window_edges() + rare_lines() + random_lines(rng)
    keys = {(row["user_id"], row["basket_id"], row["item_id"]) for row in lines}
    assert len(keys) == len(lines)  # as the contract has it
    ids = sorted({row["item_id"] for row in lines} | {f"i{n:02d}" for n in range(N_ITEMS + 1)})
    numbers = {item: int(item[1:]) if item.startswith("i") else n for n, item in enumerate(ids)}
    items = [
        {"item_id": item, "title": item, "category_1": f"D{n % N_DEPARTMENTS:02d}", "category_2": "x",
         "category_3": "y"}
        for item, n in numbers.items()
    ]  # fmt: skip
    return Shop(lines, items, random_promotions(rng))


def week_bounds(n_weeks: int) -> pd.DataFrame:
    """(week, ends, since_<span>) in microseconds: local midnights as pandas has them."""
    first = pd.Timestamp(FIRST_DAY, tz=str(ZONE))
    midnights = pd.date_range(first, periods=n_weeks + 1, freq="7D").as_unit("us").asi8
    weeks = np.arange(1, n_weeks + 1)
    since = {f"since_{span}": midnights[np.maximum(weeks - width, 0)] for span, width in SPANS.items()}
    return pd.DataFrame({"week": weeks, "ends": midnights[1:], **since})


def open_lines(shop: Shop, slots: list[str]) -> duckdb.DuckDBPyConnection:
    """DuckDB with `lines` (purchases, with the slot's name as `department`), `weeks` and `promotions`."""
    con = duckdb.connect()
    con.execute("SET threads = 1")
    tables = {name: pa.Table.from_pylist(rows) for name, rows in vars(shop).items()}
    for name, table in tables.items():
        con.register(f"raw_{name}", table)
    con.execute(
        """CREATE TABLE lines AS SELECT user_id, item_id, basket_id, epoch_us(event_timestamp) AS instant,
             quantity, price_paid, discount,
             CASE WHEN list_contains($1, category_1) THEN category_1 ELSE '(other)' END AS department
           FROM raw_lines JOIN raw_items USING (item_id) WHERE quantity > 0""",
        [slots],
    )
    con.execute(
        """CREATE TABLE promotions AS SELECT item_id, kind, store_share, epoch_us(starts_at) AS starts,
             epoch_us(ends_at) AS ends_at, epoch_us(coalesce(announced_at, ends_at)) AS known
           FROM raw_promotions"""
    )
    con.register("bounds", week_bounds(N_WEEKS + 1))
    con.execute(
        "CREATE TABLE weeks AS SELECT * FROM bounds WHERE since_7d <= (SELECT max(instant) FROM lines)"
    )
    return con


def assert_same_rows(found: pd.DataFrame, expected: pd.DataFrame, key: str, *, rtol: float = 1e-9) -> None:
    """Both have the same rows by key and microsecond, numbers and texts equal, doubles within `rtol`."""
    index = [key, "event_timestamp"]
    found, expected = (frame.set_index(index).sort_index() for frame in (found, expected))
    assert found.index.is_unique
    assert list(found.index) == list(expected.index)
    assert set(found) == set(expected)
    for name in expected:
        if found[name].dtype == np.float64:
            np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=0, err_msg=name)
        elif found[name].dtype == object and not isinstance(found[name].iloc[0], str):
            np.testing.assert_array_equal(np.stack(found[name]), np.stack(expected[name]), err_msg=name)
        else:
            assert found[name].tolist() == expected[name].tolist(), name
