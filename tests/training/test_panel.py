"""The panel: who is in it, what counts as new to them, and as of when they are described."""

from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_files import first_part

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from training import panel
from training.fit import Sources, learnt_by
from training.panel import panel_of
from training.taste_space import TasteSpace
from training.warehouse import Warehouse

CALENDAR = ShopCalendar("America/New_York", pd.Timestamp("2016-12-26").date())
EARLIER, NOW = CALENDAR.start(20), CALENDAR.start(24)
IDS = np.array(["a", "b", "c", "d", "e", "f"])
PLACE = np.array([3, 0, -1, 1, 4, 2], np.int32)  # the catalogue holds all but "c"
AT = {item: int(place) for item, place in zip(IDS, PLACE, strict=True)}
HISTORIES = {  # by position in the world: (count, decayed count, days before EARLIER)
    "u": {0: (3, 2.5, 4.0), 1: (1, 1.0, 40.0), 2: (2, 1.5, 9.0)},
    "v": {3: (1, 0.7, 100.0), -1: (5, 5.0, 1.0)},
    "w": {},
}


@pytest.fixture
def factors():
    """Random factors of the catalogue's five items."""
    return np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32)


@pytest.fixture
def users(user_rows_of):
    """Three shoppers as of EARLIER."""
    return user_rows_of(HISTORIES, EARLIER)


def made_of(users, bought, factors):
    """The panel, from (user, item) pairs."""
    frame = pd.DataFrame(bought, columns=["user_id", "item_id"])
    return panel_of(users, EARLIER, frame, PLACE, IDS, factors)


def new_to(found, names):
    """{(user, catalogue position)} of a panel whose rows are `names`."""
    return {(names[row], int(item)) for row, item in zip(found.shoppers, found.items, strict=True)}


def fold(slots, factors):
    """The normal equations over all items in float64, then length one; zero without a past."""
    system, right = 30.0 * np.eye(factors.shape[1]), np.zeros(factors.shape[1])
    held = {int(PLACE[position]): slot for position, slot in slots.items() if position >= 0}
    for item, vector in enumerate(factors.astype(np.float64)):
        confidence = 1.0
        if item in held:
            _, decayed, days = held[item]
            confidence = 4 * np.log1p(decayed * 0.5 ** (days / 91))
            right += confidence * vector
        system += confidence * np.outer(vector, vector)
    solved = np.linalg.solve(system, right)
    return solved / max(np.linalg.norm(solved), 1e-6)


def test_new_is_what_was_never_bought_before(users, factors):
    """Bought since, and not in the history as of the earlier instant: the second "a" of u is no news."""
    bought = [("u", "a"), ("u", "d"), ("v", "d"), ("v", "a"), ("w", "e"), ("u", "f")]
    expected = {("u", AT["d"]), ("u", AT["f"]), ("v", AT["a"]), ("w", AT["e"])}
    assert new_to(made_of(users, bought, factors), "uvw") == expected


def test_what_the_catalogue_or_the_panel_lacks_leaves_no_trace(users, factors):
    """An item that the release does not hold, and purchases of who was unknown at the earlier instant."""
    bought = [("u", "d"), ("w", "b")]
    clean = made_of(users, bought, factors)
    noisy = made_of(users, [("u", "c"), ("a-newcomer", "d"), *bought, ("v", "c"), ("x", "e")], factors)
    for name, values in vars(clean).items():
        np.testing.assert_array_equal(getattr(noisy, name), values)
    assert new_to(clean, "uvw") == {("u", AT["d"]), ("w", AT["b"])}


def test_vectors_are_the_shoppers_of_the_earlier_instant(users, factors):
    """One row per shopper, bought since or not: their history folded into the factors, of length one."""
    found = made_of(users, [("v", "a")], factors)
    expected = [fold(slots, factors) for slots in HISTORIES.values()]
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(found.vectors, axis=1).tolist() == pytest.approx([1, 1, 0])


def test_vectors_do_not_follow_what_was_bought_since(users, factors):
    """Whatever comes after the earlier instant, the shoppers stand where they stood."""
    quiet, busy = (
        made_of(users, bought, factors) for bought in ([], [(u, i) for u in "uvw" for i in "abdef"])
    )
    np.testing.assert_array_equal(busy.vectors, quiet.vectors)
    assert (len(quiet.items), len(busy.items)) == (0, 15 - 3)


