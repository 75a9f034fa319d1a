"""The BentoML service: `/recommend` over the current release and the online store.

    endcap serve                             # or: bentoml serve, in the root or in bentos/
    curl localhost:3000/recommend -H 'content-type: application/json' -d '{"user_id": "2375", "k": 5}'

`/online/recommend` answers the same for less (`bentos.online`). BentoML answers /livez, /readyz and /metrics
beside them, on Vertex AI the routes of `bentos.vertex`, too. No TensorFlow and no Feast: towers are arrays,
features packed rows.
"""

import gc
import logging
import sqlite3
import uuid
from dataclasses import replace
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import Any

import bentoml

from bentos import metrics
from bentos.api_models import (
    RecommendAnswer,
    RecommendRequest,
    WhyNotAnswer,
    WhyNotRequest,
    refused,
)
from bentos.arms import Arms, Variant
from bentos.blas import use_one_blas_thread
from bentos.body_limit import BodyLimit
from bentos.event_log import EventLog
from bentos.experiments import ExperimentError
from bentos.exploration import rng_of
from bentos.exposure_log import Exposure, ExposureLog
from bentos.exposures import NOT_KEPT, Exposures
from bentos.intake import Intake
from bentos.json_only import JsonOnly
from bentos.ladder import FeaturesUnavailableError
from bentos.live_release import Engine, LiveRelease
from bentos.live_rows import LiveRows
from bentos.live_rules import LiveRules
from bentos.online import EVENTS, RECOMMEND, Straight, online_app
from bentos.online_features import OnlineFeatures
from bentos.openapi import Described
from bentos.recommend import Recommendation, recommend
from bentos.release import Release, load_stored, stored_model
from bentos.sampled_reads import SampledReads
from bentos.session import LASTS_S, LENGTH, session_of
from bentos.shop_clock import ShopClock
from bentos.slots import Slot
from bentos.start_checks import container_contract, in_bento, release_tag
from bentos.why_not import why_not
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.opened import open_rows

log = logging.getLogger("bentoml.endcap")
WRITE_S = 1.0  # for the store to take a purchase; later it is tried again


class Rehearsal:
    """A reader with one made-up shopper, so that a warm-up takes the whole path; items are the store's."""

    def __init__(self, features: OnlineFeatures, release: Release) -> None:
        self.read_items, self.last_items, self.late = features.read_items, features.last_items, features.late
        self.row = {
            "history_items": release.catalogue.item_ids[:1].tolist(),
            "history_counts": [1],
            "history_decayed": [1.0],
            "history_first_times": [0],
            "history_last_times": [0],
            "history_last_baskets": [1],
        }

    def read_user(self, user_id: str) -> dict[str, Any]:  # noqa: ARG002 - it knows but one
        """One item, bought long ago."""
        return self.row


contract = container_contract()
online = online_app(contract.routes())


