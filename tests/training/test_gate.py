"""Decisions: what promotes, what refuses, what a person may override, and what is kept of it."""

import json
import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.gate import PROMOTED, REFUSED, Check, Decision, OverrideError, not_made, read_decision

DAY = date(2017, 12, 10)
CHECKS = st.builds(
    Check, st.sampled_from("abc"), st.booleans(), st.just("why"), made=st.booleans(), final=st.booleans()
)


def decided(*checks, override=None):
    """A decision over checks."""
    return Decision(DAY, "2017-12-10/release@abc", "endcap-release:old", checks, override)


@settings(max_examples=200)
@given(st.lists(CHECKS, max_size=5), st.sampled_from([None, "a reason"]))
def test_promoted_is_what_the_rule_says(checks, override):
    """Promoted if no check fails, or if a reason is given and none that fails is final; the code follows."""
    decision = decided(*checks, override=override)
    failed = [check for check in checks if not check.passed]
    allowed = not failed
    if failed and override:
        allowed = all(not check.final for check in failed)
    assert decision.promoted == allowed
    assert decision.exit_code == (PROMOTED if allowed else REFUSED) == (0 if allowed else 3)
    assert decision.overridden == (bool(failed) and allowed)
    assert all(check.name in decision.verdict for check in failed)


def test_a_check_that_is_not_made_refuses_unless_it_is_allowed():
    """Not made and not allowed refuses like any other; the table tells the two apart."""
    strict, lax = not_made("parity", "no store", allowed=False), not_made("jump", "no champion", allowed=True)
    assert (strict.outcome, lax.outcome) == ("NOT MADE", "not made")
    assert not decided(strict).promoted
    assert decided(lax).promoted


@pytest.mark.parametrize("override", ["", "  ", "\n"])
def test_an_override_needs_a_reason(override):
    """An empty reason is none."""
    with pytest.raises(OverrideError, match="say why"):
        decided(override=override)


def test_a_decision_is_kept_as_it_was(tmp_path):
    """Written and read again it is the same; undefined figures are null, NumPy's numbers plain."""
    figures = {"lifts": [np.float64(0.1), math.nan, math.inf], "n": np.int64(3)}
    check = Check("quality", passed=False, reason="worse", figures=figures)
    decision = decided(check, Check("drift", passed=True, reason="x", warning=True), override="known")
    path = tmp_path / "days" / "gate.json"
    decision.write(path)
    record = json.loads(path.read_text())
    assert record["checks"][0]["figures"] == {"lifts": [0.1, None, None], "n": 3}
    assert [each["outcome"] for each in record["checks"]] == ["REFUSED", "warning"]
    assert (record["overridden"], record["refused"], record["exit_code"]) == (["quality"], ["quality"], 0)
    assert not path.with_suffix(".aside").exists()
    read = read_decision(path)
    assert (read.verdict, read.exit_code, read.table()) == (decision.verdict, 0, decision.table())
    with pytest.raises(FileNotFoundError, match="endcap gate"):
        read_decision(tmp_path / "gate.json")


def test_the_table_has_a_line_for_each_check_and_fits():
    """Names and outcomes stand in columns, long reasons are cut, the verdict comes last."""
    long = Check("latency", passed=False, reason="x" * 500)
    lines = decided(Check("quality", passed=True, reason="no worse"), long).table().splitlines()
    assert lines[0].split() == ["quality", "passed", "no", "worse"]
    assert lines[1].index("REFUSED") == lines[0].index("passed")
    assert len(lines[1]) <= 112
    assert lines[2] == "2017-12-10: refused for latency"
