"""Checks of what is served: each threshold from both sides, and the words that name what is wrong."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from training.drift import Drift
from training.gate_rules import GateRules
from training.gate_served import covers, equal_rows, fresh, quick, same_features, steady

RULES = GateRules()
KNOWN = datetime(2017, 12, 11, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
NAMES = {"user": ["spend", "baskets"], "item": ["price"]}


@pytest.mark.parametrize(
    ("registered", "held", "missing", "new", "final"),
    [
        (NAMES, NAMES, [], [], False),
        (NAMES, None, [], [], False),
        ({**NAMES, "item": []}, NAMES, ["price"], [], True),
        (NAMES, {**NAMES, "user": ["spend"]}, ["baskets"], [], True),
        ({**NAMES, "item": ["price", "age"]}, NAMES, [], ["age"], False),
        ({**NAMES, "user": ["baskets", "spend"]}, NAMES, [], [], False),
    ],
)
def test_features_must_be_the_registrys(registered, held, missing, new, final):
    """Missing ones are final; new ones and another order are refused too; every one is named."""
    check = same_features(NAMES, registered, held)
    assert (check.figures["missing"], check.figures["new"], check.final) == (missing, new, final)
    assert check.passed == (registered == NAMES and not missing)
    assert all(name in check.reason for name in missing + new)


@pytest.mark.parametrize(
    ("as_of", "learnt", "newest", "said"),
    [
        (KNOWN, KNOWN - WEEK, KNOWN, ""),
        (KNOWN, KNOWN - 2 * WEEK, KNOWN, ""),
        (KNOWN, KNOWN - 2 * WEEK - timedelta(seconds=1), KNOWN, "more than 14 days"),
        (KNOWN, None, KNOWN, "at no known time"),
        (KNOWN - timedelta(days=1), KNOWN - WEEK, KNOWN, "as of 2017-12-10 05:00:00Z"),
        (KNOWN, KNOWN - WEEK, KNOWN - timedelta(days=1), "table ends with 2017-12-10"),
        (KNOWN, KNOWN - WEEK, None, "table ends with nothing"),
    ],
)
def test_freshness_is_to_the_second(as_of, learnt, newest, said):
    """Facts of the day's end, learning of at most two weeks before, tables that end with the day."""
    check = fresh(as_of, learnt, KNOWN, {"table": (newest, KNOWN)}, RULES)
    assert check.passed == (said == "")
    assert said in check.reason


def variety(challenger, **others):
    """Shares of the catalogue by task and model."""
    return {task: {"challenger": challenger, **others} for task in ("all", "discover")}


@pytest.mark.parametrize(
    ("full", "shown", "sizes", "said"),
    [
        (1.0, variety(0.1, champion=0.1), {"challenger": 100, "champion": 100}, ""),
        (0.97, variety(0.1, champion=0.1), {"challenger": 100, "champion": 100}, "97.0% of the shoppers"),
        (1.0, variety(0.04, champion=0.1), {"challenger": 100, "champion": 100}, "champion's 10.00%"),
        (1.0, variety(0.05, champion=0.1), {"challenger": 80, "champion": 100}, ""),
        (
            1.0,
            variety(0.1, champion=0.1),
            {"challenger": 79, "champion": 100},
            "79 items, the champion's 100",
        ),
        (1.0, variety(0.02, segment=0.01), {"challenger": 9}, ""),
        (1.0, variety(0.02, segment=0.03), {"challenger": 9}, "segment's 3.00%"),
        (1.0, variety(0.02, segment=0.01), {"challenger": 0}, "the catalogue has 0 items"),
    ],
)
def test_coverage_from_both_sides(full, shown, sizes, said):
    """Full pages, half of the champion's variety, four fifths of its catalogue, and each just below."""
    check = covers({"all": 1.0, "discover": full}, shown, sizes, RULES)
    assert check.passed == (said == "")
    assert said in check.reason


def test_latency_is_a_sure_ratio_and_a_budget():
    """Twice the champion's is refused, a tenth more passes, a single slow answer proves nothing."""
    champion = np.random.default_rng(0).uniform(4, 6, 100)
    users = [f"u{n // 2}" for n in range(100)]
    assert not quick(2 * champion, champion, users, RULES).passed
    assert quick(1.1 * champion, champion, users, RULES).passed
    assert quick(champion, champion, users, RULES).figures["ratio"] == [1, 1, 1]
    one = champion.copy()
    one[7] = 400
    assert quick(one, champion, users, RULES).figures["ratio"][0] > 1.5
    assert quick(one, champion, users, RULES).passed
    assert quick(champion, None, users, RULES).passed
    assert "the budget 25" in quick(6 * champion, None, users, RULES).reason


def drifted(psis, jump=0.0):
    """Features of these PSIs."""
    return [Drift(f"f{n}", psi, 0.1, 0.5, 0.0, jump) for n, psi in enumerate(psis)]


@pytest.mark.parametrize(
    ("found", "passed", "warning"),
    [
        (drifted([0.3] * 5 + [0.1]), True, False),
        (drifted([0.3] * 6), True, True),
        (drifted([9.0] * 5), True, False),
        (drifted([1.1] * 6), False, False),
        (drifted([0.0], jump=0.19), True, False),
        (drifted([0.0], jump=0.21), False, False),
        ([], True, False),
    ],
)
def test_drift_warns_first_and_refuses_what_no_season_does(found, passed, warning):
    """A handful may move, more warn; a handful beyond the extreme, or values that vanish, refuse."""
    check = steady(found, KNOWN - WEEK, RULES)
    assert (check.passed, check.warning) == (passed, warning)
    assert check.made == bool(found)


def test_rows_that_differ_are_named_worst_first():
    """Features by the number of rows in which they differ, ties by name, a few of many."""
    wrong = {"c": 1, "a": 3, "b": 3, "d": 1, "e": 1, "f": 1}
    check = equal_rows("leakage", wrong, 200, "rows know their future")
    assert (
        check.reason
        == "rows know their future: a in 3, b in 3, c in 1, d in 1 and 2 more of 200 sampled rows"
    )
    assert equal_rows("leakage", {}, 200, "").passed
