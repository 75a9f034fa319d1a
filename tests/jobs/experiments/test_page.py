"""The page of an experiment: the verdict first, and every number is its record's."""

import re

import pytest
from fake_experiment import Verdict, fake_experiment, fake_records
from page_reader import Page, assert_shows, by_place, numbers

from bentos.experiments import METRICS, Guardrail
from jobs.experiments.page import page
from jobs.experiments.results import METHODS
from jobs.experiments.tables import ESTIMATORS

SHIP = Verdict("ship", "Clicks per slot are 10.6 % up and no guardrail is worse than allowed.")
METRICS_HEAD, SEGMENTS_HEAD = "Lift of each metric", "Parts of the users"
BY_DAY = "Lift over time: clicks per slot shown"


def place_of(record: dict, control: str) -> tuple[str, ...]:
    """Where the page shows a record: heading, group, names of the row, column."""
    metric, arm = record["metric"], record.get("arm", "")
    named = f"{arm} (control)" if arm == control else arm
    if "day" in record:
        return BY_DAY, "", record["day"], arm
    if record.get("method") == "side by side":
        column = f"lift over {record['versus']}" if "versus" in record else "level"
        return "Side by side on the same trips", metric, named, column
    if metric in METRICS:
        column = f"lift, {METHODS[record['method']]}" if "versus" in record else "level"
        row = (record["segment"], arm) if "segment" in record else (named,)
        head = SEGMENTS_HEAD if "segment" in record else METRICS_HEAD
        return head, metric, *row, column
    if metric == "funnel":
        return "From answers to purchases", "", named, record["stage"]
    if metric == "off_policy":
        row = record["policy"], ESTIMATORS[record["method"]]
        return "What another policy would have earned", "", *row, "reward per answer"
    if metric == "rejected":
        return "Left out of every figure above", "", record["reason"], "count"
    if metric == "users":
        return "Users of each arm", "", named, "users"
    return "Time of an answer", "", named, f"{metric.removeprefix('latency_ms_')}, ms"


@pytest.fixture(scope="module")
def experiment():
    """A control and two treatments."""
    return fake_experiment(2)


@pytest.fixture(scope="module")
def records(experiment):
    """All kinds of records."""
    return fake_records(experiment)


