"""Entity frames of every kind, and ranges of rows, are understood as Feast's own `duckdb` store does."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from feature_worlds import (
    DAY,
    NOON,
    PRICES,
    US,
    asof_options,
    in_order,
    known,
    open_store,
    rows_of,
    shop_frame,
    shop_objects,
    write_shop,
)

FEATURES = ["price:price", "visits:visits", "pair:bought"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """(Feast's store, ours) over the same tables, each with a registry of its own."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return tuple(
        open_store(folder / name, offline, shop_objects(folder))
        for name, offline in (("stock", "duckdb"), ("ours", asof_options(folder)))
    )


def with_instants(change):
    """The shop's frame with its event times changed."""
    frame = shop_frame()
    return frame.assign(event_timestamp=change(frame["event_timestamp"]))


def extra_columns(frame):
    """Columns of several types that are no key: they come back as they were."""
    n = len(frame)
    return frame.assign(
        label=np.arange(n) % 2, weight=np.linspace(0, 1, n), note="x", chosen=np.arange(n) % 3 == 0
    )


def twice(frame):
    """Each row twice, the copies far apart, numbered anew."""
    return pd.concat([frame, frame[::-1]]).assign(row=np.arange(2 * len(frame)))


def at_offsets(stamps):
    """Python datetimes with a zone each, so that the column is one of objects."""
    zones = [timezone(timedelta(hours=hours)) for hours in (-5, 0, 9)]
    return pd.Series(
        [stamp.to_pydatetime().astimezone(zones[n % 3]) for n, stamp in enumerate(stamps)], dtype=object
    )


