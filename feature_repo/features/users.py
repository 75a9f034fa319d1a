"""Features of shoppers. Windows are the last 1, 4 and 13 shop weeks, named 7d, 28d and 91d.

Purchases are lines with a quantity above zero; returns count nowhere.
"""

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Float64, Int64, String

from feature_repo.features.entities import user
from feature_repo.features.sources import user_history_source, user_stats_source

user_stats = FeatureView(
    name="user_stats",
    entities=[user],
    ttl=timedelta(days=14),  # rows come weekly: one may fail, two may not
    source=user_stats_source,
    description="One row per shopper and week end, from the week of the first purchase",
    schema=[
        Field(name="user_spend_7d", dtype=Float64, description="Paid in the last shop week"),
        Field(name="user_spend_28d", dtype=Float64, description="Paid in the last 4 shop weeks"),
        Field(name="user_spend_91d", dtype=Float64, description="Paid in the last 13 shop weeks"),
        Field(name="user_baskets_7d", dtype=Int64, description="Baskets in the last shop week"),
        Field(name="user_baskets_28d", dtype=Int64, description="Baskets in the last 4 shop weeks"),
        Field(name="user_baskets_91d", dtype=Int64, description="Baskets in the last 13 shop weeks"),
        Field(name="user_items_7d", dtype=Int64, description="Distinct items in the last shop week"),
        Field(name="user_items_28d", dtype=Int64, description="Distinct items in the last 4 shop weeks"),
        Field(name="user_items_91d", dtype=Int64, description="Distinct items in the last 13 shop weeks"),
        Field(
            name="user_discount_share_91d",
            dtype=Float64,
            description="discount / (paid + discount) in 13 shop weeks, 0 if nothing was bought",
        ),
        Field(name="user_recency_days", dtype=Float64, description="Days since the last basket"),
        Field(name="user_tenure_days", dtype=Float64, description="Days since the first basket"),
        Field(
            name="user_department_shares_91d",
            dtype=Array(Float32),
            description="(32,) shares of basket lines; a slot is a position in departments.json",
        ),
        Field(
            name="user_top_department",
            dtype=String,
            description="Department with most lines in 13 shop weeks, '' if none; ties by name",
        ),
    ],
)

user_history = FeatureView(
    name="user_history",
    entities=[user],
    ttl=timedelta(0),  # a purchase stays known for ever
    source=user_history_source,
    description="One row per basket, that basket included; n <= 2,048 items, best first",
    schema=[
        Field(
            name="history_items", dtype=Array(String), description="(n,) items, largest decayed count first"
        ),
        Field(name="history_counts", dtype=Array(Int64), description="(n,) baskets with the item"),
        Field(
            name="history_decayed",
            dtype=Array(Float32),
            description="(n,) decayed count at the item's own last time, half-life 91 days",
        ),
        Field(
            name="history_first_times",
            dtype=Array(Int64),
            description="(n,) epoch seconds of the item's first basket",
        ),
        Field(
            name="history_last_times",
            dtype=Array(Int64),
            description="(n,) epoch seconds of the item's last basket",
        ),
        Field(
            name="history_last_baskets",
            dtype=Array(Int64),
            description="(n,) number of the item's last basket, the shopper's first is 1",
        ),
    ],
)