@pytest.fixture(scope="module")
def text(experiment, records):
    """The page of all kinds of records."""
    return page(experiment, records, SHIP)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages whose figures are made but not turned into SVG, which takes most of the time."""
    monkeypatch.setattr("jobs.experiments.page.svg", lambda _: "<svg></svg>")


def test_every_number_is_that_of_its_record(experiment, records, text):
    """Each record stands in one cell, with its interval and p values; no others do."""
    cells = by_place(Page(text))
    shown = [record for record in records if record["metric"] != "srm"]
    for record in shown:
        keys = ("value", "low", "high", "p_value", "p_adjusted")
        values = [record[key] for key in keys if key in record]
        cell = cells[place_of(record, experiment.control)]
        if record["metric"] == "funnel" and record["stage"] != "answers":
            cell, rate = cell.split(" ", 1)
            (answers,) = (
                r["value"] for r in shown if r.get("stage") == "answers" and r["arm"] == record["arm"]
            )
            assert numbers(rate)[0][0] == pytest.approx(record["value"] / answers, rel=0.005)
        assert_shows(cell, *(value for value in values if value is not None))
    named = {"arm", "until the end of", "segment", "policy", "reason", "estimator", "effective answers"}
    named |= {"planned share", "planned users", "difference"}
    filled = {key for key, cell in cells.items() if key[-1] not in named and cell != "-"}
    assert filled - {key for key in filled if (key[0], key[-1]) == (SEGMENTS_HEAD, "users")} == {
        place_of(record, experiment.control) for record in shown
    }


def test_users_are_held_against_the_plan(experiment, records, text):
    """Planned users are a third of all, the difference is users less planned, p is that of the SRM record."""
    cells, users = by_place(Page(text)), {r["arm"]: r["value"] for r in records if r["metric"] == "users"}
    for arm, count in users.items():
        key = "Users of each arm", "", f"{arm} (control)" if arm == experiment.control else arm
        planned = sum(users.values()) / 3
        assert_shows(cells[*key, "planned users"], planned)
        assert_shows(cells[*key, "difference"], count - planned)
        assert_shows(cells[*key, "planned share"], 1 / 3)
    assert "<strong>Sample ratio mismatch: p 0.432</strong>" in text


def test_segments_and_off_policy_tell_how_many_they_rest_on(records, text):
    """Users of a segment and effective answers of an estimate stand beside the figures."""
    cells = by_place(Page(text))
    for record in records:
        if "segment" in record:
            assert_shows(
                cells[SEGMENTS_HEAD, "ctr", record["segment"], record["arm"], "users"], record["users"]
            )
        if record["metric"] == "off_policy":
            place = place_of(record, "")[:-1]
            assert_shows(cells[*place, "effective answers"], record["ess"])


def test_cards_show_the_primary_of_each_arm(experiment, records, text):
    """A card an arm: level and interval, then the lift with CUPED and the always-valid one."""
    cards = re.findall(r'<div class="card">(.*?)</div>', text)
    found = {record["arm"]: [] for record in records if record["metric"] == "users"}
    for record in records:
        shown = record.get("method", "level") in ("level", "cuped", "sequential")
        if record["metric"] == "ctr" and not {"day", "segment"} & set(record) and shown:
            found[record["arm"]] += [record["value"], record["low"], record["high"]]
    assert len(cards) == 3
    for arm, card in zip(found, cards, strict=True):
        head, figures = re.sub("<(?!b>)[^>]*>", " ", card).split("<b>")
        assert head.split()[0] == f"{arm}:" or head.split()[:2] == [experiment.control, "(control):"]
        assert_shows(figures, *found[arm])


@pytest.mark.usefixtures("undrawn")
def test_better_and_worse_go_by_the_metric_s_direction(experiment):
    """An interval above 0 is better of clicks and worse of latency; one that holds 0 is neither."""
    lift = {"arm": "engine", "versus": "segment", "method": "fixed", "value": 0.2}
    rows = [{**lift, "metric": metric, "low": low, "high": high}
            for metric, low, high in (("ctr", 0.1, 0.3), ("latency_ms", 0.1, 0.3), ("conversion", -0.1, 0.3),
                                      ("slot_revenue", -0.3, -0.1), ("degraded", -0.3, -0.1))]  # fmt: skip
    cells = [attrs.get("class") for tag, attrs in Page(page(experiment, rows, SHIP)).tags if tag == "td"]
    assert cells[1::2] == ["better", "worse", "better", None, "worse"]  # primary, guardrails, the others


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("metric", "worst", "says"),
    [("revenue_per_basket", 0.1, "fall by 10 %"), ("degraded", 0.125, "rise by 12.5 %"),
     ("latency_ms", 10.0, "rise by 1,000 %")],
)  # fmt: skip
def test_guardrails_say_what_they_allow(experiment, metric, worst, says):
    """By how much a metric may get worse, in percent and in its own direction; others say nothing of it."""
    guarded = experiment.model_copy(update={"guardrails": (Guardrail(metric=metric, worst=worst),)})
    groups = {key[1] for key in Page(page(guarded, fake_records(guarded), SHIP)).cells}
    (said,) = (group for group in groups if "guardrail" in group)
    assert f"({metric}) guardrail: may {says} at most" in said


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("word", ["ship", "stop", "keep running", "invalid"])
def test_the_verdict_comes_first(experiment, word):
    """Word and reason open the page, each word in a band of its own colour."""
    made = page(experiment, [], Verdict(word, "So it is."))
    band = re.search(r"<main>\s*<header class=\"band (\w+)\">(.*?)</header>", made)
    assert f"<h1>{word.capitalize()}</h1>" in band[2]
    assert "So it is." in band[2]
    assert f".band.{band[1]} {{ background" in made or word == "invalid"
    assert len({"ship", "stop", "run", "invalid"} & {band[1]}) == 1


@pytest.mark.usefixtures("undrawn")
def test_a_replay_says_that_nobody_saw_the_lists(experiment):
    """The note stands right after the verdict, and only where it is a replay."""
    made = page(experiment, fake_records(experiment), SHIP, replay=True)
    note = re.search(r"</header>\s*<aside class=\"replay\">(.*?)</aside>", made)[1]
    for words in (
        "recorded purchases",
        "nobody saw",
        "real basket of that trip",
        "not be caused by what is shown",
    ):
        assert words in note
    assert "nobody saw" not in page(experiment, [], SHIP)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_undefined_figures_are_said_to_be(experiment, records, nothing):
    """Levels without a value are dashes, lifts say so, unbounded ends are infinite; all plots are drawn."""
    rows = [{**row, "value": nothing, "low": nothing, "high": nothing} if row["metric"] in METRICS else row
            for row in records if row.get("method") != "sequential"]  # fmt: skip
    valid = [{**row, "low": nothing, "high": nothing} for row in records if row.get("method") == "sequential"]
    cells = by_place(Page(page(experiment, rows + valid, SHIP)))
    assert cells[METRICS_HEAD, "ctr", "engine", "level"] == "-"
    assert cells[METRICS_HEAD, "ctr", "engine", "lift, CUPED"].startswith("undefined")
    assert "[-∞, +∞]" in cells[METRICS_HEAD, "ctr", "engine", "lift, always valid"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("treatments", [1, 9])
def test_any_number_of_treatments_is_shown(treatments):
    """One or nine treatments: a card for each arm, a row for each in the table of metrics."""
    experiment = fake_experiment(treatments)
    made = page(experiment, fake_records(experiment), SHIP)
    assert made.count('<div class="card">') == treatments + 1
    rows = {key[2] for key in Page(made).cells if key[0] == METRICS_HEAD}
    assert rows == {"segment (control)", *experiment.treatments}


def test_equal_records_give_equal_pages(experiment, records, text):
    """The page is a function of what goes in."""
    assert page(experiment, records, SHIP) == text
