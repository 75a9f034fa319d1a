"""An experiment in the terminal: the verdict first, columns below each other, no line wider than 110."""

import re

import pytest
from fake_experiment import Verdict, fake_experiment, fake_records
from page_reader import assert_shows

from bentos.experiments import METRICS
from jobs.experiments.results import Results, ResultsError
from jobs.experiments.summary import summary

RUN = Verdict("keep running", "Clicks per slot are 2.1 % up, [-1.0 %, +5.2 %]: that may be chance.")
COLUMNS = ["metric", "arm", "level", "lift", "always valid", "p"]


def rows_of(text: str) -> list[dict[str, str]]:
    """Rows of the table, cut where the header's columns begin; a metric's name also in the rows below it."""
    lines = text.split("\n")
    start = next(place for place, line in enumerate(lines) if line.startswith("metric "))
    edges = [lines[start].index(column if column != "p" else " p") + (column == "p") for column in COLUMNS]
    rows, metric = [], ""
    for line in lines[start + 1 : lines.index("", start)]:
        assert all(edge == 0 or line[edge - 1 : edge] in ("", " ") for edge in edges), line
        cells = [line[edge:end].strip() for edge, end in zip(edges, [*edges[1:], None], strict=True)]
        metric = cells[0] or metric
        rows.append(dict(zip(COLUMNS, [metric, *cells[1:]], strict=True)))
    return rows


def test_the_verdict_is_the_first_line():
    """Word in capitals, then the reason; a replay is said to be one right below."""
    experiment = fake_experiment()
    lines = summary(experiment, fake_records(experiment), RUN, replay=True).split("\n")
    assert lines[0] == f"KEEP RUNNING: {RUN.reason}"
    assert lines[2].startswith("A replay. ")
    assert "nobody saw" in lines[2]
    assert "nobody saw" not in summary(experiment, fake_records(experiment), RUN)


def test_each_figure_is_that_of_its_record():
    """Level, lift with CUPED, always-valid lift and adjusted p stand in the row of their metric and arm."""
    experiment = fake_experiment(2)
    records = [r for r in fake_records(experiment) if not {"day", "segment"} & set(r)]
    rows = rows_of(summary(experiment, records, RUN))
    assert len(rows) == 3 * len(METRICS)
    for row in rows:
        place = row["metric"].removesuffix(" *"), row["arm"]
        found = {r.get("method", "level"): r for r in records if (r["metric"], r.get("arm")) == place}
        assert_shows(row["level"], found["level"]["value"])
        for method, column in (("cuped", "lift"), ("sequential", "always valid")):
            if method in found:
                assert_shows(row[column], *(found[method][key] for key in ("value", "low", "high")))
        if "cuped" in found:
            assert row["lift"].endswith("] c")
            assert_shows(row["p"], found["cuped"]["p_adjusted"])
        else:
            assert (row["arm"], row["lift"], row["p"]) == ("segment", "", "")


def test_without_cuped_the_plain_lift_is_shown():
    """It has no mark, and its own p where none is adjusted."""
    experiment = fake_experiment()
    records = [
        {key: value for key, value in r.items() if key != "p_adjusted"}
        for r in fake_records(experiment) if r.get("method") != "cuped" and not {"day", "segment"} & set(r)
    ]  # fmt: skip
    (row,) = (row for row in rows_of(summary(experiment, records, RUN))
              if (row["metric"], row["arm"]) == ("conversion", "engine"))  # fmt: skip
    (lift,) = (r for r in records if r["metric"] == "conversion" and r.get("method") == "fixed")
    assert_shows(row["lift"], lift["value"], lift["low"], lift["high"])
    assert row["lift"].endswith("]")
    assert_shows(row["p"], lift["p_value"])


def test_the_primary_and_the_guardrails_lead():
    """The primary has a star; the other metrics follow in the order of METRICS."""
    experiment = fake_experiment()
    shown = list(
        dict.fromkeys(row["metric"] for row in rows_of(summary(experiment, fake_records(experiment), RUN)))
    )
    first = ["ctr *", "latency_ms", "degraded"]
    assert shown == first + [name for name in METRICS if name not in ("ctr", "latency_ms", "degraded")]


