"""All that Feast registers; the only file that `feast apply` scans (see .feastignore).

cd feature_repo && feast apply        # or, from the root: endcap apply
"""

from feature_repo.features.entities import item, user
from feature_repo.features.items import item_coming_promotions, item_stats, item_text
from feature_repo.features.services import item_promotions, item_ranking, item_retrieval, user_ranking
from feature_repo.features.sources import (
    item_coming_promotions_source,
    item_stats_source,
    item_text_source,
    user_history_source,
    user_stats_source,
)
from feature_repo.features.users import user_history, user_stats

__all__ = [
    "item",
    "item_coming_promotions",
    "item_coming_promotions_source",
    "item_promotions",
    "item_ranking",
    "item_retrieval",
    "item_stats",
    "item_stats_source",
    "item_text",
    "item_text_source",
    "user",
    "user_history",
    "user_history_source",
    "user_ranking",
    "user_stats",
    "user_stats_source",
]
