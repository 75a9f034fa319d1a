"""One word and one sentence: what is broken, bad, good or open, in that order."""

import pytest
from experiment_log import experiment

from jobs.experiments.attribution import CROSSED, LATE, TWICE, UNKNOWN
from jobs.experiments.verdict import in_doubt, verdict

GUARDS = [{"metric": "latency_ms", "worst": 0.5}, {"metric": "conversion", "worst": 0.02}]
FINE = {"ctr": (0.1, 0.02, 0.2), "latency_ms": (0.2, 0.1, 0.3), "conversion": (0.0, -0.05, 0.05)}


def records(lifts=FINE, *, arm="b", users=(500, 510), srm=0.6, rejected=(), credited=1_000):
    """What an analysis says: always-valid lifts of one arm, users of a and of it, the health of the log."""
    found = [{"metric": "srm", "value": srm}]
    found += [{"metric": "users", "arm": name, "value": n} for name, n in zip(("a", arm), users, strict=True)]
    found += [{"metric": "rejected", "reason": reason, "value": n} for reason, n in rejected]
    found += [
        {"metric": "funnel", "arm": "a", "stage": stage, "value": credited / 2}
        for stage in ("clicks", "bought")
    ]
    for metric, (value, low, high, *p) in lifts.items():
        lift = {"metric": metric, "arm": arm, "versus": "a", "method": "sequential"}
        found += [{"metric": metric, "arm": each, "value": 1.0} for each in ("a", arm)]
        found.append(
            {**lift, "value": value, "low": low, "high": high, **({"p_adjusted": p[0]} if p else {})}
        )
        # None of these decides: a look of another day, a segment, another method.
        far = {"value": -9.0, "low": -9.1, "high": -8.9}
        found = [{**lift, **far, "day": "2017-12-05"}, {**lift, **far, "segment": "new"}, *found]
        found.append({**lift, **far, "method": "fixed"})
    return found


