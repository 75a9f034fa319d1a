"""What Feast and its users rely on around an answer: lazy jobs, metadata, on-demand views, saving, errors."""

import re

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field, FileSource
from feast.data_format import DeltaFormat
from feast.errors import FeastEntityDFMissingColumnsError, SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64
from feature_worlds import (
    CREATED,
    DAY,
    NOON,
    PRICES,
    asof_options,
    open_store,
    parquet_view,
    rows_of,
    shop_frame,
    shop_objects,
    text_entity,
    write_parquet,
    write_shop,
)

from feature_repo.stores.parquet_parts import WRITTEN_BY, FeatureTableError

ITEM = text_entity("item")
FRAME = pd.DataFrame({"item_id": ["b", "a"], "event_timestamp": [NOON, NOON + DAY]})


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Our store over the shop of `feature_worlds`."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return open_store(folder, asof_options(folder), shop_objects(folder))


def store_of(folder, *objects):
    """Our store with these views."""
    return open_store(folder, asof_options(folder), [ITEM, *objects])


# ---- Jobs


def test_a_job_says_what_was_asked(shop):
    """Metadata name the features, the keys and the first and last instant."""
    frame = shop_frame()
    metadata = shop.get_historical_features(frame.copy(), ["price:price", "pair:bought"]).metadata
    assert metadata.features == ["price:price", "pair:bought"]
    assert set(metadata.keys) == set(frame.columns) - {"event_timestamp"}
    assert metadata.min_event_timestamp == frame["event_timestamp"].min()
    assert metadata.max_event_timestamp == frame["event_timestamp"].max()


def test_a_job_saves_its_result(shop, tmp_path):
    """`persist` writes the rows as Parquet, and over an older file only when told to."""
    job = shop.get_historical_features(FRAME.copy(), ["price:price", "text:tags"])
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet")))
    assert rows_of(pq.read_table(tmp_path / "saved.parquet")) == rows_of(job.to_arrow())
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet"))
    with pytest.raises(SavedDatasetLocationAlreadyExists):
        job.persist(storage)
    job.persist(storage, allow_overwrite=True)


def test_a_timeout_is_refused(shop):
    """The store cannot stop a query, and says so instead of leaving the limit out."""
    job = shop.get_historical_features(FRAME.copy(), ["price:price"])
    for result in (job.to_arrow, job.to_df):
        with pytest.raises(NotImplementedError, match=r"timeout is 5; .*leave it out"):
            result(timeout=5)


def test_on_demand_features_are_computed(tmp_path):
    """Feast computes an on-demand view from the values that the store found."""
    write_parquet(tmp_path / "price.parquet", PRICES, item_id=pa.string(), price=pa.float64())
    price = parquet_view("price", tmp_path / "price.parquet", [ITEM], source=CREATED, price=Float64)

    @on_demand_feature_view(sources=[price], schema=[Field(name="double", dtype=Float64)])
    def doubled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"double": inputs["price"] * 2})

    store = store_of(tmp_path, price, doubled)
    answer = store.get_historical_features(FRAME.copy(), ["price:price", "doubled:double"]).to_df()
    assert answer["double"].tolist() == [8.0, 4.0]


def test_names_are_no_sql(tmp_path):
    """Columns and folders with quotes, blanks or equal signs, or named as the join's own, are found."""
    names = ['the "net" price', "day", "position", "key_0", "wanted"]
    folder = tmp_path / "day=1" / "it's 100%"
    values = {name: n for n, name in enumerate(names)}
    types = {"item_id": pa.string()} | dict.fromkeys(names, pa.int64())
    write_parquet(folder / "part.parquet", [{"item_id": "a", "event_timestamp": NOON} | values], **types)
    store = store_of(tmp_path, parquet_view("odd", folder, [ITEM], **dict.fromkeys(names, Int64)))
    answer = store.get_historical_features(FRAME.copy(), [f"odd:{name}" for name in names]).to_arrow()
    assert rows_of(answer.select(names)) == [dict.fromkeys(names), values]


def test_a_schema_that_is_not_declared_is_read(tmp_path):
    """Feast infers the features of a view from the first part of its folder."""
    types = {"item_id": pa.string(), "price": pa.float64(), "left": pa.int64()}
    write_parquet(tmp_path / "price" / "part-0.parquet", PRICES, **types)
    store = store_of(tmp_path, parquet_view("price", tmp_path / "price", [ITEM], source=CREATED))
    found = {field.name: field.dtype for field in store.get_feature_view("price").features}
    assert found == {"price": Float64, "left": Int64}


