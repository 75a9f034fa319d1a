"""What models ask for. The order of views and features here is the order of every matrix."""

from feast import FeatureService

from feature_repo.features.items import item_coming_promotions, item_stats, item_text
from feature_repo.features.users import user_history, user_stats

user_ranking = FeatureService(
    name="user_ranking", features=[user_stats, user_history], description="A shopper, to rank items for"
)
item_ranking = FeatureService(
    name="item_ranking", features=[item_stats], description="An item that may be recommended"
)
item_promotions = FeatureService(
    name="item_promotions",
    features=[item_coming_promotions],
    description="Promotions of the week that begins, for the ranker that is compared with and without them",
)
item_retrieval = FeatureService(
    name="item_retrieval", features=[item_text, item_stats], description="An item, to place it among others"
)
