"""Small feature tables, a Feast store of each kind over them, and the slow answer by plain loops.

`open_store` gives a real `feast.FeatureStore` with a registry of its own. `rows_of` brings an answer of
either kind into one form: a dictionary a row, None for every null. `known` and `joined` are the definition
of a point-in-time join, read row by row; they share no code with the store.
"""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ASOF = "feature_repo.stores.asof.AsofOfflineStore"
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)
DAY, US = timedelta(days=1), timedelta(microseconds=1)
STAMP = pa.timestamp("us", tz="UTC")
LAST = 2**62


def write_parquet(path, rows, **types):
    """Write rows (dictionaries) as one file; timestamps of the usual names are UTC microseconds."""
    types = {"event_timestamp": STAMP, "created_timestamp": STAMP} | types
    names = {name for row in rows for name in row}
    schema = pa.schema([(name, types[name]) for name in types if name in names])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def open_store(folder, offline, objects):
    """Feast's store with an offline store by type or options; registry and online store are in `folder`."""
    from feast import FeatureStore, RepoConfig

    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project="tests",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store=offline if isinstance(offline, dict) else {"type": offline},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    store.apply(objects)
    return store


CREATED = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}


def text_entity(name):
    """Entity with the key NAME_id."""
    from feast import Entity, ValueType

    return Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)


def parquet_view(name, path, entities, *, ttl=timedelta(0), source=None, **types):
    """A view over a Parquet file or folder, its source named alike; `source` are further options of that."""
    from feast import FeatureView, Field, FileSource

    source = FileSource(
        name=name, path=str(path), **({"timestamp_field": "event_timestamp"} | (source or {}))
    )
    schema = [Field(name=feature, dtype=kind) for feature, kind in types.items()]
    return FeatureView(name=name, entities=entities, ttl=ttl, source=source, schema=schema)


def asof_options(folder, **options):
    """Configuration of our store: one thread, spilling below `folder`."""
    return {"type": ASOF, "threads": 1, "temp_directory": str(folder / "spill"), **options}


def plain(value):
    """One value as Python has it; None for null, NaN and NaT."""
    if isinstance(value, np.ndarray | list):
        return [plain(each) for each in value]
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime() if value.tzinfo else value.to_pydatetime().replace(tzinfo=UTC)
    return value.item() if isinstance(value, np.generic) else value


def rows_of(answer):
    """Rows of an Arrow table or of a frame."""
    records = answer.to_pylist() if isinstance(answer, pa.Table) else answer.to_dict("records")
    return [{name: plain(value) for name, value in row.items()} for row in records]


def in_order(rows, by="row"):
    """Rows sorted by the number that they carry."""
    return sorted(rows, key=lambda row: row[by])


def known(rows, keys, instant, *, ttl=None, by_created=False):
    """The row known of `keys` at `instant`, or None: the latest by event time, by creation, by place."""
    best, best_rank = None, None
    for place, row in enumerate(rows):
        created = row.get("created_timestamp")
        if any(row[key] is None or row[key] != value for key, value in keys.items()):
            continue
        if row["event_timestamp"] > instant or (by_created and (created is None or created > instant)):
            continue
        rank = (row["event_timestamp"], created is not None, created or NOON, place)
        if best is None or rank > best_rank:
            best, best_rank = row, rank
    return None if best is None or (ttl and best["event_timestamp"] + ttl < instant) else best


def joined(entities, rows, keys, features, **options):
    """Every entity row, in order, with the features that are known at its event time."""
    answer = []
    for entity in entities:
        row = known(rows, {key: entity[key] for key in keys}, entity["event_timestamp"], **options)
        answer.append(entity | {name: row.get(name) if row else None for name in features})
    return answer


# ---- A shop in five views: what both stores are asked about.

PRICES = [  # a late correction of the same event time, a late arrival, one row at an edge, one in the future
    {"item_id": "a", "price": 1.0, "left": 10, "event_timestamp": NOON, "created_timestamp": NOON},
    {"item_id": "a", "price": 1.5, "left": 11, "event_timestamp": NOON, "created_timestamp": NOON + 3 * DAY},
    {"item_id": "a", "price": 2.0, "event_timestamp": NOON + DAY, "created_timestamp": NOON + DAY},
    {
        "item_id": "a",
        "price": 3.0,
        "left": 12,
        "event_timestamp": NOON + 2 * DAY,
        "created_timestamp": NOON + 6 * DAY,
    },
    {"item_id": "b", "price": 4.0, "left": 13, "event_timestamp": NOON, "created_timestamp": NOON - DAY},
    {"item_id": "c", "price": None, "left": 14, "event_timestamp": NOON, "created_timestamp": NOON},
    {
        "item_id": "c",
        "price": 5.0,
        "event_timestamp": NOON + 20 * DAY,
        "created_timestamp": NOON + 20 * DAY + US,
    },
]
TEXTS = [
    {"item_id": "a", "title": "Tea", "tags": ["hot", None, "ß"], "counts": [1, LAST], "vector": [0.5, -1.0]},
    {"item_id": "b", "title": "", "tags": [], "counts": None, "vector": [float("inf")]},
    {"item_id": "c", "title": None, "tags": None, "counts": [None], "vector": []},
]
VISITS = [
    {"uid": user, "n": 10 * n + day, "at": NOON + day * DAY, "made": NOON + day * DAY}
    for n, user in enumerate(["u", "v"])
    for day in (0, 4, 8)
]
PAIRS = [
    {"user_id": user, "item_id": item, "bought": n, "event_timestamp": NOON + n * DAY}
    for n, (user, item) in enumerate([("u", "a"), ("u", "b"), ("v", "a"), ("u", "a")])
]
HOURS = [{"hours": 8 + day, "event_timestamp": NOON + day * DAY} for day in (0, 5)]
EDGES = [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 15, 20, 30]  # days from noon at which some view changes its answer
INSTANTS = [NOON + day * DAY + shift for day in EDGES for shift in (-US, 0 * US, US)]


