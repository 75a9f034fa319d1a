"""The page of an experiment: every number is its record's, names add no markup, nothing is fetched."""

import re

import pytest
from fake_experiment import Verdict, fake_experiment, fake_records
from page_reader import Page, assert_shows, numbers

from bentos.experiments import METRICS
from jobs.experiments.page import page
from jobs.experiments.results import METHODS
from jobs.experiments.tables import ESTIMATORS

HOSTILE = "</td><script>alert('1')</script>\"&amp;$\\frac{ <b onclick=x>"
SHIP = Verdict("ship", "Clicks per slot are 10.6 % up and no guardrail is worse than allowed.")
METRICS_HEAD, SEGMENTS_HEAD = "Lift of each metric", "Parts of the users"


def place_of(record: dict, control: str) -> tuple[str, ...]:
    """Where the page shows a record: heading, group, names of the row, column."""
    metric, arm = record["metric"], record.get("arm", "")
    named = f"{arm} (control)" if arm == control else arm
    if "day" in record:
        return BY_DAY, "", record["day"], arm
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


def by_place(read: Page) -> dict[tuple[str, ...], str]:
    """Cells by place, with the metric's name where the group has a title and remarks."""
    names = {key: re.search(r"\((\w+)\)", key[1]) for key in read.cells}
    return {(key[0], name[1] if (name := names[key]) else key[1], *key[2:]): read.cells[key] for key in names}


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
        kind = record.get("method", "level")
        if record["metric"] == "ctr" and not {"day", "segment"} & set(record) and kind != "fixed":
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


def test_hostile_names_are_text(experiment, records, text):
    """Markup, quotes and formulas in names and sentences add no tag, and come back as they were."""
    named = ("segment", "reason", "policy")
    rows = [
        {**row, "experiment": HOSTILE, **{key: HOSTILE for key in named if key in row},
         **({"arm": HOSTILE} if row.get("arm") == "engine_hot_1" else {}),
         **({"method": HOSTILE} if row["metric"] == "off_policy" else {})}
        for row in records
    ]  # fmt: skip
    arms = {HOSTILE if arm == "engine_hot_1" else arm: each for arm, each in experiment.arms.items()}
    other = experiment.model_copy(update={"name": HOSTILE, "layer": HOSTILE, "arms": arms})
    read = Page(page(other, rows, Verdict(HOSTILE, HOSTILE)))
    assert {tag for tag, _ in read.tags} == {tag for tag, _ in Page(text).tags}
    assert not any("onclick" in attrs for _, attrs in read.tags)
    cells = by_place(read)
    assert {key[2] for key in cells if key[0] == SEGMENTS_HEAD} == {HOSTILE}
    assert cells[SEGMENTS_HEAD, "ctr", HOSTILE, HOSTILE, "arm"] == HOSTILE
    assert cells["Left out of every figure above", "", HOSTILE, "reason"] == HOSTILE
    assert cells["What another policy would have earned", "", HOSTILE, HOSTILE, "estimator"] == HOSTILE
    assert cells["Time of an answer", "", HOSTILE, "arm"] == HOSTILE
    assert read.text.count(HOSTILE) > 20  # also in the title, the band, the cards and the headers


def test_nothing_is_fetched_and_nothing_runs(text):
    """No script, no style sheet, no picture, no address but the names of SVG's own language."""
    read = Page(text)
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    attrs = [(name, value or "") for _, each in read.tags for name, value in each.items()]
    assert not any(name.startswith("on") or name in ("src", "srcset") for name, _ in attrs)
    assert all(value.startswith("#") for name, value in attrs if name in ("href", "xlink:href"))
    assert all(value.startswith("#") for value in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert re.findall(r"\w+:\w+=\"http|http", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)) == []


def test_plots_and_tables_are_named_for_who_cannot_see_them(text):
    """Each plot is an image with a name, each table has scoped headers, and keys scroll both."""
    tags = Page(text).tags
    plots = [attrs for tag, attrs in tags if tag == "div" and attrs.get("role") == "img"]
    assert len(plots) == sum(tag == "svg" for tag, _ in tags) == 5
    regions = [attrs for tag, attrs in tags if tag == "div" and attrs.get("role") == "region"]
    assert len(regions) == sum(tag == "table" for tag, _ in tags) == 8
    assert all(attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in plots + regions)
    assert len({attrs["aria-label"] for attrs in plots + regions}) == 13
    scopes = {attrs.get("scope") for tag, attrs in tags if tag == "th"}
    assert scopes == {"row", "col", "rowgroup"}


KINDS = {
    "levels": lambda r: r["metric"] in METRICS and "versus" not in r,
    "lifts": lambda r: r["metric"] in METRICS and "versus" in r,
    "CUPED": lambda r: r.get("method") == "cuped",
    "segments": lambda r: "segment" in r,
    "days": lambda r: "day" in r,
    **{name: lambda r, name=name: r["metric"].startswith(name)
       for name in ("users", "srm", "funnel", "latency_ms_", "rejected", "off_policy")},
}  # fmt: skip
BY_DAY = "Lift over time: clicks per slot shown"
GONE = {  # kind of record: sections that need it
    "segments": {SEGMENTS_HEAD},
    "days": {BY_DAY},
    "lifts": {SEGMENTS_HEAD, BY_DAY},
    "funnel": {"From answers to purchases"},
    "latency_ms_": {"Time of an answer"},
    "rejected": {"Left out of every figure above"},
    "off_policy": {"What another policy would have earned"},
}
HEADS = {METRICS_HEAD, "Users of each arm"}.union(*GONE.values())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_what_is_missing_is_left_out(experiment, records, kind):
    """Without one kind of record, or any, the page is whole, and no section is empty."""
    rows = [row for row in records if kind != "all" and not KINDS[kind](row)]
    made = page(experiment, rows, SHIP)
    sections = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", made, flags=re.S)
    assert all("<table>" in body or "<svg>" in body or "p 0.432" in body for _, body in sections)
    heads = {head for head, _ in sections}
    assert heads == (set() if kind == "all" else HEADS - GONE.get(kind, set()))
    Page(made)


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
