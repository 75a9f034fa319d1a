"""Features counted again from raw lines, by SQL that shares nothing with the jobs that compute them.

In: the tables of an installation and (id, instant) rows. Out: for each row what its features must be, were
they known at that instant and no later one. A row of a window feature holds what was sold in the last 7, 28,
91 and 182 local days before its stamp: days are counted back on the shop's clock, nothing is summed up on the
way. `differences` names the features of a row that are something else: rows that know their future, or miss
their past.

    recount = Recount(settings, "America/New_York", departments)
    recount.users(["2375"], [instant])[0]["user_spend_7d"]
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from feature_repo.settings import Settings
from feature_repo.transforms import HALF_LIFE_DAYS

SPANS = {"7d": 7, "28d": 28, "91d": 91, "182d": 182}

CLOSE = 1e-6  # relative: sums of money in another order, shares as float32
DECAY_CLOSE = 1e-4  # a decayed count is rounded to float32 at every basket, and here never
Row = dict[str, Any]

USERS = """
SELECT n, stamp, {sums},
       sum(discount) FILTER (in_91d) AS discount_91d,
       (epoch_us(stamp) - epoch_us(max(event_timestamp))) / 86400e6 AS user_recency_days,
       (epoch_us(stamp) - epoch_us(min(event_timestamp))) / 86400e6 AS user_tenure_days
FROM lines GROUP BY n, stamp
"""
DEPARTMENTS = """
SELECT n, count(*) AS lines,
       CASE WHEN i.category_1 IN (SELECT unnest(?::VARCHAR[])) THEN i.category_1 ELSE '(other)' END AS name
