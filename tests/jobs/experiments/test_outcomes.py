"""Sums per user and day: what was shown, what came of it, what was bought in all and what before."""

import ibis
import numpy as np
import pandas as pd
import pytest
import sqlglot
from experiment_log import answer, at, event, experiment, page, random_log, rows_of, tables, unbound
from experiment_loops import Loops

from jobs.experiments.outcomes import (
    AMOUNTS,
    COUNTS,
    PRE_SUMS,
    SUMS,
    funnel,
    latency,
    per_user,
    per_user_day,
    with_activity,
)

DAY = 24 * 60


def small_log():
    """User u: two answers and a basket of two; v: one answer, no outcome; at 5 o'clock in the morning."""
    return tables(
        exposures=[
            answer("r1", "u", 0, latency_ms=10.0),
            answer("r2", "u", DAY - 10, latency_ms=30.0, degraded=True),
            answer("r3", "v", 5, "b"),
        ],
        slots=[
            *page("r1", ["milk", "tea", "jam"], {"milk"}),
            *page("r2", ["milk", "egg"]),
            *page("r3", ["tea"]),
        ],
        events=[
            event("e1", "click", "u", "milk", 1, "r1"),
            event("e2", "click", "u", "milk", 2, "r1"),  # again: one slot
            event("e3", "click", "u", "jam", 3, "r1"),
            event("e4", "purchase", "u", "milk", DAY, None, 2.5),  # r2 showed milk last; r1 just in time too
            event("e5", "purchase", "u", "soap", DAY, None, 4.0),  # shown by nobody
            event("e6", "purchase", "u", "tea", 9, "r1", 1.5),
            event("e7", "purchase", "u", "tea", -1, None, 7.0),  # before all answers
            event("e8", "purchase", "u", "tea", 2 * DAY - 10, None, 0.5),  # in the last answer's window
            event("e9", "purchase", "u", "tea", 2 * DAY - 9, None, 0.5),  # past it
        ],
    )


def of(found, *keys):
    """Rows of an expression by these columns."""
    return {tuple(row.pop(key) for key in keys): row for row in rows_of(found)}


def given(log, **changes):
    """A log's arguments."""
    return log["exposures"], log["slots"], log["events"], experiment(**changes)


def without_zeros(row):
    """The sums of a row that are not 0."""
    return {name: value for name, value in row.items() if name in SUMS and value}


def test_sums_by_user_and_day_are_those_worked_out_by_hand():
    """What is shown counts on the answer's day, what is bought on the basket's, each within its window."""
    found = of(per_user_day(*given(small_log())), "user_id", "arm", "day")
    days = [at(DAY * day).date() for day in range(3)]
    assert {key: without_zeros(row) for key, row in found.items()} == {
        ("u", "a", days[0]): {
            "answers": 1, "slots": 3, "clicks": 2, "repeat_clicks": 1, "discover_clicks": 1,
            "bought_slots": 1, "bought_answers": 1, "slot_revenue": 1.5, "latency_ms": 10.0,
            "revenue": 1.5, "baskets": 1, "items": 1,
        },
        ("u", "a", days[1]): {
            "answers": 1, "slots": 2, "bought_slots": 1, "bought_answers": 1, "slot_revenue": 2.5,
            "latency_ms": 30.0, "degraded": 1, "revenue": 6.5, "baskets": 1, "items": 2,
        },
        ("u", "a", days[2]): {"revenue": 0.5, "baskets": 1, "items": 1},
        ("v", "b", days[0]): {"answers": 1, "slots": 1, "latency_ms": 20.0},
    }  # fmt: skip
    firsts = {key: row["first_at"] for key, row in found.items() if key[0] == "u"}
    assert list(dict(sorted(firsts.items())).values()) == [at(0), at(DAY - 10), None]
    users = of(per_user(*given(small_log())), "user_id")
    assert {user: row["first_at"] for (user,), row in users.items()} == {"u": at(0), "v": at(5)}


def test_an_answer_without_a_slot_is_an_answer():
    """An empty page counts as an answer with 0 slots, and its user as a user."""
    log = tables(exposures=[answer("r1", "u", 0)])
    assert without_zeros(of(per_user(*given(log)), "user_id")["u",]) == {"answers": 1, "latency_ms": 20.0}


def test_a_day_is_a_day_of_utc():
    """It ends at midnight there, 19 hours after the start."""
    log = tables(exposures=[answer("r1", "u", 18 * 60 + 59), answer("r2", "u", 19 * 60)])
    days = [row["day"] for row in rows_of(per_user_day(*given(log)))]
    assert sorted(days) == [at(0).date(), at(DAY).date()]


