"""The page of an experiment as HTML: names add no markup, nothing is fetched, no section is empty."""

import re

import pytest
from fake_experiment import Verdict, fake_experiment, fake_records
from page_reader import Page, by_place

from bentos.experiments import METRICS
from jobs.experiments.page import page
from jobs.experiments.results import METHODS

HOSTILE = "</td><script>alert('1')</script>\"&amp;$\\frac{ <b onclick=x>"
SHIP = Verdict("ship", "Clicks per slot are 10.6 % up and no guardrail is worse than allowed.")


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


def test_hostile_names_are_text(experiment, records, text):
    """Markup, quotes and formulas in names and sentences add no tag, and come back as they were."""
    named = ("segment", "reason", "policy")
    rows = [
        {**row, "experiment": HOSTILE, **{key: HOSTILE for key in named if key in row},
         **{key: HOSTILE for key in ("arm", "versus") if row.get(key) == "engine_hot_1"},
         **({"method": HOSTILE} if row["metric"] == "off_policy" else {})}
        for row in records
    ]  # fmt: skip
    arms = {HOSTILE if arm == "engine_hot_1" else arm: each for arm, each in experiment.arms.items()}
    other = experiment.model_copy(update={"name": HOSTILE, "layer": HOSTILE, "arms": arms})
    read = Page(page(other, rows, Verdict(HOSTILE, HOSTILE)))
    assert {tag for tag, _ in read.tags} == {tag for tag, _ in Page(text).tags}
    assert not any("onclick" in attrs for _, attrs in read.tags)
    cells = by_place(read)
    assert {key[2] for key in cells if key[0] == "Parts of the users"} == {HOSTILE}
    assert cells["Parts of the users", "ctr", HOSTILE, HOSTILE, "arm"] == HOSTILE
    assert cells["Left out of every figure above", "", HOSTILE, "reason"] == HOSTILE
    assert cells["What another policy would have earned", "", HOSTILE, HOSTILE, "estimator"] == HOSTILE
    same = "Side by side on the same trips", "ctr", HOSTILE
    assert (cells[*same, "arm"], cells[*same, f"lift over {HOSTILE}"]) == (HOSTILE, "-")
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
    assert len(regions) == sum(tag == "table" for tag, _ in tags) == 9
    assert all(attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in plots + regions)
    assert len({attrs["aria-label"] for attrs in plots + regions}) == 14
    scopes = {attrs.get("scope") for tag, attrs in tags if tag == "th"}
    assert scopes == {"row", "col", "rowgroup"}


KINDS = {
    "levels": lambda r: r["metric"] in METRICS and "method" not in r,
    "lifts": lambda r: r["metric"] in METRICS and r.get("method") in METHODS,
    "side by side": lambda r: r.get("method") == "side by side",
    "CUPED": lambda r: r.get("method") == "cuped",
    "segments": lambda r: "segment" in r,
    "days": lambda r: "day" in r,
    **{name: lambda r, name=name: r["metric"].startswith(name)
       for name in ("users", "srm", "funnel", "latency_ms_", "rejected", "off_policy")},
}  # fmt: skip
BY_DAY = "Lift over time: clicks per slot shown"
GONE = {  # kind of record: sections that need it
    "segments": {"Parts of the users"},
    "days": {BY_DAY},
    "lifts": {"Parts of the users", BY_DAY},
    "side by side": {"Side by side on the same trips"},
    "funnel": {"From answers to purchases"},
    "latency_ms_": {"Time of an answer"},
    "rejected": {"Left out of every figure above"},
    "off_policy": {"What another policy would have earned"},
}
HEADS = {"Lift of each metric", "Users of each arm"}.union(*GONE.values())


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_what_is_missing_is_left_out(experiment, records, kind, monkeypatch):
    """Without one kind of record, or any, the page is whole, and no section is empty."""
    monkeypatch.setattr("jobs.experiments.page.svg", lambda _: "<svg></svg>")  # it takes most of the time
    rows = [row for row in records if kind != "all" and not KINDS[kind](row)]
    made = page(experiment, rows, SHIP)
    sections = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", made, flags=re.S)
    assert all("<table>" in body or "<svg>" in body or "p 0.432" in body for _, body in sections)
    heads = {head for head, _ in sections}
    assert heads == (set() if kind == "all" else HEADS - GONE.get(kind, set()))
    Page(made)
