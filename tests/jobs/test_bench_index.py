"""The bench of large catalogues: a grown release is the release and more, both views draw for the same."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from large_release import large_release, shopper_of

from bentos.affinity import item_groups
from bentos.candidates import SOURCES, draw, opinions
from bentos.pool import APPEAL
from bentos.shortlist import Whole, view
from feature_repo.pair_features import GROUPS
from jobs.benches import index
from jobs.benches.grown import OWN_GROUPS, WIDE_GROUPS, grown
from jobs.benches.index import Compared, compare, figures, sized

HAD, N_ITEMS = 2_000, 5_300  # two copies of each, and a third of some


@pytest.fixture(scope="module")
def small():
    """The release that grows."""
    return large_release(HAD)


@pytest.fixture(scope="module")
def larger(small):
    """The release, grown."""
    return grown(small, N_ITEMS)


def test_items_of_the_release_stay_as_they_are(small, larger):
    """Vectors, sales and groups of the first items are the release's."""
    for name in ("factor_items", "item_bodies", "item_log_sales", "popularity", *OWN_GROUPS):
        np.testing.assert_allclose(larger.arrays[name][:HAD], small.arrays[name], rtol=1e-6)
    for kind in WIDE_GROUPS:
        np.testing.assert_array_equal(getattr(larger.catalogue, kind)[:HAD], getattr(small.catalogue, kind))
    np.testing.assert_allclose(
        larger.arrays["appeal_inputs"][:, :HAD], small.arrays["appeal_inputs"], rtol=1e-6
    )


def test_copies_sell_less_and_are_of_their_models_type_and_another_manufacturer(small, larger):
    """Of every copy; its vectors lie near its model's."""
    copies = np.arange(HAD, N_ITEMS)
    model = copies % HAD
    assert np.all(larger.arrays["popularity"][copies] <= small.arrays["popularity"][model])
    sold = [place for place, name in enumerate(APPEAL) if name != "item_age_days"]
    appeal = larger.arrays["appeal_inputs"][sold]
    assert np.all(appeal[:, copies] <= appeal[:, model])
    np.testing.assert_array_equal(larger.catalogue.types[copies], small.catalogue.types[model])
    for kind in OWN_GROUPS:
        assert not np.isin(larger.arrays[kind][copies], small.arrays[kind]).any()
    ours, theirs = larger.arrays["factor_items"][copies], small.arrays["factor_items"][model]
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert np.mean(cosines) > 0.9


def test_a_grown_release_can_be_drawn_from(small, larger):
    """Every source has its say, shares of groups sum to one, and some copies are drawn."""
    thought = opinions(larger, shopper_of(small, 1))
    assert {name: scores.shape for name, scores in thought.scores.items()} == dict.fromkeys(
        SOURCES, (N_ITEMS,)
    )
    for kind in GROUPS:
        shares = larger.arrays[f"shop_share_{kind}"]
        assert len(shares) == item_groups(larger).sizes[kind]
        assert shares.sum() == pytest.approx(1, rel=1e-4)
    assert larger.arrays["panel_items"].max() < N_ITEMS
    assert (larger.arrays["panel_items"] >= HAD).mean() == pytest.approx(0.3, abs=0.1)
    drawn = draw(larger, shopper_of(small, 1), "discover").items
    assert 0 < (drawn >= HAD).sum() < len(drawn)


def test_a_release_does_not_shrink(small):
    """Fewer items than there are is an error that says both numbers."""
    with pytest.raises(ValueError, match=r"n_items is 1999, .* has 2000"):
        grown(small, HAD - 1)


def test_a_view_that_is_whole_holds_everything(small):
    """Compared with itself, all candidates are held, and both took their time."""
    found, who = Compared(), shopper_of(small, 2)
    compare(found, small, replace(small), who, "all")
    assert (found.held, found.top_held) == ([1.0], [1.0])
    assert found.exact_ms[0] > 0
    assert found.bounded_ms[0] > 0


def test_figures_are_means_and_the_least():
    """Of two shoppers."""
    found = Compared([2.0, 4.0], [1.0, 2.0], [1.0, 0.5], [1.0, 0.9])
    records = list(figures(found, {"task": "all"}))
    assert [(each["metric"], each["value"]) for each in records] == [
        ("draw_cpu_ms", 3.0),
        ("draw_cpu_ms", 1.5),
        ("held", 0.75),
        ("top_100_held", pytest.approx(0.95)),
    ]
    assert [each.get("design") for each in records] == ["exact", "bounded", None, None]
    assert [each.get("least") for each in records] == [None, None, 0.5, 0.9]


@pytest.mark.skipif(find_spec("faiss") is None, reason="needs faiss: pip install 'endcap[large]'")
def test_one_size_is_measured_in_both_views(small, monkeypatch):
    """All metrics of both tasks; no more is looked at than there is."""
    monkeypatch.setattr(index, "WARM_UP", 1)
    who = [shopper_of(small, seed) for seed in range(3)]
    records = list(sized(small, N_ITEMS, who))
    by_metric = {each["metric"] for each in records}
    assert by_metric == {"index_cpu_s", "index_mb", "looked_at", "draw_cpu_ms", "held", "top_100_held"}
    assert all(each["report"] == "bench_index" and each["rows"] == N_ITEMS for each in records)
    looked_at = next(each["value"] for each in records if each["metric"] == "looked_at")
    assert 0 < looked_at <= N_ITEMS
    held = [each["value"] for each in records if each["metric"] == "held"]
    assert len(held) == 2
    assert min(held) > 0.9
    assert isinstance(view(small), Whole)
