"""Feast's protobuf values as the plain ones of packed rows, and back; views and entity keys likewise."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores.packed.instants import MICROSECOND
from feature_repo.stores.packed.layout import ARRAYS, SCALARS, TEXT_LISTS, TEXTS, Layout
from feature_repo.stores.packed.reader import key_of


def layout_of(view: Any, *, versioned: bool = False) -> Layout:
    """Layout of a Feast feature view."""
    fields = tuple((field.name, field.dtype.to_value_type().name) for field in view.features)
    ttl_us = view.ttl // MICROSECOND if view.ttl else 0
    return Layout(compute_versioned_name(view, versioned), fields, ttl_us)


def key_of_entity(key: EntityKey) -> str:
    """The key of a packed row: ids in the order of their join keys' names, as Feast's own."""
    values = dict(zip(key.join_keys, key.entity_values, strict=True))
    ids = [plain_of(values[name]) for name in sorted(values)]
    return key_of(*ids)


def plain_of(value: Value) -> Any:
    """The number, string or bytes of an entity's id."""
    return getattr(value, str(value.WhichOneof("val")))


def plain_values(layout: Layout, values: Mapping[str, Value]) -> dict[str, Any]:
    """Values of one row; ValueError names a feature that is not there or of another type than its view's."""
    missing = [name for name in layout.names if name not in values]
    unknown = [name for name in values if name not in layout.types]
    if missing or unknown:
        raise ValueError(f"A row of view {layout.view} lacks {missing} and has unknown {unknown}")
    return {name: plain_value(layout, name, kind, values[name]) for name, kind in layout.fields}


def plain_value(layout: Layout, name: str, kind: str, value: Value) -> Any:
    """The plain value of one protobuf value."""
    found = value.WhichOneof("val")
    if found is None or found == "null_val":
        return None
    if found != f"{kind.lower()}_val":
        raise ValueError(
            f"{name} of view {layout.view} is {kind}, but a row has {found.removesuffix('_val')}"
        )
    held = getattr(value, found)
    if kind in SCALARS or kind in TEXTS:
        return held
    if kind in ARRAYS:
        return np.array(held.val, dtype=ARRAYS[kind])
    return list(held.val) if kind in TEXT_LISTS else value.SerializeToString()


def proto_value(kind: str, plain: Any) -> Value:
    """The protobuf value of a plain one; empty, as Feast's nulls are, for None."""
    value = Value()
    if plain is None:
        return value
    attribute = f"{kind.lower()}_val"
    if kind in SCALARS or kind in TEXTS:
        setattr(value, attribute, plain)
    elif kind in ARRAYS or kind in TEXT_LISTS:
        held = getattr(value, attribute)
        held.SetInParent()
        held.val.extend(plain.tolist() if kind in ARRAYS else plain)
    else:
        value.ParseFromString(plain)
    return value
