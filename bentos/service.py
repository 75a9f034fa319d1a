"""The BentoML service: `/recommend` over the current release and the online store.

    endcap serve                             # or: bentoml serve, in the root or in bentos/
    curl localhost:3000/recommend -H 'content-type: application/json' -d '{"user_id": "2375", "k": 5}'

BentoML answers /livez, /readyz and /metrics beside it. No TensorFlow: towers are arrays.
"""

import gc
import logging
import uuid
from datetime import UTC, datetime
from time import perf_counter

import bentoml

from bentos.api_models import RecommendAnswer, RecommendedItem, RecommendRequest
from bentos.body_limit import BodyLimit
from bentos.online_features import OnlineFeatures
from bentos.recommend import FeaturesUnavailableError, recommend
from bentos.release import MODEL_NAME, Release, ReleaseError, current_tag, load_stored
from feature_repo.settings import Settings

log = logging.getLogger("bentoml.endcap")


def release_tag(settings: Settings) -> str:
    """The release to serve: the current one, or in a Bento, which has no pointer, the one that is packed."""
    try:
        return current_tag(settings)
    except ReleaseError:
        return f"{MODEL_NAME}:latest"


def clock(release: Release) -> datetime:
    """What time it is: a recording stands still at the instant of its release."""
    if release.manifest.get("recorded"):
        return datetime.fromisoformat(release.manifest["as_of"])
    return datetime.now(UTC)


@bentoml.service(name="endcap", traffic={"timeout": 10})
class Endcap:
    """Recommendations for one shopper at a time."""

    model = bentoml.models.BentoModel(release_tag(Settings.from_environment()))

    def __init__(self) -> None:
        self.settings = Settings.from_environment()
        self.release = load_stored(self.model)
        self.features = OnlineFeatures(self.settings, self.release.manifest)
        self.warm_up()

    def warm_up(self) -> None:
        """Open the store and answer once, then freeze what is alive: the p99 is garbage collection."""
        try:
            self.features.check()
            state = str(self.settings.online_store)
        except FeaturesUnavailableError as error:
            state = str(error)
        recommend(self.release, self.features, "", k=1, task="all", now=clock(self.release))
        gc.collect()
        gc.freeze()
        log.info("release %s as of %s, features: %s", self.release.tag, self.release.manifest["as_of"], state)

    @bentoml.api(route="/recommend")  # type: ignore[untyped-decorator]
    def recommend(self, request: RecommendRequest, /) -> RecommendAnswer:
        """Recommend `k` items to one user.

        An unknown user or a store that cannot be read is answered with top sellers, and `degraded` says so.
        """
        began = perf_counter()
        found = recommend(
            self.release,
            self.features,
            request.user_id,
            k=request.k,
            task=request.task,
            now=clock(self.release),
        )
        return RecommendAnswer(
            request_id=uuid.uuid4().hex,
            user_id=found.user_id,
            task=found.task,
            release=found.release,
            items=[RecommendedItem(**vars(slot)) for slot in found.slots],
            degraded=list(found.degraded),
            feature_time=found.feature_time,
            turned_away=dict(found.turned_away),
            latency_ms=round((perf_counter() - began) * 1e3, 3),
            stages_ms=dict(found.stages_ms),
        )


Endcap.add_asgi_middleware(BodyLimit)  # type: ignore[attr-defined]
