"""What answers read is logged to the last bit, for the share that was asked for, within a bound."""

import shutil
import uuid
from dataclasses import replace

import numpy as np
import pytest
import served_shop
from served_shop import ITEMS, NOW, SOLD_OUT

from bentos.feature_log import EVERY, FeatureLog, Reads, Recording
from bentos.online_features import ITEM_VIEW, USER_VIEWS, OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load
from bentos.sampled_reads import SampledReads, drawn
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.packed_strings import PackedStrings
from jobs.parity.served import NoReadsError, served

shop = pytest.fixture(scope="session")(served_shop.installed)
NOW_US = microseconds(NOW)


@pytest.fixture(scope="module")
def release(shop):
    """The shop's release."""
    return load(shop.release)


@pytest.fixture(scope="module")
def features(shop, release):
    """Its online features."""
    return OnlineFeatures(shop.settings, release, lambda: NOW)


def read(features, release, user_id, request_id="r1", **asked):
    """What one answer reads."""
    recording = Recording(features)
    asked = {"k": 5, "task": "all", "now": NOW, **asked}
    found = recommend(release, recording, user_id, **asked)
    return Reads(request_id, found, NOW_US, recording, release.catalogue.item_ids)


def logged(folder, *reads, **options):
    """The same from the log."""
    log = FeatureLog(folder / "features.db", **options)
    for each in reads:
        log.append([each])
    log.close()
    return served(folder / "features.db")


def same(kept, value):
    """Whether two values are the same to the last bit of float32, int64 and text."""
    if isinstance(value, np.ndarray):
        return np.array_equal(np.asarray(kept, value.dtype).view("u1"), value.view("u1"))
    if isinstance(value, PackedStrings):
        return kept == list(value)
    return type(kept) is type(value) and kept == value


def test_a_recording_changes_no_answer(features, release):
    """The same slots with it and without."""
    plain = recommend(release, features, "u3", k=8, task="discover", now=NOW)
    assert read(features, release, "u3", k=8, task="discover").found.slots == plain.slots


def test_the_users_rows_are_kept_to_the_last_bit(features, release, tmp_path):
    """Every value of both views, with the time of its row, and up to when the job's rows told all."""
    (found,) = logged(tmp_path, read(features, release, "Zoë 購物"))
    assert (found.request_id, found.user_id, found.asked_us, found.as_of_us) == (
        "r1",
        "Zoë 購物",
        NOW_US,
        NOW_US,
    )
    for view, row in features.user_rows("Zoë 購物").items():
        kept = found.users[view]
        assert kept.event_us == row.event_us
        assert kept.values.keys() == row.values.keys()
        assert all(same(kept.values[name], value) for name, value in row.values.items())
    assert found.known_us == dict.fromkeys((*USER_VIEWS, ITEM_VIEW), NOW_US)


def test_items_that_were_shown_are_kept_and_every_tenth_candidate(features, release, tmp_path):
    """With their values as the ranker got them; no row is an event time of 0."""
    reads = read(features, release, "u2")
    (found,) = logged(tmp_path, reads)
    (asked, _), *more = reads.recording.items
    (items,) = found.items
    assert not more
    names = [ITEMS[item] for item in asked]
    shown = {slot.item_id for slot in reads.found.slots}
    assert list(items.ids) == [name for n, name in enumerate(names) if n % EVERY == 0 or name in shown]
    places = np.array([ITEMS.index(name) for name in items.ids], np.int32)
    np.testing.assert_array_equal(items.values, features.read_items(places))
    assert [us == 0 for us in items.event_us] == [name == SOLD_OUT for name in items.ids]


def test_an_unknown_user_has_no_rows(features, release, tmp_path):
    """Told apart from a view that was not asked for."""
    (found,) = logged(tmp_path, read(features, release, "nobody"))
    assert found.users == dict.fromkeys(USER_VIEWS)
    assert found.items == []


def test_the_oldest_go_where_there_are_too_many(features, release, tmp_path):
    """The file has a bound: the newest stay, in their order."""
    reads = [read(features, release, "u1", request_id=f"r{n}") for n in range(7)]
    assert [each.request_id for each in logged(tmp_path, *reads, keep=3)] == ["r4", "r5", "r6"]
    assert [each.request_id for each in served(tmp_path / "features.db", most=2)] == ["r5", "r6"]
    with pytest.raises(NoReadsError, match="ENDCAP_LOG_FEATURES above 0"):
        served(tmp_path / "features.db", since_us=NOW_US)


def test_requests_are_drawn_by_their_share():
    """None of 0, all of 1, and of others about as many as it says: within five standard deviations."""
    ids = [uuid.UUID(int=int.from_bytes(np.random.default_rng(n).bytes(16))).hex for n in range(4_000)]
    for share in (0.0, 0.01, 0.3, 1.0):
        n = sum(drawn(each, share) for each in ids)
        assert abs(n - share * len(ids)) <= 5 * (len(ids) * share * (1 - share)) ** 0.5


def test_without_a_share_nothing_is_opened(features, tmp_path):
    """No log, no file, and features are read as they are."""
    reads = SampledReads(Settings(state=tmp_path / "state", reports=tmp_path, log_features=0.0))
    assert reads.reader(uuid.uuid4().hex, features) is features
    assert not (tmp_path / "state").exists()


def test_a_store_that_says_nothing_of_itself_is_logged_so(shop, release, tmp_path):
    """Rows that somebody wrote without a word of up to when they tell all."""
    settings = replace(shop.settings, state=tmp_path / "state")
    settings.state.mkdir()
    shutil.copy(shop.settings.online_store, settings.online_store)
    rows = open_rows(settings, read_only=False, create=False)
    kept = {view: list(rows.read_all(view).items()) for view in USER_VIEWS}
    layouts = {view: rows.layout(view) for view in USER_VIEWS}
    for view in USER_VIEWS:
        rows.drop(view)
    made = {view: [(key, NOW_US, 0, row) for key, row in some] for view, some in kept.items()}
    rows.write(made, layouts=list(layouts.values()))
    rows.close()
    found = read(OnlineFeatures(settings, release, lambda: NOW), release, "u1")
    assert found.recording.known_us == {**dict.fromkeys(USER_VIEWS), ITEM_VIEW: NOW_US}
