"""What a BigQuery query reads of our tables: columns and times, and where it does not say which times."""

import sqlglot
from sqlglot import exp

from feature_repo.bigquery.layouts import LAYOUTS
from jobs.experiments.bigquery_log import LAYOUTS as LOGS

TABLES = {*LAYOUTS, *LOGS}
TIMES = {name: layout.time for name, layout in (*LAYOUTS.items(), *LOGS.items()) if layout.time}
COMPARED = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.EQ, exp.Between)


def unfiltered(query):
    """(table, query) for each such table of a query; the target of MERGE counts as read."""
    found = []
    for statement in sqlglot.parse(query, dialect="bigquery"):
        if statement is None or (
            isinstance(statement, (exp.Create, exp.Drop)) and statement.find(exp.Select) is None
        ):
            continue
        for table in statement.find_all(exp.Table):
            time = TIMES.get(table.name)
            if time and not filtered(table, time):
                found.append((table.name, statement.sql()[:500]))
    return found


def scans(query):
    """(table, columns, condition on its time) for each of our tables that a query reads."""
    found = set()
    for statement in sqlglot.parse(query, dialect="bigquery"):
        for table in statement.find_all(exp.Table) if statement else ():
            around = table.find_ancestor(exp.Select)
            if table.name in TABLES and around is not None:
                where = around.args.get("where")
                columns = frozenset(each.name for each in around.find_all(exp.Column))
                found.add((table.name, columns, where.sql() if where else ""))
    return found


def filtered(table, time):
    """Whether the nearest query around a table compares its time with something that is known beforehand."""
    around = table.find_ancestor(exp.Select, exp.Merge)
    if isinstance(around, exp.Merge):
        conditions = [
            when.args["condition"] for when in around.find_all(exp.When) if when.args.get("condition")
        ]
    else:
        conditions = [around.args["where"].this] if around.args.get("where") else []
    return any(compares(each, time) for condition in conditions for each in all_of(condition))


def all_of(condition):
    """What must hold, all of it, for a condition to hold."""
    return condition.flatten() if isinstance(condition, exp.And) else [condition]


def compares(condition, time):
    """Whether a condition bounds a column of that name by constants."""
    if not isinstance(condition, COMPARED):
        return False
    sides = [
        condition.this,
        *(each for name in ("expression", "low", "high") if (each := condition.args.get(name))),
    ]
    columns = [{column.name for column in side.find_all(exp.Column)} for side in sides]
    return {time} in columns and all(not names or names == {time} for names in columns)
