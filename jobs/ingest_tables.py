"""From raw relations to checked tables, inside DuckDB; `jobs/ingest.py` writes the files.

`take_all` leaves one temporary table a contract table on the connection, named like it, with the contract's
columns, and says what happened to the rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import duckdb

from feature_repo.tables import ITEMS, PROMOTIONS, TABLES, TRANSACTIONS, USERS, Table
from jobs.ingest_summary import RuleCount, TableSummary
from jobs.row_rules import MAY_LACK, UNKNOWN, changes, typed_columns, verdict
from jobs.sources import IngestError, RawTable
from jobs.sources.source import IS_PRODUCT

UNITED: dict[str, dict[str, str]] = {
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
        "announced_at": "CASE WHEN bool_and(announced_at IS NOT NULL) THEN max(announced_at) END",
    },
}
"""How rows of one key become one, where keeping only the first would lose something."""


@dataclass
class Intake:
    """One ingest under way: connection, first instant that counts as the future, counts so far."""

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


TIMED = {"transactions": "event_timestamp", "promotions": "starts_at"}
"""Tables of what happens, with the column that says when."""


def take_all(
    con: duckdb.DuckDBPyConnection,
    raw: Mapping[str, RawTable],
    latest: str,
    *,
    end: datetime | None = None,
    may_be_empty: bool = False,
) -> Intake:
    """Checked tables on `con`, and the counts; IngestError if one of them cannot be had.

    What happened at `end` or later is left out. A table that must have rows is an error without any, unless
    it `may_be_empty`.
    """
    intake = Intake(con, latest)
    for table in (ITEMS, TRANSACTIONS, USERS, PROMOTIONS):
        _read(intake, table, raw.get(table.name), may_be_empty=may_be_empty)
        if end and table.name in TIMED:
            after = f"{TIMED[table.name]} >= TIMESTAMPTZ '{end.isoformat()}'"
            _take_away(
                intake, table, "left out", f"from {end:%Y-%m-%d %H:%M}Z on, which is not asked for", after
            )
        if table in (TRANSACTIONS, PROMOTIONS):
            condition = "item_id IN (SELECT item_id FROM no_products)"
            _take_away(intake, table, "left out", "not a product", condition)
        _merge(intake, table)
        must_have = not table.optional and not may_be_empty
        if must_have and not intake.number(f"SELECT count(*) FROM {table.name}"):
            raise _nothing_left(intake, table)
    unknown = ", ".join(f"'{UNKNOWN}' AS category_{level}" for level in (1, 2, 3))
    described = f"item_id, 'Unknown product ' || item_id AS title, {unknown}"
    _add_missing(intake, ITEMS, described, "sold, but not among the items")
    _add_missing(intake, USERS, "user_id", "bought, but not among the users")
    condition = "item_id NOT IN (SELECT item_id FROM items)"
    _take_away(intake, PROMOTIONS, "refused", "item_id is not among the items", condition)
    _note_kept(intake)
    return intake


def _read(intake: Intake, table: Table, raw: RawTable | None, *, may_be_empty: bool) -> None:
    """Typed rows that no rule refuses, corrected, as a temporary table named like the contract's."""
    name = table.name
    if raw is None and not table.optional:
        raise IngestError(f"The source has no table {name}; add it to its relations (jobs/sources)")
    raw = raw or RawTable(f"SELECT {_no_columns(table)} WHERE false", "")
    intake.where[name], intake.rules[name] = raw.where, []
    _type(intake, table, raw)
    intake.read[name] = intake.number(f"SELECT count(*) FROM raw_{name}")
    if not intake.read[name] and not table.optional and not may_be_empty:
        raise IngestError(f"Table {name} is empty: {raw.where} has no rows; fill it and ingest again")
    refused = f"SELECT refused, count(*) FROM raw_{name} WHERE refused IS NOT NULL GROUP BY ALL ORDER BY ALL"
    for reason, rows in intake.con.execute(refused).fetchall():
        intake.count(table, "refused", reason, rows)
    _correct(intake, table)
    kept = f"SELECT {', '.join(table.column_names)} FROM raw_{name} WHERE refused IS NULL"
    if table is ITEMS:
        _find_no_products(intake)
        kept += " AND item_id NOT IN (SELECT item_id FROM no_products)"
    intake.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {kept}; DROP TABLE raw_{name}")


def _type(intake: Intake, table: Table, raw: RawTable) -> None:
    """All raw rows in the contract's types, with the reason for which they are refused, in `raw_<table>`."""
    types = _types(intake.con, table, raw)
    columns = typed_columns(table, types)
    if table is ITEMS:
        marked = f"TRY_CAST({IS_PRODUCT} AS BOOLEAN)" if IS_PRODUCT in types else "true"
        columns += f", coalesce({marked}, true) AS {IS_PRODUCT}"
    try:
        intake.con.execute(f"""
            CREATE OR REPLACE TEMP TABLE raw_{table.name} AS
            SELECT *, {verdict(table, intake.latest)} AS refused FROM (SELECT {columns} FROM ({raw.sql}))""")
    except duckdb.Error as error:
        raise _unreadable(table, raw, error) from error


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


