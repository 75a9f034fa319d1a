"""A small shop, installed for real: feature tables, registry, online store, and a stored release.

Nothing is learnt: rankers, towers, factors and the pool are random or fitted to random numbers, but under the
names of the real features, so that what serves them is what serves a real installation.
"""

import functools
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_release import N_CATEGORIES, N_DIM, N_ITEMS, N_TEXT, tiny_groups, tiny_release

from bentos.factors import gram, unit
from bentos.ladder import OUT_OF_TIME
from bentos.pool import INPUTS
from bentos.release import save
from bentos.scoring import matrix_columns
from bentos.towers import KINDS, SALES
from feature_repo.settings import Settings
from jobs.child import stop
from jobs.local_server import free_port

ROOT = Path(__file__).resolve().parents[1]
N_FACTORS = 3
NOW = datetime(2024, 3, 4, 5, tzinfo=UTC)
ITEMS = [f"i{position:02d}" for position in range(N_ITEMS)]
SOLD_OUT = "i19"  # has no features, and may not be recommended
USERS = [*(f"u{number}" for number in range(8)), "Zoë 購物"]
ARROW = {
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "Array(Float32)": pa.list_(pa.float32()),
    "Array(Int64)": pa.list_(pa.int64()),
    "Array(String)": pa.list_(pa.string()),
}


BENTOML = (sys.executable, "-m", "bentoml")
# Stores a release from a folder and makes it current, in a process with a model store of its own.
STORE = """
import sys
from pathlib import Path
from bentos.current_release import set_current
from bentos.release import store_release
from feature_repo.settings import Settings
tag = store_release(Path(sys.argv[1]))
set_current(Settings.from_environment(), tag)
print(tag)
"""


@dataclass(frozen=True)
class Shop:
    """Where one installation lies, its release's folder, and the tag under which that is stored."""

    settings: Settings
    bentoml_home: Path
    release: Path
    tag: str

    @property
    def environment(self):
        """What a process of this installation has in its environment."""
        return environment(self.settings.state, self.bentoml_home)