# ---- Errors


@pytest.mark.parametrize(
    ("tags", "command"),
    [({}, "endcap build-features"), ({WRITTEN_BY: "endcap embed-items"}, "endcap embed-items")],
)
@pytest.mark.parametrize("folder", [True, False])
def test_a_missing_table_names_the_command(tmp_path, tags, command, folder):
    """Views can be applied before their rows exist; asking then says what to run."""
    path = tmp_path / "prices"
    if folder:
        path.mkdir()
    store = store_of(tmp_path, parquet_view("price", path, [ITEM], source={"tags": tags}, price=Float64))
    with pytest.raises(
        FeatureTableError, match=f"No feature table in {re.escape(str(path))}; run `{command}`"
    ):
        store.get_historical_features(FRAME.copy(), ["price:price"])


def test_a_missing_key_is_named(shop):
    """Entity rows without a key of a view are refused, whether frame or SQL."""
    for asked in (FRAME.copy(), f"SELECT 'a' AS item_id, TIMESTAMP '{NOON:%Y-%m-%d}' AS event_timestamp"):
        with pytest.raises(FeastEntityDFMissingColumnsError, match="user_id"):
            shop.get_historical_features(asked, ["pair:bought"])


def test_fractions_are_no_ids(shop):
    """Whole numbers become fractions beside a missing one: refused, since "7.0" is the id of nothing."""
    frame = pd.DataFrame({"item_id": [7, None], "event_timestamp": [NOON, NOON]})
    job = shop.get_historical_features(frame, ["price:price"])
    with pytest.raises(ValueError, match="Key 'item_id' is double in the entity rows; give whole"):
        job.to_arrow()


def test_two_columns_of_one_name_are_refused(shop):
    """A feature named as a column of the frame needs its full name."""
    frame = FRAME.assign(price=[1, 2])
    with pytest.raises(ValueError, match=r"Two columns are named 'price'; .*full_feature_names=True"):
        shop.get_historical_features(frame.copy(), ["price:price"]).to_arrow()
    answer = shop.get_historical_features(frame.copy(), ["price:price"], full_feature_names=True).to_arrow()
    assert answer.select(["price", "price__price"]).to_pylist() == [
        {"price": 1, "price__price": 4.0},
        {"price": 2, "price__price": 2.0},
    ]


def test_a_source_that_is_no_parquet_is_refused(tmp_path):
    """A folder of Delta also holds rows that were deleted: neither `feast apply` nor a question takes it."""
    write_parquet(tmp_path / "delta" / "1.parquet", PRICES, item_id=pa.string(), price=pa.float64())
    format_and_path = {"path": str(tmp_path / "delta"), "file_format": DeltaFormat()}
    source = FileSource(name="delta", timestamp_field="event_timestamp", **format_and_path)
    view = FeatureView(
        name="price", entities=[ITEM], source=source, schema=[Field(name="price", dtype=Float64)]
    )
    store = store_of(tmp_path, source, view)
    refused = pytest.raises(ValueError, match=r"'delta' is delta; this store reads Parquet")
    with refused:
        store.get_historical_features(FRAME.copy(), ["price:price"])
    with refused:  # what `feast apply` calls
        store._get_provider().validate_data_source(store.config, source)


def test_a_table_that_changes_while_it_is_read_is_noticed(tmp_path, monkeypatch):
    """Rows that vanish between finding and reading give an error, not values of other rows."""
    from feature_repo.stores import asof_join

    path = tmp_path / "price.parquet"
    write_parquet(path, PRICES, item_id=pa.string(), price=pa.float64())
    found = asof_join.known_positions

    def and_then_rewritten(*arguments, **options):
        positions = found(*arguments, **options)
        write_parquet(path, PRICES[:1], item_id=pa.string(), price=pa.float64())
        return positions

    monkeypatch.setattr(asof_join, "known_positions", and_then_rewritten)
    store = store_of(tmp_path, parquet_view("price", path, [ITEM], source=CREATED, price=Float64))
    job = store.get_historical_features(FRAME.copy(), ["price:price"])
    with pytest.raises(RuntimeError, match=r"2 rows were found and 0 read: .*price\.parquet changed"):
        job.to_arrow()
