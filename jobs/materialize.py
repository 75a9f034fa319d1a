"""Write the online store: for every user and item the feature values known at one instant.

In: the registry and the feature tables of all views with online=True. Out: the SQLite file that requests are
answered from, as of `end` (default: the newest event of the tables), also for an `end` in the past.

    endcap materialize
    endcap materialize --end 2017-12-04T05:00:00Z

The file is built aside and renamed when it is whole: a reader has the old store or the new one, a crash
leaves the old one, and no newer value survives (Feast's SQLite store keeps what was written last, whatever
its time). A process that has the old file open goes on reading it until it opens the store again.
"""

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from feature_repo.store import open_store
from jobs.result import Result

FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class NotAppliedError(RuntimeError):
    """The registry has no views; the message names the command that registers them."""


def run(settings: Settings, end: datetime | None = None) -> Result:
    """Replace the online store by one as of `end`; rows older than their view's TTL stay out."""
    from tqdm import tqdm

    started = time.perf_counter()
    views = online_views(settings)
    end = end.astimezone(UTC) if end else newest_event(settings, views)
    with _aside(settings) as folder:
        store = open_store(settings, registry=folder / "registry.db", online_store=folder / "online_store.db")
        with _quiet():
            store.apply([*_entities(settings), *views])
        with tqdm(views, desc="materialize", unit=" views", disable=not sys.stderr.isatty()) as bar:
            for view in bar:
                bar.set_postfix_str(view.name)
                with _quiet():
                    store.materialize(view_start(view, end), end, feature_views=[view.name])
        counts = entity_counts(folder / "online_store.db", store.project, views)
        if not all(counts.values()):
            raise ValueError(
                f"As of {end:%Y-%m-%dT%H:%M:%SZ} the online store would hold {counts}; the old one stays."
                f" Give an --end within the data, or run `endcap build-features`"
            )
        (folder / "online_store.db").replace(settings.online_store)
    detail = f"{', '.join(f'{name} {count:,}' for name, count in counts.items())} as of {end:%Y-%m-%d %H:%MZ}"
    seconds = time.perf_counter() - started
    return Result("materialize", sum(counts.values()), "rows", settings.online_store, seconds, detail)


def online_views(settings: Settings) -> list[Any]:
    """Registered views that requests are answered from."""
    views = [view for view in open_store(settings).list_feature_views() if view.online]
    if not views:
        raise NotAppliedError(f"No feature views in {settings.registry}; run `endcap apply`")
    return views


def newest_event(settings: Settings, views: list[Any]) -> datetime:
    """Latest event time in the tables of `views`."""
    import duckdb

    from feature_repo.stores.parquet_parts import parquet_parts

    newest = []
    for view in views:
        parts = parquet_parts(view.batch_source, str(settings.state))
        query = f"SELECT epoch_us(max({view.batch_source.timestamp_field})) FROM read_parquet($1)"
        newest += [row[0] for row in duckdb.execute(query, [list(parts)]).fetchall() if row[0] is not None]
    if not newest:
        raise ValueError("The feature tables have no rows; run `endcap build-features`")
    return datetime.fromtimestamp(max(newest) / 1e6, tz=UTC)


def view_start(view: Any, end: datetime) -> datetime:
    """First event time that still counts at `end`: TTL before it, or the beginning without a TTL."""
    return end - view.ttl if view.ttl else FIRST


def entity_counts(online_store: Path, project: str, views: list[Any]) -> dict[str, int]:
    """Users or items held for each view."""
    with closing(sqlite3.connect(online_store)) as connection:
        return {
            view.name: connection.execute(
                f'SELECT count(DISTINCT entity_key) FROM "{project}_{view.name}"'
            ).fetchone()[0]
            for view in views
        }


def _entities(settings: Settings) -> list[Any]:
    return list(open_store(settings).list_entities())


@contextmanager
def _aside(settings: Settings) -> Iterator[Path]:
    """A folder beside the store (so that a rename is atomic), empty before and gone afterwards."""
    folder = settings.online_store.with_suffix(".aside")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Feast's own account of its work, which it prints, out of the result's line."""
    with redirect_stdout(StringIO()):
        yield
