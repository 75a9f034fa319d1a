"""`endcap materialize` serves what was known at one instant, all of it or the store from before.

The feature tables are small and made by hand: a value says whose it is, of which week and of which column.
"""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_worlds import DAY, NOON, STAMP, US, known

from feature_repo import definitions as named
from feature_repo.settings import FEATURE_STORE, Settings
from feature_repo.store import open_store
from feature_repo.stores.parquet_parts import FeatureTableError
from jobs import apply, materialize

WEEK = 7 * DAY
VIEWS = {"user_stats": "user_id", "user_history": "user_id", "item_stats": "item_id"}
ARROW = {
    "Float64": pa.float64(),
    "Int64": pa.int64(),
    "String": pa.string(),
    "Array(Float32)": pa.list_(pa.float32()),
    "Array(Int64)": pa.list_(pa.int64()),
    "Array(String)": pa.list_(pa.string()),
}
# Who has rows in which weeks: `late` comes last, `early` stops three weeks before the end.
WEEKS = {"always": [0, 1, 2, 3, 4], "early": [0, 1], "late": [4]}
NEWEST = NOON + 4 * WEEK


def columns_of(view):
    """(name, Arrow type) of the features of a view."""
    return [(field.name, ARROW[str(field.dtype)]) for field in getattr(named, view).features]


def value(kind, number):
    """A number in the type of a column."""
    if pa.types.is_list(kind):
        return [value(kind.value_type, number), value(kind.value_type, -number)]
    return (
        f"={number}" if pa.types.is_string(kind) else float(number) if pa.types.is_floating(kind) else number
    )


def table_rows(view, weeks=WEEKS, *, plus=0):
    """Rows of a feature table: one for each entity and week, written an hour after."""
    rows = []
    for entity, (name, known_in) in enumerate(weeks.items()):
        for week in known_in:
            at = {"event_timestamp": NOON + week * WEEK, "created_timestamp": NOON + week * WEEK + DAY / 24}
            numbers = [1000 * (entity + 1) + 100 * week + n + plus for n in range(len(columns_of(view)))]
            features = {
                c: value(kind, number) for (c, kind), number in zip(columns_of(view), numbers, strict=True)
            }
            rows.append({VIEWS[view]: name} | features | at)
    return rows


def write_table(settings, view, rows, part=0):
    """One part of a feature table."""
    stamps = {"event_timestamp": STAMP, "created_timestamp": STAMP}
    schema = pa.schema([(VIEWS[view], pa.string()), *columns_of(view), *stamps.items()])
    settings.feature_table(view).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), settings.feature_table(view) / f"part-{part}.parquet")


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """State of an installation with a registry and feature tables, to copy."""
    folder = tmp_path_factory.mktemp("installation")
    settings = Settings(state=folder / "state", reports=folder / "reports", threads=1)
    apply.run(settings)
    for view in VIEWS:
        write_table(settings, view, table_rows(view))
    return settings.state


@pytest.fixture
def settings(applied, tmp_path):
    """An installation of its own, ready to materialize."""
    shutil.copytree(applied, tmp_path / "state")
    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)


def served(settings, view, names=tuple(WEEKS)):
    """{entity: values in the view's order, or None where there are none} as Feast reads them online."""
    features = [name for name, _ in columns_of(view)]
    answer = open_store(settings).get_online_features(
        [f"{view}:{name}" for name in features], [{VIEWS[view]: name} for name in names]
    )
    answer = answer.to_dict()
    rows = {name: [answer[feature][n] for feature in features] for n, name in enumerate(names)}
    return {name: None if row == [None] * len(features) else row for name, row in rows.items()}


def expected(view, end, rows=None):
    """The same from the tables' rows by a loop: the latest row at `end` that is not older than its TTL."""
    rows = rows or table_rows(view)
    found = {name: known(rows, {VIEWS[view]: name}, end, ttl=getattr(named, view).ttl) for name in WEEKS}
    return {name: row and [row[column] for column, _ in columns_of(view)] for name, row in found.items()}