def write_shop(folder):
    """Write the five tables."""
    text, number = pa.string(), pa.int64()
    write_parquet(folder / "price.parquet", PRICES, item_id=text, price=pa.float64(), left=number)
    texts = [row | {"event_timestamp": NOON} for row in TEXTS]
    arrays = {"tags": pa.list_(text), "counts": pa.list_(number), "vector": pa.list_(pa.float32())}
    write_parquet(folder / "text.parquet", texts, item_id=text, title=text, **arrays)
    write_parquet(folder / "visits.parquet", VISITS, uid=text, n=number, at=STAMP, made=STAMP)
    write_parquet(folder / "pair.parquet", PAIRS, user_id=text, item_id=text, bought=number)
    write_parquet(folder / "hours.parquet", HOURS, hours=number)


def shop_objects(folder):
    """Entities, views and services over the five tables."""
    from feast import FeatureService
    from feast.types import Array, Float32, Float64, Int64, String

    def view(name, entities, days, **options):
        return parquet_view(name, folder / f"{name}.parquet", entities, ttl=days * DAY, **options)

    item, user = text_entity("item"), text_entity("user")
    mapped = {
        "timestamp_field": "seen_at",
        "created_timestamp_column": "made_at",
        "field_mapping": {"uid": "user_id", "n": "visits", "at": "seen_at", "made": "made_at"},
    }
    price = view("price", [item], 10, source=CREATED, price=Float64, left=Int64)
    arrays = {"tags": Array(String), "counts": Array(Int64), "vector": Array(Float32)}
    views = [
        price,
        view("text", [item], 0, title=String, **arrays),
        view("visits", [user], 7, source=mapped, visits=Int64),
        view("pair", [user, item], 10, bought=Int64),
        view("hours", [], 0, hours=Int64),
    ]
    # Both are renamed: Feast cannot compare a service in which one view has its own name and another one.
    first, other = (
        price.with_name("first"),
        price.with_name("other").with_join_key_map({"item_id": "other_id"}),
    )
    services = [
        FeatureService(name="everything", features=views),
        FeatureService(name="two_items", features=[first, other]),
        FeatureService(name="some", features=[price[["left"]], views[1][["tags"]]]),
    ]
    return [item, user, *views, *services]


def shop_frame():
    """Every item and user, known or not, at every instant at which an answer changes; in no special order."""
    items, users = ["a", "b", "c", "unknown", None], ["u", "v", "w"]
    rows = [
        {"item_id": item, "user_id": users[n % 3], "other_id": items[(n + 2) % 5], "event_timestamp": instant}
        for n, instant in enumerate(INSTANTS)
        for item in items
    ]
    shuffled = np.random.default_rng(5).permutation(len(rows))
    return pd.DataFrame([rows[n] for n in shuffled]).assign(row=np.arange(len(rows)))


def registry_content(path, *, times=False):
    """A registry's objects, sorted by name, without Feast's bookkeeping; `times` keeps times of creation."""
    from feast.protos.feast.core.Registry_pb2 import Registry
    from google.protobuf.json_format import MessageToDict

    dropped = {"lastUpdated", "lastUpdatedTimestamp", "versionId", "projectMetadata"}
    dropped |= {"featureViewVersionHistory"} | (set() if times else {"createdTimestamp"})
    # A view's copy of its source has the time of the process that applied it, and its class every other time.
    of_copies = {"meta", "dataSourceClassType"}

    def bare(value, without=frozenset()):
        if isinstance(value, dict):
            kept = {name: each for name, each in value.items() if name not in dropped | without}
            return {
                name: bare(each, of_copies if name == "batchSource" else set()) for name, each in kept.items()
            }
        return sorted(map(bare, value), key=str) if isinstance(value, list) else value

    registry = Registry()
    registry.ParseFromString(path.read_bytes())
    content = bare(MessageToDict(registry))
    by_name = {kind: each for kind, each in content.items() if isinstance(each, list)}
    return content | {kind: sorted(each, key=_object_name) for kind, each in by_name.items()}


def _object_name(each):
    return each.get("name") or each.get("spec", {}).get("name") or str(each)
