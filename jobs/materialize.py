"""Write the online store: for every user and item the feature values known at one instant.

In: the registry and the feature tables of all views with online=True. Out: the packed rows that requests are
answered from, in the store that `feature_store.yaml` names.

    endcap materialize                             # brought up to date: what was pushed since stays
    endcap materialize --end 2017-12-04T05:00:00Z  # exactly what was known then, whatever the store had
    endcap materialize --since 2017-12-04T05:00:00Z --end 2017-12-05T05:00:00Z  # what became known between

A running service then adds the purchases that its log has and the store has not: start none over a store
that is to stay as of then. A reader sees all of the old store or all of the new one (in Redis without --end:
all of the old row or of the new one); a crash leaves the old one. Rows go from the offline store to the
online one column by column, which Feast's own way through a protobuf message for each value does in many
times the time.
"""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.opened import open_rows, store_files
from feature_repo.stores.packed.sqlite_rows import Row
from jobs.result import Result

FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class NotAppliedError(RuntimeError):
    """The registry has no views; the message names the command that registers them."""


def run(settings: Settings, end: datetime | None = None, since: datetime | None = None) -> Result:
    """Write what was known at `end` (default: at the newest event); rows older than their TTL stay out.

    With `since`, only rows that became known after it are read, and what the store has stays, newer or not
    touched: rows whose time to live ends meanwhile are dropped as they are read.
    """
    started = time.perf_counter()
    store, rows = open_store(settings), open_rows(settings, read_only=False)
    from feature_repo.stores.packed.values import layout_of

    views = online_views(store, settings)
    now = end.astimezone(UTC) if end else newest_event(settings, views)
    begin = since.astimezone(UTC) if since else None
    latest = {view.name: latest_rows(store, view, now, begin) for view in views}
    found = {name: table.num_rows for name, table in latest.items()}
    if not all(found.values()) and begin is None:
        raise ValueError(
            f"As of {now:%Y-%m-%dT%H:%M:%SZ} the online store would hold {found}; the old one stays."
            f" Give an --end within the data, or run `endcap build-features`"
        )
    rows.write(
        {view.name: counted(view, latest[view.name]) for view in views},
        replace=end is not None and since is None,
        layouts=[layout_of(view) for view in views],
        known_until_us=microseconds(now),
    )
    counts = {view.name: rows.count(view.name) for view in views}
    rows.close()
    detail = f"{', '.join(f'{name} {count:,}' for name, count in counts.items())} as of {now:%Y-%m-%d %H:%MZ}"
    seconds = time.perf_counter() - started
    (where,) = store_files(settings) or (settings.feature_store,)
    return Result("materialize", sum(counts.values()), "rows", where, seconds, detail)


def online_views(store: Any, settings: Settings) -> list[Any]:
    """Registered views that requests are answered from."""
    views = [view for view in store.list_feature_views() if view.online]
    if not views:
        raise NotAppliedError(f"No feature views in {settings.registry}; run `endcap apply`")
    return views


def newest_event(settings: Settings, views: list[Any]) -> datetime:
    """Latest event time in the tables of `views`."""
    import duckdb

    from feature_repo.stores.parquet_parts import kept_parts

    newest = []
    for view in views:
        parts = kept_parts(view.batch_source, str(settings.state))
        query = f"SELECT epoch_us(max({view.batch_source.timestamp_field})) FROM read_parquet($1)"
        newest += [row[0] for row in duckdb.execute(query, [list(parts)]).fetchall() if row[0] is not None]
    if not newest:
        raise ValueError("The feature tables have no rows; run `endcap build-features`")
    return datetime.fromtimestamp(max(newest) / 1e6, tz=UTC)


def latest_rows(store: Any, view: Any, end: datetime, since: datetime | None = None) -> Any:
    """Arrow table of the latest row of every entity that still counts at `end`, in the view's own names.

    With `since`, of those that have one from then on.
    """
    table = latest_job(store, view, end, since).to_arrow()
    return table.rename_columns(
        [view.batch_source.field_mapping.get(name, name) for name in table.column_names]
    )


def latest_job(store: Any, view: Any, end: datetime, since: datetime | None = None) -> Any:
    """Feast's job that reads those rows, in the names of their source."""
    from feast.infra.offline_stores.offline_utils import get_offline_store_from_config

    source = view.batch_source
    theirs = {ours: theirs for theirs, ours in source.field_mapping.items()}
    return get_offline_store_from_config(store.config.offline_store).pull_latest_from_table_or_query(
        config=store.config,
        data_source=source,
        join_key_columns=[theirs.get(key, key) for key in view.join_keys],
        feature_name_columns=[theirs.get(field.name, field.name) for field in view.features],
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column or None,
        start_date=max(view_start(view, end), since or FIRST),
        end_date=end,
    )


def view_start(view: Any, end: datetime) -> datetime:
    """First event time that still counts at `end`: TTL before it, or the beginning without a TTL."""
    return end - view.ttl if view.ttl else FIRST


def counted(view: Any, table: Any) -> Iterator[Row]:
    """Packed rows of one view, with a bar on a terminal."""
    from tqdm import tqdm

    from feature_repo.stores.packed.arrow_rows import packed_rows
    from feature_repo.stores.packed.values import layout_of

    source = view.batch_source
    packed = packed_rows(
        layout_of(view),
        table,
        view.join_keys,
        event=source.timestamp_field,  # and not when created: the tables are right, whatever the clock says
    )
    shown = {"desc": view.name, "unit": " rows", "disable": not sys.stderr.isatty()}
    yield from tqdm(packed, total=table.num_rows, **shown)
