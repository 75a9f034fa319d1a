"""What ingest does with a row: which it refuses, which it changes, and the SQL for both.

In: the columns that a raw relation has. Out: SQL text; `jobs/ingest.py` runs it and counts. Every rule has
a reason, a few words that appear in the summary, and each row is refused for the first reason that holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from feature_repo.tables import ITEMS, PROMOTIONS, TRANSACTIONS, Column, Table
from jobs.sources.source import EARLIEST, quoted

UNKNOWN = "UNKNOWN"
KINDS = ("mailer", "display")

FILLED: dict[str, tuple[str, ...]] = {
    "transactions": ("basket_id",),
    "items": ("title", "category_1", "category_2", "category_3"),
}
"""Required columns that ingest can fill where a row has nothing, in the order in which it fills them."""
MAY_LACK = {"basket_id", "category_1", "category_2", "category_3"}
"""Required columns that a file may lack altogether."""


@dataclass(frozen=True)
class Change:
    """A correction: where `condition` holds, `column` becomes `value`."""

    reason: str
    column: str
    condition: str
    value: str


REFUSED: dict[str, tuple[tuple[str, str], ...]] = {
    "promotions": (
        ("kind is neither mailer nor display", f"kind NOT IN {KINDS}"),
        ("ends_at is not after starts_at", "ends_at <= starts_at"),
        ("store_share is not between 0 and 1", "store_share NOT BETWEEN 0 AND 1"),
    ),
}
CHANGED: dict[str, tuple[Change, ...]] = {
    "transactions": (
        Change("basket_id composed from user and time", "basket_id", "coalesce(trim(basket_id), '') = ''",
               "user_id || '@' || epoch_us(event_timestamp)"),
        Change("negative discount made positive", "discount", "discount < 0", "abs(discount)"),
        Change("negative price of a purchase raised to 0", "price_paid",
               "price_paid < 0 AND quantity > 0", "0"),
    ),
    "items": (
        Change("category_1 filled: " + UNKNOWN, "category_1", "coalesce(trim(category_1), '') = ''",
               quoted(UNKNOWN)),
        Change("category_2 filled from category_1", "category_2", "coalesce(trim(category_2), '') = ''",
               "category_1"),
        Change("category_3 filled from category_2", "category_3", "coalesce(trim(category_3), '') = ''",
               "category_2"),
        Change("title composed", "title", "coalesce(trim(title), '') = ''",
               f"CASE WHEN category_3 = '{UNKNOWN}' THEN 'Unknown product ' || item_id ELSE category_3 END"),
    ),
    "users": (
        Change("attributes are no JSON, left empty", "attributes", "NOT json_valid(attributes)", "NULL"),
    ),
}  # fmt: skip


def typed_columns(table: Table, types: Mapping[str, str]) -> str:
    """Select list that brings raw columns (name -> DuckDB type) to the contract's types, or to null.

    Beside each column stands `given_<column>`: whether the raw row had a value there.
    """
    return ", ".join(
        f"{_cast(column, types.get(column.name))} AS {column.name}, "
        f"{f'{column.name} IS NOT NULL' if column.name in types else 'false'} AS given_{column.name}"
        for column in table.columns
    )


def verdict(table: Table, latest: str) -> str:
    """CASE expression: the reason for which a typed row is refused, null if it is not.

    `latest` is the first instant that counts as the future; promotions may be planned, so it binds only times
    at which something has happened.
    """
    filled = FILLED.get(table.name, ())
    rules = [rule for column in table.columns if column.required and column.name not in filled
             for rule in _required(column, latest if table is TRANSACTIONS else None)]  # fmt: skip
    rules += REFUSED.get(table.name, ())
    cases = " ".join(f"WHEN {condition} THEN {quoted(reason)}" for reason, condition in rules)
    return f"CASE {cases} END"


def changes(table: Table) -> tuple[Change, ...]:
    """Corrections of a table in the order in which they are made: later ones see earlier ones' values."""
    optional = [column for column in table.columns if not column.required and column.type != "JSON"]
    unreadable = [
        Change(f"{column.name} cannot be read, left empty", column.name, _unreadable(column), "NULL")
        for column in optional
        if table in (ITEMS, PROMOTIONS, TRANSACTIONS)
    ]
    return (*unreadable, *CHANGED.get(table.name, ()))


def _required(column: Column, latest: str | None) -> list[tuple[str, str]]:
    """Rules that a required column brings by its type."""
    name = column.name
    rules = [(f"{name} is missing", f"NOT given_{name}")]
    if column.type == "VARCHAR":
        return [*rules, (f"{name} is blank", f"trim({name}, E' \\t\\r\\n') = ''"),
                (f"{name} cannot be read", f"{name} IS NULL")]  # fmt: skip
    rules.append((f"{name} cannot be read as {column.type}", f"{name} IS NULL"))
    if column.type == "DOUBLE":
        rules.append((f"{name} is not a finite number", f"NOT isfinite({name})"))
    if column.type == "TIMESTAMPTZ":
        rules.append((f"{name} is not a date", f"NOT isfinite({name})"))
        rules.append((f"{name} is before 1990", f"{name} < TIMESTAMPTZ '{EARLIEST}'"))
        if latest:
            rules.append((f"{name} is in the future", f"{name} >= TIMESTAMPTZ {quoted(latest)}"))
    return rules


def _unreadable(column: Column) -> str:
    """Condition: the raw row had a value, but it is none of the column's type."""
    broken = f"given_{column.name} AND {column.name} IS NULL"
    return (
        f"({broken} OR NOT isfinite({column.name}))" if column.type in ("DOUBLE", "TIMESTAMPTZ") else broken
    )


def _cast(column: Column, raw_type: str | None) -> str:
    """Cast that gives null, not an error, for a value that cannot be read or a column that is not there."""
    name = column.name
    if raw_type is None:
        return f"NULL::{_plain(column.type)}"
    if column.type == "VARCHAR" and raw_type in ("DOUBLE", "FLOAT"):  # 17.0 is what pandas makes of id 17
        whole = f"isfinite({name}) AND {name} = trunc({name}) AND abs({name}) < 1e15"
        return (
            f"CASE WHEN {whole} THEN {name}::BIGINT::VARCHAR WHEN isfinite({name}) THEN {name}::VARCHAR END"
        )
    return f"TRY_CAST({name} AS {_plain(column.type)})"


def _plain(column_type: str) -> str:
    """JSON stays text until it has been checked."""
    return "VARCHAR" if column_type == "JSON" else column_type