def _find_no_products(intake: Intake) -> None:
    """Ids of items that the source marks as no products, in `no_products`."""
    marked = f"SELECT item_id FROM raw_items WHERE NOT {IS_PRODUCT} AND refused IS NULL"
    intake.con.execute(f"CREATE OR REPLACE TEMP TABLE no_products AS SELECT DISTINCT item_id FROM ({marked})")
    rows = "SELECT count(*) FROM raw_items SEMI JOIN no_products USING (item_id) WHERE refused IS NULL"
    intake.count(ITEMS, "left out", "not a product", intake.number(rows))


def _take_away(intake: Intake, table: Table, action: str, reason: str, condition: str) -> None:
    """Delete the rows for which `condition` holds, and count them."""
    rows = intake.number(f"SELECT count(*) FROM {table.name} WHERE {condition}")
    if rows:
        intake.con.execute(f"DELETE FROM {table.name} WHERE {condition}")
    intake.count(table, action, reason, rows)


def _add_missing(intake: Intake, table: Table, columns: str, reason: str) -> None:
    """Give a row to every item or user that is in the transactions only."""
    key = table.key[0]
    before = intake.number(f"SELECT count(*) FROM {table.name}")
    intake.con.execute(f"""INSERT INTO {table.name} BY NAME SELECT {columns} FROM (
        SELECT DISTINCT {key} FROM transactions WHERE {key} NOT IN (SELECT {key} FROM {table.name}))""")
    intake.count(table, "added", reason, intake.number(f"SELECT count(*) FROM {table.name}") - before)


def _merge(intake: Intake, table: Table) -> None:
    """Make one row of all rows of a key; equal rows count once, the others are united as `_united` says."""
    con, name, key = intake.con, table.name, ", ".join(table.key)
    con.execute(f"""CREATE OR REPLACE TEMP TABLE keys AS
                    SELECT {key} FROM {name} GROUP BY ALL HAVING count(*) > 1""")
    rows = intake.number(f"SELECT count(*) FROM {name} SEMI JOIN keys USING ({key})")
    if not rows:
        return
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE repeated AS SELECT DISTINCT * FROM {name} SEMI JOIN keys USING ({key});
        CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM {name} ANTI JOIN keys USING ({key})""")
    how, one_a_key = _united(table)
    distinct = intake.number("SELECT count(*) FROM repeated")
    con.execute(f"INSERT INTO {name} BY NAME {one_a_key}")
    intake.count(table, "merged", "exactly the same row", rows - distinct)
    intake.count(table, "merged", how, distinct - intake.number("SELECT count(*) FROM keys"))


def _united(table: Table) -> tuple[str, str]:
    """How rows of `repeated` with one key become one row: in words, and as SELECT."""
    key, columns = ", ".join(table.key), ", ".join(table.column_names)
    if table.name not in UNITED:
        first = f"row_number() OVER (PARTITION BY {key} ORDER BY {columns}) = 1"
        return f"same {key}: first kept", f"SELECT * FROM repeated QUALIFY {first}"
    united = ", ".join(f"{value} AS {column}" for column, value in UNITED[table.name].items())
    how = "summed" if table is TRANSACTIONS else "widest kept"
    return f"same {key}: {how}", f"SELECT {key}, {united} FROM repeated GROUP BY {key}"


def _note_kept(intake: Intake) -> None:
    """Count what is written as it came, but which features treat in a way of their own."""
    returns = intake.number("SELECT count(*) FROM transactions WHERE quantity <= 0")
    intake.count(TRANSACTIONS, "kept", "return or void (quantity 0 or less), no purchase", returns)
    baskets = """SELECT user_id, basket_id FROM transactions GROUP BY ALL
                 HAVING min(event_timestamp) < max(event_timestamp)"""
    lines = f"SELECT count(*) FROM transactions SEMI JOIN ({baskets}) USING (user_id, basket_id)"
    intake.count(TRANSACTIONS, "kept", "line of a basket with more than one time", intake.number(lines))


def _no_columns(table: Table) -> str:
    """Select list of a table that the source does not have."""
    return ", ".join(f"NULL::{column.type} AS {column.name}" for column in table.columns)


def _unreadable(table: Table, raw: RawTable, error: duckdb.Error) -> IngestError:
    """Error for a file that DuckDB cannot read; its first line says why."""
    why = str(error).splitlines()[0]
    return IngestError(f"Table {table.name} cannot be read from {raw.where}: {why}; export the file again")


def _nothing_left(intake: Intake, table: Table) -> IngestError:
    """Error for a table whose rows have all been refused or left out."""
    reasons = "; ".join(f"{rule.rows:,} {rule.action}: {rule.reason}" for rule in intake.rules[table.name])
    where = intake.where[table.name]
    return IngestError(f"Table {table.name} has no row left of {where} ({reasons}); mend the file")