@bentoml.service(
    name="endcap",
    traffic={"timeout": 10},
    workers=1,
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [RECOMMEND, EVENTS]},  # a quarter of a millisecond for spans that nobody reads
    **contract.listening,
)
@bentoml.asgi_app(online, path="/")
class Endcap:
    """Recommendations for one shopper at a time."""

    model = bentoml.models.BentoModel(release_tag(Settings.from_environment()))

    def __init__(self) -> None:
        self.settings = Settings.from_environment()
        self.blas, self.reached = use_one_blas_thread(), False
        self.clock = ShopClock(lambda: self.release, replay=self.settings.replay)
        self.live = LiveRelease(self.settings, self.engine_of(str(self.model.tag)), self.engine_of)
        self.arms = Arms(self.settings, self.live, self.engine_of)
        self.live.switched = self.arms.switched
        self.exposures = Exposures(ExposureLog(self.settings.exposure_log))
        self.reads = SampledReads(self.settings)
        self.events = EventLog(self.settings.event_log)
        writer = open_rows(self.settings, timeout_s=WRITE_S, read_only=False, create=False)
        self.intake = Intake(self.events, LiveRows(writer, self.events), self.clock)
        self.freeze()
        self.intake.catch_up()
        metrics.serving(self.release.tag)
        online.state.answer, online.state.intake = self.answer, self.intake
        online.state.release, online.state.clock = lambda: self.release, self.clock
        online.state.ready, online.state.check = self.__is_ready__, self.check
        self.live.engine.rules.watch()
        self.arms.watch()
        if not in_bento():
            self.live.watch()

    @property
    def release(self) -> Release:
        """The current release under the rules in force now."""
        return self.live.engine.release

    def engine_of(self, tag: str) -> Engine:
        """A release by its tag, warm: each task was answered once. Its rules are not followed yet."""
        rules = LiveRules(load_stored(stored_model(tag)), self.settings.rules_file)
        features = OnlineFeatures(self.settings, rules.release, partial(self.clock.of, rules.release))
        rehearsal = Rehearsal(features, rules.release)
        for task in rules.release.rankers:
            recommend(rules.release, rehearsal, "", k=10, task=task, now=self.clock.of(rules.release))
        return Engine(rules, features)

    def freeze(self) -> None:
        """Say what is served, and leave what is alive out of garbage collection, which is the p99."""
        features = self.live.engine.features
        state = features.rows.place
        try:
            features.check()
        except FeaturesUnavailableError as error:
            state = str(error)
        gc.collect()
        gc.freeze()
        log.info("release %s as of %s, features: %s", self.release.tag, self.release.manifest["as_of"], state)

    def __is_ready__(self) -> bool:
        """Models are loaded, or nobody could ask, and the store has been reached.

        Once it was, its failures are told by answers and metrics: taking all workers away for what they share
        would turn poorer answers into none.
        """
        self.reached = self.reached or self.live.engine.features.reachable()
        return self.reached

    @bentoml.api(route="/recommend")  # type: ignore[untyped-decorator]
    async def recommend(self, request: RecommendRequest, /) -> RecommendAnswer:
        """Recommend `k` items to one user.

        An unknown user or a store that cannot be read is answered with top sellers, and `degraded` says so.
        """
        return RecommendAnswer(**await self.answer(request))

    @bentoml.api(route="/why-not")  # type: ignore[untyped-decorator]
    def why_not(self, request: WhyNotRequest, /) -> WhyNotAnswer:
        """Say why an item is not among a user's recommendations."""
        recent, engine = self.recent(request.user_id), self.live.engine
        try:
            found = why_not(
                engine.release,
                engine.features,
                request.user_id,
                request.item_id,
                k=request.k,
                task=request.task,
                now=self.clock.now(),
                session=session_of(recent),
            )
        except FeaturesUnavailableError as error:
            raise bentoml.exceptions.ServiceUnavailable(f"{error}; answers go on without it") from error
        return WhyNotAnswer(**vars(found))

    def recent(self, user_id: str) -> list[tuple[str, str]]:
        """What the user did in this visit; nothing where the log cannot be read now."""
        try:
            return self.events.recent(user_id, since_s=self.clock.wall_s() - LASTS_S, n=LENGTH)
        except sqlite3.Error as error:
            log.warning("the log of events cannot be read: %s", error)
            return []

    def variant(self, request: RecommendRequest, now: datetime) -> Variant:
        """What answers a request; ValidationError for a forced arm that is not there."""
        try:
            return self.arms.of(request.user_id, now, request.arms)
        except ExperimentError as error:
            raise refused(request, "arms", error) from error

    def check(self, request: RecommendRequest) -> None:
        """ValidationError for what only the service can tell to be wrong: a forced arm that is not there."""
        if request.arms:
            self.variant(request, self.clock.now())

    async def answer(self, request: RecommendRequest) -> dict[str, Any]:
        """The fields of a RecommendAnswer: the same on every route.

        ValidationError for a forced arm that is not there.
        """
        began, now, request_id = perf_counter(), self.clock.now(), uuid.uuid4().hex
        variant = self.variant(request, now)
        recent = self.recent(request.user_id)
        reader = self.reads.reader(request_id, variant.features)
        found = recommend(
            variant.release,
            reader,
            request.user_id,
            k=request.k,
            task=request.task,
            now=now,
            session=session_of(recent, request.basket, request.clicked),
            explain=request.explain,
            legacy=variant.legacy,
            explore=variant.explore,
            rng=rng_of(request_id) if variant.explore else None,
        )
        latency_ms = round((perf_counter() - began) * 1e3, 3)
        metrics.answered(found, latency_ms / 1e3, now)
        exposure = Exposure(
            request_id,
            found,
            request.k,
            shown_us=microseconds(now),
            latency_ms=latency_ms,
            assigned=variant.assigned,
            temperature=variant.explore.temperature if variant.explore else None,
        )
        self.reads.keep(exposure, reader, variant.release)
        if not await self.exposures.keep(exposure):
            found = replace(found, degraded=(*found.degraded, NOT_KEPT))
        return told(exposure, found)


def told(exposure: Exposure, found: Recommendation) -> dict[str, Any]:
    """The fields of a RecommendAnswer."""
    return {
        "request_id": exposure.request_id,
        "user_id": found.user_id,
        "task": found.task,
        "release": found.release,
        "rules": found.rules,
        "items": [item_of(slot) for slot in found.slots],
        "arms": dict(exposure.assigned.arms),
        "degraded": list(found.degraded),
        "feature_time": found.feature_time,
        "turned_away": dict(found.turned_away),
        "latency_ms": exposure.latency_ms,
        "stages_ms": dict(found.stages_ms),
    }


def item_of(slot: Slot) -> dict[str, Any]:
    """One slot as a RecommendedItem's fields."""
    return {**vars(slot), "contributions": [vars(each) for each in slot.contributions]}


Endcap.add_asgi_middleware(Described)  # type: ignore[attr-defined]
Endcap.add_asgi_middleware(JsonOnly)  # type: ignore[attr-defined]
Endcap.add_asgi_middleware(BodyLimit, limits=contract.limits)  # type: ignore[attr-defined]
Endcap.add_asgi_middleware(Straight, online=online)  # type: ignore[attr-defined]
