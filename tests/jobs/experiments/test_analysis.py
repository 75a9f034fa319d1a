"""Records of an experiment: every level, lift and adjustment, the same from frames and inside DuckDB."""

import json
import math

import ibis
import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import tea_tasting as tt
from experiment_log import answer, event, experiment, only, page, tables, users

from bentos.experiments import METRICS
from jobs.experiments.analysis import AlwaysValid, AnalysisError, analyse, log_records
from jobs.experiments.attribution import rejected
from jobs.experiments.lifts import COVARIATES
from jobs.experiments.outcomes import PRE_SUMS, funnel, latency, per_user
from jobs.experiments.verdict import verdict

THREE = {"a": {"share": 0.5}, "b": {"share": 0.25}, "c": {"share": 0.25}}
GUARDED = [{"metric": "latency_ms", "worst": 0.5}]


def numbers(records):
    """What records say of what, to be compared: numbers by all their tags."""
    shown = ("value", "low", "high", "p_value", "p_adjusted")
    found = {}
    for each in records:
        key = tuple(sorted((tag, str(value)) for tag, value in each.items() if tag not in shown))
        assert key not in found, f"two records of {key}"
        found[key] = [math.nan if each.get(name) is None else each[name] for name in shown]
    return found


@pytest.mark.parametrize("kind", ["duckdb", "arrow"])
def test_all_is_the_same_wherever_the_sums_lie(kind):
    """In a database, or in another frame: each number to 1e-9."""
    frame, tested = users(), experiment(arms=THREE, guardrails=GUARDED)
    other = pa.Table.from_pandas(frame)
    if kind == "duckdb":
        connection = ibis.duckdb.connect()
        connection.con.register("users", other)
        other = connection.table("users")
    expected, found = numbers(analyse(frame, tested)), numbers(analyse(other, tested))
    assert expected.keys() == found.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, rel=1e-9, nan_ok=True), key


@pytest.mark.parametrize("method", ["fixed", "cuped"])
def test_lifts_from_moments_are_those_of_tea_tasting_on_the_frame(method):
    """Moments computed in DuckDB give what tea-tasting gives on a pandas frame of users: to 1e-9."""
    frame = users().drop(columns="segment").assign(degraded=lambda rows: rows["answers"] % 2)
    tests = {
        name: tt.RatioOfMeans(
            metric.numerator, metric.denominator, *(COVARIATES[name] if method == "cuped" else ())
        )
        for name, metric in METRICS.items()
        if method == "fixed" or name in COVARIATES
    }
    expected = tt.Experiment(tests, variant="arm").analyze(frame, control="a", all_variants=True)
    lifts = only(analyse(frame, experiment(arms=THREE)), method=method)
    assert len(lifts) == 2 * len(tests)
    for each in lifts:
        by_frame = expected["a", each["arm"]][each["metric"]]
        assert [each[name] for name in ("value", "low", "high", "p_value")] == pytest.approx(
            [
                by_frame.rel_effect_size,
                by_frame.rel_effect_size_ci_lower,
                by_frame.rel_effect_size_ci_upper,
                by_frame.pvalue,
            ],
            rel=1e-9,
        )


def test_there_is_a_record_of_everything():
    """Levels by arm and metric, lifts by treatment, metric and method; numbers that JSON has."""
    frame, tested = users().drop(columns="segment"), experiment(arms=THREE)
    records = analyse(frame, tested)
    levels = only(records, method=None, reason=None, report="experiment", experiment="engine")
    assert {(each["metric"], each.get("arm")) for each in levels} == {
        ("srm", None),
        *(("users", arm) for arm in "abc"),
        *((metric, arm) for metric in METRICS for arm in "abc"),
    }
    lifts = {(each["metric"], each["arm"], each["method"]) for each in only(records, versus="a")}
    assert lifts == {
        *((metric, arm, "fixed") for metric in METRICS for arm in "bc"),
        *((metric, arm, "cuped") for metric in COVARIATES for arm in "bc"),
    }
    assert len(records) == len(levels) + len(lifts)
    json.dumps(records, allow_nan=False)


