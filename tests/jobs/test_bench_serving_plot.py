"""The picture of the serving bench: what it shows are the records' values, all of those it is about."""

import doctest
import itertools

import pytest

from feature_repo.settings import Settings
from jobs import bench
from jobs.benches import serving_plot
from jobs.benches.serving_plot import NAMES, QUANTILES, SHADES, WHOLE, figure, name_of, told

STAGES = ("user", "candidates", "items", "rank")


@pytest.fixture
def records():
    """As the bench leaves them, each value told apart from all others: 1.01, 1.02 and so on."""
    values = (1 + number / 100 for number in itertools.count(1))
    kept = []

    def add(design, metric, **tags):
        name, store = design
        kept.append(
            {"report": "bench_serving", "design": name, "store": store, "metric": metric, **tags}
            | {"value": next(values), "unit": "ms"}
        )

    for design in NAMES:
        for concurrency in (1,) if design[0] == "naive" else (1, 8):
            for metric in (*QUANTILES, "cpu_ms", "rps"):
                add(design, metric, concurrency=concurrency)
        for stage in STAGES:
            add(design, "p50_ms", concurrency=1, stage=stage)
        add(design, "item_read_cpu_ms", rows=400)
    add(("packed", "sqlite"), "p50_ms", concurrency=32, kind="click", events_a_request=1)
    add(("packed", "sqlite"), "equal_top10", versus="naive", users=200)
    return kept


def values(records, design=None, **tags):
    """Values of records with these tags; None for one that is not there."""
    chosen = [each for each in records if design in (None, (each["design"], each["store"]))]
    return {each["value"] for each in chosen if all(each.get(tag) == tags[tag] for tag in tags)}


def marks(panel, axis, design):
    """Coordinates of a design's marks in one panel, known by its colour."""
    lines = [line for line in panel.lines if line.get_color() == SHADES[design]]
    return {float(value) for line in lines for value in getattr(line, f"get_{axis}data")()}


def test_every_latency_cpu_time_and_stage_is_drawn_and_nothing_else(records):
    """Marks and bars of each design are its records' values: of requests, neither of events nor of ratios."""
    latency, cpu, stages = figure(records).axes
    of_requests = [each for each in records if "kind" not in each and "stage" not in each]
    bars = dict(zip([each.get_text() for each in cpu.get_yticklabels()], cpu.patches, strict=True))
    for design in NAMES:
        quantiles = set().union(*(values(of_requests, design, metric=name) for name in QUANTILES))
        assert marks(latency, "y", design) == quantiles
        spent = values(records, design, metric="cpu_ms", concurrency=1)
        assert {bars[name_of(design)].get_width()} == spent
        of_one = values(records, design, metric="p50_ms", concurrency=1, kind=None)
        assert len(of_one) == 1 + len(STAGES)
        assert marks(stages, "x", design) == of_one
    numbers = {
        text.get_text().removesuffix(" ms").strip()
        for panel in (latency, cpu, stages)
        for text in panel.texts
    }
    assert numbers <= {told(value) for value in values(records)}


def test_stages_stand_in_their_rows(records):
    """The mark of a stage is on its row, that of the whole request on the last."""
    stages = figure(records).axes[2]
    rows = {each.get_text(): place for place, each in enumerate(stages.get_yticklabels())}
    assert list(rows)[::-1] == [*STAGES, WHOLE]
    for line in stages.lines:
        for value, height in zip(line.get_xdata(), line.get_ydata(), strict=True):
            (record,) = [each for each in records if each["value"] == value]
            assert abs(height - rows[record.get("stage", WHOLE)]) < 0.5


def test_panels_say_what_they_show_and_its_unit(records):
    """Titles, axes in milliseconds, and a legend with all designs."""
    drawn = figure(records)
    assert all(panel.get_title(loc="left") for panel in drawn.axes)
    latency, cpu, stages = drawn.axes
    assert "milliseconds" in latency.get_ylabel()
    assert all("milliseconds" in panel.get_xlabel() for panel in (cpu, stages))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == list(NAMES.values())


def test_the_picture_is_written_beside_the_records(records, tmp_path, monkeypatch):
    """A PNG, written aside and renamed, told with the path; a bench that has no picture draws none."""
    settings, said = Settings(state=tmp_path, reports=tmp_path / "reports"), []
    monkeypatch.setattr(bench, "BENCHES", {"batch": (), "serving": (lambda _: iter(records),)})
    bench.run(settings, None, said.append)
    names = sorted(path.name for path in settings.reports.iterdir())
    assert names == ["bench_batch.json", "bench_serving.json", "bench_serving.png"]
    assert (settings.reports / "bench_serving.png").read_bytes().startswith(b"\x89PNG")
    assert said[-1] == f"drawn in {settings.reports / 'bench_serving.png'}"


def test_examples_hold():
    """Those in the docstrings."""
    assert doctest.testmod(serving_plot).failed == 0
