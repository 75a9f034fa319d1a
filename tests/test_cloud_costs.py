"""The guide's costs: every figure is its formula over the inputs of the page."""

import ast
import math
import operator
import re
from pathlib import Path

import pytest

from jobs.google_cloud.plan_cli import plan

pytestmark = pytest.mark.gcp
GUIDE = Path(__file__).resolve().parents[1] / "docs" / "google-cloud.md"
SIZES = ("1 M", "100 M")
CALLS = {"ceil": math.ceil, "max": max}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def tables(page):
    """Tables of the section on costs by the first word of their heads: rows of cells, the head first."""
    section = page.split("\n## What it costs at 1 M and 100 M shoppers\n")[1].split("\n## ")[0]
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.splitlines()]
        found[rows[0][0].split()[0]] = [rows[0], *rows[2:]]
    return found


def inputs(found):
    """Inputs and prices by name, for each size."""
    rows = [row for name in ("input", "price") for row in found[name][1:]]
    assert len({row[0] for row in rows}) == len(rows)
    return {
        size: {row[0].strip("`"): float(row[column]) for row in rows} for column, size in enumerate(SIZES, 1)
    }


def value(node, named):
    """Value of a formula: numbers, names, the four rules and powers, `ceil` and `max`; KeyError else."""
    if isinstance(node, ast.Expression):
        return value(node.body, named)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return named[node.id]
    if isinstance(node, ast.Call):
        return CALLS[node.func.id](*(value(each, named) for each in node.args))
    return OPERATORS[type(node.op)](value(node.left, named), value(node.right, named))


def formulas(found):
    """Formulas by what they are of, as trees."""
    return {row[0]: ast.parse(row[3].strip("`"), mode="eval") for row in found["dollars"][1:-1]}


def told(found):
    """Dollars that the page tells, by what they are of: for each size."""
    return {row[0]: [float(cell.replace(",", "")) for cell in row[1:3]] for row in found["dollars"][1:]}


@pytest.fixture(scope="module")
def found():
    """The tables of the page."""
    return tables(GUIDE.read_text())


def test_the_tables_speak_of_the_same_sizes(found):
    """In the same order; the number of shoppers is the size."""
    assert all(tuple(found[name][0][1:3]) == SIZES for name in ("input", "price", "dollars"))
    assert [named["shoppers"] for named in inputs(found).values()] == [1e6, 1e8]


def test_each_figure_is_its_formula(found):
    """To the dollar, for both sizes."""
    for column, named in enumerate(inputs(found).values()):
        for what, formula in formulas(found).items():
            assert told(found)[what][column] == round(value(formula, named)), what


def test_the_totals_are_the_sums(found):
    """Of unrounded figures, to the dollar."""
    for column, named in enumerate(inputs(found).values()):
        total = sum(value(formula, named) for formula in formulas(found).values())
        assert told(found)["**in all**"][column] == round(total)


def test_each_input_moves_the_total(found):
    """At one size at least: an input that moves nothing would be of no use."""
    named = inputs(found)
    for name in named["100 M"]:
        totals = [
            sum(
                value(formula, {**of_size, name: of_size[name] * factor})
                for formula in formulas(found).values()
            )
            for of_size in named.values()
            for factor in (1, 7)
        ]
        assert totals[0] != totals[1] or totals[2] != totals[3], name


def test_an_input_that_was_changed_in_the_page_no_longer_agrees():
    """Twice the price of a query is another total."""
    page = GUIDE.read_text()
    changed = page.replace("| `query_tib` | 6.25 | 6.25 |", "| `query_tib` | 12.5 | 12.5 |")
    assert changed != page
    with pytest.raises(AssertionError):
        test_the_totals_are_the_sums(tables(changed))


def test_every_input_says_where_it_is_from(found):
    """Measured, computed or assumed; a price whether it was looked up."""
    given = {"shoppers", "redis_room", "days", "trainings"}  # by choice, by the code, by the calendar
    for name, *_, about in found["input"][1:]:
        assert name.strip("`") in given or re.search("measured|computed|assumed", about), name
    for name, *_, about in found["price"][1:]:
        assert re.search("looked up|unchecked", about), name


def test_the_parts_of_what_is_read_make_the_whole(found):
    """History, lines and statistics, to the thousand bytes."""
    for name in ("read_day_b", "read_training_b"):
        (row,) = (row for row in found["input"] if row[0] == f"`{name}`")
        parts = [float(part.replace(",", "")) for part in re.findall(r"\d[\d,]+", row[3])]
        assert len(parts) == 3
        assert sum(parts) == pytest.approx(float(row[1]), abs=1000)


def test_a_query_is_priced_as_the_plan_prices_it(found):
    """The default of `endcap plan --price`."""
    (price,) = (option.default for option in plan.params if option.name == "price")
    assert inputs(found)["1 M"]["query_tib"] == price
