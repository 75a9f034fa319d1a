"""From raw relations to checked tables, inside DuckDB; `jobs/ingest.py` opens the connection and writes the files.

`take_all` leaves one temporary table a contract table on the connection, named like it, with the contract's
columns, and says what happened to the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from feature_repo.tables import ITEMS, PROMOTIONS, TABLES, TRANSACTIONS, USERS, Table
from jobs.ingest_summary import RuleCount, TableSummary
from jobs.row_rules import MAY_LACK, UNKNOWN, changes, typed_columns, verdict
from jobs.sources import IngestError, RawTable
from jobs.sources.source import IS_PRODUCT

AGREED: dict[str, dict[str, str]] = {
    "transactions": {
        "event_timestamp": "max(event_timestamp)",
        "quantity": "sum(quantity ORDER BY quantity)",  # in order: sums of doubles depend on it
        "price_paid": "sum(price_paid ORDER BY price_paid)",
        "discount": "sum(discount ORDER BY discount)",
        "store_id": "min(store_id)",
    },
    "promotions": {
        "ends_at": "max(ends_at)",
        "store_share": "max(store_share)",
        "announced_at": "CASE WHEN bool_and(announced_at IS NOT NULL) THEN max(announced_at) END",  # never too early
    },
}
"""How rows of one key become one, where keeping the first of them would lose something."""


@dataclass
class Intake:
    """One ingest under way: the connection, the first instant that counts as the future, the counts so far."""

    con: duckdb.DuckDBPyConnection
    latest: str
    where: dict[str, str] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    rules: dict[str, list[RuleCount]] = field(default_factory=dict)

    def number(self, sql: str) -> int:
        """First value of a query."""
        row = self.con.execute(sql).fetchone()
        return int(row[0]) if row else 0

    def count(self, table: Table, action: str, reason: str, rows: int) -> None:
        """Remember what was done with `rows` rows; none are not worth a line."""
        if rows:
            self.rules[table.name].append(RuleCount(action, reason, rows))

    def summaries(self) -> tuple[TableSummary, ...]:
        """What happened to each table, in the contract's order."""
        return tuple(
            TableSummary(name, self.where[name], self.read[name], self.number(f"SELECT count(*) FROM {name}"),
                         tuple(self.rules[name]))
            for name in TABLES
        )  # fmt: skip


def take_all(con: duckdb.DuckDBPyConnection, raw: Mapping[str, RawTable], latest: str) -> Intake:
    """Checked tables on `con`, and the counts; IngestError if one of them cannot be had."""
    intake = Intake(con, latest)
    for table in (ITEMS, TRANSACTIONS, USERS, PROMOTIONS):
        _read(intake, table, raw.get(table.name))
        if table in (TRANSACTIONS, PROMOTIONS):
            _leave_out(intake, table, "item_id IN (SELECT item_id FROM no_products)", "not a product")
        if table is PROMOTIONS:
            _add_missing(intake, ITEMS, f"""item_id, 'Unknown product ' || item_id AS title, '{UNKNOWN}' AS category_1,
                         '{UNKNOWN}' AS category_2, '{UNKNOWN}' AS category_3""", "sold, but not among the items")  # fmt: skip
            _add_missing(intake, USERS, "user_id", "bought, but not among the users")
            _refuse(
                intake, table, "item_id NOT IN (SELECT item_id FROM items)", "item_id is not among the items"
            )
        _merge(intake, table)
        if not table.optional and not intake.number(f"SELECT count(*) FROM {table.name}"):
            raise _nothing_left(intake, table)
    _note_kept(intake)
    return intake


def _read(intake: Intake, table: Table, raw: RawTable | None) -> None:
    """Typed rows that no rule refuses, corrected, as a temporary table named like the contract's."""
    name = table.name
    intake.rules[name] = []
    if raw is None:
        raw = RawTable(f"SELECT {_nothing(table)} WHERE false", "")
    intake.where[name] = raw.where
    types = _types(intake.con, table, raw)
    product = (
        f", coalesce({IS_PRODUCT}, true) AS {IS_PRODUCT}" if IS_PRODUCT in types and table is ITEMS else ""
    )
    typed = f"SELECT {typed_columns(table, types)}{product} FROM ({raw.sql})"
    try:
        intake.con.execute(f"""CREATE OR REPLACE TEMP TABLE raw_{name} AS
                               SELECT *, {verdict(table, intake.latest)} AS refused FROM ({typed})""")
    except duckdb.Error as error:
        raise _unreadable(table, raw, error) from error
    intake.read[name] = intake.number(f"SELECT count(*) FROM raw_{name}")
    if not intake.read[name] and not table.optional:
        raise IngestError(f"Table {name} is empty: {raw.where} has no rows; fill it and ingest again")
    refused = f"SELECT refused, count(*) FROM raw_{name} WHERE refused IS NOT NULL GROUP BY refused ORDER BY refused"
    for reason, rows in intake.con.execute(refused).fetchall():
        intake.count(table, "refused", reason, rows)
    _correct(intake, table)
    kept = f"SELECT {', '.join(table.column_names)} FROM raw_{name} WHERE refused IS NULL"
    if table is ITEMS:
        _split_products(intake, bool(product))
        kept += " AND item_id NOT IN (SELECT item_id FROM no_products)"
    intake.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {kept}; DROP TABLE raw_{name}")


