"""An online store that was lost and is filled again, next to purchases: nothing of either may be missing."""

import shutil
from contextlib import suppress
from dataclasses import replace

import pytest
import served_shop
from served_shop import NOW, USERS, StillClock

from bentos.event_log import Event, EventLog
from bentos.intake import Intake
from bentos.live_rows import LiveRows
from bentos.online_features import OnlineFeatures
from bentos.recommend import FeaturesUnavailableError
from bentos.release import load
from feature_repo.settings import FEATURE_STORE
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import Layout, PackedStoreError
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader
from feature_repo.stores.packed.row import pack, times_of, unpack
from feature_repo.stores.packed.sqlite_rows import Exchange
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


def test_redis_is_not_read_half_filled(settings, shop, blank_redis_url, monkeypatch):
    """While views are written one after the other, no shopper has a history and no counters."""
    monkeypatch.setenv("ENDCAP_REDIS_URL", blank_redis_url)
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


def test_a_store_that_is_filled_before_the_mark_gets_the_purchase_again(settings, monkeypatch):
    """Between writing a row and noting so the store is filled anew, and somebody has looked."""
    log = EventLog(settings.event_log)
    live = LiveRows(open_rows(settings, read_only=False, create=False), log)
    caught_up(live)
    buy(settings)
    exchange = live.rows.exchange

    def then_lost(changes):
        refused = exchange(changes)
        monkeypatch.undo()
        materialize.run(settings, NOW)
        assert live.pending() == [BUYER]
        return refused

    monkeypatch.setattr(live.rows, "exchange", then_lost)
    caught_up(live)
    assert ITEM not in history(settings)
    assert live.pending() == [BUYER]
    caught_up(live)
    assert ITEM in history(settings)
    log.close()


def grown_by_a_feature(rows, view):
    """All rows of a view with one more feature, and their layout."""
    old = rows.layout(view)
    new = Layout(view, (*old.fields, ("more", "DOUBLE")), old.ttl_us)
    made = []
    for key, row in rows.read_all(view).items():
        event_us, _ = times_of(row)
        made.append((key, event_us, 0, pack(new, {**unpack(old, row), "more": 1.0}, event_us=event_us)))
    return new, made


def test_a_new_feature_is_read_of_who_has_just_bought(settings, shop, catch_up):
    """The job's row is older than the live one, and of use; the purchase comes on top of it again."""
    rows = open_rows(settings, read_only=False)
    new, made = grown_by_a_feature(rows, "user_stats")
    buy(settings)
    catch_up()
    rows.write({"user_stats": made}, layouts=[new])
    catch_up()
    found = PackedReader(rows).read_row("user_stats", BUYER, now_us=microseconds(NOW)).values
    before = unpack(new, {key: row for key, _, _, row in made}[BUYER])
    assert (found["more"], found["user_baskets_7d"]) == (1.0, before["user_baskets_7d"] + 1)
    reader = OnlineFeatures(settings, load(shop.release, shop.tag), lambda: NOW)
    assert reader.read_user(BUYER)["more"] == 1.0


def test_one_odd_row_stops_nobody_else(settings, shop, caplog):
    """Neither reading others, nor applying what others have bought; and it is told once."""
    rows, log = open_rows(settings, read_only=False), EventLog(settings.event_log)
    layout = rows.layout("user_history")
    old = Layout("user_history", layout.fields[:-1], layout.ttl_us)
    packed = pack(old, dict.fromkeys(old.names), event_us=5)
    rows.exchange([Exchange("odd", {"user_history": (("odd", 5, 0, packed), None)})])
    reader = OnlineFeatures(settings, load(shop.release, shop.tag), lambda: NOW)
    with pytest.raises(FeaturesUnavailableError, match="another schema"):
        reader.read_user("odd")
    assert reader.read_user(BUYER)["history_items"]
    intake = Intake(log, LiveRows(rows, log), StillClock())
    bought = [[Event(f"e{who}", "purchase", who, ITEM, 1.0)] for who in ("odd", BUYER)]
    assert intake.commit(bought) == [(1, False), (1, False)]
    assert log.pending() == ["odd"]
    assert not intake.apply(log.pending())
    assert sum("purchases of odd are not applied" in message for message in caplog.messages) == 1
    assert ITEM in history(settings)
    log.close()
