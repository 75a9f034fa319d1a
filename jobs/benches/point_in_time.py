"""Point-in-time joins: our offline store beside Feast's own `duckdb` store, on this installation's features.

Both retrieve the same views for the same shoppers at the same instants, each in a process of its own, so that
CPU seconds and peak memory are each one's own. Weekly statistics are narrow and many rows long; histories are
one row a basket with four arrays of up to 2,048 slots, which a join that copies its candidates cannot afford.
"""

import os
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from feature_repo.settings import Settings

DESIGNS = ("asof", "feast_duckdb")
CASES = {"user_stats": 20_000, "user_history": 500}  # entity rows asked of each view
Record = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """What one retrieval took: CPU seconds, peak memory above that of the imports (MB), known rows."""

    cpu_s: float
    peak_mb: float
    known: int


def records(settings: Settings) -> Iterator[Record]:
    """Two records per view and design: CPU seconds, and peak memory in MB."""
    for view, rows in CASES.items():
        costs = {design: apart(settings, design, view, rows) for design in DESIGNS}
        known = {cost.known for cost in costs.values()}
        if len(known) != 1:
            raise RuntimeError(f"The designs disagree on {view}: {costs}; run `endcap build-features`")
        for design, cost in costs.items():
            tags = {"report": "bench_batch", "view": view, "design": design, "rows": rows}
            yield {**tags, "metric": "pit_cpu_s", "value": cost.cpu_s, "unit": "s"}
            yield {**tags, "metric": "pit_peak_mb", "value": cost.peak_mb, "unit": "MB"}


def apart(settings: Settings, design: str, view: str, rows: int) -> Cost:
    """`retrieval` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=be_quiet) as process:
        return process.submit(retrieval, settings, design, view, rows).result()


def be_quiet() -> None:
    """Let libraries' remarks of this process go nowhere; its errors travel as exceptions."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def retrieval(settings: Settings, design: str, view: str, rows: int) -> Cost:
    """Cost of one `get_historical_features` of all features of `view` for `rows` sampled entity rows."""
    entities = entity_rows(settings, rows)
    with TemporaryDirectory(prefix="endcap-bench-") as folder:
        store = open_design(settings, design, view, Path(folder))
        before = peak_mb()
        began = process_time()
        table = store.get_historical_features(
            entity_df=entities, features=[f"{view}:{f.name}" for f in store.get_feature_view(view).features]
        ).to_arrow()
        spent = process_time() - began
    if table.num_rows != rows:
        raise RuntimeError(f"{design} gave {table.num_rows} of {rows} rows")
    return Cost(spent, peak_mb() - before, rows - table[table.column_names[-1]].null_count)


def entity_rows(settings: Settings, rows: int) -> Any:
    """`rows` (shopper, second of a purchase) drawn from the second half of the data, always the same."""
    import duckdb

    query = """
        SELECT user_id, event_timestamp FROM (
            SELECT DISTINCT user_id, event_timestamp FROM read_parquet($1)
            WHERE quantity > 0 AND event_timestamp > (
                SELECT quantile_disc(event_timestamp, 0.5) FROM read_parquet($1)))
        ORDER BY md5(user_id || epoch_us(event_timestamp)) LIMIT $2"""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.execute(query, [settings.table_parts("transactions"), rows]).df()
    if len(found) < rows:
        raise ValueError(f"The bench needs {rows} baskets and found {len(found)}; run `endcap ingest`")
    return found


def open_design(settings: Settings, design: str, view: str, folder: Path) -> Any:
    """A store with one of our views, over our offline store or over Feast's."""
    from feast import FeatureStore, FeatureView, FileSource, RepoConfig

    from feature_repo.features.entities import user
    from feature_repo.features.users import user_history, user_stats

    ours: FeatureView = {each.name: each for each in (user_stats, user_history)}[view]
    source = FileSource(
        path=str(settings.feature_table(view) / "*.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    offline = {
        "asof": {"type": "feature_repo.stores.asof.AsofOfflineStore", "threads": settings.threads},
        "feast_duckdb": {"type": "duckdb"},
    }[design]
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store=offline,
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    same = FeatureView(name=view, entities=[user], ttl=ours.ttl, schema=ours.features, source=source)
    store.apply([user, same])
    return store


def peak_mb() -> float:
    """Most memory that this process has held, in MB (Linux counts it in KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