@pytest.mark.parametrize("seed", range(4))
def test_sums_of_any_log_are_those_of_loops(seed):
    """By user and day, and by user, on logs in which all goes wrong: every sum is that of plain loops."""
    rows = random_log(seed)
    log, expected = tables(**rows), Loops(rows, experiment()).by_day()
    by_day = of(per_user_day(*given(log)), "user_id", "arm", "day")
    assert {key: without_zeros(row) for key, row in by_day.items()} == {
        key: {name: value for name, value in sums.items() if value} for key, sums in expected.items()
    }
    totals = of(per_user(*given(log)), "user_id", "arm")
    for user, row in totals.items():
        assert without_zeros(row) == {
            name: total
            for name in SUMS
            if (total := sum(sums[name] for key, sums in expected.items() if key[:2] == user))
        }
    assert set(totals) == {key[:2] for key in expected}


def bought(user, days_before, basket, item="milk", quantity=1.0, paid=2.0):
    """A row of transactions."""
    what = {"user_id": user, "basket_id": basket, "item_id": item, "quantity": quantity, "price_paid": paid}
    return {**what, "event_timestamp": at(-days_before * DAY), "discount": 0.0, "store_id": None}


def test_the_pre_period_is_thirteen_weeks_before_the_start():
    """Baskets, lines and money until the start, returns left out; 0 for who bought nothing."""
    exposures = [answer("r1", "u", 0), answer("r2", "v", 5)]
    log = tables(
        exposures=exposures,
        transactions=[
            bought("u", 91, "b1"),
            bought("u", 91, "b1", "tea"),
            bought("u", 1, "b2", paid=3.5),
            bought("u", 1, "b2", "jam", quantity=-1.0, paid=-9.0),
            bought("u", 91.001, "b0"),
            bought("u", 0, "b3"),  # at the start
            bought("w", 1, "b4"),  # not in the experiment
        ],
    )
    found = of(per_user(*given(log), pre=log["transactions"]), "user_id")
    assert {user: [row[name] for name in PRE_SUMS] for (user,), row in found.items()} == {
        "u": [2, 3, 7.5],
        "v": [0, 0, 0.0],
    }


def test_activity_parts_the_pre_period_in_three():
    """New without a basket, others by thirds of users, who has as many baskets together."""
    baskets = [0, 0, 1, 1, 1, 1, 2, 3, 4, 5, 9]
    users = ibis.memtable(pd.DataFrame({"user_id": [f"u{n}" for n in range(11)], "pre_baskets": baskets}))
    found = sorted((row["pre_baskets"], row["segment"]) for row in rows_of(with_activity(users)))
    known = np.array([n for n in baskets if n])
    expected = []
    for n in baskets:
        less = (known < n).sum() / (len(known) - 1)
        expected.append(
            (n, "new" if n == 0 else "light" if less < 1 / 3 else "regular" if less < 2 / 3 else "heavy")
        )
    assert found == expected
    assert [segment for _, segment in found].count("light") == 4


def test_the_funnel_sums_up_an_arm():
    """Answers, slots, clicked slots and bought slots."""
    assert of(funnel(per_user(*given(small_log()))), "arm") == {
        ("a",): {"answers": 2, "slots": 5, "clicks": 2, "bought": 2},
        ("b",): {"answers": 1, "slots": 1, "clicks": 0, "bought": 0},
    }


def test_latency_is_by_nearest_rank():
    """Percentiles are times that were measured: NumPy's inverted distribution function; forced left out."""
    times = np.random.default_rng(1).gamma(2, 10, size=200)
    exposures = [answer(f"r{n}", f"u{n}", 0, latency_ms=float(time)) for n, time in enumerate(times)]
    exposures += [answer("f", "t", 0, forced=True, latency_ms=9e9), answer("n", "w", 0, "b", latency_ms=None)]
    found = of(latency(tables(exposures=exposures)["exposures"], experiment()), "arm")
    expected = np.quantile(times, [0.5, 0.95, 0.99], method="inverted_cdf")
    assert list(found["a",].values()) == pytest.approx(list(expected))
    assert list(found) == [("a",)]


def test_all_compiles_for_bigquery():
    """The queries are BigQuery's SQL, without a function that only another engine has."""
    log = unbound()
    users = with_activity(per_user(*given(log), pre=log["transactions"]))
    for expression in (
        per_user_day(*given(log)),
        users,
        funnel(users),
        latency(log["exposures"], experiment()),
    ):
        parsed = sqlglot.parse_one(ibis.to_sql(expression, dialect="bigquery"), read="bigquery")
        assert [node.name for node in parsed.find_all(sqlglot.exp.Anonymous)] == []


def test_sums_have_the_same_types_everywhere():
    """Counts are whole numbers and amounts are not, as the schema says and DuckDB answers."""
    found = per_user(*given(small_log()))
    frame = found.to_pandas()
    assert {str(frame[name].dtype) for name in COUNTS} == {"int64"}
    assert {str(frame[name].dtype) for name in AMOUNTS} == {"float64"}
