"""A view that is held in memory reads as the store does, whatever was written since."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_world import OURS, T0, fresh_ids, online, open_world, proto, user, user_key, view_of, write

from feature_repo.stores.packed import held_view
from feature_repo.stores.packed.held_view import HeldView
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.reader import PackedReader

counts = view_of("counts", {"n": "Int64", "x": "Float32"}, ttl=timedelta(hours=1))
T0_US = microseconds(T0)


@pytest.fixture(params=OURS)
def world(request, tmp_path, redis_url, monkeypatch):
    """(store, reader, held view) of each packed store; a view may be loaded at once again."""
    monkeypatch.setattr(held_view, "RELOAD_S", 0.0)
    store = open_world(request.param, tmp_path, redis_url, [user, counts])
    target, config = online(store)
    reader = PackedReader(target.rows(config))
    return store, reader, Held(reader)


class Held:
    """A view that holds a thousand entities, asked by id."""

    def __init__(self, reader):
        self.ids = [*fresh_ids(1_000), "a b", "[x]", "", "u"]
        self.view = HeldView(reader, "counts", ["x", "n"], self.ids)
        self.left = iter(self.ids)

    @property
    def held(self):
        """What it holds now."""
        return self.view.held

    def some(self, n):
        """Some of its entities that no test has asked for yet."""
        return [next(self.left) for _ in range(n)]

    def read_matrix(self, ids, *, now_us, read="read_matrix"):
        """Rows by id."""
        places = np.array([self.ids.index(each) for each in ids], dtype=np.int32)
        return getattr(self.view, read)(places, now_us=now_us)


def row(n, x=0.5):
    """A row of the view."""
    return {"n": proto("Int64", n), "x": proto("Float32", x)}


def assert_same(world, ids, now_us=T0_US):
    """Held and read are equal."""
    _, reader, held = world
    ours, theirs = (
        held.read_matrix(ids, now_us=now_us),
        reader.read_matrix("counts", ids, ["x", "n"], now_us=now_us),
    )
    for name in ("values", "found", "event_us"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_what_is_written_is_read_at_once(world):
    """New rows, newer ones, older ones that lose, deleted ones, and a view written anew."""
    store, reader, held = world
    ids = [*held.some(4), "a b", "[x]", ""]
    write(store, counts, [(key, row(n, None), T0, None) for n, key in enumerate(ids[:5])])
    assert_same(world, [*ids, *ids])
    assert held.held is not None
    write(store, counts, [(ids[5], row(7), T0, None), (ids[0], row(8), T0 + timedelta(seconds=1), None)])
    write(store, counts, [(ids[1], row(99), T0 - timedelta(days=1), None)])
    assert_same(world, ids)
    target, config = online(store)
    target.delete_rows(config, counts, [user_key(ids[2])])
    assert_same(world, ids)
    packed = reader.rows.read("counts", [ids[0]])[0]
    reader.rows.write({"counts": [(ids[3], T0_US, 0, packed)]}, replace=True)
    assert_same(world, ids)


def test_time_to_live_is_applied_to_what_is_held(world):
    """Without reading anything again a row expires."""
    store, _, held = world
    (key,) = held.some(1)
    write(store, counts, [(key, row(1), T0, None)])
    hour = 3_600_000_000
    assert_same(world, [key], T0_US + hour)
    version = held.held.version
    assert_same(world, [key], T0_US + hour + 1)
    assert not held.read_matrix([key], now_us=T0_US + hour + 1).found[0]
    assert held.held.version == version


@settings(max_examples=25)
@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=4), max_size=4))
def test_any_writes_are_read(world, batches):
    """Versions of five users in any order, read after each batch."""
    ids = world[2].some(5)
    for batch in batches:
        rows = [
            (ids[who], row(10 * who + event), T0 + event * timedelta(seconds=1), None) for who, event in batch
        ]
        write(world[0], counts, rows)
        assert_same(world, ids)


def test_a_view_that_keeps_changing_is_read_from_the_store(world, monkeypatch):
    """Until the pause is over: what is held is old then, what is read is not."""
    store, _, held = world
    (key,) = held.some(1)
    write(store, counts, [(key, row(1), T0, None)])
    monkeypatch.setattr(held_view, "RELOAD_S", 1e9)
    assert_same(world, [key])
    loaded = held.held.version
    write(store, counts, [(key, row(2), T0, None)])
    assert_same(world, [key])
    assert held.held.version == loaded


def test_an_empty_view_and_a_lost_one_say_what_the_store_says(world):
    """No rows are no rows; no view is an error, also when one was held before."""
    store, reader, held = world
    assert not held.read_matrix(["u"], now_us=T0_US).found.any()
    write(store, counts, [("u", row(1), T0, None)])
    assert held.read_matrix(["u"], now_us=T0_US).found.all()
    reader.rows.drop("counts")
    for _ in range(2):
        with pytest.raises(PackedStoreError, match="counts"):
            held.read_matrix(["u"], now_us=T0_US)


def test_a_store_that_was_written_anew_is_another(world):
    """As many writes as before do not make it pass for the one that is held."""
    store, reader, held = world
    write(store, counts, [("u", row(1), T0, None)])
    assert_same(world, ["u"])
    target, config = online(store)
    if hasattr(reader.rows, "path"):
        target.rows(config).close()
        reader.rows.path.unlink()
    else:
        client = reader.rows._client
        client.delete(*client.keys(f"{config.project}:*"))
    target.update(config, [], [counts], [], [], partial=False)
    write(store, counts, [("u", row(2), T0, None)])
    assert_same(world, ["u"])
    assert held.read_matrix(["u"], now_us=T0_US).values.tolist() == [[0.5, 2.0]]


def test_a_changed_time_to_live_counts_at_once(world):
    """What is held follows the view as it was applied last, in a reader that knew the old one."""
    store, _, held = world
    write(store, counts, [("u", row(1), T0, None)])
    late = T0_US + 2 * 3_600_000_000
    assert not held.read_matrix(["u"], now_us=late).found[0]
    store.apply([view_of("counts", {"n": "Int64", "x": "Float32"}, ttl=timedelta(hours=3))])
    assert held.read_matrix(["u"], now_us=late).found[0]


def test_what_was_held_last_outlives_the_store(world):
    """Without asking the store, as of now: an expired row is none; nothing held is nothing."""
    store, reader, held = world
    assert held.read_matrix(["u"], now_us=T0_US, read="last_matrix") is None
    write(store, counts, [("u", row(1), T0, None)])
    assert_same(world, ["u"])
    before = held.read_matrix(["u"], now_us=T0_US)
    reader.rows.drop("counts")
    with pytest.raises(PackedStoreError, match="counts"):
        held.read_matrix(["u"], now_us=T0_US)
    last = held.read_matrix(["u"], now_us=T0_US, read="last_matrix")
    assert last.values.tolist() == before.values.tolist() == [[0.5, 1.0]]
    late = held.read_matrix(["u"], now_us=T0_US + 2 * 3_600_000_000, read="last_matrix")
    assert not late.found[0]


def test_a_view_has_expired_when_its_newest_row_has(world):
    """Told with the time of that row; not while one row still holds, nor of rows that nobody holds."""
    store, _, held = world
    hour = 3_600_000_000
    first, second = held.some(2)
    assert held.view.expired_us(T0_US + 9 * hour) is None
    write(store, counts, [(first, row(1), T0, None), (second, row(2), T0 + timedelta(hours=1), None)])
    assert_same(world, [first, second])
    assert held.view.expired_us(T0_US + 2 * hour) is None
    assert held.view.expired_us(T0_US + 2 * hour + 1) == T0_US + hour


def test_a_version_that_was_just_heard_is_not_asked_again(world, monkeypatch):
    """What changed is read when another version is heard; the store is asked once that was too long ago."""
    store, reader, held = world
    first, second = held.some(2)
    write(store, counts, [(first, row(1), T0, None)])
    assert_same(world, [first])
    asked, version = [], reader.rows.version
    monkeypatch.setattr(held_view, "FRESH_S", 1e9)
    monkeypatch.setattr(reader.rows, "version", lambda view: asked.append(view) or version(view))
    held.view.heard(version("counts"))
    assert_same(world, [first, second])
    write(store, counts, [(second, row(2), T0, None)])
    assert not held.read_matrix([second], now_us=T0_US).found.any()
    held.view.heard(version("counts"))
    assert_same(world, [first, second])
    assert asked == []
    monkeypatch.setattr(held_view, "FRESH_S", 0.0)
    held.view.heard(version("counts"))
    assert_same(world, [first, second])
    assert asked == ["counts"]


def test_a_view_without_a_version_is_asked_for_it(world, monkeypatch):
    """Having heard that there is none is having heard nothing: the store says why."""
    _, reader, held = world
    asked, version = [], reader.rows.version
    monkeypatch.setattr(reader.rows, "version", lambda view: asked.append(view) or version(view))
    held.view.heard(None)
    held.read_matrix(["u"], now_us=T0_US)
    assert asked == ["counts"]
