"""What tests of training share."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from raw_features import RawFeatures

from bentos.towers import KINDS
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.store import open_store
from training.fit import Sources, instants_of
from training.point_in_time import UserRows, number_names
from training.purchases import world_groups
from training.split import temporal_split
from training.taste_space import TasteSpace
from training.world import world_before

DIM, LAYER = 4, 3


@pytest.fixture(scope="session")
def raw(installation):
    """The slow reference over the slice: features recounted from raw lines."""
    slots = json.loads((installation.state / "features" / "departments.json").read_text())
    return RawFeatures(installation, ShopCalendar.load(installation.shop_calendar), slots)


@pytest.fixture(scope="session")
def sources(installation):
    """The slice's tables and offline store."""
    return Sources.open(installation, open_store(installation))


@pytest.fixture(scope="session")
def window(sources):
    """The ranker's last window before cut 49: weeks 48 and 49."""
    return temporal_split(sources.calendar, 49).ranker[-1]


@pytest.fixture(scope="session")
def world(sources):
    """All items sold before the cut."""
    return world_before(sources.warehouse, sources.store, temporal_split(sources.calendar, 49).test.instant)


@pytest.fixture(scope="session")
def towers(sources, world):
    """Towers of random numbers: nothing was learnt, and everything enters."""
    users, items = (len(number_names(sources.store, name)) for name in ("user_ranking", "item_ranking"))
    n_text, n_categories = world.text_vectors.shape[1], len(world.categories.names)
    rng = np.random.default_rng(11)
    arrays = {
        "query_map": rng.normal(size=(DIM, DIM)),
        "query_sales": rng.uniform(0.1, 0.3, 4),
        "query_factors": np.float32(0.8),
    }
    for tower, width in (("query", n_text + n_categories + 32 + users), ("item", n_text + items)):
        arrays |= {
            f"{tower}_kernel_1": rng.normal(scale=0.2, size=(width, LAYER)),
            f"{tower}_bias_1": rng.normal(size=LAYER),
            f"{tower}_kernel_2": rng.normal(size=(LAYER, DIM)),
            f"{tower}_bias_2": rng.normal(size=DIM),
            f"{tower}_mean": rng.normal(scale=0.1, size=width),
            f"{tower}_scale": rng.uniform(0.5, 2.0, size=width),
        }
    return {
        name: np.asarray(each, np.float32 if np.asarray(each).dtype.kind == "f" else None)
        for name, each in arrays.items()
    }


@pytest.fixture(scope="session")
def space(world):
    """A taste space of random places."""
    rng, groups = np.random.default_rng(12), world_groups(world)
    sizes = {kind: int(getattr(groups, kind).max()) + 1 for kind in KINDS}
    queries, items = (
        {kind: rng.normal(scale=0.1, size=(size, DIM)).astype(np.float32) for kind, size in sizes.items()}
        for _ in range(2)
    )
    return TasteSpace(queries, items)


@pytest.fixture(scope="session")
def instant(sources, world, window, towers, space):
    """What is known at the window's instant."""
    return instants_of(sources, world, (window.instant,), [towers], space)[0]


@pytest.fixture(scope="session")
def user_rows_of():
    """A function: UserRows as of one instant, from {position: (count, decayed count, days ago)} by user."""

    def made(histories, now: datetime):
        flat = [(place, *slot) for slots in histories.values() for place, slot in slots.items()]
        positions, counts, decayed, days = zip(*flat, strict=True) if flat else ((), (), (), ())
        n = len(histories)
        return UserRows(
            names=("user_spend_28d", "user_tenure_days"),
            user_ids=np.array(list(histories), dtype=np.str_),
            instants=np.full(n, int(now.astimezone(UTC).timestamp() * 1e6)),
            numbers=np.tile(np.array([50.0, 200.0], np.float32), (n, 1)),
            department_shares=np.zeros((n, 3), np.float32),
            top_departments=np.array(["north"] * n, dtype=object),
            offsets=np.concatenate([[0], np.cumsum([len(slots) for slots in histories.values()])]).astype(
                np.int64
            ),
            positions=np.array(positions, np.int32),
            counts=np.array(counts, np.int64),
            decayed=np.array(decayed, np.float32),
            first_times=np.array([int(now.timestamp() - (day + 60) * 86_400) for day in days], np.int64),
            last_times=np.array([int(now.timestamp() - day * 86_400) for day in days], np.int64),
            last_baskets=np.arange(len(days), dtype=np.int64) + 1,
        )

    return made
