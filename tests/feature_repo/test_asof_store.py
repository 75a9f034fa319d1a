"""Our offline store, asked through Feast, where Feast's own store cannot answer or is known to be wrong.

What is expected comes from loops over all rows (`feature_worlds.joined`), or is written out.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService
from feast.types import Float64, Int64
from feature_worlds import (
    CREATED,
    DAY,
    NOON,
    PAIRS,
    PRICES,
    asof_options,
    joined,
    open_store,
    parquet_view,
    rows_of,
    text_entity,
    write_parquet,
)

ITEM, USER = text_entity("item"), text_entity("user")
PRICE = ["price:price", "price:left"]
PRICE_TYPES = {"item_id": pa.string(), "price": pa.float64(), "left": pa.int64()}
PAIR_TYPES = {"user_id": pa.string(), "item_id": pa.string(), "bought": pa.int64()}


def price_view(path, **options):
    """The view of prices and stock."""
    return parquet_view(
        "price", path, [ITEM], **({"source": CREATED, "price": Float64, "left": Int64} | options)
    )


def price_store(folder, **options):
    """A store over the folder of prices below `folder`."""
    return open_store(folder, asof_options(folder), [ITEM, price_view(folder / "price", **options)])


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A store whose sources are folders of parts below its state folder, named by relative paths."""
    state = tmp_path_factory.mktemp("state")
    for number, row in enumerate(PRICES):  # one row a part: the order of parts is the order of rows
        write_parquet(state / "features" / "price" / f"part-{number}.parquet", [row], **PRICE_TYPES)
    (state / "features" / "price" / "_SUCCESS").touch()
    (state / "features" / "price" / "_aside.parquet").write_bytes(b"half a file")
    (state / "features" / "price" / ".part-0.parquet.crc").touch()
    write_parquet(state / "features" / "pair" / "only.parquet", PAIRS, **PAIR_TYPES)
    price = price_view("features/price", ttl=10 * DAY)
    pair = parquet_view("pair", "features/pair", [USER, ITEM], bought=Int64)
    renamed = FeatureService(name="renamed", features=[pair.with_join_key_map({"user_id": "shopper"})])
    return open_store(
        state / "feast", asof_options(state, state=str(state)), [ITEM, USER, price, pair, renamed]
    )


def ask_price(store, frame, **options):
    """Entity rows with their price and stock."""
    return rows_of(store.get_historical_features(frame, PRICE, **options).to_arrow())


def frame_of(*rows):
    """A frame of (item, instant)."""
    return pd.DataFrame(rows, columns=["item_id", "event_timestamp"])


@pytest.mark.parametrize("by_created", [False, True])
def test_a_folder_of_parts_is_one_table(shop, by_created):
    """Rows of all parts are seen, marks of the writer are not; rows come back in order, duplicates too."""
    rng = np.random.default_rng(11)
    days = rng.integers(-1, 32, 200).tolist()
    frame = frame_of(
        *((item, NOON + d * DAY) for item, d in zip(rng.choice(list("abcd"), 200), days, strict=True))
    )
    options = {"by_created": by_created, "ttl": 10 * DAY}
    expected = joined(rows_of(frame), PRICES, ["item_id"], ["price", "left"], **options)
    assert ask_price(shop, frame, filter_by_created_timestamp=by_created) == expected


def test_parts_may_differ_in_their_columns(tmp_path):
    """A part written before a feature existed has nulls for it, and the order of columns does not matter."""
    old, new = (row | {"event_timestamp": NOON} for row in ({"item_id": "a", "price": 1.0}, {"item_id": "b"}))
    write_parquet(tmp_path / "price" / "1.parquet", [old], item_id=pa.string(), price=pa.float64())
    types = {"left": pa.int64(), "price": pa.float64(), "item_id": pa.string()}
    write_parquet(tmp_path / "price" / "2.parquet", [new | {"price": 2.0, "left": 7}], **types)
    store = price_store(tmp_path, source=None)
    answer = ask_price(store, frame_of(("b", NOON), ("a", NOON)))
    assert [(row["price"], row["left"]) for row in answer] == [(2.0, 7), (1.0, None)]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
@pytest.mark.parametrize("one_part", [True, False])
def test_of_equal_rows_the_later_wins(tmp_path, order, one_part):
    """Equal event times: the later creation, unknown ones last; then the later row of the later part."""
    created = [NOON, NOON + DAY, None, NOON + DAY]
    rows = [
        {"item_id": "a", "price": float(n), "event_timestamp": NOON, "created_timestamp": created[n]}
        for n in order
    ]
    for number, part in enumerate([rows] if one_part else [[row] for row in rows]):
        write_parquet(tmp_path / "price" / f"{number}.parquet", part, **PRICE_TYPES)
    store = price_store(tmp_path)
    frame = frame_of(("a", NOON), ("a", NOON + DAY))
    for by_created in (False, True):
        expected = joined(rows_of(frame), rows, ["item_id"], ["price"], by_created=by_created)
        answer = store.get_historical_features(frame, ["price:price"], filter_by_created_timestamp=by_created)
        assert rows_of(answer.to_arrow()) == expected


# ---- Entity rows that are no frame


@pytest.mark.parametrize(
    "instant",
    [
        "TIMESTAMPTZ '2024-03-11 12:00:00+00'",
        "TIMESTAMP '2024-03-11 12:00:00'",
        "'2024-03-11T21:00:00+09:00'",
    ],
)
def test_entity_rows_from_sql(shop, instant):
    """A SELECT in DuckDB's SQL gives the entity rows, in its order; an instant without a zone is UTC."""
    asked = "(VALUES ('b', 1), ('a', 2), ('x', 3)) asked(item_id, n)"
    answer = ask_price(shop, f"SELECT item_id, n, {instant} AS event_timestamp FROM {asked} ORDER BY n DESC")
    assert [(row["n"], row["price"]) for row in answer] == [(3, None), (2, 2.0), (1, 4.0)]
    assert {row["event_timestamp"] for row in answer} == {NOON + DAY}


