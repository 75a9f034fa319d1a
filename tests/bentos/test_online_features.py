"""Reading features online: what is stored comes back by name, and every failure can be answered."""

import math
import os
import shutil
import sqlite3
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import served_shop
from served_shop import ITEMS, NOW, SOLD_OUT, USERS

from bentos import online_features
from bentos.ladder import FeaturesUnavailableError
from bentos.online_features import ITEM_VIEW, USER_VIEWS, OnlineFeatures
from bentos.release import ReleaseError, load
from feature_repo.features.services import item_ranking, user_ranking
from feature_repo.features.users import user_stats
from feature_repo.stores.packed.layout import PackedStoreError

shop = pytest.fixture(scope="session")(served_shop.installed)
FIRST = np.array([0], dtype=np.int32)  # position of i00


@pytest.fixture(scope="module")
def release(shop):
    """The shop's release."""
    return load(shop.release)


@pytest.fixture(scope="module")
def manifest(release):
    """What the release says of its features."""
    return release.manifest


@pytest.fixture(scope="module")
def reader(shop, release):
    """A reader of the shop's store."""
    return OnlineFeatures(shop.settings, release, lambda: NOW)


@pytest.fixture
def copied(shop, tmp_path):
    """Settings of a copy of the shop's registry and store, to be broken."""
    settings = replace(shop.settings, state=tmp_path / "state")
    settings.state.mkdir()
    shutil.copy(shop.settings.registry, settings.registry)
    shutil.copy(shop.settings.online_store, settings.online_store)
    return settings


def written(shop, view, key):
    """The latest row of each entity in a feature table, by id."""
    rows = pq.read_table(shop.settings.feature_table(view)).to_pylist()
    return {row[key]: row for row in sorted(rows, key=lambda row: row["event_timestamp"])}


@pytest.mark.parametrize("user_id", USERS)
def test_user_row_is_what_was_written(reader, shop, user_id):
    """Every feature of both views comes back as it stands in the tables, with the time of the newest."""
    row = reader.read_user(user_id)
    stats, past = (written(shop, view, "user_id")[user_id] for view in ("user_stats", "user_history"))
    meta = {"user_id", "event_timestamp", "created_timestamp"}
    expected = {name: value for name, value in {**stats, **past}.items() if name not in meta}
    assert row.pop("event_timestamp") == NOW
    assert same(row, expected)


def test_item_rows_are_in_the_order_asked(reader, shop, manifest):
    """One row an item in the order asked, features in the release's order, NaN for an item without any."""
    asked = np.array([*reversed(range(len(ITEMS))), 0], dtype=np.int32)
    ids = [ITEMS[item] for item in asked]
    stored = written(shop, "item_stats", "item_id")
    nothing = dict.fromkeys(manifest["features"]["item"], math.nan)
    expected = [[stored.get(item, nothing)[name] for name in manifest["features"]["item"]] for item in ids]
    found = reader.read_items(asked)
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert np.isnan(found[ids.index(SOLD_OUT)]).all()
    assert not np.isnan(found[ids.index("i00")]).any()


def test_a_request_asks_the_store_once(shop, release, monkeypatch):
    """What it read of the user says whether its items are those in memory: the store may be gone by then."""
    reader = OnlineFeatures(shop.settings, release, lambda: NOW)
    expected = reader.read_items(FIRST)
    monkeypatch.setattr("feature_repo.stores.packed.held_view.FRESH_S", 60.0)
    assert reader.read_user(USERS[0]) is not None
    monkeypatch.delattr(reader.rows.__class__, "version")
    np.testing.assert_array_equal(reader.read_items(FIRST), expected)


@pytest.mark.parametrize("user_id", ["nobody", "", "U0", "u0 ", "u0'; --"])
def test_unknown_user_is_none(reader, user_id):
    """Who has no row is nobody, however close the id."""
    assert reader.read_user(user_id) is None


def test_no_items_are_no_rows(reader, manifest):
    """Nothing asked is nothing read."""
    assert reader.read_items(FIRST[:0]).shape == (0, len(manifest["features"]["item"]))


def test_a_row_that_is_too_old_counts_as_missing(shop, release):
    """After the time to live of its numbers a user is known by their history alone."""
    late = OnlineFeatures(shop.settings, release, lambda: NOW + user_stats.ttl + timedelta(microseconds=1))
    row = late.read_user("u0")
    assert "user_spend_7d" not in row
    assert row["history_items"]


def test_what_nobody_materializes_any_more_is_read_as_of_the_newest(shop, release):
    """Two weeks later all numbers have expired: they are served as they were, and it is told since when."""
    now = [NOW]
    reader = OnlineFeatures(shop.settings, release, lambda: now[0])
    fresh, items = reader.read_user("u0"), reader.read_items(FIRST)
    now[0] += user_stats.ttl
    assert reader.late() is None
    now[0] += timedelta(microseconds=1)
    assert reader.late() == NOW
    assert same(reader.read_user("u0"), fresh)
    np.testing.assert_array_equal(reader.read_items(FIRST), items)
    np.testing.assert_array_equal(reader.last_items(FIRST), items)