def assert_serves(settings, end):
    """All views serve what the tables say was known at `end`."""
    for view in VIEWS:
        assert served(settings, view) == expected(view, end), view


# ---- As of an instant


def test_the_newest_event_is_the_default(settings):
    """Without an end all is served as of the last event; counts and instant are told."""
    result = materialize.run(settings)
    assert_serves(settings, NEWEST)
    assert (result.step, result.rows, result.where) == ("materialize", 2 + 3 + 2, settings.online_store)
    counts = "item_stats 2, user_history 3, user_stats 2"
    assert sorted(result.detail.removesuffix(" as of 2024-04-07 12:00Z").split(", ")) == counts.split(", ")


JAPAN = timezone(timedelta(hours=9))
ENDS = [
    NOON,
    NOON + WEEK - US,
    (NOON + WEEK).astimezone(JAPAN),
    NOON + 3 * WEEK,
    NOON + 3 * WEEK + US,
    NEWEST - US,
]


@pytest.mark.parametrize("end", ENDS, ids=str)
def test_the_past_is_served_after_the_present(settings, end):
    """As of an earlier end no newer value survives, nor an entity that came later."""
    materialize.run(settings)
    materialize.run(settings, end)
    assert_serves(settings, end)
    assert served(settings, "user_stats")["late"] is None


def test_time_to_live_counts_from_the_end(settings):
    """A row exactly as old as its TTL is served, one a microsecond older is not; a history has no TTL."""
    last = NOON + WEEK + named.user_stats.ttl
    materialize.run(settings, last)
    assert served(settings, "user_stats")["early"] == expected("user_stats", last)["early"] is not None
    materialize.run(settings, last + US)
    assert served(settings, "user_stats")["early"] is None
    assert served(settings, "user_history")["early"] is not None


def test_a_correction_replaces_what_it_corrects(settings):
    """Of rows of the same event time the one created last is served, wherever it lies."""
    corrected = [row | {"created_timestamp": NEWEST + DAY} for row in table_rows("item_stats", plus=7)]
    folder = settings.feature_table("item_stats")
    (folder / "part-0.parquet").replace(folder / "part-9.parquet")
    write_table(settings, "item_stats", corrected)
    materialize.run(settings)
    assert served(settings, "item_stats") == expected("item_stats", NEWEST, corrected)


def test_a_correction_is_served_though_the_clock_went_back(settings):
    """A part that was written anew is right, whenever it says that it was created; its old rows are gone."""
    first = [row | {"created_timestamp": NEWEST + DAY} for row in table_rows("item_stats")]
    write_table(settings, "item_stats", first)
    materialize.run(settings)
    write_table(settings, "item_stats", table_rows("item_stats", plus=7))  # created a day before those
    materialize.run(settings, NEWEST, NEWEST - US)
    rows = served(settings, "item_stats")
    assert rows == expected("item_stats", NEWEST, table_rows("item_stats", plus=7))


