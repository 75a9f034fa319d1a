"""Our offline store gives the values that Feast's own `duckdb` store gives, cell by cell.

Both are asked through `feast.FeatureStore` about the same shop (see `feature_worlds`). Feast's store gives
rows in no order: each entity row carries a number to sort by. Ours must need no sorting.
"""

import pandas as pd
import pyarrow as pa
import pytest
from feature_worlds import (
    DAY,
    NOON,
    PAIRS,
    PRICES,
    US,
    asof_options,
    in_order,
    joined,
    open_store,
    rows_of,
    shop_frame,
    shop_objects,
    write_shop,
)

PRICE = ["price:price", "price:left"]
CASES = {
    "one view": PRICE,
    "no created column": ["text:title"],
    "arrays": ["text:tags", "text:counts", "text:vector"],
    "field mapping": ["visits:visits"],
    "two keys": ["pair:bought"],
    "no entity": ["hours:hours"],
    "several views, features in another order": ["text:title", "price:left", "hours:hours", "price:price"],
    "whole service": "everything",
    "some features of views": "some",
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(Feast's store, ours) over the same tables, each with a registry of its own."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return tuple(
        open_store(folder / name, offline, shop_objects(folder))
        for name, offline in (("stock", "duckdb"), ("ours", asof_options(folder)))
    )


def ask(store, frame, features, **options):
    """Retrieval job for a frame, which Feast may change, and features by name or a service by its name."""
    if isinstance(features, str):
        features = store.get_feature_service(features)
    return store.get_historical_features(frame.copy(), features, **options)


@pytest.mark.parametrize("by_created", [False, True])
@pytest.mark.parametrize("features", CASES.values(), ids=CASES.keys())
def test_every_cell_equals_stock(stores, features, by_created):
    """Same columns, rows and values as Feast's store, and in the order of the entity rows."""
    stock, ours = (
        ask(store, shop_frame(), features, filter_by_created_timestamp=by_created).to_arrow()
        for store in stores
    )
    assert ours.column_names == stock.column_names
    assert rows_of(ours) == in_order(rows_of(stock))


@pytest.mark.parametrize("by_created", [False, True])
def test_both_equal_the_definition(stores, by_created):
    """Prices are those of a loop over all rows, so stock and ours are not wrong together."""
    options = {"ttl": 10 * DAY, "by_created": by_created}
    frame = shop_frame()
    expected = joined(rows_of(frame), PRICES, ["item_id"], ["price", "left"], **options)
    for store in stores:
        answer = ask(store, frame, PRICE, filter_by_created_timestamp=by_created).to_arrow()
        assert in_order(rows_of(answer)) == expected


def test_pairs_equal_the_definition(stores):
    """A row of a view with two keys is found by both keys."""
    frame = shop_frame()
    expected = joined(rows_of(frame), PAIRS, ["user_id", "item_id"], ["bought"], ttl=10 * DAY)
    assert rows_of(ask(stores[1], frame, ["pair:bought"]).to_arrow()) == expected
    assert {row["bought"] for row in expected} == {None, 0, 1, 2, 3}


EDGE_CASES = {
    # item, time after noon, by creation time: price
    "event time exactly at the instant": ("b", 0 * DAY, False, 4.0),
    "one microsecond before the event": ("b", -US, False, None),
    "one microsecond before the time to live ends": ("b", 10 * DAY - US, False, 4.0),
    "exactly at the end of the time to live": ("b", 10 * DAY, False, 4.0),
    "one microsecond after the time to live ended": ("b", 10 * DAY + US, False, None),
    "a later creation wins a tie of event times": ("a", 0 * DAY, False, 1.5),
    "a correction is unknown before its creation": ("a", 0 * DAY, True, 1.0),
    "a correction of an older event does not win": ("a", 3 * DAY, True, 2.0),
    "a late arrival is seen by event time alone": ("a", 2 * DAY, False, 3.0),
    "a late arrival is unknown before its creation": ("a", 6 * DAY - US, True, 2.0),
    "a late arrival is known at its creation": ("a", 6 * DAY, True, 3.0),
    "a value that is null stays null": ("c", DAY, False, None),
    "an unknown key has no values": ("unknown", DAY, False, None),
}


@pytest.mark.parametrize(("item", "after", "by_created", "price"), EDGE_CASES.values(), ids=EDGE_CASES.keys())
def test_edges(stores, item, after, by_created, price):
    """What is known at an edge in time is what the case's name says, in both stores."""
    frame = pd.DataFrame({"item_id": [item], "event_timestamp": [NOON + after]})
    for store in stores:
        answer = ask(store, frame, PRICE, filter_by_created_timestamp=by_created).to_arrow()
        assert [row["price"] for row in rows_of(answer)] == [price]


@pytest.mark.parametrize("full_names", [False, True])
def test_full_names(stores, full_names):
    """Features are named view__feature on demand."""
    stock, ours = (
        ask(store, shop_frame(), "everything", full_feature_names=full_names).to_arrow() for store in stores
    )
    assert ("price__price" in ours.column_names) == full_names
    assert rows_of(ours) == in_order(rows_of(stock))


def test_a_view_twice_under_another_name_and_key(stores):
    """One view joins by two columns of the frame: with_name and with_join_key_map."""
    frame = shop_frame()
    stock, ours = (ask(store, frame, "two_items", full_feature_names=True).to_arrow() for store in stores)
    assert rows_of(ours) == in_order(rows_of(stock))
    by_other = [row | {"item_id": row["other_id"]} for row in rows_of(frame)]
    expected = joined(by_other, PRICES, ["item_id"], ["price"], ttl=10 * DAY)
    assert ours["other__price"].to_pylist() == [row["price"] for row in expected]


def test_frames_equal_stock(stores):
    """`to_df` has the values and the types that Feast's store gives, lists included."""
    stock, ours = (ask(store, shop_frame(), "everything").to_df() for store in stores)
    stock = stock.sort_values("row", ignore_index=True)
    assert rows_of(ours) == rows_of(stock)
    assert ours.drop(columns="event_timestamp").dtypes.equals(stock.drop(columns="event_timestamp").dtypes)


def test_types_are_those_of_the_files(stores):
    """Arrow columns keep the type that the file has: no integer becomes a float, no list loses its items'."""
    types = ask(stores[1], shop_frame(), "everything").to_arrow().schema
    assert types.field("left").type == pa.int64()
    assert types.field("tags").type == pa.list_(pa.string())
    assert types.field("vector").type == pa.list_(pa.float32())
    assert types.field("event_timestamp").type == pa.timestamp("us", tz="UTC")