@pytest.mark.parametrize(("scale", "length"), [(1, 6), (1, 64), (200, 64), (1e7, 64), (0, 1)])
def test_no_line_is_wider_than_110(scale: float, length: int):
    """Long names of arms give way to wide figures, which are whole; columns stay below each other."""
    experiment = fake_experiment(3)
    names = {arm: f"{arm}_{'x' * 64}"[: max(length, 14)] for arm in experiment.arms}
    arms = {names[arm]: each for arm, each in experiment.arms.items()}
    named = experiment.model_copy(update={"arms": arms, "control": names["segment"]})
    wide = [
        {**r, **{key: names[r[key]] for key in ("arm", "versus") if key in r},
         **{key: scale * r[key] for key in ("value", "low", "high") if "versus" in r and r[key] is not None}}
        for r in fake_records(experiment)
    ]  # fmt: skip
    text = summary(named, wide, Verdict("ship", "So it is, " * 30), replay=True)
    assert max(map(len, text.split("\n"))) <= 110
    rows = rows_of(text)
    assert len(rows) == 4 * len(METRICS)
    assert all(re.fullmatch(r"\S+ \[\S+, \S+\] c", row["lift"]) for row in rows if row["lift"])
    assert all(row["arm"].startswith(("se", "en")) for row in rows)


def test_unbounded_and_undefined_lifts_are_said_to_be():
    """No value is "undefined", no end is infinite, no record is a dash."""
    experiment = fake_experiment()
    lift = {"metric": "ctr", "arm": "engine", "versus": "segment"}
    records = [
        {**lift, "method": "fixed", "value": None},
        {**lift, "method": "sequential", "value": 0.1, "low": -0.2, "high": None},
        {
            **lift,
            "metric": "conversion",
            "arm": "engine",
            "method": "fixed",
            "value": 0.1,
            "low": 0.0,
            "high": 0.2,
        },
    ]
    rows = {(row["metric"], row["arm"]): row for row in rows_of(summary(experiment, records, RUN))}
    first, second = rows["ctr *", "engine"], rows["conversion", "engine"]
    assert (first["level"], first["lift"], first["p"]) == ("-", "undefined", "-")
    assert first["always valid"] == "+10.00% [-20.00%, +∞]"
    assert second["always valid"] == "-"


def test_users_and_rejected_outcomes_are_counted():
    """Users of each arm with the p of their shares, and rejected outcomes, most first."""
    experiment = fake_experiment()
    records = fake_records(experiment)
    text = summary(experiment, records, RUN)
    control, engine = (r["value"] for r in records if r["metric"] == "users")
    assert f"\nUsers: {control:,} segment, {engine:,} engine; as planned (SRM): p 0.432\n" in text
    assert "\nLeft out: 1,431 after the window, 87 duplicate, 12 before its exposure\n" in text


def test_arms_on_the_same_trips_are_told_below_the_table():
    """Of each metric the treatment that is highest there over every other arm; the table is not of them."""
    experiment = fake_experiment(3)
    records = [r for r in fake_records(experiment) if r.get("method", "side by side") == "side by side"]
    own, same = ([r for r in records if ("method" in r) == there] for there in (False, True))
    text = summary(experiment, records, RUN)
    (block,) = (part for part in text.split("\n\n") if part.startswith("Side by side on the same trips"))
    assert text.index("*: the primary") < text.index(block) < text.index("Left out")
    told = re.split(r"\s(?=\w+ of \w+ over )", block)[1:]
    for metric, line in zip(("ctr", "slot_revenue"), told, strict=True):
        found = [r for r in same if r["metric"] == metric and r["arm"] != "segment"]
        best = max((r["value"], r["arm"]) for r in found if "versus" not in r)[1]
        lifts = {r["versus"]: r for r in found if "versus" in r and r["arm"] == best}
        assert line.startswith(f"{metric} of {best} over segment ")
        over = dict(re.findall(r"over\s(\w+)\s([^\]]*\])", line))
        assert over.keys() == lifts.keys() == {"segment", *experiment.treatments} - {best}
        for arm, figures in over.items():
            shown = re.sub(r"\s%", "%", figures)
            assert_shows(shown, *(lifts[arm][key] for key in ("value", "low", "high")))
    assert summary(experiment, own, RUN) == text.replace(f"{block}\n\n", "")


def test_without_records_the_verdict_stands_alone():
    """An experiment of which nothing is known yet has a verdict and no table."""
    assert summary(fake_experiment(), [], RUN).strip() == f"KEEP RUNNING: {RUN.reason}"


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"metric": "ctr", "arm": "engine_2"}, "arm 'engine_2'; engine has segment, engine"),
        ({"metric": "srm", "value": 0.5, "experiment": "hot"}, "of 'hot'; give those of engine only"),
    ],
)
def test_records_of_something_else_are_refused(record: dict, says: str):
    """An arm that the experiment does not have and another experiment's name are errors that say so."""
    with pytest.raises(ResultsError, match=re.escape(says)):
        Results(fake_experiment(), (record,))


def test_shares_that_cannot_be_checked_have_no_p():
    """An SRM record without a value is as none."""
    assert "SRM" not in summary(fake_experiment(), [{"metric": "srm", "value": None}], RUN)