def test_levels_and_lifts_are_ratios_of_sums():
    """By hand, from totals; a lift's interval is around it."""
    frame = users()
    records, totals = analyse(frame, experiment(arms=THREE)), frame.groupby("arm").sum(numeric_only=True)
    for name, metric in METRICS.items():
        ratio = totals[metric.numerator] / totals[metric.denominator]
        for arm in "abc":
            (record,) = only(records, metric=name, arm=arm, method=None)
            assert record["value"] == pytest.approx(ratio[arm])
            assert (record["unit"], record["users"]) == (metric.unit, (frame["arm"] == arm).sum())
        if ratio["a"]:
            (record,) = only(records, metric=name, arm="c", method="fixed", segment=None)
            assert record["value"] == pytest.approx(ratio["c"] / ratio["a"] - 1)
            assert record["low"] < record["value"] < record["high"]
            assert record["users"] == frame["arm"].isin(["a", "c"]).sum()


def test_what_never_happened_has_no_number():
    """No answer was degraded: the level is 0, the lift None, and it takes no part in an adjustment."""
    records = analyse(users(), experiment(arms=THREE))
    (record,) = only(records, metric="degraded", arm="b", method="fixed")
    assert [record[name] for name in ("value", "low", "high", "p_value")] == [None] * 4
    assert "p_adjusted" not in record


def holm(p_values):
    """Holm 1979, from its definition: each p by how many are as small or larger, never below one before."""
    ordered = np.sort(p_values)
    steps = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)).clip(max=1)
    return [steps[list(ordered).index(p)] for p in p_values]


def test_families_are_adjusted_apart():
    """Primary over treatments, others over treatments and metrics without guardrails, by method; by Holm."""
    records = analyse(users(), experiment(arms=THREE, guardrails=GUARDED))
    for method, others in (
        ("fixed", set(METRICS) - {"ctr", "latency_ms", "degraded"}),
        ("cuped", {*COVARIATES} - {"ctr"}),
    ):
        lifts = [each for each in only(records, method=method, segment=None) if each["metric"] != "degraded"]
        for family in ({"ctr"}, others):
            members = [each for each in lifts if each["metric"] in family]
            assert len(members) == 2 * len(family)
            expected = holm([each["p_value"] for each in members])
            assert [each["p_adjusted"] for each in members] == pytest.approx(expected)
    assert all("p_adjusted" not in each for each in only(records, metric="latency_ms", versus="a"))


def test_one_treatments_primary_is_not_adjusted():
    """There is one such test; all others of that treatment are."""
    records = analyse(users(arms="ab"), experiment())
    assert "p_adjusted" not in only(records, metric="ctr", method="fixed", segment=None)[0]
    assert "p_adjusted" in only(records, metric="conversion", method="fixed")[0]


def test_segments_have_lifts_of_their_own():
    """The primary metric in each, as if there were no other users; adjusted by Benjamini and Hochberg."""
    frame, tested = users(), experiment(arms=THREE)
    found = [each for each in analyse(frame, tested) if "segment" in each]
    assert len(found) == 3 * 2
    for each in found:
        rows = frame[frame["segment"] == each["segment"]].drop(columns="segment")
        (alone,) = only(analyse(rows, tested), metric="ctr", arm=each["arm"], method="fixed")
        assert [each[name] for name in ("value", "low", "high", "p_value", "users")] == pytest.approx(
            [alone[name] for name in ("value", "low", "high", "p_value", "users")]
        )
    expected = scipy.stats.false_discovery_control([each["p_value"] for each in found])
    assert [each["p_adjusted"] for each in found] == pytest.approx(list(expected))


def test_users_without_a_segment_are_in_none():
    """They count in all else."""
    frame = users()
    frame["segment"] = np.where(frame["segment"] == "new", "new", None)
    found = analyse(frame, experiment(arms=THREE))
    assert {each["segment"] for each in found if "segment" in each} == {"new"}
    assert sum(each["value"] for each in only(found, metric="users")) == len(frame)


