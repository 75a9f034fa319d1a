"""The quality report: the same figures in every form, and forms that a reader can open anywhere."""

import doctest
import json
import struct
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from training import quality_plots
from training.quality_blocks import COLUMNS, HEADER, blocks, headline, in_order
from training.quality_plots import figures, spread
from training.quality_report import markdown, table, write

CUTOFFS = (10, 20, 50, 100, 500)
VALUES = {"top_sellers": 0.04, "stack": 0.12, "segment": 0.05, "buy_again": 0.1}


def record(metric: str, value: float | None, **tags) -> dict:
    """A record as evaluation writes it; the interval is 5 % of the value to both sides."""
    interval = (
        {} if value is None or metric.startswith("coverage") else {"low": 0.95 * value, "high": 1.05 * value}
    )
    return {
        "report": "quality",
        "metric": metric,
        "value": value,
        "unit": "share",
        "users": 1234,
        **interval,
        **tags,
    }


@pytest.fixture
def records() -> list[dict]:
    """Four models, two tasks, one cut; recall grows with k, "discover" is a fifth of "all"."""
    rows = []
    for task, scale in (("discover", 0.2), ("all", 1.0)):
        for model, value in VALUES.items():
            tags = {"task": task, "model": model, "cut": 49}
            rows += [record(f"recall@{k}", scale * value * (k / 10) ** 0.3, **tags) for k in CUTOFFS]
            rows += [
                record(metric, scale * value / 2, **tags) for metric in ("ndcg@10", "hit@10", "coverage@10")
            ]
        for versus in ("top_sellers", "buy_again", "segment"):
            lift = {"value": 0.42, "low": 0.38, "high": 0.47, "unit": "relative lift"}
            tags = {"task": task, "model": "stack", "cut": 49, "versus": versus}
            rows += [{**record(metric, 0.1), **lift, **tags} for metric in ("recall@10", "ndcg@10")]
    return rows


def test_terminal_table_shows_figures_with_intervals(records: list[dict]):
    """The stack's row of "all" reads value [low, high] for R@10 and R@100 and bare values elsewhere."""
    text = table(records)
    first, header, stack, *_ = text.splitlines()
    assert first == "All purchases, cut 49 (bought in weeks 50 and 51), 1,234 shoppers"
    assert tuple(header.split()) == HEADER
    assert stack.split() == [
        "Endcap", "0.120", "[0.114,", "0.126]", "0.148", "0.239", "[0.227,", "0.251]",
        *["0.060"] * 3,
    ]  # fmt: skip


def test_blocks_stand_in_order_of_tasks_and_models(records: list[dict]):
    """The task "all" comes before "discover", the stack before its baselines, in any order of records."""
    shown = blocks(records)
    assert [block.task for block in shown] == ["all", "discover"]
    assert [row[0] for row in shown[0].rows] == ["Endcap", "buy again", "segment rule", "top sellers"]
    assert blocks(records[::-1]) == shown


def test_unknown_models_and_tasks_come_last(records: list[dict]):
    """A model or task that has no name here is shown under its tag, at the end."""
    assert in_order(["zeta", "my_model", "als", "stack"]) == ["stack", "als", "my_model", "zeta"]
    more = [*records, record("recall@10", 0.2, task="baskets", model="my_model", cut=49)]
    assert blocks(more)[-1].title.startswith("baskets, cut 49")
    assert blocks(more)[-1].rows[0][0] == "my model"


def test_lift_over_the_segment_rule_leads(records: list[dict]):
    """Lifts carry sign and interval, a column per metric; the rule to beat comes first, then buy again."""
    lines = table(records).split("\n\n")[0].splitlines()
    assert lines[-5].startswith("Lift, with 95 % intervals")
    assert lines[-4].split() == ["R@10", "NDCG@10"]
    assert lines[-3].split("  ")[0] == "Endcap over segment rule"
    assert lines[-3].split()[4:] == ["+42.0%", "[+38.0%,", "+47.0%]"] * 2
    assert [line.split("over ")[1].split("  ")[0].strip() for line in lines[-3:]] == [
        "segment rule", "buy again", "top sellers",
    ]  # fmt: skip


def test_lifts_of_retrieval_follow_the_stack_s(records: list[dict]):
    """Another model's lifts have rows of their own; a metric that a pair does not have is a dash."""
    more = record("recall@500", 0.1, task="all", model="two_tower", cut=49, versus="als")
    block = blocks([more, *records])[0]
    assert block.lift_header == ("", "R@10", "R@500", "NDCG@10")
    assert block.lifts[-1] == ("two-tower alone over ALS", "-", "+10.0% [+9.5%, +10.5%]", "-")
    assert block.lifts[0][2] == "-"


