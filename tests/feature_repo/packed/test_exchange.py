"""Rows are exchanged for those that they were made from, and for no others, in both packed stores."""

from datetime import timedelta

import pytest
from packed_world import OURS, T0, fresh_ids, online, open_world, proto, user, view_of, write

from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.reader import PackedReader
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import Exchange, SqliteRows

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


def test_until_when_rows_tell_all_is_kept_with_them(world):
    """The later time stays, unless the view is written anew; rows without one leave it; lost with them."""
    store, rows, _ = world
    (key,) = fresh_ids(1)
    write(store, VIEWS[0], [(key, {"n": proto("Int64", 1)}, T0, None)])
    layout, row = rows.layout("counts"), (key, T0_US, 0, rows.read("counts", [key])[0])
    rows.drop("counts")
    later = [(None, False), (T0_US, False), (T0_US + 9, False), (T0_US + 5, False), (None, False)]
    said = []
    for until_us, anew in [*later, (T0_US + 5, True), (2**50, True)]:
        rows.write({"counts": [row]}, layouts=[layout], replace=anew, known_until_us=until_us)
        said.append(rows.known_until("counts"))
    assert said == [None, T0_US, T0_US + 9, T0_US + 9, T0_US + 9, T0_US + 5, 2**50]
    assert rows.known_until("sums") is None
    rows.drop("counts")
    assert rows.known_until("counts") is None


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


def test_a_lost_and_refilled_view_is_of_another_version(world):
    """Else who holds the old one in memory would go on with it: by two fills with the same number of rows."""
    _, rows, _ = world
    (key,) = fresh_ids(1)
    layout, seen = rows.layout("counts"), set()
    for n in range(3):
        forget(rows)
        rows.write(
            {"counts": [(key, T0_US, 0, pack(layout, {"n": n}, event_us=T0_US))]},
            layouts=[layout],
        )
        seen.add(rows.version("counts"))
    assert len(seen) == 3


def forget(rows):
    """Lose all that a store has, as a server does that was started anew."""
    if hasattr(rows, "path"):
        rows.close()
        rows.path.unlink()
    else:
        rows._client.delete(*rows._client.keys(f"{rows.project}:*"))


def test_a_row_of_another_schema_gives_way(world):
    """However new it is, nobody can read it; and the view counts as filled anew."""
    store, rows, _ = world
    (key,) = fresh_ids(1)
    write(store, VIEWS[0], [(key, {"n": proto("Int64", 1)}, T0 + timedelta(days=1), None)])
    old, fill = rows.layout("counts"), rows.fill("counts")
    new = Layout("counts", (*old.fields, ("more", "DOUBLE")), old.ttl_us)
    row = (key, T0_US, 0, pack(new, {"n": 2, "more": 0.5}, event_us=T0_US))
    rows.write({"counts": [row]}, layouts=[new])
    assert PackedReader(rows).read_row("counts", key, now_us=T0_US).values == {"n": 2, "more": 0.5}
    assert rows.fill("counts") != fill


def test_two_writers_do_not_take_each_others_rows(world):
    """Each builds aside what it writes anew; the last one to finish has its rows there, and all of them."""
    _, rows, _ = world
    layout, keys = rows.layout("counts"), fresh_ids(30)

    def row(key, at):
        return key, at, 0, pack(layout, {"n": at}, event_us=at)

    def first():
        yield from (row(key, 1) for key in keys[:20])
        if hasattr(rows, "_client"):  # in SQLite nobody else can write in between
            rows.write({"counts": [row(key, 2) for key in keys]}, replace=True)
        yield from (row(key, 1) for key in keys[20:])

    rows.write({"counts": first()}, replace=True)
    assert rows.count("counts") == 30


def test_rows_that_are_shown_do_not_expire(redis_url):
    """What lies aside goes by itself when its writer dies; what was shown stays."""
    rows, layout = RedisRows(redis_url, "expiry"), Layout("counts", (("n", "INT64"),))
    made = [("a", 1, 0, pack(layout, {"n": 1}, event_us=1))]

    def dying():
        yield from made
        raise KeyboardInterrupt

    for more in ({"replace": True}, {}):
        with pytest.raises(KeyboardInterrupt):
            rows.write({"counts": batched(dying())}, layouts=[layout], **more)
        rows.write({"counts": made}, layouts=[layout], **more)
        left = rows._client.keys("expiry:packed:counts*")
        expiring = [name for name in left if rows._client.ttl(name) > 0]
        assert rows._client.ttl("expiry:packed:counts") == -1
        assert len(left) == len(expiring) + 1
        rows.drop("counts")


def batched(rows):
    """A thousand times each row, so that a first call is made before the last."""
    for key, *rest in rows:
        yield from ((f"{key}{n}", *rest) for n in range(1_000))


def test_a_file_from_before_fills_can_be_used(tmp_path):
    """It has no table of them: views can be dropped and written anew."""
    rows, layout = SqliteRows(tmp_path / "s.db", "p"), Layout("counts", (("n", "INT64"),))
    for use in (
        lambda: rows.write({"counts": [("a", 1, 0, pack(layout, {"n": 1}, event_us=1))]}, replace=True),
        lambda: rows.drop("counts"),
    ):
        rows.declare(layout)
        with rows._writing() as connection:
            connection.execute("DROP TABLE packed_fills")
        assert rows.fill("counts") is None
        use()


def test_rows_are_read_together_with_a_version(world):
    """The rows as without it, and the version as it is asked for alone; none of a view that has none."""
    store, rows, reader = world
    names, (key,) = [view.name for view in VIEWS], fresh_ids(1)
    for n in (1, 2):
        write(store, VIEWS[0], [(key, {"n": proto("Int64", n)}, T0, None)])
        for entity in (key, "nobody"):
            found, version = reader.read_with_version(names, entity, "counts", now_us=T0_US)
            assert found == reader.read_views(names, entity, now_us=T0_US)
            assert version == rows.version("counts")
    found, version = reader.read_with_version(names, key, "no such view", now_us=T0_US)
    assert (found[0].values, version) == ({"n": 2}, None)