def test_sequential_results_come_with_their_lift():
    """Bounds and p value as given, None for no bound; the value is the lift of the sums; Holm over arms."""
    given = {
        ("b", "ctr"): AlwaysValid(-math.inf, 0.3, 0.04),
        ("c", "ctr"): AlwaysValid(0.1, 0.3, 0.03),
        ("b", "latency_ms"): AlwaysValid(-0.1, 0.1, 1.0),
    }
    records = analyse(users(), experiment(arms=THREE, guardrails=GUARDED), sequential=given)
    found = {(each["arm"], each["metric"]): each for each in only(records, method="sequential")}
    assert found.keys() == given.keys()
    (plain,) = only(records, metric="ctr", arm="b", method="fixed", segment=None)
    assert found["b", "ctr"] == {
        **plain, "method": "sequential", "low": None, "high": 0.3, "p_value": 0.04, "p_adjusted": 0.06,
    }  # fmt: skip
    assert found["c", "ctr"]["p_adjusted"] == 0.06
    assert "p_adjusted" not in found["b", "latency_ms"]


def test_an_analysis_is_enough_for_a_verdict():
    """Its records say which arm to ship, once a sequential test is sure."""
    tested = experiment(arms=THREE)
    assert verdict(analyse(users(), tested), tested).word == "keep running"
    sure = {(arm, "ctr"): AlwaysValid(low, 0.3, p) for arm, low, p in (("b", -0.1, 0.9), ("c", 0.1, 0.001))}
    found = verdict(analyse(users(), tested, sequential=sure), tested)
    assert (found.word, found.arm) == ("ship", "c")


def test_without_a_past_there_is_no_cuped():
    """No columns of a pre-period, or nothing in them: only the fixed test."""
    for frame in (users().drop(columns=list(PRE_SUMS)), users().assign(**dict.fromkeys(PRE_SUMS, 0))):
        records = analyse(frame.drop(columns="segment"), experiment(arms=THREE))
        assert {each["method"] for each in only(records, versus="a")} == {"fixed"}


def test_an_arm_without_users_has_no_lift():
    """It has 0 users, the others their lifts."""
    records = analyse(users(arms="ac"), experiment(arms=THREE))
    assert [each["value"] for each in only(records, metric="users")] == [300, 0, 300]
    assert {each["arm"] for each in only(records, versus="a")} == {"c"}
    assert only(records, metric="srm")[0]["value"] < 1e-9


def test_an_arm_of_another_experiment_is_refused():
    """The error names it."""
    with pytest.raises(AnalysisError, match="engine has no arm 'c' but a, b"):
        analyse(users(), experiment())


def test_a_log_becomes_records():
    """From rows to rejects, funnel and percentiles, each a record."""
    log = tables(
        exposures=[answer("r1", "u", 0, latency_ms=10.0), answer("r2", "v", 0, "b", latency_ms=30.0)],
        slots=[*page("r1", ["milk", "tea"]), *page("r2", ["tea"])],
        events=[event("e", "click", "u", "milk", 1, "r1"), event("f", "click", "u", "jam", 1, "r1")],
    )
    args = (log["exposures"], log["slots"], log["events"], experiment())
    records = log_records(rejected(*args), funnel(per_user(*args)), latency(args[0], args[3]), args[3])
    assert [(each["reason"], each["value"]) for each in only(records, metric="rejected")] == [
        ("outcomes of items that were not on the page", 1)
    ]
    stages = {(each["arm"], each["stage"]): each["value"] for each in only(records, metric="funnel")}
    assert stages == {
        ("a", "answers"): 1, ("a", "slots"): 2, ("a", "clicks"): 1, ("a", "bought"): 0,
        ("b", "answers"): 1, ("b", "slots"): 1, ("b", "clicks"): 0, ("b", "bought"): 0,
    }  # fmt: skip
    times = {(each["metric"], each["arm"]): each["value"] for each in records if "latency" in each["metric"]}
    assert times == {
        (f"latency_ms_p{p}", arm): ms for p in (50, 95, 99) for arm, ms in (("a", 10), ("b", 30))
    }
    json.dumps(records, allow_nan=False)