FRAMES = {
    "naive instants are UTC": lambda: with_instants(lambda stamps: stamps.dt.tz_localize(None)),
    "another zone": lambda: with_instants(lambda stamps: stamps.dt.tz_convert("America/New_York")),
    "a zone for each row": lambda: with_instants(at_offsets),
    "instants as text": lambda: with_instants(lambda stamps: stamps.dt.strftime("%Y-%m-%dT%H:%M:%S.%f%z")),
    "nanosecond type": lambda: with_instants(lambda stamps: stamps.astype("datetime64[ns, UTC]")),
    "microsecond type": lambda: with_instants(lambda stamps: stamps.astype("datetime64[us, UTC]")),
    "extra columns": lambda: extra_columns(shop_frame()),
    "duplicate rows": lambda: twice(shop_frame()),
    "index that is not a range": lambda: shop_frame().set_index(np.arange(len(shop_frame())) * 7 % 11),
    "columns in another order": lambda: shop_frame()[shop_frame().columns[::-1]],
    "one row": lambda: shop_frame().iloc[:1],
    "another name of the instant": lambda: shop_frame().rename(columns={"event_timestamp": "asked_at"}),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_frames_of_every_kind(stores, frame):
    """A row for each entity row, in its order, the frame's own columns first, as in Feast's store."""
    asked = frame()
    stock, ours = (store.get_historical_features(asked.copy(), FEATURES).to_arrow() for store in stores)
    assert ours.column_names == stock.column_names == [*asked.columns, "price", "visits", "bought"]
    assert rows_of(ours) == in_order(rows_of(stock))
    assert ours["row"].to_pylist() == asked["row"].tolist()


@pytest.mark.parametrize("after", [-1, 0, 1, 999, 1000])
def test_nanoseconds_are_rounded_down(stores, after):
    """A value of noon is unknown a nanosecond before noon: no instant is rounded into the future."""
    instant = pd.Timestamp(NOON).as_unit("ns") + pd.Timedelta(after, unit="ns")
    frame = pd.DataFrame({"item_id": ["b"], "event_timestamp": [instant]})
    answer = stores[1].get_historical_features(frame, ["price:price"]).to_arrow()
    assert answer["price"].to_pylist() == [None if after < 0 else 4.0]


def test_the_frame_is_left_as_it_was(stores):
    """Asking does not change the caller's frame."""
    asked = FRAMES["instants as text"]()
    before = asked.copy()
    stores[1].get_historical_features(asked, FEATURES).to_arrow()
    pd.testing.assert_frame_equal(asked, before)


# ---- Ranges of rows: what Feast materializes from

COLUMNS = {
    "price": (["item_id"], ["price", "left"], "event_timestamp", "created_timestamp"),
    "pair": (["user_id", "item_id"], ["bought"], "event_timestamp", None),
    "visits": (["uid"], ["n"], "at", "made"),
    "text": (["item_id"], ["tags", "vector", "title"], "event_timestamp", None),
    "hours": ([], ["hours"], "event_timestamp", None),
}
BOUNDS = {
    "all": (NOON - DAY, NOON + 30 * DAY),
    "exactly at both bounds": (NOON, NOON + DAY),
    "a microsecond within": (NOON + US, NOON + DAY - US),
    "a microsecond beyond": (NOON - US, NOON + DAY + US),
    "one instant": (NOON, NOON),
    "in other zones": (
        NOON.astimezone(timezone(timedelta(hours=9))),
        (NOON + 4 * DAY).astimezone(timezone(timedelta(hours=-5))),
    ),
    "naive": (datetime(2024, 3, 10, 12), datetime(2024, 3, 11, 12)),
    "nothing there": (NOON + 100 * DAY, NOON + 101 * DAY),
}


def pull(store, view, start, end, *, latest):
    """Rows of a view's table between two instants, sorted by their text, without the bookkeeping columns."""
    from feast.infra.offline_stores.offline_utils import get_offline_store_from_config

    offline = get_offline_store_from_config(store.config.offline_store)
    keys, features, timestamp, created = COLUMNS[view]
    method = offline.pull_latest_from_table_or_query if latest else offline.pull_all_from_table_or_query
    answer = method(
        config=store.config,
        data_source=store.get_feature_view(view).batch_source,
        join_key_columns=keys,
        feature_name_columns=features,
        timestamp_field=timestamp,
        created_timestamp_column=created,
        start_date=start,
        end_date=end,
    ).to_arrow()
    assert answer.column_names == [*keys, *features, timestamp, *([created] if created else [])]
    return sorted(rows_of(answer), key=str)


@pytest.mark.parametrize("latest", [True, False])
@pytest.mark.parametrize("view", COLUMNS)
def test_ranges_equal_stock(stores, view, latest):
    """Latest rows of keys, and all rows, between two instants, both included, are those of Feast's store."""
    for name, (start, end) in BOUNDS.items():
        stock, ours = (pull(store, view, start, end, latest=latest) for store in stores)
        assert ours == stock, name


def test_a_range_without_bounds_is_all(stores):
    """Missing bounds leave nothing out."""
    stock, ours = (pull(store, "price", None, None, latest=False) for store in stores)
    assert ours == stock
    assert len(ours) == len(PRICES)


@pytest.mark.parametrize("end", [NOON - US, NOON, NOON + DAY, NOON + 2 * DAY, NOON + 20 * DAY])
def test_latest_equals_the_definition(stores, end):
    """The latest row of each item up to an instant is what a loop over all rows finds."""
    found = {row["item_id"]: row["price"] for row in pull(stores[1], "price", NOON - DAY, end, latest=True)}
    best = {item: known(PRICES, {"item_id": item}, end) for item in "abc"}
    assert found == {item: row["price"] for item, row in best.items() if row}


def test_materialized_values_equal_stock(stores):
    """Feast materializes and reads online the same values from either store, mapped columns included."""
    items, users = [{"item_id": item} for item in "abc"], [{"user_id": user} for user in "uvw"]
    answers = []
    for store in stores:
        store.materialize(NOON - DAY, NOON + 4 * DAY, feature_views=["price", "visits"])
        of_items = store.get_online_features(["price:price", "price:left"], items).to_dict()
        answers.append((of_items, store.get_online_features(["visits:visits"], users).to_dict()))
    assert answers[0] == answers[1]
    assert answers[1][0]["price"] == [3.0, 4.0, None]
    assert answers[1][1]["visits"] == [4, 14, None]
