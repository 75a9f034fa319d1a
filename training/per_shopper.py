"""Values per shopper: what a measurement leaves, so that cuts can be pooled and models compared in pairs.

One row for each task, model and shopper, a column for each metric. Coverage has no value per shopper: its
column holds the model's one figure in every row, so that a mean over rows is that figure. A metric that is
undefined for a shopper, such as the recall of repeats for who repeated nothing, is nan there: means and
intervals leave the shopper out.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.held_out import HeldOut
from training.metrics import CUTOFFS, METRICS, Metric, calc_per_user, coverage, novelty
from training.repeats import recall_among, repeat_share
from training.trips import ctr_proxy

DEPTH = max(CUTOFFS)  # of the lists that are measured
KEYS = ("task", "model", "user_id")
CANDIDATES = "candidates"  # the model that has no order
SLOTS = 10  # what a page shows: rules apply to these, and what is said of a page is said of them
SPLIT_CUTOFFS = (10, 100)  # of recall by kind of item
COVERAGE = f"coverage@{SLOTS}"
NOVELTY = f"novelty@{SLOTS}"
CTR_PROXY = f"ctr_proxy@{SLOTS}"
REPEATS = f"repeats@{SLOTS}"


def values_of(model: str, task: str, held: HeldOut, lists: NDArray[np.int32], n_items: int) -> pd.DataFrame:
    """Every metric of one model's lists (n_shoppers, depth), a row per shopper."""
    keys = {"task": task, "model": model, "user_id": held.user_ids}
    values = {
        **calc_per_user(lists, held.truth, METRICS),
        CTR_PROXY: ctr_proxy(lists, SLOTS, held.truth_by_trips, held.n_trips),
        NOVELTY: novelty(lists, SLOTS, held.information),
        **(repeat_values(held, lists) if task == "all" else {}),
    }
    return pd.DataFrame({**keys, **values, COVERAGE: coverage(lists, SLOTS, n_items)})


def repeat_values(held: HeldOut, lists: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
    """Recall of what was bought before and of what is new, and the share of the page that was."""
    again = np.concatenate(held.repeat)
    kinds = {"repeat": again, "new": ~again}
    recalls = {
        f"recall_{kind}@{k}": recall_among(lists, held.truth, chosen, k)
        for kind, chosen in kinds.items()
        for k in SPLIT_CUTOFFS
    }
    return {**recalls, REPEATS: repeat_share(lists, held.truth_before, SLOTS)}


def candidate_values(task: str, held: HeldOut, drawn: NDArray[np.int32]) -> pd.DataFrame:
    """What candidates (n_shoppers, n) hold of what each shopper bought: no ranking of them can find more."""
    recall = Metric("recall", drawn.shape[1])
    values = {f"candidate_{recall.label}": recall.calc_per_user(drawn, held.truth)}
    return pd.DataFrame({"task": task, "model": CANDIDATES, "user_id": held.user_ids, **values})


def summary(values: pd.DataFrame) -> str:
    """How one model did, by its first metric, for a person who waits."""
    first, metric = values.iloc[0], values.columns.drop(list(KEYS))[0]
    return f"{first['task']:<8} {first['model']:<18} {metric} {values[metric].mean():.4f}"


def write(values: pd.DataFrame, path: Path) -> None:
    """Replace a file of values, aside and then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    values.to_parquet(aside, index=False, compression="zstd")
    aside.replace(path)


def read(path: Path, cut: int) -> pd.DataFrame:
    """Values of one cut, with a column that says so."""
    if not path.exists():
        raise FileNotFoundError(f"No values per shopper in {path}; run `endcap evaluate --cut {cut}`")
    return pd.read_parquet(path).assign(cut=cut)