def test_a_date_is_its_midnight(shop):
    """A date as instant knows nothing of the day itself."""
    days = "(VALUES (DATE '2024-03-10'), (DATE '2024-03-11')) t(event_timestamp)"
    answer = ask_price(shop, f"SELECT 'b' AS item_id, event_timestamp FROM {days} ORDER BY 2")
    assert [row["price"] for row in answer] == [None, 4.0]


@pytest.mark.parametrize(
    ("start", "end", "items"),
    [(0, 0, "abc"), (1, 1, "a"), (1, 20, "ac"), (-1, 2, "abc"), (21, 30, "")],
)
def test_without_entity_rows(shop, start, end, items):
    """Every key with a row between two instants, both included, has one row: what is known at the end."""
    first, last = NOON + start * DAY, NOON + end * DAY
    answer = shop.get_historical_features(features=PRICE, start_date=first, end_date=last)
    asked = [{"item_id": item, "event_timestamp": last} for item in items]
    assert rows_of(answer.to_arrow()) == joined(asked, PRICES, ["item_id"], ["price", "left"], ttl=10 * DAY)


# ---- Keys


def test_a_join_key_map_may_name_some_keys(shop):
    """With two keys and one of them mapped, both join (Feast's store joins by the mapped one alone)."""
    frame = pd.DataFrame(
        {"shopper": ["u", "u", "v"], "item_id": ["a", "b", "b"], "event_timestamp": NOON + 9 * DAY}
    )
    answer = shop.get_historical_features(frame, shop.get_feature_service("renamed")).to_arrow()
    assert answer["bought"].to_pylist() == [3, 1, None]


@pytest.mark.parametrize("dtype", ["int64", "object", "string", "string[pyarrow]", "category", "Int64"])
def test_ids_may_be_numbers_or_any_text(tmp_path, dtype):
    """Text ids of a table are found by numbers and by every type of text of a frame."""
    rows = [{"item_id": str(n), "price": n / 2, "event_timestamp": NOON} for n in range(9, 12)]
    write_parquet(tmp_path / "price" / "1.parquet", rows, **PRICE_TYPES)
    store = price_store(tmp_path, source=None)
    ids = pd.Series([11, 9, 10, 9], dtype="int64" if "nt" in dtype else "str").astype(dtype)
    frame = pd.DataFrame({"item_id": ids, "event_timestamp": NOON})
    answer = store.get_historical_features(frame, ["price:price"]).to_arrow()
    assert answer["price"].to_pylist() == [5.5, 4.5, 5.0, 4.5]


@pytest.mark.parametrize(
    "frame",
    [frame_of(), frame_of(("zz", NOON)), frame_of(("a", pd.NaT), ("b", pd.NaT)), frame_of((None, NOON))],
    ids=["no rows", "unknown key", "no instants", "no key"],
)
def test_nothing_known(shop, frame):
    """Frames for which nothing is known come back with null features."""
    frame["event_timestamp"] = pd.to_datetime(frame["event_timestamp"], utc=True)
    frame = frame.astype({"item_id": "object"})
    assert ask_price(shop, frame) == [row | {"price": None, "left": None} for row in rows_of(frame)]


def test_text_instants_of_any_precision(shop):
    """ISO texts may differ in precision and offset."""
    texts = [
        "2024-03-11",
        "2024-03-10T12:00:00+00:00",
        "2024-03-10 21:00:00.000001+09:00",
        "2024-03-10T11:59Z",
    ]
    answer = ask_price(shop, frame_of(*(("b", text) for text in texts)))
    assert [row["price"] for row in answer] == [4.0, 4.0, 4.0, None]
    with pytest.raises(ValueError, match="03/10/2024"):
        ask_price(shop, frame_of(("b", "03/10/2024")))


def test_without_entity_rows_all_views_count(tmp_path):
    """Keys of any of the views are asked for once; views of no entity add none, and alone give one row."""
    more = [{"item_id": "z", "price": 9.0, "event_timestamp": NOON}, PRICES[0]]
    write_parquet(tmp_path / "price" / "1.parquet", PRICES, **PRICE_TYPES)
    write_parquet(tmp_path / "more" / "1.parquet", more, item_id=pa.string(), price=pa.float64())
    write_parquet(tmp_path / "hours" / "1.parquet", [{"hours": 8, "event_timestamp": NOON}], hours=pa.int64())
    views = [
        price_view(tmp_path / "price"),
        parquet_view("more", tmp_path / "more", [ITEM], price=Float64),
        parquet_view("hours", tmp_path / "hours", [], hours=Int64),
    ]
    store = open_store(tmp_path, asof_options(tmp_path), [ITEM, *views])
    span = {"start_date": NOON, "end_date": NOON + DAY, "full_feature_names": True}
    answer = store.get_historical_features(features=["price:left", "more:price", "hours:hours"], **span)
    found = [tuple(row.values())[0:1] + tuple(row.values())[2:] for row in rows_of(answer.to_arrow())]
    assert found == [("a", None, 1.0, 8), ("b", 13, None, 8), ("c", 14, None, 8), ("z", None, 9.0, 8)]
    alone = store.get_historical_features(features=["hours:hours"], **span).to_arrow()
    assert rows_of(alone) == [{"event_timestamp": NOON + DAY, "hours__hours": 8}]