FROM lines LEFT JOIN items i USING (item_id) WHERE in_91d GROUP BY ALL
"""
HISTORY = """
WITH numbered AS (
    SELECT *, dense_rank() OVER (PARTITION BY n ORDER BY event_timestamp) AS basket,
           max(event_timestamp) OVER (PARTITION BY n, item_id) AS last
    FROM (SELECT DISTINCT a.n, t.item_id, t.event_timestamp
          FROM asked a JOIN transactions t ON t.user_id = a.id
          WHERE t.quantity > 0 AND t.event_timestamp <= a.stamp)
)
SELECT n, item_id, count(*) AS baskets, epoch_us(min(event_timestamp)) // 1000000 AS first,
       epoch_us(last) // 1000000 AS last, max(basket) AS last_basket,
       sum(pow(2, (epoch_us(event_timestamp) // 1000000 - epoch_us(last) // 1000000) / 86400 / {half_life}))
           AS decayed
FROM numbered GROUP BY n, item_id, last
"""
ITEMS = """
SELECT n, stamp, {counts},
       count(DISTINCT user_id) FILTER (in_91d) AS item_users_91d,
       sum(price_paid) FILTER (in_91d) AS paid_91d, sum(quantity) FILTER (in_91d) AS sold_91d,
       sum(price_paid) FILTER (in_182d) AS paid_182d, sum(quantity) FILTER (in_182d) AS sold_182d,
       sum(discount) FILTER (in_91d) AS discount_91d,
       (epoch_us(stamp) - epoch_us(min(event_timestamp))) / 86400e6 AS item_age_days
FROM lines GROUP BY n, stamp
"""
REPEATS = """
SELECT n, avg((baskets >= 2)::INT) AS item_repeat_rate_91d FROM (
    SELECT n, user_id, count(DISTINCT basket_id) AS baskets FROM lines WHERE in_91d GROUP BY n, user_id
) GROUP BY n
"""
EXPOSURE = """
SELECT a.n, max(p.store_share) FILTER (p.kind = 'mailer') AS item_mailer_share,
       max(p.store_share) FILTER (p.kind = 'display') AS item_display_share
FROM asked a JOIN promotions p ON p.item_id = a.id
WHERE coalesce(p.announced_at, p.ends_at) <= a.stamp AND p.starts_at < a.stamp AND p.ends_at > a.from_7d
GROUP BY a.n
"""


class Recount:
    """A recount over one installation's tables; `zone` is the shop's, `departments` the slots of shares."""

    def __init__(self, settings: Settings, zone: str, departments: Sequence[str]) -> None:
        self.zone, self.departments = zone, list(departments)
        self.connection = duckdb.connect(config={"threads": str(settings.threads), "memory_limit": "2GB"})
        self.connection.execute("SET TimeZone = 'UTC'")
        for name in ("transactions", "items", "promotions"):
            there = settings.table(name).exists()
            if not there and name != "promotions":
                raise FileNotFoundError(f"No {name} in {settings.table(name)}; run `endcap ingest`")
            if there:
                quoted = settings.table_parts(name).replace("'", "''")
                self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{quoted}')")
        self.has_promotions = settings.table("promotions").exists()

    def known_ids(self, key: str, before: datetime, since: datetime | None = None) -> list[str]:
        """Sorted ids of users ("user_id") or items ("item_id") with a purchase before an instant."""
        rows = self.connection.execute(
            f"SELECT DISTINCT {key} FROM transactions WHERE quantity > 0 AND event_timestamp < $1"
            " AND ($2 IS NULL OR event_timestamp >= $2) ORDER BY 1",
            [before, since],
        ).fetchall()
        return [str(row[0]) for row in rows]

    def last_purchase(self, until: datetime) -> datetime | None:
        """When something was bought last, up to an instant."""
        query = "SELECT max(event_timestamp) FROM transactions WHERE quantity > 0 AND event_timestamp <= $1"
        found: tuple[datetime | None] | None = self.connection.execute(query, [until]).fetchone()
        return found[0] if found else None

    def users(self, ids: Sequence[str], stamps: Sequence[datetime]) -> list[Row | None]:
        """Features of `user_stats` as of each row's stamp; None for a user of whom nothing was known."""
        self._ask(ids, stamps, "user_id")
        spans = [span for span in SPANS if span != "182d"]
        sums = [
            f"{what} FILTER (in_{span}) AS user_{name}_{span}"
            for name, what in (
                ("spend", "sum(price_paid)"),
                ("baskets", "count(DISTINCT basket_id)"),
                ("items", "count(DISTINCT item_id)"),
            )
            for span in spans
        ]
        found = self._rows(USERS.format(sums=", ".join(sums)))
        lines: dict[int, dict[str, int]] = {}
        for n, count, name in self.connection.execute(DEPARTMENTS, [self.departments]).fetchall():
            lines.setdefault(n, {})[name] = count
        return [self._user(found.get(n), lines.get(n, {})) for n in range(len(ids))]

    def _user(self, row: Row | None, lines: Mapping[str, int]) -> Row | None:
        if row is None:
            return None
        found = {name: filled(value) for name, value in row.items() if name.startswith("user_")}
        found["user_discount_share_91d"] = share(row["discount_91d"], row["user_spend_91d"])
        shares = np.zeros(len(self.departments))
        for name, count in lines.items():
            place = self.departments.index(name) if name in self.departments else -1
            shares[place] += count / sum(lines.values())
        best = max(lines.values(), default=0)
        tied = [name for name, count in lines.items() if count == best]
        return {
            **found,
            "user_department_shares_91d": shares,
            "user_top_department": min(tied, default=""),
        }

    def histories(
        self, ids: Sequence[str], instants: Sequence[datetime]
    ) -> list[dict[str, tuple[float, ...]]]:
        """Purchases by item up to each row's instant, that one included.

        (baskets, first and last second, number of the last basket, decayed count at the last).
        """
        self._ask(ids, instants, "user_id")
        found: list[dict[str, tuple[float, ...]]] = [{} for _ in ids]
        query = HISTORY.format(half_life=HALF_LIFE_DAYS)
        for n, item, *slot in self.connection.execute(query).fetchall():
            found[n][item] = tuple(slot)
        return found

    def items(self, ids: Sequence[str], stamps: Sequence[datetime]) -> list[Row | None]:
        """Features of `item_stats` as of each row's stamp; None for an item not sold within 182 days."""
        self._ask(ids, stamps, "item_id")
        counts = [
            f"count(DISTINCT (user_id, basket_id)) FILTER (in_{span}) AS item_baskets_{span}"
            for span in SPANS
        ]
        found = self._rows(ITEMS.format(counts=", ".join(counts)))
        repeats = self._rows(REPEATS)
        exposed = self._rows(EXPOSURE) if self.has_promotions else {}
        return [self._item(found.get(n), repeats.get(n, {}), exposed.get(n, {})) for n in range(len(ids))]

    def _item(self, row: Row | None, repeats: Row, exposed: Row) -> Row | None:
        if row is None or not row["item_baskets_182d"]:
            return None
        span = "91d" if row["sold_91d"] else "182d"
        return {
            **{name: value for name, value in row.items() if name.startswith("item_")},
            "item_repeat_rate_91d": repeats.get("item_repeat_rate_91d", 0.0),
            "item_price_91d": row[f"paid_{span}"] / row[f"sold_{span}"],
            "item_discount_share_91d": share(row["discount_91d"], row["paid_91d"]),
            "item_mailer_share": filled(exposed.get("item_mailer_share")),
            "item_display_share": filled(exposed.get("item_display_share")),
        }

    def _ask(self, ids: Sequence[str], instants: Sequence[datetime], key: str) -> None:
        """Tables `asked` (n, id, stamp, starts of windows) and `lines`, all that was bought before."""
        stamps = pd.DatetimeIndex(pd.to_datetime(list(instants), utc=True)).as_unit("us")
        frame = pd.DataFrame({"n": range(len(ids)), "id": list(ids), "stamp": stamps})
        self.connection.register("frame", frame)
        zone = f"AT TIME ZONE '{self.zone}'"  # to the shop's clock, and back to an instant
        begins = ", ".join(
            f"((stamp {zone}) - INTERVAL {days} DAY) {zone} AS from_{span}" for span, days in SPANS.items()
        )
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE asked AS SELECT *, {begins} FROM frame")
        self.connection.unregister("frame")
        inside = ", ".join(f"t.event_timestamp >= a.from_{span} AS in_{span}" for span in SPANS)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE lines AS SELECT a.n, a.stamp, t.*, {inside} FROM asked a"
            f" JOIN transactions t ON t.{key} = a.id WHERE t.quantity > 0 AND t.event_timestamp < a.stamp"
        )

    def _rows(self, query: str) -> dict[int, Row]:
        """Rows of a query by their number."""
        cursor = self.connection.execute(query)
        names = [column[0] for column in cursor.description or ()]
        return {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def filled(value: float | None) -> float:
    """0 for nothing."""
    return 0.0 if value is None else value


def share(discount: float | None, paid: float | None) -> float:
    """Discount as a share of what it would have cost; 0 where nothing was sold."""
    total = filled(discount) + filled(paid)
    return filled(discount) / total if total else 0.0


def differences(row: Mapping[str, Any], expected: Row | None) -> list[str]:
    """Names of features of a row that are not what was recounted; of None, those that are there at all."""
    if expected is None:
        return [name for name, value in row.items() if value is not None and name not in KEYS]
    return [name for name, value in expected.items() if name in row and not equal(row[name], value)]


KEYS = ("user_id", "item_id", "event_timestamp", "row_number")


def equal(value: Any, expected: Any) -> bool:
    """Whether a feature is what was recounted: text to the letter, numbers to the rounding of their sums."""
    if value is None or isinstance(expected, str):
        return bool(value == expected)
    if isinstance(expected, np.ndarray):
        held = np.asarray(value, np.float64)
        wanted = np.zeros(len(held))
        wanted[: len(expected)] = expected[: len(held)]
        return len(expected) <= len(held) and bool(np.allclose(held, wanted, rtol=CLOSE, atol=CLOSE))
    return math.isclose(value, expected, rel_tol=CLOSE, abs_tol=CLOSE)


def history_differences(row: Mapping[str, Any], expected: Mapping[str, Sequence[float]]) -> list[str]:
    """Names of history features that are not what was recounted, whatever the order of the slots."""
    items = row["history_items"] or []
    if {*items} != {*expected} or len(items) != len(expected):
        return ["history_items"]
    columns = ("history_counts", "history_first_times", "history_last_times", "history_last_baskets")
    wrong = [
        name
        for place, name in enumerate(columns)
        if any(row[name][slot] != expected[item][place] for slot, item in enumerate(items))
    ]
    decayed = [expected[item][4] for item in items]
    close = np.allclose(row["history_decayed"] or [], decayed, rtol=DECAY_CLOSE, atol=0)
    return wrong if close else [*wrong, "history_decayed"]