def test_what_is_not_served_online_is_not_read(settings):
    """The texts' vectors have no feature table here, and none in the online store."""
    materialize.run(settings)
    with closing(sqlite3.connect(settings.online_store)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = {f"packed_{name}" for name in ("layouts", "versions", "fills", "known")}
    assert tables == {*ours, *(f"packed:endcap:{view}" for view in VIEWS)}


def test_materialized_again_nothing_changes(settings):
    """The same end gives the same rows; the registry stays as it was, byte by byte."""
    registry = settings.registry.read_bytes()
    first, second = (materialize.run(settings, NOON + WEEK) and stored(settings) for _ in range(2))
    assert first == second
    assert settings.registry.read_bytes() == registry


def stored(settings):
    """All rows of the online store."""
    with closing(sqlite3.connect(settings.online_store)) as store:
        return {
            view: store.execute(f'SELECT * FROM "packed:endcap:{view}" ORDER BY key').fetchall()
            for view in VIEWS
        }


# ---- Beside what is pushed


def pushed(settings, view, entity, values, event):
    """Write one row as a push does: through Feast, under its own event time."""
    store = open_store(settings)
    frame = pd.DataFrame(
        [{VIEWS[view]: entity, **values, "event_timestamp": event, "created_timestamp": event}]
    )
    store.write_to_online_store(view, frame)


@pytest.mark.parametrize("newer", [True, False])
def test_what_was_pushed_since_stays(settings, newer):
    """Brought up to date, a row is the newest of tables and pushes; as of an end, that of the tables."""
    materialize.run(settings)
    values = expected("item_stats", NEWEST)["always"]
    pushed_values = dict(zip([name for name, _ in columns_of("item_stats")], values, strict=True))
    name = next(iter(pushed_values))
    pushed_values[name] += 5
    pushed(settings, "item_stats", "always", pushed_values, NEWEST + US if newer else NEWEST - US)
    changed = [pushed_values[name], *values[1:]]
    materialize.run(settings)
    assert served(settings, "item_stats")["always"] == (changed if newer else values)
    materialize.run(settings, NEWEST)
    assert served(settings, "item_stats")["always"] == values


def test_a_server_is_filled_as_a_file_is(settings, blank_redis_url, monkeypatch):
    """With the store in Redis: as of now, as of an earlier end, and told where."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", blank_redis_url)
    yaml = FEATURE_STORE.with_name("feature_store.redis.yaml")
    there = replace(settings, feature_store=yaml)
    settings.online_store.unlink()
    apply.run(there)
    for end in (None, NOON + WEEK):
        result = materialize.run(there, end)
        assert_serves(there, end or NEWEST)
        assert result.where == yaml
    assert not settings.online_store.exists()


# ---- All of it or the old one


@pytest.fixture
def materialized(settings):
    """(settings, rows of the online store as of the first week)."""
    materialize.run(settings, NOON + WEEK)
    return settings, stored(settings)


def assert_old(settings, before):
    """The store is the one from before, and nothing lies beside it."""
    assert stored(settings) == before
    assert not [path.name for path in settings.state.iterdir() if "aside" in path.name]


@pytest.mark.parametrize("end", [NOON - US, datetime(2000, 1, 1, tzinfo=UTC), NOON + 50 * WEEK], ids=str)
def test_an_end_beyond_the_data_is_refused(materialized, end):
    """Before the first row, or when all rows of a view are too old, the old store stays."""
    settings, before = materialized
    message = (
        rf"As of {end:%Y-%m-%dT%H:%M:%SZ} .*user_stats': 0.*; the old one stays.*`endcap build-features`"
    )
    with pytest.raises(ValueError, match=message):
        materialize.run(settings, end)
    assert_old(settings, before)


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_a_crash_leaves_the_old_store(materialized, monkeypatch, finished, error):
    """Whichever view fails, after its rows were written, requests see the store from before."""
    settings, before = materialized
    counted, done = materialize.counted, []

    def crash(view, table):
        yield from counted(view, table)
        if len(done) == finished:
            raise error
        done.append(view.name)

    monkeypatch.setattr(materialize, "counted", crash)
    with pytest.raises(type(error)):
        materialize.run(settings)
    assert len(done) == finished
    assert_old(settings, before)


def test_a_missing_table_leaves_the_old_store(materialized):
    """A feature table that is gone is named with its command."""
    settings, before = materialized
    shutil.rmtree(settings.feature_table("item_stats"))
    for end in (None, NOON):
        with pytest.raises(FeatureTableError, match="features/item_stats; run `endcap build-features`"):
            materialize.run(settings, end)
    assert_old(settings, before)


def test_empty_tables_are_refused(settings):
    """Tables without a row have no newest event."""
    for view in VIEWS:
        write_table(settings, view, [])
    with pytest.raises(ValueError, match="The feature tables have no rows; run `endcap build-features`"):
        materialize.run(settings)
    assert "online_store.db" in {path.name for path in settings.state.iterdir()}


def test_nothing_is_materialized_before_apply(tmp_path):
    """Without a registry the error names the command that writes one."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)
    with pytest.raises(
        materialize.NotAppliedError, match=r"No feature views in .*registry\.db; run `endcap apply`"
    ):
        materialize.run(settings)
