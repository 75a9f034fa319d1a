"""Tidy records of quality (DESIGN, reports) from values per shopper: of one cut, or pooled over several.

A pooled figure is the mean over cuts of each cut's mean; its interval, and those of lifts, come from
resampled shoppers, who take the rows of all their cuts with them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from training.intervals import bootstrap_interval, paired_lift
from training.per_shopper import CANDIDATES, COVERAGE, CTR_PROXY, KEYS, NOVELTY
from training.promotions import MODEL as WITH_PROMOTIONS

Record = dict[str, Any]
Frames = Mapping[str, pd.DataFrame]

STACK = "stack"
LIFTED = ("recall@10", "recall@20", "recall@100", "ndcg@10", CTR_PROXY)  # of the stack over every other model
BEATEN_FIRST = ("segment", "buy_again")
RETRIEVAL_LIFTED = ("recall@100", "recall@500")  # retrieval is judged by what it holds, not by its order
RETRIEVAL_LIFTS = MappingProxyType({"two_tower": ("als", "ease")})
COLD_LIFTED = ("recall@10", "recall@100")
COLD_LIFTS = MappingProxyType(
    {"structured": ("ids_only",), "structured_and_bert": ("ids_only", "structured")}
)

UNITS = MappingProxyType({NOVELTY: "bits"})  # all other figures are shares


def cut_label(cuts: Iterable[int]) -> int | str:
    """Tag of one cut (49) or of a pool ("45+47+49")."""
    ordered = sorted({int(cut) for cut in cuts})
    return ordered[0] if len(ordered) == 1 else "+".join(map(str, ordered))


def pools(cuts: Sequence[int]) -> list[tuple[int, ...]]:
    """The sets of cuts to report: each beginning of the list with at least two, then each cut alone.

    >>> pools([49, 45, 47])
    [(49, 45), (49, 45, 47), (49,), (45,), (47,)]
    """
    together = [tuple(cuts[:n]) for n in range(2, len(cuts) + 1)]
    return [*together, *((cut,) for cut in cuts)]


def quality_records(values: pd.DataFrame) -> list[Record]:
    """Figures of every task and model, then lifts; `values` holds the rows of one cut or of several."""
    label = cut_label(values["cut"].unique())
    records = []
    for task, rows in values.groupby("task", sort=True):
        frames = _by_model(rows, str(task))
        records += [r for model in frames for r in _figures(frames[model], model)]
        records += [r for pair in _pairs(list(frames)) for r in _lifts(frames, *pair)]
    return [{"report": "quality", **record, "cut": label} for record in records]


def _by_model(rows: pd.DataFrame, task: str) -> Frames:
    """Rows of each model in the same order of cuts and shoppers; ValueError where shoppers differ."""
    frames = {
        str(model): frame.sort_values(["cut", "user_id"], ignore_index=True)
        for model, frame in rows.groupby("model", sort=False)
    }
    first = next(iter(frames))
    for model, frame in frames.items():
        if not frame[["cut", "user_id"]].equals(frames[first][["cut", "user_id"]]):
            raise ValueError(
                f"{model} was measured on other shoppers than {first} (task {task}, {len(frame)} and "
                f"{len(frames[first])} rows); remove per_shopper*.parquet in state/training and measure again"
            )
    return frames


def _clusters(frame: pd.DataFrame) -> dict[str, Any]:
    return {"users": pd.factorize(frame["user_id"])[0], "cuts": frame["cut"].to_numpy()}


def _figures(frame: pd.DataFrame, model: str) -> Iterator[Record]:
    """One record per metric that the model has on the task, with its interval; coverage has none.

    `users` are those who have a value: nan is left out.
    """
    tags = {"task": frame["task"].iloc[0], "model": model}
    clusters = _clusters(frame)
    for metric in frame.columns.difference([*KEYS, "cut", COVERAGE], sort=False):
        users = frame.loc[frame[metric].notna(), "user_id"].nunique()
        if users:
            interval = bootstrap_interval(frame[metric].to_numpy(), **clusters)
            unit = UNITS.get(metric, "share")
            yield {"metric": metric, **interval._asdict(), "unit": unit, **tags, "users": int(users)}
    if frame[COVERAGE].notna().any():
        share = float(np.mean(frame.groupby("cut")[COVERAGE].first()))
        users = frame["user_id"].nunique()
        yield {"metric": COVERAGE, "value": share, "unit": "share", **tags, "users": int(users)}


def _pairs(models: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(model, over which, in which metrics): the stack over each, then others over their peers.

    Nothing but the stack itself is set against the stack that knows promotions: all others know none.
    """
    if STACK in models:
        first = [model for model in BEATEN_FIRST if model in models]
        unlike = (*first, CANDIDATES)
        others = [model for model in models if model not in unlike and not model.startswith(STACK)]
        yield from ((STACK, over, LIFTED) for over in (*first, *others))
        if WITH_PROMOTIONS in models:
            yield WITH_PROMOTIONS, STACK, LIFTED
    for lifts, metrics in ((RETRIEVAL_LIFTS, RETRIEVAL_LIFTED), (COLD_LIFTS, COLD_LIFTED)):
        for model, peers in lifts.items():
            yield from ((model, over, metrics) for over in peers if {model, over} <= set(models))


def _lifts(frames: Frames, model: str, over: str, metrics: Sequence[str]) -> Iterator[Record]:
    """Relative lifts of one model over another, paired over shoppers."""
    mine, theirs = frames[model], frames[over]
    tags = {"unit": "relative lift", "task": mine["task"].iloc[0], "model": model, "versus": over}
    for metric in metrics:
        lift = paired_lift(mine[metric].to_numpy(), theirs[metric].to_numpy(), **_clusters(mine))
        yield {"metric": metric, **lift._asdict(), **tags}
