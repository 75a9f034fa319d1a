"""The design that tutorials show, to measure against: Feast's own store, frames, scikit-learn.

    NAIVE_STATE=folder bentoml serve jobs.benches.naive_service:Naive

The same release, candidates and rules as the service; only how features are read and how the ranker is asked
differs. The retrieval tower stays in NumPy, which favours this side: a TensorFlow signature costs more.
"""

import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import bentoml
import numpy as np
import xgboost  # with all that it finds, before a release is loaded without

from bentos.api_models import RecommendAnswer, RecommendedItem, RecommendRequest
from bentos.blas import use_one_blas_thread
from bentos.current_release import current_tag
from bentos.recommend import recommend
from bentos.release import Release, clock, load_stored, stored_model
from bentos.scoring import matrix_columns
from feature_repo.pair_features import Floats, Positions
from feature_repo.settings import Settings


def naive_store(folder: Path, settings: Settings) -> Any:
    """Feast's FeatureStore over its own SQLite store, and a registry of its own, in a folder."""
    from feast import FeatureStore
    from feast.repo_config import load_repo_config

    config = load_repo_config(settings.feature_store.parent, settings.feature_store)
    config.registry_config["path"] = str(folder / "registry.db")
    config.online_config = {"type": "sqlite", "path": str(folder / "online.db")}
    config.offline_config |= {
        "state": str(settings.state),
        "threads": settings.threads,
        "temp_directory": str(folder / "spill"),
    }
    return FeatureStore(config=config)


class FeastReader:
    """A `bentos.recommend.Reader` that asks Feast for everything."""

    def __init__(self, store: Any, release: Release) -> None:
        self.store, self.names = store, release.manifest["features"]["item"]
        self.ids: list[str] = release.catalogue.item_ids.tolist()
        self.users = store.get_feature_service("user_ranking")
        self.items = store.get_feature_service("item_ranking")

    def read_user(self, user_id: str) -> dict[str, Any] | None:
        """The user's features by name; None if unknown."""
        answer = self.store.get_online_features(self.users, [{"user_id": user_id}])
        row = answer.to_dict(include_event_timestamps=True)
        times = [values[0] for name, values in row.items() if name.endswith("__ts") and values[0]]
        found = {name: values[0] for name, values in row.items() if not name.endswith("__ts")}
        if not times:
            return None
        return {**found, "event_timestamp": datetime.fromtimestamp(max(times), tz=UTC)}

    def read_items(self, items: Positions) -> Floats:
        """Item features as the frame that Feast makes, in the release's order."""
        asked = [{"item_id": self.ids[item]} for item in items.tolist()]
        frame = self.store.get_online_features(self.items, asked).to_df()
        return np.asarray(frame[self.names].to_numpy(dtype=np.float32, na_value=np.nan))

    def last_items(self, items: Positions) -> Floats | None:  # noqa: ARG002 - it remembers nothing
        """Nothing is remembered."""
        return None

    def late(self) -> datetime | None:
        """Nobody looks."""
        return None


class FrameRanker:
    """A booster behind scikit-learn's interface, asked with a frame of named columns."""

    def __init__(self, booster: Any, columns: tuple[str, ...]) -> None:
        self.columns = list(columns)
        self.model = xgboost.XGBRegressor(n_jobs=1)
        self.model.load_model(booster.save_raw("json"))

    def inplace_predict(self, rows: Any, predict_type: str) -> Any:
        """Margins of rows; the name is that of the booster's own method, whose place this takes."""
        import pandas as pd

        frame = pd.DataFrame(rows, columns=self.columns)
        return self.model.predict(frame, output_margin=predict_type == "margin")


@bentoml.service(name="naive", traffic={"timeout": 60}, workers=1, logging={"access": {"enabled": False}})
class Naive:
    """Recommendations, the naive way."""

    def __init__(self) -> None:
        self.blas = use_one_blas_thread()
        settings = Settings.from_environment()
        release = load_stored(stored_model(current_tag(settings)))
        features = release.manifest["features"]
        columns = matrix_columns(features["user"], features["item"])
        rankers = {task: FrameRanker(ranker, columns) for task, ranker in release.rankers.items()}
        self.release = replace(release, rankers=rankers)
        store = naive_store(Path(os.environ["NAIVE_STATE"]), settings)
        self.reader = FeastReader(store, release)

    @bentoml.api(route="/recommend")  # type: ignore[untyped-decorator]
    def recommend(self, request: RecommendRequest, /) -> RecommendAnswer:
        """Recommend `k` items to one user."""
        began = perf_counter()
        now = clock(self.release)
        found = recommend(
            self.release,
            self.reader,
            request.user_id,
            k=request.k,
            task=request.task,
            now=now,
            budget_ms=inf,  # it takes what it takes
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
