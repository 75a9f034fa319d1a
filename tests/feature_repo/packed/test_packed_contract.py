"""The contract of an online store, over both packed classes, and over Feast's own where they keep it.

Rows are made up by Hypothesis; what must come back is told by a dictionary and by plain loops.
"""

import asyncio
import random
import threading
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_world import (
    EVERY_TYPE,
    OURS,
    STORES,
    T0,
    as_bytes,
    every_type,
    fresh_ids,
    item,
    online,
    open_world,
    proto,
    protos,
    read,
    user,
    user_key,
    values_of,
    view_of,
    write,
)

SECOND = timedelta(seconds=1)
counts = view_of("counts", {"n": "Int64", "share": "Float32"})
others = view_of("others", {"n": "Int64"})
few = settings(max_examples=25)


def row(n, share=0.5):
    """A row of the view `counts`."""
    return {"n": proto("Int64", n), "share": proto("Float32", share)}


@pytest.fixture(scope="module", params=STORES)
def any_store(request, tmp_path_factory, redis_url):
    """Each of the four stores."""
    folder = tmp_path_factory.mktemp(request.param)
    return open_world(request.param, folder, redis_url, [user, every_type, counts, others])


@pytest.fixture(scope="module", params=OURS)
def packed(request, tmp_path_factory, redis_url):
    """Each of the packed stores."""
    folder = tmp_path_factory.mktemp(request.param)
    return open_world(request.param, folder, redis_url, [user, every_type, counts, others])


@few
@given(rows=st.lists(values_of(EVERY_TYPE), min_size=1, max_size=4))
def test_every_value_comes_back_bit_for_bit(any_store, rows):
    """Of every type, lists and nulls, NaN with its bits; under the row's own event time."""
    ids = fresh_ids(len(rows))
    written = [protos(EVERY_TYPE, plain) for plain in rows]
    write(any_store, every_type, [(key, each, T0, None) for key, each in zip(ids, written, strict=True)])
    found = read(any_store, every_type, ids)
    assert [time for time, _ in found] == [T0] * len(rows)
    for (_, back), each in zip(found, written, strict=True):
        assert as_bytes(back) == as_bytes(each)


def test_a_user_without_a_row_is_told_apart_from_one_of_nulls(packed):
    """No row is (None, None), also between others and asked twice; nulls are values."""
    held, gone = fresh_ids(2)
    write(packed, counts, [(held, row(None, None), T0, None)])
    nothing, nulls = (None, None), {"n": b"", "share": b""}
    found = read(packed, counts, [gone, held, gone, held])
    assert (found[0], found[2]) == (nothing, nothing)
    assert [as_bytes(each) for _, each in (found[1], found[3])] == [nulls, nulls]
    assert read(packed, counts, []) == []


def test_only_what_is_asked_for_is_read(packed):
    """Features that are not requested stay away."""
    (key,) = fresh_ids(1)
    write(packed, counts, [(key, row(3), T0, None)])
    assert set(read(packed, counts, [key], ["share"])[0][1]) == {"share"}


WRITES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-2, 4), st.none() | st.integers(0, 2)), max_size=5),
    max_size=4,
)


@settings(few, max_examples=60)
@given(batches=WRITES)
def test_the_newest_event_stays_in_whatever_order_it_was_written(packed, batches):
    """Rows of three users in several batches: what stays is what a loop over all writes leaves.

    An older event never stays over a newer one. Of equal events the one created later stays, or the last
    that was written where a created time is unknown.
    """
    ids, kept, number = fresh_ids(3), {}, 0
    for batch in batches:
        rows = []
        for user_number, event, created in batch:
            number += 1
            rows.append(
                (
                    ids[user_number],
                    row(number),
                    T0 + event * SECOND,
                    T0 + created * SECOND if created is not None else None,
                )
            )
            before = kept.get(user_number)
            if before:
                older = event < before[1]
                tie = event == before[1] and None not in (created, before[2]) and created < before[2]
                if older or tie:
                    continue
            kept[user_number] = (number, event, created)
        write(packed, counts, rows)
    for user_number, (time, found) in enumerate(read(packed, counts, ids)):
        if user_number not in kept:
            assert found is None
            continue
        number, event, _ = kept[user_number]
        assert (found["n"].int64_val, time) == (number, T0 + event * SECOND)


