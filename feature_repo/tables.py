"""The data contract: the canonical tables that every shop's data is brought into (DuckDB type names).

Event times are UTC with microseconds. Identifiers are strings. `endcap ingest` writes these tables;
nothing after it reads anything else.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: DuckDB type, whether every row must have a value, and what it holds."""

    name: str
    type: str
    required: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """One table of the contract; `key` names the columns that identify a row."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    optional: bool = False

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Names of the columns that may not be missing or null."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns, in the order in which they are written."""
        return tuple(column.name for column in self.columns)


TRANSACTIONS = Table(
    name="transactions",
    key=("user_id", "basket_id", "item_id"),
    columns=(
        Column("user_id", "VARCHAR", required=True),
        Column("item_id", "VARCHAR", required=True),
        Column("event_timestamp", "TIMESTAMPTZ", required=True, note="when the basket was paid"),
        Column(
            "basket_id", "VARCHAR", required=True, note="composed from user and time where a shop has none"
        ),
        Column("quantity", "DOUBLE", required=True, note="negative: returned"),
        Column("price_paid", "DOUBLE", required=True, note="for the whole line, after discounts"),
        Column("discount", "DOUBLE", required=True, note="for the whole line, never negative"),
        Column("store_id", "VARCHAR"),
    ),
)

ITEMS = Table(
    name="items",
    key=("item_id",),
    columns=(
        Column("item_id", "VARCHAR", required=True),
        Column("title", "VARCHAR", required=True, note="readable; composed where a shop has none"),
        Column("category_1", "VARCHAR", required=True, note="widest: department"),
        Column("category_2", "VARCHAR", required=True),
        Column("category_3", "VARCHAR", required=True, note="narrowest: product type"),
        Column("brand", "VARCHAR"),
        Column("manufacturer", "VARCHAR"),
        Column("size", "VARCHAR"),
        Column("price", "DOUBLE"),
        Column("available_from", "TIMESTAMPTZ"),
        Column("available_to", "TIMESTAMPTZ"),
    ),
)

USERS = Table(
    name="users",
    key=("user_id",),
    optional=True,
    columns=(
        Column("user_id", "VARCHAR", required=True),
        Column("attributes", "JSON", note="as the shop has them"),
    ),
)

PROMOTIONS = Table(
    name="promotions",
    key=("item_id", "kind", "starts_at"),
    optional=True,
    columns=(
        Column("item_id", "VARCHAR", required=True),
        Column("kind", "VARCHAR", required=True, note="mailer or display"),
        Column("starts_at", "TIMESTAMPTZ", required=True),
        Column("ends_at", "TIMESTAMPTZ", required=True),
        Column("announced_at", "TIMESTAMPTZ", note="null: a feature may know of it only from ends_at"),
        Column(
            "store_share", "DOUBLE", required=True, note="share of the shop's stores that took part, 0 to 1"
        ),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (TRANSACTIONS, ITEMS, USERS, PROMOTIONS)}
