"""Rows are exchanged for those that they were made from, and for no others, in both packed stores."""

from datetime import timedelta

import pytest
from packed_world import OURS, T0, fresh_ids, online, open_world, proto, user, view_of, write

from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.reader import PackedReader
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import Exchange

VIEWS = [view_of(name, {"n": "Int64"}, ttl=timedelta(0)) for name in ("counts", "sums")]
T0_US = microseconds(T0)


@pytest.fixture(params=OURS)
def world(request, tmp_path, redis_url):
    """(Feast's store, rows, reader) of each packed store with two views."""
    store = open_world(request.param, tmp_path, redis_url, [user, *VIEWS])
    target, config = online(store)
    rows = target.rows(config)
    return store, rows, PackedReader(rows)


def change(rows, key, n, *, plus_us=1, **was):
    """New rows of a key by view, each with the event time of the one it was made from."""
    made = {}
    for view, event_us in was.items():
        at = T0_US + plus_us
        made[view] = ((key, at, 0, pack(rows.layout(view), {"n": n}, event_us=at)), event_us)
    return Exchange(key, made)


def held(reader, key):
    """Values by view, None where there is no row."""
    found = reader.read_views([view.name for view in VIEWS], key, now_us=T0_US)
    return [None if row is None else row.values["n"] for row in found]


def test_a_row_takes_the_place_of_its_own_only(world):
    """The event time must be the one that was read; none was read where there is no row."""
    store, rows, reader = world
    first, second, third = fresh_ids(3)
    for key in (first, second):
        write(store, VIEWS[0], [(key, {"n": proto("Int64", 1)}, T0, None)])
    changes = [
        change(rows, first, 2, counts=T0_US),
        change(rows, second, 2, counts=T0_US - 1),
        change(rows, third, 2, counts=None),
    ]
    assert rows.exchange(changes) == [second]
    assert [held(reader, key)[0] for key in (first, second, third)] == [2, 1, 2]
    again = [change(rows, first, 3, plus_us=2, counts=None), change(rows, third, 3, plus_us=2, counts=None)]
    assert rows.exchange(again) == [first, third]
    assert rows.exchange([]) == []


def test_an_older_row_may_take_the_place(world):
    """Which row is right is known to who read the old one: no guard by time stands between."""
    store, rows, reader = world
    (key,) = fresh_ids(1)
    write(store, VIEWS[0], [(key, {"n": proto("Int64", 1)}, T0, None)])
    assert rows.exchange([change(rows, key, 2, plus_us=-5, counts=T0_US)]) == []
    assert held(reader, key)[0] == 2


def test_views_of_a_key_change_all_or_none(world):
    """One view that has changed meanwhile refuses the others; other keys are not concerned."""
    store, rows, reader = world
    first, second = fresh_ids(2)
    write(store, VIEWS[0], [(first, {"n": proto("Int64", 1)}, T0, None)])
    changes = [
        change(rows, first, 2, counts=T0_US, sums=T0_US),
        change(rows, second, 2, counts=None, sums=None),
    ]
    assert rows.exchange(changes) == [first]
    assert (held(reader, first), held(reader, second)) == ([1, None], [2, 2])


def test_readers_hear_of_an_exchange(world):
    """The version of a view grows when a row was exchanged, and only then."""
    _, rows, _ = world
    (key,) = fresh_ids(1)
    before = {view.name: rows.version(view.name) for view in VIEWS}
    rows.exchange([change(rows, key, 1, counts=5)])
    assert {view.name: rows.version(view.name) for view in VIEWS} == before
    rows.exchange([change(rows, key, 1, counts=None)])
    assert rows.version("counts") > before["counts"]
    assert rows.version("sums") == before["sums"]


def test_a_fill_is_another_after_a_loss_and_after_writing_anew(world):
    """Not after more rows; a view that is not there has none."""
    store, rows, _ = world
    (key,) = fresh_ids(1)
    fills = [rows.fill("counts")]
    write(store, VIEWS[0], [(key, {"n": proto("Int64", 1)}, T0, None)])
    rows.declare(rows.layout("counts"))
    assert rows.fill("counts") == fills[0] is not None
    layout, packed = rows.layout("counts"), rows.read("counts", [key])[0]
    rows.write({"counts": [(key, T0_US, 0, packed)]}, replace=True)
    fills.append(rows.fill("counts"))
    rows.drop("counts")
    assert rows.fill("counts") is None
    rows.write({"counts": [(key, T0_US, 0, packed)]}, layouts=[layout])
    fills.append(rows.fill("counts"))
    assert len(set(fills)) == 3
    assert rows.filled("counts")
    assert not rows.filled("sums")


def test_views_written_with_their_layouts_keep_the_newest(world):
    """Also of several rows of one key in one batch, and of rows that others write meanwhile."""
    _, rows, reader = world
    first, second = fresh_ids(2)
    layout = rows.layout("counts")
    rows.drop("counts")

    def row(key, n, plus_us):
        at = T0_US + plus_us
        return key, at, 0, pack(layout, {"n": n}, event_us=at)

    def others():
        yield from [row(first, 2, 2), row(first, 1, 1)]
        if hasattr(rows, "_client"):  # in SQLite nobody else can write in between
            rows.write({"counts": [row(second, 9, 9)]})
        yield row(second, 5, 5)

    rows.write({"counts": others()}, layouts=[layout])
    assert held(reader, first)[0] == 2
    assert held(reader, second)[0] == (9 if hasattr(rows, "_client") else 5)
