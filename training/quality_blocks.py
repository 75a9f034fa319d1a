"""Figures of quality as blocks of text cells: what is shown of one task at one cut, and in which order.

In: tidy records (DESIGN, reports), one number each. Out: `Block`s, which text, Markdown and page lay out.
Names of models and tasks stand here, in the order of display.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from training.promotions import MODEL as WITH_PROMOTIONS

Record = Mapping[str, Any]

MODEL_NAMES = {  # in the order of display
    "stack": "Endcap",
    "stack_with_promotions": "Endcap + promotions",
    "two_tower": "two-tower alone",
    "pool": "pool alone",
    "buy_again": "buy again",
    "segment": "segment rule",
    "top_sellers": "top sellers",
    "category_affinity": "category affinity",
    "ease": "EASE",
    "als": "ALS",
    "item_knn": "item k-NN",
    "tifu_knn": "TIFU k-NN",
    "ids_only": "ids only",
    "structured": "structured columns",
    "bert": "BERT alone",
    "structured_and_bert": "structured columns + BERT",
}
TASK_NAMES = {
    "all": "All purchases",
    "discover": "Discover: only items new to the shopper",
    "cold": "Cold items: first sold in the test window, among themselves",
    "few_sales": "Items of fewer than 5 sales, among themselves",
}
COLUMNS = ("recall@10", "recall@20", "recall@100", "ndcg@10", "hit@10", "coverage@10")
WITH_INTERVAL = ("recall@10", "recall@100", "ctr_proxy@10")
SHORT = {
    "recall@10": "R@10",
    "recall@20": "R@20",
    "recall@100": "R@100",
    "recall@500": "R@500",
    "ndcg@10": "NDCG@10",
    "ctr_proxy@10": "CTR proxy@10",
}
MORE = {  # of the second table, which the terminal leaves out
    "map@10": "MAP@10",
    "ctr_proxy@10": "CTR proxy@10",
    "novelty@10": "novelty@10, bits",
    "repeats@10": "repeats in the first 10",
    "recall_repeat@10": "R@10 of repeats",
    "recall_new@10": "R@10 of what is new",
}
LIFT_METRIC = "recall@10"  # the one that is drawn
LIFT_METRICS = tuple(SHORT)
LIFTS_FIRST = ("segment", "buy_again")  # the system to beat, and the strongest simple rule
MISSING = "-"


@dataclass(frozen=True)
class Block:
    """What is shown of one task at one cut; cells are text."""

    task: str
    cut: int | str
    title: str
    rows: tuple[tuple[str, ...], ...]  # the model's name, then one cell per column
    lift_header: tuple[str, ...]
    lifts: tuple[tuple[str, ...], ...]  # "model over model", then one cell per metric that any of them has
    best: tuple[frozenset[int], ...]  # rows of the highest value in each column
    more_header: tuple[str, ...] = ()
    more: tuple[tuple[str, ...], ...] = ()  # the model's name, then one cell per metric of MORE that any has


HEADER = ("model", *(SHORT.get(column, column) for column in COLUMNS))


def blocks(records: Iterable[Record]) -> list[Block]:
    """One block per cut and task: pools first, the widest leading, then the latest cut."""
    kept = list(records)
    if not kept:
        raise ValueError("There are no quality records; run `endcap evaluate`")
    groups = {(record["cut"], record["task"]) for record in kept}
    ordered = sorted(groups, key=lambda group: (*_cut_place(group[0]), *_place(group[1], TASK_NAMES)))
    return [
        _block(task, cut, [r for r in kept if (r["cut"], r["task"]) == (cut, task)]) for cut, task in ordered
    ]


def headline(records: Iterable[Record]) -> int | str:
    """The cut, or pool of cuts, that a reader should see first."""
    found: set[int | str] = {record["cut"] for record in records}
    return min(found, key=_cut_place)


def cuts_of(cut: int | str) -> list[int]:
    """Cuts behind a tag: [49] of 49, [45, 49] of "45+49"."""
    return [int(part) for part in str(cut).split("+")]


def cut_name(cut: int | str) -> str:
    """A tag as a person reads it."""
    *others, last = map(str, cuts_of(cut))
    if not others:
        return f"cut {last} (bought in weeks {int(last) + 1} and {int(last) + 2})"
    return f"mean of cuts {', '.join(others)} and {last}"


def _cut_place(cut: int | str) -> tuple[int, int]:
    cuts = cuts_of(cut)
    return -len(cuts), -max(cuts)


def in_order(models: Iterable[str]) -> list[str]:
    """Models in the order of display; unknown ones last, by name."""
    return sorted(set(models), key=lambda model: _place(model, MODEL_NAMES))


def model_name(model: str) -> str:
    """Readable name of a model tag."""
    return MODEL_NAMES.get(model, model.replace("_", " "))


def _place(name: str, names: Mapping[str, str]) -> tuple[int, str]:
    known = list(names)
    return (known.index(name) if name in known else len(known), name)


def _block(task: str, cut: int | str, records: Sequence[Record]) -> Block:
    measured = {(r["model"], r["metric"]): r for r in records if not r.get("versus")}
    models = in_order(model for model, metric in measured if metric in COLUMNS)
    table = [[measured.get((model, column)) for column in COLUMNS] for model in models]
    rows = tuple(
        (model_name(model), *(_cell(record, column) for record, column in zip(row, COLUMNS, strict=True)))
        for model, row in zip(models, table, strict=True)
    )
    users = next((f", {r['users']:,} shoppers" for r in records if r.get("users")), "")
    title = f"{TASK_NAMES.get(task, task)}, {cut_name(cut)}{users}"
    alike = [  # what knows more than all others is never marked as the best
        [None if model == WITH_PROMOTIONS else r for r in row]
        for model, row in zip(models, table, strict=True)
    ]
    best = tuple(_best([row[place] for row in alike]) for place in range(len(COLUMNS)))
    return Block(task, cut, title, rows, *_lift_table(records), best, *_more_table(measured, models))


def _more_table(
    measured: Mapping[tuple[str, str], Record], models: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows of the metrics beside recall; both empty where none was measured."""
    metrics = [metric for metric in MORE if any(metric == key[1] for key in measured)]
    if not metrics:
        return (), ()
    rows = (
        (model_name(model), *(_cell(measured.get((model, metric)), metric) for metric in metrics))
        for model in models
    )
    return ("model", *(MORE[metric] for metric in metrics)), tuple(rows)