def test_pools_stand_before_cuts(records: list[dict]):
    """The widest pool leads, then the latest cut; within each, the tasks in their order."""
    tags = (45, "45+49", "45+47+49", 47)
    many = [*records, *({**row, "cut": cut} for cut in tags for row in records)]
    assert [(block.cut, block.task) for block in blocks(many)] == [
        (cut, task) for cut in ("45+47+49", "45+49", 49, 47, 45) for task in ("all", "discover")
    ]
    assert blocks(many)[0].title == "All purchases, mean of cuts 45, 47 and 49, 1,234 shoppers"
    assert headline(many) == "45+47+49"
    assert headline(records) == 49


def test_page_and_plots_lead_with_the_pool(records: list[dict], tmp_path: Path):
    """Cards and plots show the pool's figures, whatever those of the single cuts are."""
    pool = [{**row, "cut": "45+49"} for row in records if row["model"] == "stack"]
    pool = [{**row, "value": 0.321, "low": 0.3, "high": 0.35} for row in pool]
    page = write([*records, *pool], tmp_path).read_text()
    assert page.count('<div class="card"') == 2
    assert page.count("<b>0.321</b>") == 2
    assert "Cards and plots: mean of cuts 45 and 49." in page
    assert [len(panel.lines) for panel in figures([*records, *pool])["quality_recall_curve"].axes] == [1, 1]


def test_metrics_beside_recall_have_a_table_of_their_own(records: list[dict], tmp_path: Path):
    """Page and Markdown show it, with what the CTR proxy is not; a metric that a task lacks is no column."""
    more = [
        record(metric, 0.2, task=task, model=model, cut=49)
        for task, metrics in (("all", ("map@10", "ctr_proxy@10", "repeats@10")), ("discover", ("map@10",)))
        for metric in metrics
        for model in VALUES
    ]
    shown = blocks([*records, *more])
    assert shown[0].more_header == ("model", "MAP@10", "CTR proxy@10", "repeats in the first 10")
    assert shown[0].more[0] == ("Endcap", "0.200", "0.200 [0.190, 0.210]", "0.200")
    assert shown[1].more_header == ("model", "MAP@10")
    assert [row[0] for row in shown[1].more] == [row[0] for row in shown[1].rows]
    path = write([*records, *more], tmp_path)
    page = Page()
    page.feed(path.read_text())
    parts = [part for block in shown for part in (block.rows, block.more, block.lifts)]
    assert page.cells == [cell for part in parts for row in part for cell in row]
    text = (tmp_path / "quality.md").read_text()
    assert "| Endcap | 0.200 | 0.200 [0.190, 0.210] | 0.200 |" in text
    assert "The data has no impressions" in text
    assert "The data has no impressions" in path.read_text()
    assert table([*records, *more]) == table(records)


def test_best_cells_are_found_by_value(records: list[dict]):
    """In each column the rows of the highest value are the best; ties share it, gaps have none."""
    tied = [{**row, "value": 0.12} if row["metric"] == "hit@10" else row for row in records]
    best = dict(zip(COLUMNS, blocks(tied)[0].best, strict=True))
    assert best["recall@10"] == {0}
    assert best["hit@10"] == {0, 1, 2, 3}
    more = record("recall@10", 0.9, task="all", model="stack_with_promotions", cut=49)
    assert blocks([*records, more])[0].best[0] == {0}  # who knows more is not compared
    only = [record("recall@10", 0.1, task="all", model="stack", cut=49)]
    assert blocks(only)[0].best[1:] == (frozenset(),) * (len(COLUMNS) - 1)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_undefined_figures_are_said_to_be(records: list[dict], nothing: float | None, tmp_path: Path):
    """A figure without a value is a dash, a lift without one says so, and JSON holds null."""
    gone = [
        {**row, "value": nothing, "low": nothing, "high": nothing}
        for row in records
        if row["model"] == "stack"
    ]
    text = table([*gone, *(row for row in records if row["model"] != "stack")])
    assert text.splitlines()[2].split() == ["Endcap", "-", "-", "-", "-", "-", "-"]
    (lift,) = [line for line in text.split("\n\n")[0].splitlines() if "over segment rule" in line]
    assert lift.count("undefined (it never hits)") == 2
    write([*gone, *records], tmp_path)
    assert json.loads((tmp_path / "quality.json").read_text())[0]["value"] is None