def _types(con: duckdb.DuckDBPyConnection, table: Table, raw: RawTable) -> dict[str, str]:
    """DuckDB types of the raw columns by name; IngestError for an unreadable file or a missing column."""
    try:
        types = {row[0]: row[1] for row in con.execute(f"DESCRIBE {raw.sql}").fetchall()}
    except duckdb.Error as error:
        raise _unreadable(table, raw, error) from error
    missing = [column for column in table.required_columns if column not in types and column not in MAY_LACK]
    if missing:
        raise IngestError(
            f"Table {table.name} lacks column {', '.join(missing)}: {raw.where} has {', '.join(types)}; "
            f"add or rename the column (feature_repo/tables.py says what it holds) and ingest again"
        )
    return types


def _correct(intake: Intake, table: Table) -> None:
    """Make the changes of the table's rules, one after the other."""
    for change in changes(table):
        where = f"refused IS NULL AND ({change.condition})"
        rows = intake.number(f"SELECT count(*) FROM raw_{table.name} WHERE {where}")
        if rows:
            intake.con.execute(f"UPDATE raw_{table.name} SET {change.column} = {change.value} WHERE {where}")
        intake.count(table, "changed", change.reason, rows)


def _split_products(intake: Intake, marked: bool) -> None:
    """Ids of items that the source marks as no products, in `no_products`."""
    marks = f"NOT {IS_PRODUCT}" if marked else "false"
    chosen = (
        f"FROM raw_items WHERE refused IS NULL AND item_id IN (SELECT item_id FROM raw_items WHERE {marks})"
    )
    intake.con.execute(f"CREATE OR REPLACE TEMP TABLE no_products AS SELECT DISTINCT item_id {chosen}")
    intake.count(ITEMS, "left out", "not a product", intake.number(f"SELECT count(*) {chosen}"))


def _leave_out(intake: Intake, table: Table, condition: str, reason: str, action: str = "left out") -> None:
    """Take away the rows for which `condition` holds, and count them."""
    rows = intake.number(f"SELECT count(*) FROM {table.name} WHERE {condition}")
    if rows:
        intake.con.execute(f"DELETE FROM {table.name} WHERE {condition}")
    intake.count(table, action, reason, rows)


def _refuse(intake: Intake, table: Table, condition: str, reason: str) -> None:
    """Refuse rows that break a rule between tables."""
    _leave_out(intake, table, condition, reason, action="refused")


def _add_missing(intake: Intake, table: Table, columns: str, reason: str) -> None:
    """Give a row to every item or user that is in the transactions only."""
    key = table.key[0]
    before = intake.number(f"SELECT count(*) FROM {table.name}")
    intake.con.execute(f"""INSERT INTO {table.name} BY NAME SELECT {columns} FROM (
        SELECT DISTINCT {key} FROM transactions WHERE {key} NOT IN (SELECT {key} FROM {table.name}))""")
    intake.count(table, "added", reason, intake.number(f"SELECT count(*) FROM {table.name}") - before)


def _merge(intake: Intake, table: Table) -> None:
    """One row a key: equal rows are one row; others are summed up or agreed on (`AGREED`), else the first is kept."""
    name, key = table.name, ", ".join(table.key)
    intake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE keys AS SELECT {key} FROM {name} GROUP BY ALL HAVING count(*) > 1"
    )
    rows = intake.number(f"SELECT count(*) FROM {name} SEMI JOIN keys USING ({key})")
    if not rows:
        return
    intake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT DISTINCT * FROM {name} SEMI JOIN keys USING ({key})"
    )
    intake.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name} ANTI JOIN keys USING ({key})"
    )
    if name in AGREED:
        agreed = ", ".join(f"{value} AS {column}" for column, value in AGREED[name].items())
        one = f"SELECT {key}, {agreed} FROM repeated GROUP BY {key}"
        how = f"same {key}: summed" if table is TRANSACTIONS else f"same {key}: widest kept"
    else:
        order = ", ".join(table.column_names)
        one = f"SELECT * FROM repeated QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1"
        how = f"same {key}: first kept"
    distinct = intake.number("SELECT count(*) FROM repeated")
    intake.con.execute(f"INSERT INTO {name} BY NAME {one}")
    intake.count(table, "merged", "exactly the same row", rows - distinct)
    intake.count(table, "merged", how, distinct - intake.number("SELECT count(*) FROM keys"))


def _note_kept(intake: Intake) -> None:
    """Count what is written as it came, but which features treat in a way of their own."""
    returns = intake.number("SELECT count(*) FROM transactions WHERE quantity <= 0")
    intake.count(TRANSACTIONS, "kept", "return or void (quantity 0 or less), no purchase", returns)
    split = (
        "(SELECT 1 FROM transactions GROUP BY user_id, basket_id HAVING count(DISTINCT event_timestamp) > 1)"
    )
    intake.count(
        TRANSACTIONS,
        "kept",
        "baskets with more than one time",
        intake.number(f"SELECT count(*) FROM {split}"),
    )


def _nothing(table: Table) -> str:
    """Columns of a table that the source does not have."""
    return ", ".join(f"NULL::{column.type} AS {column.name}" for column in table.columns)


def _unreadable(table: Table, raw: RawTable, error: duckdb.Error) -> IngestError:
    """Error for a file that DuckDB cannot read; its first line says why."""
    why = str(error).splitlines()[0]
    return IngestError(
        f"Table {table.name} cannot be read from {raw.where}: {why}; mend or export the file again"
    )


def _nothing_left(intake: Intake, table: Table) -> IngestError:
    """Error for a table whose rows have all been refused or left out."""
    reasons = "; ".join(f"{rule.rows:,} {rule.action}: {rule.reason}" for rule in intake.rules[table.name])
    where = intake.where[table.name]
    return IngestError(
        f"Table {table.name} has no row left of {where} ({reasons}); mend the file and ingest again"
    )