def _cell(record: Record | None, column: str) -> str:
    if record is None or not _known(record.get("value")):
        return MISSING
    text = f"{record['value']:.3f}"
    if column in WITH_INTERVAL and _known(record.get("low")) and _known(record.get("high")):
        text += f" [{record['low']:.3f}, {record['high']:.3f}]"
    return text


def _known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _best(column: Sequence[Record | None]) -> frozenset[int]:
    values = {row: r["value"] for row, r in enumerate(column) if r is not None and _known(r.get("value"))}
    highest = max(values.values(), default=0.0)
    return frozenset(row for row, value in values.items() if value == highest)


def _lift_table(records: Sequence[Record]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows of lifts: the stack's first, over LIFTS_FIRST before all others."""
    lifts = {(r["model"], r["versus"], r["metric"]): r for r in records if r.get("versus")}
    metrics = [metric for metric in LIFT_METRICS if any(metric == key[2] for key in lifts)]
    pairs = sorted({key[:2] for key in lifts if key[2] in metrics}, key=_lift_place)
    rows = tuple(
        (
            f"{model_name(model)} over {model_name(over)}",
            *(_lift(lifts.get((model, over, metric))) for metric in metrics),
        )
        for model, over in pairs
    )
    return ("", *(SHORT[metric] for metric in metrics)), rows


def _lift_place(pair: tuple[str, str]) -> tuple[Any, ...]:
    model, over = pair
    first = LIFTS_FIRST.index(over) if over in LIFTS_FIRST else len(LIFTS_FIRST)
    return (*_place(model, MODEL_NAMES), first, *_place(over, MODEL_NAMES))


def _lift(record: Record | None) -> str:
    if record is None:
        return MISSING
    if not _known(record.get("value")):
        return "undefined (it never hits)"
    text = f"{record['value']:+.1%}"
    if _known(record.get("low")) and _known(record.get("high")):
        text += f" [{record['low']:+.1%}, {record['high']:+.1%}]"
    return text