def test_no_records_name_the_command():
    """An empty report is an error that says what writes records."""
    with pytest.raises(ValueError, match="run `endcap evaluate`"):
        table([])


class Page(HTMLParser):
    """Reads a page: open tags left at the end, texts of table cells, addresses that it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.fetched: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag, attrs):
        """Count, remember and look for addresses."""
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and tag in ("img", "script", "link")
        ]
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        """A tag without content opens nothing."""

    def handle_endtag(self, tag):
        """Tags close in the order in which they were opened."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Text inside a cell belongs to it."""
        if "td" in self.open:
            self.cells[-1] += data


def test_written_files_hold_the_same_figures(records: list[dict], tmp_path: Path):
    """Page and Markdown show the cells of the terminal's table; JSON holds the records; no aside is left."""
    page_path = write(records, tmp_path / "reports")
    page = Page()
    page.feed(page_path.read_text())
    cells = [cell for block in blocks(records) for row in (*block.rows, *block.lifts) for cell in row]
    assert page.open == []
    assert page.cells == cells
    md = (tmp_path / "reports" / "quality.md").read_text()
    assert [cell.strip() for line in md.splitlines() if line.startswith("| ") and "R@10" not in line
            for cell in line.strip("|").split("|")] == cells  # fmt: skip
    assert json.loads((tmp_path / "reports" / "quality.json").read_text()) == records
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {
        "quality.json", "quality.md", "quality.html",
        "quality_recall_curve.png", "quality_recall_at_10.png", "quality_lift.png",
    }  # fmt: skip


def test_page_stands_alone(records: list[dict], tmp_path: Path):
    """Three plots are inside the page; it fetches nothing and runs nothing."""
    page = Page()
    page.feed(write(records, tmp_path).read_text())
    assert page.count["svg"] == 3
    assert page.fetched == []
    assert "script" not in page.count


def test_names_of_models_are_escaped(tmp_path: Path):
    """A model's tag cannot add markup to the page."""
    rows = [record("recall@10", 0.1, task="all", model="<b>x", cut=49)]
    assert "<b>x" not in write(rows, tmp_path).read_text()


def test_equal_records_give_equal_files(records: list[dict], tmp_path: Path):
    """Writing twice gives the same bytes in every file."""
    once = {path.name: path.read_bytes() for path in write(records, tmp_path).parent.iterdir()}
    twice = {path.name: path.read_bytes() for path in write(records, tmp_path).parent.iterdir()}
    assert once == twice


def test_plots_show_every_model_of_the_latest_cut(records: list[dict], tmp_path: Path):
    """Each panel has a line and a bar per model and a dot per baseline; pictures are wide enough to read."""
    older = [{**row, "cut": 45, "model": "als"} for row in records]
    curve, bars, lift = figures([*older, *records]).values()
    assert [len(panel.lines) for panel in curve.axes] == [4, 4]
    assert [len(panel.patches) for panel in bars.axes] == [4, 4]
    assert [len(panel.get_yticks()) for panel in lift.axes] == [3, 3]
    write(records, tmp_path)
    for picture in tmp_path.glob("*.png"):
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        assert width > 1_200
        assert height > 300


def test_a_certain_lift_is_drawn(records: list[dict], tmp_path: Path):
    """An interval that rounding puts beside its value still makes a picture."""
    sure = [{**row, "low": row["value"] * (1 + 1e-15)} if "versus" in row else row for row in records]
    write(sure, tmp_path)
    assert (tmp_path / "quality_lift.png").exists()


def test_without_lifts_there_is_no_plot_of_them(records: list[dict], tmp_path: Path):
    """A report of one model still has a page, with two plots."""
    write([row for row in records if row["model"] == "stack" and "versus" not in row], tmp_path)
    assert not (tmp_path / "quality_lift.png").exists()
    assert "quality_lift" not in markdown(records, ["quality_recall_curve.png"])


def test_names_at_lines_are_spread():
    """Names keep their order and distance; names that are far apart stay where they are."""
    assert doctest.testmod(quality_plots).failed == 0
    places = spread([0.1, 0.1, 0.11, 0.5], step=0.05)
    assert all(high - low >= 0.05 - 1e-12 for low, high in pairwise(places))
    assert places[3] == 0.5
    assert spread([], step=1) == []


def test_no_name_is_spread_out_of_the_picture():
    """Eleven lines that end at the top have their names below it, in order and apart."""
    places = spread([1.0] * 11, step=0.055, highest=1.0)
    assert max(places) <= 1.0
    assert all(above - below >= 0.055 - 1e-12 for below, above in pairwise(places))