def test_items_are_remembered_when_the_store_is_gone(copied, release):
    """What was read last is still there; a reader that never read remembers nothing."""
    reader, other = (OnlineFeatures(copied, release, lambda: NOW) for _ in range(2))
    items = reader.read_items(FIRST)
    assert reader.reachable()
    copied.online_store.unlink()
    with pytest.raises(FeaturesUnavailableError):
        reader.read_items(FIRST)
    np.testing.assert_array_equal(reader.last_items(FIRST), items)
    assert other.last_items(FIRST) is None
    assert not reader.reachable()


def test_views_are_those_of_the_feature_services():
    """What is read online is what models are trained on."""
    served = [
        [view.name for view in service.feature_view_projections] for service in (user_ranking, item_ranking)
    ]
    assert served == [list(USER_VIEWS), [ITEM_VIEW]]


def test_matching_features_pass_the_check(reader):
    """A release over the registered features is fine."""
    reader.check()


@pytest.mark.parametrize("kind", ["user", "item"])
def test_release_over_other_features_is_refused(shop, release, manifest, kind):
    """A feature that nobody registered is named before anything is served, and while serving falls back."""
    features = {**manifest["features"], kind: [*manifest["features"][kind], "moon_phase"]}
    other = replace(release, manifest={**manifest, "features": features})
    reader = OnlineFeatures(shop.settings, other, lambda: NOW)
    with pytest.raises(
        ReleaseError, match=rf"needs \['moon_phase'\], which .*{kind}_stats.* lack; run `endcap apply`"
    ):
        reader.check()
    if kind == "item":
        with pytest.raises(FeaturesUnavailableError, match="online store cannot be read"):
            reader.read_items(FIRST)


def without_store(settings):
    """No store at all."""
    settings.online_store.unlink()


def garbage_store(settings):
    """No database."""
    settings.online_store.write_bytes(os.urandom(5_000))


def folder_for_store(settings):
    """A folder where the file should be."""
    settings.online_store.unlink()
    settings.online_store.mkdir()


def without_views(settings):
    """A database that was never applied to."""
    settings.online_store.unlink()
    sqlite3.connect(settings.online_store).execute("CREATE TABLE other (n)").connection.close()


BROKEN = {
    without_store: "no online store",
    garbage_store: "online store cannot be read",
    folder_for_store: "online store cannot be read",
    without_views: "online store is empty",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_is_broken_is_unavailable(copied, release, broken):
    """A fresh reader meets a broken installation with the one error that the answer knows how to tell."""
    broken(copied)
    for read in (lambda r: r.read_user("u0"), lambda r: r.read_items(FIRST), lambda r: r.check()):
        reader = OnlineFeatures(copied, release, lambda: NOW)
        with pytest.raises(FeaturesUnavailableError, match=BROKEN[broken]):
            read(reader)


def test_a_store_that_does_not_answer_is_left_alone_for_a_while(shop, release, monkeypatch):
    """The first request waits for its time-out; those of the next half second do not even try."""
    reader = OnlineFeatures(shop.settings, release, lambda: NOW)
    now, asked = [100.0], []

    def silent(view):
        asked.append(view)
        raise PackedStoreError("no answer in time")

    monkeypatch.setattr(online_features, "monotonic", lambda: now[0])
    with monkeypatch.context() as broken:
        broken.setattr(reader.rows, "version", silent)
        for says in ("cannot be read", "does not answer", "does not answer"):
            with pytest.raises(FeaturesUnavailableError, match=says):
                reader.read_items(FIRST)
        assert len(asked) == 1
    now[0] += online_features.PAUSE_S - 0.001
    with pytest.raises(FeaturesUnavailableError, match="does not answer"):
        reader.read_user("u0")
    now[0] += 0.002
    assert reader.read_user("u0")["event_timestamp"] == NOW


def test_reader_opens_a_new_store_and_lets_go_of_the_old(copied, shop, release):
    """What is materialized is read at once; a file that was deleted does not stay open to fill the disk."""
    from jobs import materialize

    reader = OnlineFeatures(copied, release, lambda: NOW)
    first = reader.read_user("u0")
    shutil.copytree(shop.settings.state / "features", copied.state / "features")
    materialize.run(copied, end=NOW - timedelta(days=3))
    second = reader.read_user("u0")
    copied.online_store.unlink()
    materialize.run(copied, end=NOW)
    assert same(reader.read_user("u0"), first)
    assert second["event_timestamp"] == NOW - timedelta(weeks=1)
    assert not same(second, first)
    assert [path for path in open_files() if str(copied.state) in path and path.endswith("(deleted)")] == []


def same(row, other):
    """Whether two rows have the same values, in lists or in arrays."""
    return {name: np.asarray(value).tolist() for name, value in row.items()} == {
        name: np.asarray(value).tolist() for name, value in other.items()
    }


def open_files():
    """Names of the files that this process has open; the kernel marks those that were deleted."""
    links = list(Path("/proc/self/fd").iterdir())
    return [str(link.readlink()) for link in links if link.is_symlink()]
