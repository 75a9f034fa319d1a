"""How each table lies in BigQuery: its columns, its partitions, and the order within a partition.

In: the data contract (`feature_repo.tables`) and Feast's views. Nothing of Google is imported here. A table
of what happens has a partition for each day of its event timestamp (UTC), and must be asked for a span of it:
BigQuery refuses a query without one, and bills only the partitions of one with it.
"""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from feature_repo.tables import TABLES, Table


class Layout(NamedTuple):
    """How a table lies: a partition for each unit of a time, in the order of some columns."""

    time: str | None
    order: tuple[str, ...]
    unit: str = "DAY"  # of partitions; a table may have 10,000


class Column(NamedTuple):
    """A column as BigQuery has it."""

    name: str
    type: str
    mode: str = "NULLABLE"
    description: str = ""


CONTRACT: Mapping[str, Layout] = MappingProxyType(
    {
        "transactions": Layout("event_timestamp", ("user_id", "item_id")),
        "items": Layout(None, ("item_id",)),
        "users": Layout(None, ("user_id",)),
        "promotions": Layout("starts_at", ("item_id",)),
    }
)
FEATURES: Mapping[str, Layout] = MappingProxyType(
    {
        "user_stats": Layout("event_timestamp", ("user_id",)),
        "user_history": Layout("event_timestamp", ("user_id",)),
        "item_stats": Layout("event_timestamp", ("item_id",)),
        "item_coming_promotions": Layout("event_timestamp", ("item_id",)),
        "item_text": Layout("event_timestamp", ("item_id",), unit="MONTH"),  # of decades of availability
    }
)
LAYOUTS: Mapping[str, Layout] = MappingProxyType({**CONTRACT, **FEATURES})

OF_CONTRACT = {"VARCHAR": "STRING", "DOUBLE": "FLOAT64", "TIMESTAMPTZ": "TIMESTAMP", "JSON": "STRING"}
OF_FEAST = {"String": "STRING", "Int64": "INT64", "Float64": "FLOAT64", "Float32": "FLOAT64", "Bool": "BOOL"}


def columns_of(name: str) -> tuple[Column, ...]:
    """Columns of a table of the contract, or of a feature table as its view has them.

    KeyError for a name that is neither.
    """
    return contract_columns(TABLES[name]) if name in TABLES else feature_columns(view_named(name))


def contract_columns(table: Table) -> tuple[Column, ...]:
    """The contract's columns; its JSON is kept as text, as in Parquet."""
    return tuple(
        Column(each.name, OF_CONTRACT[each.type], "REQUIRED" if each.required else "NULLABLE", each.note)
        for each in table.columns
    )


def view_named(name: str) -> Any:
    """The Feast view over the feature table of that name."""
    # By name: Spark jobs, which have no Feast, ask for layouts too.
    module = import_module(f"feature_repo.features.{'users' if name.startswith('user_') else 'items'}")
    return getattr(module, name)


def feature_columns(view: Any) -> tuple[Column, ...]:
    """Key, features and both times of a view's table."""
    keys = [Column(f"{name}_id", "STRING", "REQUIRED") for name in view.entities]
    times = (
        Column("event_timestamp", "TIMESTAMP", "REQUIRED", "when the values became known"),
        Column("created_timestamp", "TIMESTAMP", "REQUIRED", "when the row was written"),
    )
    return (*keys, *(feature_column(field) for field in view.features), *times)


def feature_column(field: Any) -> Column:
    """A feature's column; an array's elements are repeated."""
    of_elements = getattr(field.dtype, "base_type", None)
    kind = OF_FEAST[str(field.dtype if of_elements is None else of_elements)]
    return Column(field.name, kind, "NULLABLE" if of_elements is None else "REPEATED", field.description)


def ddl(dataset: str, name: str) -> str:
    """The statement that makes a table, for people: `load` makes it through the API."""
    layout = LAYOUTS[name]
    lines = ",\n".join(f"  {sql_column(each)}" for each in columns_of(name))
    text = f"CREATE TABLE IF NOT EXISTS `{dataset}.{name}` (\n{lines}\n)"
    if layout.time:
        text += f"\nPARTITION BY TIMESTAMP_TRUNC({layout.time}, {layout.unit})"
    text += f"\nCLUSTER BY {', '.join(layout.order)}"
    return text + ("\nOPTIONS (require_partition_filter = TRUE);" if layout.time else ";")


def sql_column(column: Column) -> str:
    """A column as DDL has it."""
    kind = f"ARRAY<{column.type}>" if column.mode == "REPEATED" else column.type
    note = " ".join(column.description.split()).replace("'", "\\'")
    required = " NOT NULL" if column.mode == "REQUIRED" else ""
    return f"{column.name} {kind}{required}" + (f" OPTIONS (description = '{note}')" if note else "")