def test_times_keep_their_microseconds_and_may_be_before_1970(packed):
    """A microsecond decides; so it does half a century ago."""
    (key,) = fresh_ids(1)
    past, us = T0.replace(year=1950), timedelta(microseconds=1)
    write(packed, counts, [(key, row(1), past, None), (key, row(2), past - us, None)])
    write(packed, counts, [(key, row(3), past - us, None)])
    ((time, found),) = read(packed, counts, [key])
    assert (time, found["n"].int64_val) == (past, 1)


@pytest.mark.parametrize("kind", OURS)
def test_many_writers_leave_what_is_newest(kind, tmp_path, redis_url):
    """Four writers with stores of their own, each writing 50 versions of 20 users in another order."""
    first = open_world(kind, tmp_path, redis_url, [user, counts])
    ids = fresh_ids(20)

    def writing(seed):
        from feast import FeatureStore

        store, order = FeatureStore(config=first.config), list(range(50))
        random.Random(seed).shuffle(order)
        for version in order:
            write(store, counts, [(key, row(version), T0 + version * SECOND, None) for key in ids])

    writers = [threading.Thread(target=writing, args=(seed,)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = read(first, counts, ids)
    assert [(time, each["n"].int64_val) for time, each in found] == [(T0 + 49 * SECOND, 49)] * 20


def test_a_batch_with_a_bad_row_writes_nothing_and_names_it(packed):
    """A value of another type, one too large for it, and a row without a feature are refused."""
    good, bad = fresh_ids(2)
    for wrong, says in (
        ({"n": proto("Float64", 1.0), "share": proto("Float32", 1.0)}, "n of view counts is INT64.*double"),
        ({"n": proto("Int64", 1)}, r"lacks \['share'\]"),
        (row(1) | {"extra": proto("Int64", 1)}, r"unknown \['extra'\]"),
    ):
        with pytest.raises(ValueError, match=says):
            write(packed, counts, [(good, row(1), T0, None), (bad, wrong, T0, None)])
    assert read(packed, counts, [good, bad]) == [(None, None)] * 2


@pytest.mark.parametrize(
    "key", ["", " ", "a\0b", "[1]", '["a"]', "é𝄞", "a'b\"c;--", "*", "k" * 5_000, "\x1f", "a:b"]
)
def test_any_string_is_an_id_of_its_own(packed, key):
    """Ids that mean something to JSON, SQL, C or Redis are held like others, apart from those like them."""
    write(packed, counts, [(key, row(1), T0, None), ("a", row(2), T0, None)])
    found = read(packed, counts, [key, "a", f"{key}?"])
    assert [each and each["n"].int64_val for _, each in found] == [1, 2, None]


def test_rows_of_two_keys_do_not_meet(packed):
    """A view with two entities: neither order of join keys nor a comma in an id confuses it."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    pairs = view_of("pairs", {"n": "Int64"}, entities=(user, item))
    packed.apply([user, item, pairs])
    target, config = online(packed)

    def key(user_id, item_id, turned=False):
        parts = [("user_id", Value(string_val=user_id)), ("item_id", Value(int64_val=item_id))]
        names, values = zip(*parts[:: -1 if turned else 1], strict=True)
        return EntityKey(join_keys=names, entity_values=values)

    for number, each in enumerate([key("1", 2), key("1, 2", 3), key("1", 23)]):
        target.online_write_batch(config, pairs, [(each, {"n": proto("Int64", number)}, T0, None)], None)
    asked = [key("1", 2, turned=True), key("1, 2", 3), key("1", 23, turned=True), key("12", 3)]
    found = target.online_read(config, pairs, asked)
    assert [each and each["n"].int64_val for _, each in found] == [0, 1, 2, None]


def test_deleted_rows_are_gone_and_others_stay(packed):
    """Of one view only; deleting what is not there is no error, and an older event may come again."""
    first, second = fresh_ids(2)
    for view, values in ((counts, row(1)), (others, {"n": proto("Int64", 1)})):
        write(packed, view, [(key, values, T0, None) for key in (first, second)])
    target, config = online(packed)
    target.delete_rows(config, counts, [user_key(first), user_key("nobody")])
    assert [each is None for _, each in read(packed, counts, [first, second])] == [True, False]
    assert read(packed, others, [first])[0][1] is not None
    write(packed, counts, [(first, row(5), T0 - SECOND, None)])
    assert read(packed, counts, [first])[0][1]["n"].int64_val == 5


@pytest.mark.parametrize("kind", OURS)
def test_a_view_that_is_gone_takes_its_rows_along(kind, tmp_path, redis_url):
    """Applying without it forgets its rows, the others' stay. Teardown forgets all."""
    store = open_world(kind, tmp_path, redis_url, [user, counts, others])
    (key,) = fresh_ids(1)
    write(store, counts, [(key, row(1), T0, None)])
    write(store, others, [(key, {"n": proto("Int64", 1)}, T0, None)])
    store.apply([], objects_to_delete=[others], partial=False)
    with pytest.raises(RuntimeError, match=r"no view others; run `feast apply`"):
        read(store, others, [key])
    store.apply([others])
    assert read(store, others, [key]) == [(None, None)]
    assert read(store, counts, [key])[0][1]["n"].int64_val == 1
    target, config = online(store)
    target.teardown(config, [counts, others], [user])
    for view in (counts, others):
        with pytest.raises(RuntimeError, match=f"no view {view.name}"):
            read(store, view, [key])


def test_async_calls_do_the_same(packed):
    """Rows that were written asynchronously are read so, and otherwise."""
    (key,) = fresh_ids(1)
    target, config = online(packed)

    async def both():
        await target.online_write_batch_async(config, counts, [(user_key(key), row(7), T0, None)], None)
        return await target.online_read_async(config, counts, [user_key(key)])

    found = asyncio.run(both())
    assert found[0][1]["n"].int64_val == 7
    assert as_bytes(found[0][1]) == as_bytes(read(packed, counts, [key])[0][1])
    assert (target.async_supported.read, target.async_supported.write) == (True, True)


@pytest.mark.parametrize("kind", OURS)
def test_feast_returns_expired_rows_unless_told_not_to(kind, tmp_path, redis_url):
    """Its own stores return them; with `apply_ttl` a row counts as missing after its time to live."""
    from datetime import UTC, datetime

    brief = view_of("brief", {"n": "Int64"}, ttl=timedelta(hours=1))
    now = datetime.now(UTC)
    for apply_ttl in (False, True):
        store = open_world(kind, tmp_path / str(apply_ttl), redis_url, [user, brief], apply_ttl=apply_ttl)
        old, new = fresh_ids(2)
        one = {"n": proto("Int64", 1)}
        write(store, brief, [(old, one, now - timedelta(minutes=61), None), (new, one, now, None)])
        asked = store.get_online_features(["brief:n"], [{"user_id": key} for key in (old, new)]).to_dict()
        assert asked["n"] == [None if apply_ttl else 1, 1]


@pytest.mark.parametrize("kind", OURS)
def test_a_changed_view_refuses_rows_of_before(kind, tmp_path, redis_url):
    """The message names what differs; rows written since are read, and a store not told of it refuses."""
    store = open_world(kind, tmp_path, redis_url, [user, counts])
    old, new = fresh_ids(2)
    write(store, counts, [(old, row(1), T0, None)])
    changed = view_of("counts", {"n": "Float64", "visits": "Int64"})
    with pytest.raises(
        RuntimeError, match="has n as INT64 instead of DOUBLE, lacks visits, has share besides"
    ):
        write(store, changed, [])
    store.apply([changed])
    write(store, changed, [(new, {"n": proto("Float64", 2.5), "visits": proto("Int64", 4)}, T0, None)])
    assert read(store, changed, [new])[0][1]["n"].double_val == 2.5
    with pytest.raises(RuntimeError, match=r"lacks visits.*has share besides; run `endcap materialize`"):
        read(store, changed, [old])
