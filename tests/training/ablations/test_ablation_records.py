"""Figures of an ablation: paired over the same shoppers, told as text."""

import numpy as np
import pandas as pd
import pytest

from training.ablations.records import ablation_records, lines
from training.ablations.variants import FEATURES, WHOLE, Variant
from training.quality_records import LIFTED

FOUND = [Variant(WHOLE, "", "the whole stack"), Variant("no_lifts", FEATURES, "ranker without lifts")]


def values_of(model, scale, *, users=50):
    """Values of shoppers whose recall is drawn once and scaled."""
    drawn = np.random.default_rng(1).random((users, len(LIFTED)))
    frames = [
        pd.DataFrame({"task": task, "model": model, "user_id": [f"u{n:02d}" for n in range(users)]}).assign(
            **dict(zip(LIFTED, (scale * drawn).T, strict=True))
        )
        for task in ("all", "discover")
    ]
    return pd.concat(frames)


def test_a_lift_is_paired_with_the_whole_stack():
    """A variant that loses a tenth for every shopper loses a tenth beyond doubt, whatever order rows have."""
    variant = values_of("no_lifts", 0.9).sample(frac=1, random_state=2)
    records = ablation_records(FOUND, {WHOLE: values_of(WHOLE, 1.0), "no_lifts": variant}, cut=43)
    lifts = [r for r in records if r.get("versus") == WHOLE]
    assert len(lifts) == 2 * len(LIFTED)
    for lift in lifts:
        assert (lift["report"], lift["model"], lift["cut"]) == ("ablations", "no_lifts", 43)
        assert [lift[key] for key in ("value", "low", "high")] == pytest.approx([-0.1] * 3)
    own = {r["metric"]: r["value"] for r in records if r["model"] == "no_lifts" and "versus" not in r}
    assert own["recall@10"] == pytest.approx(values_of("no_lifts", 0.9)["recall@10"].mean())


def test_text_has_a_row_per_variant():
    """Lifts are in per cent with their intervals, below the whole stack's own figures."""
    records = ablation_records(
        FOUND, {WHOLE: values_of(WHOLE, 1.0), "no_lifts": values_of("no_lifts", 0.9)}, cut=43
    )
    task, header, whole, variant = lines(records).split("\n\n")[0].splitlines()
    assert task == "all"
    assert header.split()[-len(LIFTED) :] == list(LIFTED)
    assert whole.split()[0] == WHOLE
    assert variant.startswith("ranker without lifts ")
    assert variant.count("-10.0 [-10.0, -10.0]") == len(LIFTED)


def test_other_shoppers_are_refused():
    """Values that a change of data left behind are told, not compared."""
    values = {WHOLE: values_of(WHOLE, 1.0), "no_lifts": values_of("no_lifts", 1.0, users=49)}
    with pytest.raises(ValueError, match="no_lifts was measured on other shoppers"):
        ablation_records(FOUND, values, cut=43)
