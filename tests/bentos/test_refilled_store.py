"""An online store that was lost and is filled again, next to purchases: nothing of either may be missing."""

import shutil
from contextlib import suppress
from dataclasses import replace

import pytest
import served_shop
from served_shop import NOW, USERS

from bentos.event_log import Event, EventLog
from bentos.live_rows import LiveRows
from bentos.online_features import OnlineFeatures
from bentos.recommend import FeaturesUnavailableError
from bentos.release import load
from feature_repo.settings import FEATURE_STORE
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader
from jobs import materialize

shop = pytest.fixture(scope="session")(served_shop.installed)
BUYER, ITEM = USERS[0], "never sold before"


@pytest.fixture
def settings(shop, tmp_path):
    """Settings of a copy of the shop, its online store filled."""
    shutil.copytree(
        shop.settings.state, tmp_path / "state", ignore=shutil.ignore_patterns("*.db-*", "events*")
    )
    return replace(shop.settings, state=tmp_path / "state")


@pytest.fixture
def catch_up(settings):
    """What a worker does every second: purchases that are pending are applied."""
    log = EventLog(settings.event_log)
    live = LiveRows(open_rows(settings, read_only=False, create=False), log)
    yield lambda: caught_up(live)
    log.close()


def caught_up(live):
    """One look at what is pending; nothing happens while the store is empty."""
    with suppress(PackedStoreError):
        live.apply(live.pending(), now_us=microseconds(NOW))


def buy(settings):
    """One purchase of an item that nobody has bought, in the log."""
    log = EventLog(settings.event_log)
    log.append([[Event("e1", "purchase", BUYER, ITEM, 1.0)]], now_us=microseconds(NOW), arrived_s=0.0)
    log.close()


def history(settings):
    """Items that the buyer's row has."""
    row = PackedReader(open_rows(settings)).read_row("user_history", BUYER, now_us=0)
    return set(row.values["history_items"])


def before_rows_are_written(monkeypatch, do):
    """Have something done while `endcap materialize` has declared the views and not yet written them."""
    counted = materialize.counted

    def then(view, table):
        do()
        return counted(view, table)

    monkeypatch.setattr(materialize, "counted", then)


def test_purchases_outlive_the_store_that_they_were_applied_to(settings, catch_up):
    """The log still has them: when the store is filled again, the rows have them again."""
    nightly = history(settings)
    buy(settings)
    catch_up()
    assert history(settings) == nightly | {ITEM}
    settings.online_store.unlink()
    materialize.run(settings)
    catch_up()
    assert history(settings) == nightly | {ITEM}


def test_a_purchase_does_not_replace_the_history_that_is_being_written(settings, catch_up, monkeypatch):
    """Applied between the views and their rows, it is added to what the job brings, not put in its place."""
    nightly = history(settings)
    settings.online_store.unlink()
    buy(settings)
    before_rows_are_written(monkeypatch, catch_up)
    materialize.run(settings)
    catch_up()
    assert history(settings) == nightly | {ITEM}


def test_nobody_is_unknown_to_a_store_that_is_being_filled(settings, shop, monkeypatch):
    """Until its rows are there, all at once, there is no store: nobody is told to be unknown."""
    reader = OnlineFeatures(settings, load(shop.release, shop.tag), lambda: NOW)
    settings.online_store.unlink()
    found = []

    def ask():
        try:
            found.append(reader.read_user(BUYER))
        except FeaturesUnavailableError as error:
            found.append(str(error))

    before_rows_are_written(monkeypatch, ask)
    materialize.run(settings)
    assert set(map(str, found)) == {"no online store (run `endcap materialize`)"}
    ask()
    assert found[-1]["history_items"]


def test_redis_is_not_read_half_filled(settings, shop, redis_url, monkeypatch):
    """While views are written one after the other, no shopper has a history and no counters."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", redis_url)
    there = replace(settings, feature_store=FEATURE_STORE.with_name("feature_store.redis.yaml"))
    reader = OnlineFeatures(there, load(shop.release, shop.tag), lambda: NOW)
    counted, found = materialize.counted, []

    def then(view, table):
        try:
            found.append(reader.read_user(BUYER))
        except FeaturesUnavailableError:
            found.append(None)
        yield from counted(view, table)

    monkeypatch.setattr(materialize, "counted", then)
    rows = open_rows(there, read_only=False)
    for view in ("item_stats", "user_stats", "user_history"):
        rows.drop(view)
    materialize.run(there)
    assert all(each is None or {"history_items", "user_recency_days"} <= each.keys() for each in found)
