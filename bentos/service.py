"""The BentoML service: `/recommend` over the current release and the online store.

    endcap serve                             # or: bentoml serve, in the root or in bentos/
    curl localhost:3000/recommend -H 'content-type: application/json' -d '{"user_id": "2375", "k": 5}'

`/online/recommend` answers the same for less (`bentos.online`). BentoML answers /livez, /readyz and /metrics
beside them. No TensorFlow and no Feast: towers are arrays, features packed rows.
"""

import gc
import logging
import sqlite3
import uuid
from pathlib import Path
from time import perf_counter, time
from typing import Any

import bentoml

from bentos import metrics
from bentos.api_models import RecommendAnswer, RecommendRequest, WhyNotAnswer, WhyNotRequest
from bentos.blas import use_one_blas_thread
from bentos.body_limit import BodyLimit
from bentos.event_log import EventLog
from bentos.intake import Intake
from bentos.json_only import JsonOnly
from bentos.ladder import FeaturesUnavailableError
from bentos.live_rows import LiveRows
from bentos.live_rules import LiveRules, operator_rules, state_of
from bentos.online import EVENTS, RECOMMEND, online_app
from bentos.online_features import OnlineFeatures
from bentos.openapi import Described
from bentos.recommend import Slot, recommend
from bentos.release import (
    Release,
    ReleaseError,
    clock,
    current_tag,
    load_catalogue,
    load_stored,
    packed_tag,
    read_manifest,
    stored_model,
)
from bentos.rule_parameters import RulesError
from bentos.session import LASTS_S, LENGTH, session_of
from bentos.why_not import why_not
from feature_repo.settings import Settings
from feature_repo.stores.packed.opened import open_rows

log = logging.getLogger("bentoml.endcap")
WRITE_S = 1.0  # for the store to take a purchase; later it is tried again


def release_tag(settings: Settings) -> str:
    """The release to serve: the current one, or in a Bento, whose sources lie in its `src`, the packed one.

    BentoML tells a BentoMLException in one line, and starts no worker that could only fail again: with a
    release or an operator's rules that cannot be used.
    """
    try:
        tag = packed_tag(Path(__file__).parents[2]) or current_tag(settings)
        model = stored_model(tag)
        check_rules(settings.rules_file, Path(model.path))
        return str(model.tag)
    except (ReleaseError, RulesError) as error:
        raise bentoml.exceptions.BentoMLException(str(error)) from error


def check_rules(path: Path, release: Path) -> None:
    """Nothing, or RulesError for an operator's file that cannot be used with the release in a folder."""
    if state_of(path) is not None:
        item_features = read_manifest(release)["features"]["item"]
        operator_rules(path, load_catalogue(release), item_features)


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


online = online_app()


@bentoml.service(
    name="endcap",
    traffic={"timeout": 10},
    workers=1,
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [RECOMMEND, EVENTS]},  # a quarter of a millisecond for spans that nobody reads
)
@bentoml.asgi_app(online, path="/")
class Endcap:
    """Recommendations for one shopper at a time."""

    model = bentoml.models.BentoModel(release_tag(Settings.from_environment()))

    def __init__(self) -> None:
        self.settings = Settings.from_environment()
        self.blas, self.reached = use_one_blas_thread(), False
        self.rules = LiveRules(load_stored(self.model), self.settings.rules_file)
        self.features = OnlineFeatures(self.settings, self.release, lambda: clock(self.release))
        self.events = EventLog(self.settings.event_log)
        writer = open_rows(self.settings, timeout_s=WRITE_S, read_only=False, create=False)
        self.intake = Intake(self.events, LiveRows(writer, self.events), lambda: clock(self.release))
        self.warm_up()
        self.intake.catch_up()
        metrics.serving(self.release.tag)
        online.state.answer, online.state.intake = self.answer, self.intake
        online.state.release = self.release
        self.rules.watch()

    @property
    def release(self) -> Release:
        """The release under the rules in force now."""
        return self.rules.release

    def warm_up(self) -> None:
        """Open the store, answer each task once, and freeze what is alive: the p99 is garbage collection."""
        state = self.features.rows.place
        try:
            self.features.check()
        except FeaturesUnavailableError as error:
            state = str(error)
        for task in self.release.rankers:
            rehearsal = Rehearsal(self.features, self.release)
            recommend(self.release, rehearsal, "", k=10, task=task, now=clock(self.release))
        gc.collect()
        gc.freeze()
        log.info("release %s as of %s, features: %s", self.release.tag, self.release.manifest["as_of"], state)

    def __is_ready__(self) -> bool:
        """Models are loaded, or nobody could ask, and the store has been reached.

        Once it was, its failures are told by answers and metrics: taking all workers away for what they share
        would turn poorer answers into none.
        """
        self.reached = self.reached or self.features.reachable()
        return self.reached

    @bentoml.api(route="/recommend")  # type: ignore[untyped-decorator]
    def recommend(self, request: RecommendRequest, /) -> RecommendAnswer:
        """Recommend `k` items to one user.

        An unknown user or a store that cannot be read is answered with top sellers, and `degraded` says so.
        """
        return RecommendAnswer(**self.answer(request))

    @bentoml.api(route="/why-not")  # type: ignore[untyped-decorator]
    def why_not(self, request: WhyNotRequest, /) -> WhyNotAnswer:
        """Say why an item is not among a user's recommendations."""
        recent = self.recent(request.user_id)
        try:
            found = why_not(
                self.release,
                self.features,
                request.user_id,
                request.item_id,
                k=request.k,
                task=request.task,
                now=clock(self.release),
                session=session_of(recent),
            )
        except FeaturesUnavailableError as error:
            raise bentoml.exceptions.ServiceUnavailable(f"{error}; answers go on without it") from error
        return WhyNotAnswer(**vars(found))

    def recent(self, user_id: str) -> list[tuple[str, str]]:
        """What the user did in this visit; nothing where the log cannot be read now."""
        try:
            return self.events.recent(user_id, since_s=time() - LASTS_S, n=LENGTH)
        except sqlite3.Error as error:
            log.warning("the log of events cannot be read: %s", error)
            return []

    def answer(self, request: RecommendRequest) -> dict[str, Any]:
        """The fields of a RecommendAnswer: the same on every route."""
        began, now = perf_counter(), clock(self.release)
        recent = self.recent(request.user_id)
        found = recommend(
            self.release,
            self.features,
            request.user_id,
            k=request.k,
            task=request.task,
            now=now,
            session=session_of(recent, request.basket, request.clicked),
            explain=request.explain,
        )
        seconds = perf_counter() - began
        metrics.answered(found, seconds, now)
        return {
            "request_id": uuid.uuid4().hex,
            "user_id": found.user_id,
            "task": found.task,
            "release": found.release,
            "rules": found.rules,
            "items": [item_of(slot) for slot in found.slots],
            "degraded": list(found.degraded),
            "feature_time": found.feature_time,
            "turned_away": dict(found.turned_away),
            "latency_ms": round(seconds * 1e3, 3),
            "stages_ms": dict(found.stages_ms),
        }


def item_of(slot: Slot) -> dict[str, Any]:
    """One slot as a RecommendedItem's fields."""
    return {**vars(slot), "contributions": [vars(each) for each in slot.contributions]}


Endcap.add_asgi_middleware(Described)  # type: ignore[attr-defined]
Endcap.add_asgi_middleware(JsonOnly)  # type: ignore[attr-defined]
Endcap.add_asgi_middleware(BodyLimit)  # type: ignore[attr-defined]