def environment(state, bentoml_home):
    """Environment of a process over a state folder and a model store, and over nothing else of ours."""
    ours = ("ENDCAP_", "BENTOML_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    here = {"ENDCAP_STATE": str(state), "BENTOML_HOME": str(bentoml_home), "BENTOML_DO_NOT_TRACK": "True"}
    return {**inherited, **here}


class StillClock:
    """A shop's clock that stands at NOW, while visits end by the wall's."""

    def now(self):
        """NOW."""
        return NOW

    def wall_s(self):
        """Seconds since 1970."""
        return time.time()


def installed(tmp_path_factory):
    """The shop, installed once for all tests of one run; a fixture of each module that serves it."""
    return _installed(tmp_path_factory.getbasetemp() / "served-shop")


@functools.cache
def _installed(root):
    import jobs.apply
    import jobs.materialize

    settings = Settings(state=root / "state", reports=root / "reports")
    write_features(settings)
    jobs.apply.run(settings)
    jobs.materialize.run(settings)
    save(shop_release(), root / "release")
    home = environment(settings.state, root / "bentoml")
    store = [sys.executable, "-c", STORE, root / "release"]
    tag = subprocess.check_output(store, env=home, cwd=ROOT, text=True).strip()
    return Shop(settings, root / "bentoml", root / "release", tag)


@contextmanager
def serving(*words, environment, cwd, log, seconds=120, until="/readyz"):
    """Run a server on a free port of this machine for as long as the block lasts; gives its URL.

    The block begins when `until` is answered: without a store a server is alive and not ready.
    """
    port = free_port()
    command = [*words, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, cwd=cwd, stdout=output, stderr=output, start_new_session=True
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + seconds
    try:
        while not answers(f"{url}{until}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url
    finally:
        stop(process, grace_s=10)


def answers(url):
    """Whether a page is there now."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def in_time(question, tries=20):
    """What a question brings when the machine is not too busy for the budget of an answer, or at last."""
    for _ in range(tries):
        answer = question()
        if not any(reason.startswith(OUT_OF_TIME) for reason in answer["degraded"]):
            break
    return answer


def columns(view):
    """Arrow types of a Feast view's features, by name."""
    return {field.name: ARROW[str(field.dtype)] for field in view.schema}


def numbers_of(*views):
    """Names of the features of views that are single numbers, in a fixed order."""
    plain = (pa.int64(), pa.float64())
    return [name for view in views for name, kind in sorted(columns(view).items()) if kind in plain]


def random_number(rng, kind):
    """A count or an amount."""
    return int(rng.integers(0, 30)) if kind == pa.int64() else float(rng.uniform(0, 30))


def history(rng):
    """Six purchases of the last months."""
    items = rng.choice(ITEMS, 6, replace=False).tolist()
    days = rng.integers(1, 90, 6)
    return {
        "history_items": list(items),
        "history_counts": rng.integers(1, 9, 6).tolist(),
        "history_decayed": rng.uniform(0.5, 8, 6).astype(np.float32).tolist(),
        "history_first_times": [int(NOW.timestamp()) - 86_400 * (day + 60) for day in days.tolist()],
        "history_last_times": [int(NOW.timestamp()) - 86_400 * day for day in days.tolist()],
        "history_last_baskets": rng.integers(1, 30, 6).tolist(),
    }


def write_table(settings, view, rows):
    """One feature table as the jobs leave it: a folder with a Parquet part, times in UTC microseconds."""
    stamp = pa.timestamp("us", tz="UTC")
    key = view.entities[0] + "_id"
    types = {key: pa.string(), "event_timestamp": stamp, "created_timestamp": stamp, **columns(view)}
    folder = settings.feature_table(view.name)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), folder / "part-0.parquet")


def write_features(settings):
    """Two rows for each user and item, a week apart; only the later one counts."""
    from feature_repo.features.items import item_stats
    from feature_repo.features.users import user_history, user_stats

    rng = np.random.default_rng(1)
    rows = {user_stats: [], user_history: [], item_stats: []}
    for week in (1, 0):
        stamps = {"event_timestamp": NOW - timedelta(weeks=week), "created_timestamp": NOW}
        for user in USERS:
            numbers = {name: random_number(rng, columns(user_stats)[name]) for name in numbers_of(user_stats)}
            shares = {"user_department_shares_91d": rng.dirichlet([1, 1, 1]).tolist()}
            who = {"user_id": user, "user_top_department": "north", **stamps}
            rows[user_stats].append({**who, **numbers, **shares})
            rows[user_history].append({"user_id": user, **history(rng), **stamps})
        for item in ITEMS:
            numbers = {name: random_number(rng, columns(item_stats)[name]) for name in numbers_of(item_stats)}
            if item != SOLD_OUT:
                rows[item_stats].append({"item_id": item, **numbers, **stamps})
    for view, table in rows.items():
        write_table(settings, view, table)


def random_towers(rng, n_user_features):
    """Towers that are not zero, of the sizes that the tiny release has."""
    n_query = N_TEXT + N_CATEGORIES + 3 + n_user_features
    shapes = {
        "query_kernel_1": (n_query, 3),
        "query_bias_1": (3,),
        "query_kernel_2": (3, N_DIM),
        "query_bias_2": (N_DIM,),
        "query_mean": (n_query,),
        "query_scale": (n_query,),
        "query_map": (N_DIM, N_DIM),
        "query_sales": (len(SALES),),
        "query_factors": (),
        "item_bodies": (N_ITEMS, N_DIM),
        "item_log_sales": (N_ITEMS, len(SALES)),
        **{
            f"taste_{kind}": (codes.max() + 1, N_DIM)
            for kind, codes in tiny_groups().items()
            if kind in KINDS
        },
    }
    return {name: np.asarray(rng.normal(size=shape), dtype=np.float32) for name, shape in shapes.items()}


def random_sources(rng):
    """Factors, a panel and a pool that are not what anybody bought."""
    factors = rng.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    return {
        "factor_items": factors,
        "factor_gram": gram(factors),
        "panel_vectors": unit(rng.normal(size=(5, N_FACTORS)).astype(np.float32)),
        "panel_shoppers": np.repeat(np.arange(5, dtype=np.int32), 4),
        "panel_items": rng.integers(0, N_ITEMS, 20).astype(np.int32),
        "pool_weights": rng.normal(size=len(INPUTS)).astype(np.float32),
    }


def random_ranker(rng, n_columns):
    """A real XGBoost ranker that has learnt nothing."""
    import xgboost

    data = xgboost.DMatrix(rng.uniform(0, 30, (400, n_columns)), label=rng.integers(0, 2, 400))
    options = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    return xgboost.train(options, data, num_boost_round=20)


def shop_release():
    """A release over the real features, with random rankers, towers and sources."""
    from feature_repo.features.items import item_stats
    from feature_repo.features.users import user_history, user_stats

    rng = np.random.default_rng(2)
    users, items = numbers_of(user_stats, user_history), numbers_of(item_stats)
    tiny = tiny_release()
    rankers = {task: random_ranker(rng, len(matrix_columns(users, items))) for task in ("all", "discover")}
    return replace(
        tiny,
        manifest={
            "as_of": NOW.isoformat(),
            "recorded": True,
            "revision": "test",
            "features": {"user": users, "item": items},
        },
        arrays={**tiny.arrays, **random_towers(rng, len(users)), **random_sources(rng)},
        rankers=rankers,
        rules={**tiny.rules, "in_basket": {"enabled": True}},
    )
