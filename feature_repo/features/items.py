"""Features of products. An item has a row at T exactly when it was sold within 26 shop weeks before T."""

from datetime import timedelta

from feast import FeatureView, Field
from feast.types import Array, Float32, Float64, Int64

from feature_repo.features.entities import item
from feature_repo.features.sources import (
    item_coming_promotions_source,
    item_stats_source,
    item_text_source,
)

item_stats = FeatureView(
    name="item_stats",
    entities=[item],
    ttl=timedelta(days=14),  # rows come weekly: one may fail, two may not
    source=item_stats_source,
    description="One row per item and week end while the item is in the catalogue",
    schema=[
        Field(name="item_baskets_7d", dtype=Int64, description="Baskets in the last shop week"),
        Field(name="item_baskets_28d", dtype=Int64, description="Baskets in the last 4 shop weeks"),
        Field(name="item_baskets_91d", dtype=Int64, description="Baskets in the last 13 shop weeks"),
        Field(name="item_baskets_182d", dtype=Int64, description="Baskets in the last 26 shop weeks"),
        Field(name="item_users_91d", dtype=Int64, description="Distinct buyers in the last 13 shop weeks"),
        Field(
            name="item_repeat_rate_91d",
            dtype=Float64,
            description="Share of the buyers of 13 shop weeks with two baskets or more, 0 without buyers",
        ),
        Field(
            name="item_price_91d",
            dtype=Float64,
            description="Paid per unit in 13 shop weeks (26 if nothing was sold in 13)",
        ),
        Field(
            name="item_discount_share_91d",
            dtype=Float64,
            description="discount / (paid + discount) in 13 shop weeks",
        ),
        Field(
            name="item_mailer_share",
            dtype=Float64,
            description="Largest share of stores with it in a mailer in the week just ended, known by then",
        ),
        Field(
            name="item_display_share",
            dtype=Float64,
            description="Largest share of stores with it on display in the week just ended, known by then",
        ),
        Field(name="item_age_days", dtype=Float64, description="Days since the first sale"),
    ],
)

item_coming_promotions = FeatureView(
    name="item_coming_promotions",
    entities=[item],
    ttl=timedelta(days=6, hours=22),  # a row speaks of its own week; the shortest has 6 days and 23 hours
    source=item_coming_promotions_source,
    online=False,  # no released ranker reads it
    description=(
        "One row per item and week with a promotion known at its start. Where no announcement is recorded, "
        "it is ASSUMED to come with the start; the data need not prove that. No row: none is known"
    ),
    schema=[
        Field(
            name="item_coming_mailer_share_assumed",
            dtype=Float64,
            description="Largest share of stores with it in a mailer in the week that begins",
        ),
        Field(
            name="item_coming_display_share_assumed",
            dtype=Float64,
            description="Largest share of stores with it on display in the week that begins",
        ),
    ],
)

item_text = FeatureView(
    name="item_text",
    entities=[item],
    ttl=timedelta(0),  # a text holds until a newer one
    source=item_text_source,
    online=False,  # the towers' item vectors travel in the release
    description="What an item is, read by BERT",
    schema=[Field(name="text_embedding", dtype=Array(Float32), description="Unit vector of the item's text")],
)
