"""Reading features online: what is stored comes back by name, and every failure can be answered."""

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import served_shop
from served_shop import ITEMS, NOW, SOLD_OUT, USERS

from bentos.online_features import OnlineFeatures, absent, columns_as_matrix, newest
from bentos.recommend import FeaturesUnavailableError
from bentos.release import ReleaseError, read_manifest

shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture(scope="module")
def manifest(shop):
    """What the release says of its features."""
    return read_manifest(shop.release)


@pytest.fixture(scope="module")
def reader(shop, manifest):
    """A reader of the shop's store."""
    return OnlineFeatures(shop.settings, manifest)


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
    assert row == expected


def test_item_rows_are_in_the_order_asked(reader, shop, manifest):
    """One row an item in the order asked, features in the release's order, NaN for an item without any."""
    ids = [*reversed(ITEMS), "unheard of", ITEMS[0]]
    stored = written(shop, "item_stats", "item_id")
    nothing = dict.fromkeys(manifest["features"]["item"], math.nan)
    expected = [[stored.get(item, nothing)[name] for name in manifest["features"]["item"]] for item in ids]
    found = reader.read_items(ids)
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert np.isnan(found[ids.index(SOLD_OUT)]).all()
    assert not np.isnan(found[ids.index("i00")]).any()


@pytest.mark.parametrize("user_id", ["nobody", "", "U0", "u0 ", "u0'; --"])
def test_unknown_user_is_none(reader, user_id):
    """Who has no row is nobody, however close the id."""
    assert reader.read_user(user_id) is None


def test_no_items_are_no_rows(reader, manifest):
    """Nothing asked is nothing read."""
    assert reader.read_items([]).shape == (0, len(manifest["features"]["item"]))


def test_columns_become_a_matrix_by_name():
    """Columns are laid out by name, not in the order of the mapping; None is NaN, integers are exact."""
    columns = {"b": [1, None, 2**24], "a": [0.5, True, -1], "other": ["x"] * 3}
    found = columns_as_matrix(columns, ["a", "b"], 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0.5, 1], [1, math.nan], [-1, 2**24]])


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"a": [1], "a__ts": [100], "b__ts": [300], "c__ts": [200]}, datetime.fromtimestamp(300, UTC)),
        ({"a__ts": [0], "b__ts": [None]}, None),
        ({"a": [999]}, None),
    ],
)
def test_newest_is_the_latest_event_time(found, expected):
    """Of a row's event times the latest counts; features without one, and values, do not."""
    assert newest(found) == expected


def test_matching_features_pass_the_check(reader):
    """A release over the registered features is fine."""
    reader.check()


@pytest.mark.parametrize("kind", ["user", "item"])
def test_release_over_other_features_is_refused(shop, manifest, kind):
    """A feature that nobody registered is named before anything is served, and while serving falls back."""
    features = {**manifest["features"], kind: [*manifest["features"][kind], "moon_phase"]}
    reader = OnlineFeatures(shop.settings, {**manifest, "features": features})
    with pytest.raises(
        ReleaseError, match=rf"needs \['moon_phase'\], which {kind}_ranking lacks.*endcap apply"
    ):
        reader.check()
    with pytest.raises(FeaturesUnavailableError, match="online store lacks moon_phase"):
        reader.read_user("u0") if kind == "user" else reader.read_items(["i00"])


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


def without_registry(settings):
    """A store whose features nobody registered."""
    settings.registry.unlink()


def garbage_registry(settings):
    """A registry that cannot be parsed."""
    settings.registry.write_bytes(b"\xff" * 5_000)


BROKEN = [without_store, garbage_store, folder_for_store, without_registry, garbage_registry]


@pytest.mark.parametrize("broken", BROKEN)
def test_whatever_is_broken_is_unavailable(copied, manifest, broken):
    """A fresh reader meets a broken installation with the one error that the answer knows how to tell."""
    broken(copied)
    reader = OnlineFeatures(copied, manifest)
    for read in (lambda: reader.read_user("u0"), lambda: reader.read_items(["i00"])):
        with pytest.raises(FeaturesUnavailableError, match="online store"):
            read()


@pytest.mark.parametrize("broken", [without_store, folder_for_store, without_registry, garbage_registry])
def test_check_of_what_is_broken_is_unavailable(copied, manifest, broken):
    """The check at the start tells a broken installation apart from a release that does not fit."""
    broken(copied)
    try:
        OnlineFeatures(copied, manifest).check()
    except FeaturesUnavailableError:
        return
    assert broken is folder_for_store  # the check looks at the registry; the first read will meet the store


def test_reader_opens_a_replaced_store_and_lets_go_of_the_old(copied, shop, manifest):
    """After a rename the next read is of the new store, and no replaced file stays open to fill the disk."""
    from jobs import materialize

    reader = OnlineFeatures(copied, manifest)
    first = reader.read_user("u0")
    shutil.copytree(shop.settings.state / "features", copied.state / "features")
    materialize.run(copied, end=NOW - timedelta(days=3))
    second = reader.read_user("u0")
    for _ in range(2):
        materialize.run(copied, end=NOW)
        assert reader.read_user("u0") == first
    assert second["event_timestamp"] == NOW - timedelta(weeks=1)
    assert second != first
    assert [path for path in open_files() if str(copied.state) in path and path.endswith("(deleted)")] == []


def open_files():
    """Names of the files that this process has open; the kernel marks those that were deleted."""
    links = list(Path("/proc/self/fd").iterdir())
    return [str(link.readlink()) for link in links if link.is_symlink()]


def test_absent_module_is_back_afterwards():
    """In the block an import fails as if the module were not installed; a loaded one stays as it is."""
    assert "wave" not in sys.modules
    with absent("wave"), pytest.raises(ImportError):
        import wave
    import wave

    with absent("wave"):
        import wave as again
    assert again is wave is sys.modules.pop("wave")


def test_feast_is_there_before_the_store_is(tmp_path):
    """A worker without a store pays for Feast's import at once, not in the request that finds one later."""
    program = """
import sys
from pathlib import Path
from bentos.online_features import OnlineFeatures
from bentos.recommend import FeaturesUnavailableError
from feature_repo.settings import Settings

nowhere = Settings(state=Path("no"), reports=Path("no"))
try:
    OnlineFeatures(nowhere, {"features": {"item": ["a"], "user": ["b"]}}).check()
except FeaturesUnavailableError:
    print("feast" in sys.modules, bool(sys.modules.get("torch")))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["True", "False"]