def test_a_large_shop_has_a_panel_of_some(user_rows_of, factors, monkeypatch):
    """No more than PANEL are drawn, each with their own vector and their own purchases."""
    monkeypatch.setattr(panel, "PANEL", 6)
    rng = np.random.default_rng(8)
    histories = {
        f"u{n:02d}": {place: (1, float(rng.uniform(1, 9)), 5.0) for place in (0, 1 + 2 * (n % 3))}
        for n in range(40)
    }
    bought = [(f"u{n:02d}", item) for n in range(40) for item in IDS[n % 2 :: 2]]
    found = made_of(user_rows_of(histories, EARLIER), bought, factors)
    everybody = np.array([fold(slots, factors) for slots in histories.values()])
    chosen = [int(np.abs(everybody - vector).sum(axis=1).argmin()) for vector in found.vectors]
    np.testing.assert_allclose(found.vectors, everybody[chosen], rtol=1e-3, atol=1e-4)
    assert len(set(chosen)) == 6
    rows = {n: place for place, n in enumerate(chosen)}
    assert new_to(found, range(6)) == {
        (row, AT[item])
        for n, row in rows.items()
        for item in IDS[n % 2 :: 2]
        if item not in ("a", "c", IDS[1 + 2 * (n % 3)])
    }


# ---- The panel within what a release learns: `learnt_by` over a small warehouse.

LINES = [  # user, item, when
    ("u", "d", EARLIER + timedelta(days=1)),
    ("v", "f", NOW - timedelta(microseconds=1)),
]
FUTURE = [(user, item, NOW + timedelta(days=day)) for user in "uvw" for item in "abef" for day in (0, 1, 30)]
LONG_AGO = [("w", "e", EARLIER - timedelta(microseconds=1))]


def learnt(folder, lines, users):
    """What is learnt by NOW from a warehouse with these lines."""
    frame = pd.DataFrame(lines, columns=["user_id", "item_id", "event_timestamp"])
    frame = frame.assign(basket_id="b", quantity=1.0, price_paid=2.0)
    settings = Settings(state=folder, reports=folder)
    frame["event_timestamp"] = pd.DatetimeIndex(frame["event_timestamp"]).as_unit("us")
    frame.to_parquet(first_part(settings, "transactions"))
    pq.write_table(pa.table({"item_id": IDS.tolist()}), first_part(settings, "items"))
    sources = Sources(Warehouse.of(settings), store=None, calendar=CALENDAR, department_slots=[""])
    world = SimpleNamespace(item_ids=IDS)
    return learnt_by(sources, world, {}, TasteSpace({}, {}), users, NOW, PLACE, 1)


@pytest.fixture
def both(user_rows_of):
    """Users as of four weeks before NOW and as of NOW."""
    since = {"u": {**HISTORIES["u"], 3: (1, 1.0, 27.0)}, "v": {**HISTORIES["v"], 5: (1, 1.0, 0.0)}, "w": {}}
    return {EARLIER: user_rows_of(HISTORIES, EARLIER), NOW: user_rows_of(since, NOW)}


def test_the_panel_has_the_four_weeks_before_the_release(both, tmp_path):
    """What was bought from four weeks before on, up to the release's instant, and nothing older."""
    found = learnt(tmp_path, [*LINES, *LONG_AGO], both).panel
    assert new_to(found, "uvw") == {("u", AT["d"]), ("v", AT["f"])}


def test_a_later_purchase_leaves_no_trace(both, tmp_path):
    """Purchases at the release's instant and after it change neither panel, factors nor segments."""
    before = learnt(tmp_path / "before", LINES, both)
    after = learnt(tmp_path / "after", [*LINES, *FUTURE], both)
    np.testing.assert_array_equal(after.factors, before.factors)
    np.testing.assert_array_equal(after.panel.vectors, before.panel.vectors)
    assert new_to(after.panel, "uvw") == new_to(before.panel, "uvw")
    for one, other in zip(after.segments, before.segments, strict=True):
        np.testing.assert_array_equal(one, other)