ONE = experiment(guardrails=GUARDS)
CASES = {
    "all fine": (
        records(),
        "ship",
        "ctr of b over a +10.0 % [+2.0 %, +20.0 %], and no guardrail is in doubt.",
    ),
    "users are not as planned": (
        records(users=(510, 400), srm=0.0002),
        "invalid",
        "users per arm are a 510, b 400 where shares of 50.0 %, 50.0 % were planned (p = 0.0002).",
    ),
    "as odd, but not odd enough": (records(srm=0.002), "ship", "ctr of b"),
    "no user of b": (records(users=(500, 0), srm=1e-99), "invalid", "no user of arm b was in the log."),
    "no user of a": (records(users=(0, 500)), "invalid", "no user of arm a was in the log."),
    "many crossed": (
        records(rejected=[(CROSSED, 11)]),
        "invalid",
        "11 of 1,021 users were in two arms.",
    ),
    "some crossed": (records(rejected=[(CROSSED, 10)]), "ship", "ctr of b"),
    "many outcomes are strangers": (
        records(rejected=[(UNKNOWN, 120)]),
        "invalid",
        "120 outcomes cannot belong to the answer that they name, 1,000 do.",
    ),
    "some outcomes are strangers": (records(rejected=[(UNKNOWN, 100)]), "ship", "ctr of b"),
    "a few strangers of few outcomes": (records(rejected=[(UNKNOWN, 19)], credited=10), "ship", "ctr of b"),
    "a handful of strangers of few outcomes": (
        records(rejected=[(UNKNOWN, 20)], credited=10),
        "invalid",
        "20 outcomes cannot belong to the answer that they name, 10 do.",
    ),
    "late and repeated outcomes are usual": (
        records(rejected=[(LATE, 900), (TWICE, 900)]),
        "ship",
        "ctr of b",
    ),
    "surely too slow": (
        records({**FINE, "latency_ms": (0.7, 0.51, 0.9)}),
        "stop",
        "latency_ms of b over a +70.0 % [+51.0 %, +90.0 %] where at most +50.0 % is allowed.",
    ),
    "perhaps too slow": (
        records({**FINE, "latency_ms": (0.6, 0.4, 0.8)}),
        "keep running",
        "latency_ms of b over a +60.0 % [+40.0 %, +80.0 %] where at most +50.0 % is allowed.",
    ),
    "hardly too slow": (records({**FINE, "latency_ms": (0.4, 0.2, 0.6)}), "ship", "ctr of b"),
    "surely sells less": (
        records({**FINE, "conversion": (-0.05, -0.07, -0.03)}),
        "stop",
        "conversion of b over a -5.0 % [-7.0 %, -3.0 %] where at least -2.0 % is allowed.",
    ),
    "perhaps sells less": (
        records({**FINE, "conversion": (-0.03, -0.07, 0.01)}),
        "keep running",
        "conversion of b over a -3.0 % [-7.0 %, +1.0 %] where at least -2.0 % is allowed.",
    ),
    "surely worse": (
        records({**FINE, "ctr": (-0.1, -0.2, -0.01)}),
        "stop",
        "ctr of b over a -10.0 % [-20.0 %, -1.0 %] is worse.",
    ),
    "perhaps better": (
        records({**FINE, "ctr": (0.1, -0.01, 0.2)}),
        "keep running",
        "ctr of b over a +10.0 % [-1.0 %, +20.0 %] may be nothing.",
    ),
    "perhaps worse": (
        records({**FINE, "ctr": (-0.1, -0.2, 0.01)}),
        "keep running",
        "ctr of b over a -10.0 % [-20.0 %, +1.0 %] may be nothing.",
    ),
    "exactly 0 is not better": (records({**FINE, "ctr": (0.1, 0.0, 0.2)}), "keep running", "ctr of b"),
    "no bounds yet": (
        records({**FINE, "ctr": (0.1, None, None)}),
        "keep running",
        "ctr of b over a +10.0 % [unknown, unknown] may be nothing.",
    ),
    "no lift": (records({**FINE, "ctr": (None, None, None)}), "keep running", "ctr of b over a unknown"),
    "no always-valid interval": (
        records({name: lift for name, lift in FINE.items() if name != "ctr"}),
        "keep running",
        "ctr of b has no always-valid interval yet.",
    ),
    "a guardrail without one": (
        records({name: lift for name, lift in FINE.items() if name != "conversion"}),
        "keep running",
        "conversion of b has no always-valid interval yet.",
    ),
    "invalid comes before stop": (
        records({**FINE, "ctr": (-0.1, -0.2, -0.01)}, srm=1e-9),
        "invalid",
        "users",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_the_first_that_holds(case):
    """Broken before bad, bad before good, good before open; with the numbers in one sentence."""
    given, word, reason = CASES[case]
    found = verdict(given, ONE)
    assert (found.word, found.arm) == (word, "b" if word == "ship" else None)
    assert found.reason.startswith(reason)
    assert found.reason.endswith(".")


def test_less_is_better_of_some_metrics():
    """A primary metric of time: less of it is shipped, more is stopped."""
    quick = experiment(primary="latency_ms")
    assert verdict(records({"latency_ms": (-0.1, -0.2, -0.05)}), quick).word == "ship"
    assert verdict(records({"latency_ms": (0.1, 0.05, 0.2)}), quick).word == "stop"
    assert verdict(records({"latency_ms": (-0.1, -0.2, 0.05)}), quick).word == "keep running"


@pytest.mark.parametrize(("mine", "word"), [(0.0, "ship"), (0.01, "keep running")])
def test_a_guardrail_that_is_0_in_the_control_asks_for_0(mine, word):
    """Nothing was degraded in the control: there is no lift, so the treatment is to have none either."""
    guarded = experiment(guardrails=[{"metric": "degraded", "worst": 0.1}])
    levels = [{"metric": "degraded", "arm": arm, "value": value} for arm, value in (("a", 0.0), ("b", mine))]
    lift = {"metric": "degraded", "arm": "b", "versus": "a", "method": "fixed", "value": None}
    found = verdict([*records(), lift, *levels], guarded)
    assert found.word == word
    assert word == "ship" or found.reason == "degraded of b is 0.01 where a has 0."


@pytest.mark.parametrize(
    ("primary", "mine", "theirs", "said"),
    [
        ("ctr", 0.0, 0.03, ["ctr of b is 0 where a has 0.03"]),
        ("ctr", 0.03, 0.0, []),
        ("ctr", 0.01, 0.03, []),
        ("ctr", 0.0, 0.0, []),
        ("degraded", 0.01, 0.0, ["degraded of b is 0.01 where a has 0"]),
        ("degraded", 0.0, 0.01, []),
    ],
)
def test_a_primary_metric_that_is_lost_is_in_doubt(primary, mine, theirs, said):
    """Over or under a 0 there is no lift: the treatment gets no more users where it has the worse level."""
    levels = [{"metric": primary, "arm": arm, "value": value} for arm, value in (("a", theirs), ("b", mine))]
    lift = {"metric": primary, "arm": "b", "method": "sequential", "value": None, "low": None, "high": None}
    assert list(in_doubt([lift, *levels], experiment(primary=primary))) == said


def test_who_knows_how_many_users_are_missing_says_so():
    """Only where the experiment goes on."""
    open_ = records({**FINE, "ctr": (0.1, -0.01, 0.2)})
    assert verdict(open_, ONE, needed=12_000).reason.endswith("; about 12,000 more users are needed.")
    assert "needed" not in verdict(records(), ONE, needed=12_000).reason


def of_two(b, c):
    """Verdict on two treatments with these lifts of the click rate."""
    shares = {"a": 0.5, "b": 0.25, "c": 0.25}
    three = experiment(arms={name: {"share": share} for name, share in shares.items()})
    mine = [each for each in records({"ctr": c}, arm="c") if each.get("arm") == "c"]
    return verdict([*records({"ctr": b}), *mine], three)


GOOD, BETTER, BAD, OPEN = (
    (0.1, 0.05, 0.2, 0.01),
    (0.2, 0.05, 0.3, 0.01),
    (-0.1, -0.2, -0.05),
    (0.1, -0.1, 0.2),
)


@pytest.mark.parametrize(
    ("b", "c", "word", "arm"),
    [
        (GOOD, BETTER, "ship", "c"),
        (BETTER, GOOD, "ship", "b"),
        (BAD, GOOD, "ship", "c"),
        (OPEN, GOOD, "ship", "c"),
        (BAD, OPEN, "keep running", None),
        (BAD, BAD, "stop", None),
        ((0.1, 0.01, 0.2, 0.06), OPEN, "keep running", None),  # Holm's p
    ],
)
def test_of_several_treatments_the_best_that_passes_is_shipped(b, c, word, arm):
    """One that is bad is never shipped and stops nobody else."""
    found = of_two(b, c)
    assert (found.word, found.arm) == (word, arm)


def test_reasons_of_several_treatments_name_each():
    """The bad one first."""
    assert of_two(OPEN, BAD).reason == (
        "ctr of c over a -10.0 % [-20.0 %, -5.0 %] is worse; "
        "ctr of b over a +10.0 % [-10.0 %, +20.0 %] may be nothing."
    )
    assert "may be chance among 2 (p = 0.06)" in of_two((0.1, 0.01, 0.2, 0.06), OPEN).reason


def test_an_arm_without_a_share_needs_no_users():
    """A treatment that is switched off is not missing; all of them off compare nothing."""
    off = {"a": {"share": 0.5}, "b": {"share": 0.5}, "c": {"share": 0.0}}
    assert verdict(records(), experiment(arms=off)).word == "ship"
    found = verdict(records(users=(500, 0)), experiment(arms={"a": {"share": 1.0}, "b": {"share": 0.0}}))
    assert (found.word, found.reason) == ("invalid", "no treatment has users.")
