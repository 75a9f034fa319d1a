"""Views of every type, rows that Hypothesis makes up for them, and the four online stores to hold them."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType, types
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import strategies as st

PACKED = "feature_repo.stores.packed.online_store"
STORES = ("packed_sqlite", "packed_redis", "sqlite", "redis")  # the last two are Feast's own
OURS = STORES[:2]
T0 = datetime(2024, 3, 10, 12, tzinfo=UTC)

FEAST_TYPES = {
    "Float32": types.Float32,
    "Float64": types.Float64,
    "Int32": types.Int32,
    "Int64": types.Int64,
    "Bool": types.Bool,
    "UnixTimestamp": types.UnixTimestamp,
    "String": types.String,
    "Bytes": types.Bytes,
}
ATTRIBUTES = {
    "Float32": "float",
    "Float64": "double",
    "Int32": "int32",
    "Int64": "int64",
    "Bool": "bool",
    "UnixTimestamp": "unix_timestamp",
    "String": "string",
    "Bytes": "bytes",
}
ELEMENTS = {
    "Float32": st.floats(width=32),
    "Float64": st.floats(),
    "Int32": st.integers(-(2**31), 2**31 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1),
    "Bool": st.booleans(),
    "UnixTimestamp": st.integers(0, 2**32),
    "String": st.text(st.characters(codec="utf-8"), max_size=12),
    "Bytes": st.binary(max_size=12),
}
NUMBERS = ("Float32", "Float64", "Int32", "Int64", "Bool")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)


def view_of(name, features, *, entities=(user,), ttl=timedelta(0), online=True):
    """A feature view with features by name; a type in brackets is a list: {"tags": "[String]"}."""
    schema = [Field(name=feature, dtype=dtype_of(kind)) for feature, kind in features.items()]
    keys = {"user": types.String, "item": types.Int64}
    schema += [Field(name=each.join_key, dtype=keys[each.name]) for each in entities]
    source = FileSource(name=f"{name}_source", path=f"{name}.parquet", timestamp_field="event_timestamp")
    return FeatureView(
        name=name, entities=list(entities), ttl=ttl, schema=schema, source=source, online=online
    )


def dtype_of(kind):
    """Feast's type of its name, or of a name in brackets."""
    return types.Array(FEAST_TYPES[kind[1:-1]]) if kind.startswith("[") else FEAST_TYPES[kind]


EVERY_TYPE = {kind.lower(): kind for kind in FEAST_TYPES} | {
    f"{kind.lower()}s": f"[{kind}]" for kind in FEAST_TYPES
}
every_type = view_of("every_type", EVERY_TYPE)


def proto(kind, plain):
    """Feast's protobuf value, made by hand; empty for None."""
    value = Value()
    if plain is None:
        return value
    if kind.startswith("["):
        held = getattr(value, f"{ATTRIBUTES[kind[1:-1]]}_list_val")
        held.SetInParent()
        held.val.extend(plain)
    else:
        setattr(value, f"{ATTRIBUTES[kind]}_val", plain)
    return value


def values_of(features):
    """Strategy: plain values by feature, any of them None."""

    def one(kind):
        element = ELEMENTS[kind.strip("[]")]
        return st.none() | (st.lists(element, max_size=5) if kind.startswith("[") else element)

    return st.fixed_dictionaries({name: one(kind) for name, kind in features.items()})


def protos(features, plain):
    """Protobuf values by feature."""
    return {name: proto(kind, plain[name]) for name, kind in features.items()}


def user_key(user_id):
    """Feast's key of one user."""
    return EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user_id)])


def as_bytes(row):
    """Values of a row to compare bit by bit, NaN too; None for no row."""
    return None if row is None else {name: value.SerializeToString() for name, value in row.items()}


def float_bits(values):
    """Bits of float64 numbers, None as the one NaN that stands for nothing."""
    return (
        np.array([np.nan if value is None else value for value in values], np.float64)
        .view(np.uint64)
        .tolist()
    )


fresh = itertools.count()


def fresh_ids(number):
    """User ids that nobody has used yet."""
    return [f"u{next(fresh)}" for _ in range(number)]


def open_world(kind, folder, redis_url, objects, **options):
    """A FeatureStore with one of STORES, under a project of its own, with `objects` applied."""
    where = {"path": str(folder / "online.db")}
    if kind == "packed_sqlite":
        where = {"type": f"{PACKED}.PackedSqliteOnlineStore", **where}
    elif kind == "packed_redis":
        where = {"type": f"{PACKED}.PackedRedisOnlineStore", "url": redis_url}
    elif kind == "redis":
        where = {"type": "redis", "connection_string": redis_url.removeprefix("redis://").removesuffix("/0")}
    else:
        where = {"type": "sqlite", **where}
    folder.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project=f"p{uuid.uuid4().hex[:8]}",
            provider="local",
            registry=str(folder / f"registry-{kind}.db"),
            online_store={**where, **options},
            entity_key_serialization_version=3,
        )
    )
    store.apply(list(objects))
    return store


def online(store):
    """(the online store's own object, its configuration)."""
    return store._get_provider().online_store, store.config


def write(store, view, rows):
    """Write (user id, protobuf values, event time, created time) rows in one batch."""
    target, config = online(store)
    target.online_write_batch(config, view, [(user_key(key), *rest) for key, *rest in rows], None)


def read(store, view, ids, names=None):
    """What the online store itself reads: (event time, values) of users."""
    source, config = online(store)
    return source.online_read(config, view, [user_key(each) for each in ids], names)
