"""A made-up shop with planted truth, at any scale: what a model should find is known by construction.

In: a `World` (all its parameters) with a seed. Out: raw relations in the contract's columns; equal worlds
give equal rows. What is planted, and can be asked of `planted(world)`:

- every shopper has a favourite department, from which `favourite_share` of the free picks come;
- every shopper has `staples` items bought every 1, 2 or 4 weeks, without fail, from a week of their own on;
- within a department an item's popularity falls with its position: 1 / rank ** `zipf`;
- `promoted_share` of the free picks are items on promotion in that week; promotions are announced three days
  before they start, so a feature may know of them;
- every shopper shops once a week, on a weekday and at an hour of their own; `return_share` of the free picks
  come back a week later (quantity -1).

The shop is in Berlin, so a clock change (31 March 2024) falls into week 13.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.shop_calendar import ShopCalendar
from jobs.sources.source import IngestError, RawTable, Span

RHYTHMS = (1, 2, 4)  # weeks between two purchases of a staple
STORES = 5
USERS_AT_ONCE = 20_000  # rows of so many shoppers are made in one go: about 200 MB
DEPARTMENTS = ("Bakery", "Dairy", "Drinks", "Frozen", "Fruit", "Household", "Meat", "Pantry")
KINDS = ("Classic", "Organic", "Family", "Light", "Premium")
CALENDAR = ShopCalendar(timezone="Europe/Berlin", first_day=date(2024, 1, 1))
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """All parameters of the shop."""

    users: int = 200
    items: int = 300
    weeks: int = 20
    seed: int = 7
    departments: int = 6
    staples: int = 5
    free_picks: int = 4
    favourite_share: float = 0.7
    promoted_share: float = 0.1
    promoted_items: int = 6
    return_share: float = 0.02
    zipf: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.departments <= len(DEPARTMENTS):
            raise IngestError(f"World.departments is {self.departments}; use 1 to {len(DEPARTMENTS)}")
        if self.items < self.departments * self.staples or self.users < 1 or self.weeks < 1:
            raise IngestError(f"{self} is too small; use departments x staples items or more")


@dataclass(frozen=True)
class Planted:
    """The truth, by position of users and items (id = position + 1, see `user_ids`, `item_ids`)."""

    favourite: Codes  # (users,) department
    staples: Codes  # (users, staples) item
    rhythm: Codes  # (users, staples) weeks between purchases
    phase: Codes  # (users, staples) the first week, from 0
    promoted: Codes  # (weeks, promoted_items) item; even places mailer, odd ones display
    department: Codes  # (items,) department
    price: NDArray[np.float64]  # (items,) euro


def planted(world: World) -> Planted:
    """The truth behind `world`; the rows are drawn from it."""
    rng = np.random.default_rng(world.seed)
    favourite = rng.integers(0, world.departments, world.users)
    in_department = world.items // world.departments  # items beyond a whole number of rounds are never picked
    bounds = (
        np.arange(world.staples + 1) * in_department // world.staples
    )  # one staple from each range of ranks
    rank = bounds[:-1] + (rng.random((world.users, world.staples)) * np.diff(bounds)).astype(np.int64)
    rhythm = rng.choice(RHYTHMS, (world.users, world.staples))
    return Planted(
        favourite=favourite,
        staples=rank * world.departments + favourite[:, None],
        rhythm=rhythm,
        phase=rng.integers(0, rhythm),
        promoted=np.stack([rng.permutation(world.items)[: world.promoted_items] for _ in range(world.weeks)]),
        department=np.arange(world.items) % world.departments,
        price=np.round(rng.gamma(2.0, 2.0, world.items) + 0.5, 2),
    )


def user_ids(positions: Codes) -> list[str]:
    """Ids of users by position: u0001 is the first."""
    return [f"u{position + 1:04d}" for position in positions]


def item_ids(positions: Codes) -> list[str]:
    """Ids of items by position: i0001 is the first."""
    return [f"i{position + 1:04d}" for position in positions]


@dataclass(frozen=True)
class Synthetic:
    """The shop of a `World`; its clock stands still at the end of its last week."""

    world: World = World()
    name: str = "synthetic"
    recorded: bool = True
    calendar: ShopCalendar = CALENDAR

    def relations(
        self,
        con: duckdb.DuckDBPyConnection,
        span: Span | None = None,  # noqa: ARG002 (what is drawn depends on all that was drawn before)
    ) -> Mapping[str, RawTable]:
        """Raw tables, made as temporary tables on `con`."""
        truth = planted(self.world)
        con.execute("CREATE OR REPLACE TEMP TABLE made_lines (u BIGINT, i BIGINT, w BIGINT, sold_at BIGINT, "
                    "quantity DOUBLE, price DOUBLE, discount DOUBLE)")  # fmt: skip
        for lines in _lines(self.world, truth, self._week_starts()):
            _insert(con, "made_lines", lines)
        _create(con, "made_items", _items(self.world, truth))
        _create(con, "made_promotions", _promotions(truth, self.calendar))
        return {
            "transactions": RawTable(
                f"""SELECT printf('u%04d', u + 1) AS user_id, printf('i%04d', i + 1) AS item_id,
                    make_timestamp(sold_at) AS event_timestamp, printf('b%d-%d', u + 1, w + 1) AS basket_id,
                    quantity, price AS price_paid, discount, printf('s%02d', u % {STORES} + 1) AS store_id
                    FROM made_lines""", str(self.world)),
            "items": RawTable("SELECT * FROM made_items", str(self.world)),
            "users": RawTable(
                f"""SELECT printf('u%04d', u + 1) AS user_id,
                    CASE WHEN u % 3 > 0 THEN '{{"household_size": ' || (u % 5 + 1) || '}}' END AS attributes
                    FROM range({self.world.users}) AS made_users(u)""", str(self.world)),
            "promotions": RawTable("SELECT * FROM made_promotions", str(self.world)),
        }  # fmt: skip

    def _week_starts(self) -> Codes:
        """Start of each week in microseconds since 1970."""
        starts = [self.calendar.start(week + 1).timestamp() for week in range(self.world.weeks)]
        return (np.asarray(starts) * 1e6).astype(np.int64)


def open_source(argument: str = "", scale: float | None = None) -> Synthetic:
    """The default world, with `scale` times the users and the square root of it times the items."""
    if argument:
        raise IngestError(
            f"The synthetic source takes no argument, it got {argument!r}; use --source synthetic"
        )
    if scale is not None and not 0 < scale < 1e6:
        raise IngestError(f"--scale is {scale}; use a number above 0, 10 is ten times the shoppers")
    world, factor = World(), 1.0 if scale is None else scale
    items = max(round(world.items * factor**0.5), world.departments * world.staples)
    return Synthetic(replace(world, users=max(round(world.users * factor), 1), items=items))


def _lines(world: World, truth: Planted, week_starts: Codes) -> Iterator[pa.Table]:
    """Receipt lines, `USERS_AT_ONCE` shoppers at a time; one line a user, week and item."""
    discounted = np.zeros((world.weeks, world.items), dtype=bool)
    discounted[np.arange(world.weeks)[:, None], truth.promoted] = True
    for block, first in enumerate(range(0, world.users, USERS_AT_ONCE)):
        rng = np.random.default_rng([world.seed, block + 1])
        users = np.arange(first, min(first + USERS_AT_ONCE, world.users))
        keys, returned = _keys(rng, world, truth, users)
        keys = np.concatenate([keys, returned])
        u, w, i = np.unravel_index(keys, (world.users, world.weeks, world.items))
        hour = (rng.integers(0, 7, len(users)) * 24 + rng.integers(8, 20, len(users)))[u - first]
        second = rng.integers(0, 3600, (len(users), world.weeks))[u - first, w]
        sign = np.where(np.arange(len(keys)) < len(keys) - len(returned), 1.0, -1.0)
        discount = np.round(truth.price[i] * 0.2 * discounted[w, i], 2)
        yield pa.table({
            "u": u, "i": i, "w": w, "quantity": sign,
            "sold_at": week_starts[w] + (hour * 3600 + second) * 1_000_000,
            "price": np.round(sign * (truth.price[i] - discount), 2), "discount": discount,
        })  # fmt: skip


def _keys(rng: np.random.Generator, world: World, truth: Planted, users: Codes) -> tuple[Codes, Codes]:
    """What is bought and what is returned: sorted unique positions in (users, weeks, items)."""
    shape = (world.users, world.weeks, world.items)
    weeks = np.arange(world.weeks)[None, :, None]
    rhythm, phase = truth.rhythm[users][:, None, :], truth.phase[users][:, None, :]
    u, w, s = np.nonzero((weeks >= phase) & ((weeks - phase) % rhythm == 0))
    staples = np.ravel_multi_index((users[u], w, truth.staples[users[u], s]), shape)
    u, w, _ = (part.ravel() for part in np.indices((len(users), world.weeks, world.free_picks)))
    free = np.ravel_multi_index((users[u], w, _free_items(rng, world, truth, users[u], w)), shape)
    bought = np.unique(np.concatenate([staples, free]))
    regret = np.unique(free[(rng.random(len(free)) < world.return_share) & (w < world.weeks - 1)])
    returned = regret + world.items  # the same user and item, one week later
    return bought, np.setdiff1d(returned, bought)


def _free_items(rng: np.random.Generator, world: World, truth: Planted, users: Codes, weeks: Codes) -> Codes:
    """Items picked freely: from the favourite department, from any, or on promotion."""
    n = len(users)
    weight = np.arange(1, world.items // world.departments + 1) ** -world.zipf
    rank = np.searchsorted(np.cumsum(weight)[:-1] / weight.sum(), rng.random(n))
    anywhere = rng.integers(0, world.departments, n)
    department = np.where(rng.random(n) < world.favourite_share, truth.favourite[users], anywhere)
    promoted = truth.promoted[weeks, rng.integers(0, world.promoted_items, n)]
    return np.where(rng.random(n) < world.promoted_share, promoted, rank * world.departments + department)


def _items(world: World, truth: Planted) -> pa.Table:
    """One row an item; its kind follows from its place in the department."""
    departments = [DEPARTMENTS[code] for code in truth.department]
    ranks = np.arange(world.items) // world.departments
    kinds = [f"{KINDS[rank % len(KINDS)]} {name}" for rank, name in zip(ranks, departments, strict=True)]
    return pa.table({
        "item_id": item_ids(np.arange(world.items)),
        "title": [f"{kind} {rank + 1}" for kind, rank in zip(kinds, ranks, strict=True)],
        "category_1": departments, "category_2": kinds, "category_3": kinds,
        "brand": [("Endcap", "Rival")[rank % 2] for rank in ranks],
        "manufacturer": [f"m{rank % 7}" for rank in ranks],
        "size": [None if rank % 4 == 0 else f"{rank % 4 * 250} g" for rank in ranks],
        "price": truth.price,
    })  # fmt: skip


def _promotions(truth: Planted, calendar: ShopCalendar) -> pa.Table:
    """One row a week and promoted item, announced three days before its week."""
    week, place = (part.ravel() for part in np.indices(truth.promoted.shape))
    starts = [calendar.start(int(w) + 1) for w in week]
    return pa.table({
        "item_id": item_ids(truth.promoted.ravel()),
        "kind": [("mailer", "display")[p % 2] for p in place],
        "starts_at": starts, "ends_at": [calendar.end(int(w) + 1) for w in week],
        "announced_at": [start - timedelta(days=3) for start in starts],
        "store_share": 1.0 - place % STORES / STORES,
    })  # fmt: skip


def _create(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Temporary table of Arrow rows."""
    con.register("made", rows)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM made")
    con.unregister("made")


def _insert(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Append Arrow rows to a table."""
    con.register("made", rows)
    con.execute(f"INSERT INTO {name} BY NAME SELECT * FROM made")
    con.unregister("made")
