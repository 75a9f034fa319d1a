"""What was just bought is in the feature rows: as the nightly job would have it, once, whatever crashes."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import served_shop
from served_shop import NOW, StillClock

from bentos.event_log import Basket, Event, EventLog
from bentos.intake import Intake
from bentos.live_rows import HISTORY, STATS, LiveRows, grown_stats, packed_row
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader
from feature_repo.transforms import History, empty_history, update_history

shop = pytest.fixture(scope="session")(served_shop.installed)
NOW_US = microseconds(NOW)
COLUMNS = ("items", "counts", "decayed", "first_times", "last_times", "last_baskets")


@pytest.fixture
def intake(shop, tmp_path):
    """An intake over a copy of the shop's store."""
    settings = replace(shop.settings, state=tmp_path / "state")
    settings.state.mkdir()
    shutil.copy(shop.settings.online_store, settings.online_store)
    log = EventLog(settings.event_log)
    yield Intake(log, LiveRows(open_rows(settings, read_only=False, create=False), log), StillClock())
    log.close()


def row(intake, view, user="u0"):
    """A shopper's row as a reader finds it."""
    return PackedReader(intake.live.rows).read_row(view, user, now_us=NOW_US)


def history(found):
    """The history in a row."""
    return History(*(np.asarray(found.values[f"history_{name}"]) for name in COLUMNS))


def buy(intake, *items, user="u0", ids="abcdefgh", amount=1.0):
    """One request with some purchases."""
    events = [
        Event(f"{user}-{ids[n]}-{item}", "purchase", user, item, amount) for n, item in enumerate(items)
    ]
    return intake.commit([events])


def test_a_purchase_is_in_the_history_at_once(intake):
    """The row is that of the transform that the nightly job calls, for the baskets in their order."""
    expected = history(row(intake, HISTORY))
    assert buy(intake, "i01", "i05") == [(2, True)]
    assert buy(intake, "i05", "i17") == [(2, True)]
    for basket in (["i01", "i05"], ["i05", "i17"]):
        expected = update_history(expected, np.array(basket), int(NOW.timestamp()))
    found = row(intake, HISTORY)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(history(found), name), getattr(expected, name))
    assert found.event_us == NOW_US + 2


def test_counters_grow(intake):
    """One basket more in each span, what was paid, and the items that the span had not yet."""
    before, past = row(intake, STATS).values, history(row(intake, HISTORY))
    known = dict(zip(past.items.tolist(), past.last_times.tolist(), strict=True))
    buy(intake, "i01", "i05", amount=2.25)
    after = row(intake, STATS).values
    for span, days in (("7d", 7), ("28d", 28), ("91d", 91)):
        new = [i for i in ("i01", "i05") if NOW.timestamp() - known.get(i, 0) > 86_400 * days]
        assert after[f"user_baskets_{span}"] == before[f"user_baskets_{span}"] + 1
        assert after[f"user_spend_{span}"] == pytest.approx(before[f"user_spend_{span}"] + 4.5)
        assert after[f"user_items_{span}"] == before[f"user_items_{span}"] + len(new)
    assert after["user_recency_days"] == 0
    kept = ("user_top_department", "user_tenure_days", "user_discount_share_91d")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    np.testing.assert_array_equal(after["user_department_shares_91d"], before["user_department_shares_91d"])


def test_somebody_new_has_a_row_after_the_first_purchase(intake):
    """Counters from zero, a history of one basket."""
    assert row(intake, HISTORY, "newcomer") is None
    buy(intake, "i03", user="newcomer")
    assert row(intake, HISTORY, "newcomer").values["history_items"] == ["i03"]
    stats = row(intake, STATS, "newcomer").values
    assert (stats["user_baskets_91d"], stats["user_items_91d"], stats["user_spend_7d"]) == (1, 1, 1.0)


def test_applied_again_nothing_changes(intake):
    """By another worker, after a crash before the mark, or for events that were sent twice."""
    buy(intake, "i01", "i05")
    rows = {view: intake.live.rows.read(view, ["u0"]) for view in (HISTORY, STATS)}
    intake.events._connection.execute("UPDATE events SET applied = 0")
    assert intake.events.pending() == ["u0"]
    intake.apply(["u0"])
    assert buy(intake, "i01", "i05") == [(0, True)]
    assert {view: intake.live.rows.read(view, ["u0"]) for view in (HISTORY, STATS)} == rows
    assert intake.events.pending() == []


def test_a_store_that_is_away_gets_the_purchases_later(intake, monkeypatch):
    """The answer says that they are kept and not applied; when the store is back they are."""

    def away(*_, **__):
        raise PackedStoreError("away")

    with monkeypatch.context() as broken:
        broken.setattr(intake.live.rows, "exchange", away)
        assert buy(intake, "i01") == [(1, False)]
    assert intake.events.pending() == ["u0"]
    before = row(intake, STATS).values["user_baskets_7d"]
    intake.apply(intake.events.pending())
    assert row(intake, STATS).values["user_baskets_7d"] == before + 1
    assert intake.events.pending() == []


def test_clicks_change_no_row(intake):
    """They are kept for the session alone."""
    rows = intake.live.rows.read(HISTORY, ["u0"])
    assert intake.commit([[Event("x", "click", "u0", "i01")]]) == [(1, True)]
    assert intake.live.rows.read(HISTORY, ["u0"]) == rows
    assert intake.events.recent("u0", since_s=0, n=5) == [("click", "i01")]


def test_a_later_snapshot_takes_over(intake):
    """A row of the nightly job that knows more replaces the live one; one that knows less does not."""
    buy(intake, "i01")
    live = intake.live.rows.read(STATS, ["u0"])[0]
    for event_us, taken in ((NOW_US - 1, False), (NOW_US + 10, True)):
        values = row(intake, STATS).values | {"user_baskets_7d": 77}

        layout = intake.live.reader.layout(STATS)
        intake.live.rows.write({STATS: [packed_row(layout, "u0", values, event_us)]})
        assert (intake.live.rows.read(STATS, ["u0"])[0] != live) == taken
    assert datetime.fromtimestamp(row(intake, STATS).event_us / 1e6, UTC) > NOW


def test_what_the_job_knows_already_is_not_counted_again(intake):
    """The till's time lies before the log's; the row of the job has the basket, and the next one adds one."""
    buy(intake, "i01")
    counted = {view: row(intake, view).values for view in (HISTORY, STATS)}
    of_the_job = [  # the same basket, as of a second earlier
        (HISTORY, packed_row(intake.live.reader.layout(HISTORY), "u0", counted[HISTORY], NOW_US - 1_000_000)),
        (STATS, packed_row(intake.live.reader.layout(STATS), "u0", counted[STATS], NOW_US - 1_000_000)),
    ]
    intake.live.rows.write(
        {view: [each] for view, each in of_the_job}, replace=True, known_until_us=NOW_US + 1
    )
    intake.apply(intake.live.pending())
    assert intake.events.pending() == []
    intake.commit([[Event("later", "purchase", "u0", "i01", 1.0)]])
    found = row(intake, HISTORY).values
    place = list(found["history_items"]).index("i01")
    before = list(counted[HISTORY]["history_items"]).index("i01")
    assert found["history_counts"][place] == counted[HISTORY]["history_counts"][before] + 1
    assert row(intake, STATS).values["user_baskets_7d"] == counted[STATS]["user_baskets_7d"] + 1


def test_old_purchases_count_in_no_short_span():
    """Of a shopper without counters, whose log goes back further: each basket in the spans that reach it."""
    day = 86_400_000_000
    baskets = [Basket("u", NOW_US - days * day, ("i01",), 2.0) for days in (100, 60, 20, 0)]
    values = grown_stats(None, baskets, empty_history())
    assert [values[f"user_baskets_{span}"] for span in ("7d", "28d", "91d")] == [1, 2, 3]
    assert [values[f"user_spend_{span}"] for span in ("7d", "28d", "91d")] == [2.0, 4.0, 6.0]


def test_what_the_job_writes_meanwhile_is_kept(intake, monkeypatch):
    """A row that is written between reading and writing is read again: the purchase goes on top of it."""
    live, exchange, tries = intake.live, intake.live.rows.exchange, []
    layout = live.reader.layout(STATS)
    nightly = row(intake, STATS).values | {"user_baskets_7d": 40}

    def late(changes):
        if not tries:
            live.rows.write({STATS: [packed_row(layout, "u0", nightly, NOW_US)]})
        tries.append(1)
        return exchange(changes)

    live.rows.write({STATS: [packed_row(layout, "u0", nightly, NOW_US - 1)]}, replace=True)
    monkeypatch.setattr(live.rows, "exchange", late)
    assert buy(intake, "i01") == [(1, True)]
    assert len(tries) == 2
    assert row(intake, STATS).values["user_baskets_7d"] == 41
    assert history(row(intake, HISTORY)).items.tolist().count("i01") == 1


def test_who_waits_is_not_kept_waiting_by_many_rows(intake, monkeypatch):
    """When time is over the answer says that the rest is to follow; it does, once."""
    monkeypatch.setattr("bentos.intake.APPLY_S", -1.0)
    before = row(intake, STATS).values["user_baskets_7d"]
    assert buy(intake, "i01") == [(1, False)]
    assert row(intake, STATS).values["user_baskets_7d"] == before
    assert intake.apply(intake.live.pending())
    assert row(intake, STATS).values["user_baskets_7d"] == before + 1
    assert intake.live.pending() == []


def test_counters_that_have_expired_start_from_the_log(intake):
    """Nobody adds to numbers of a month ago; what is older than the row is no reason to put it back."""
    buy(intake, "i01")
    live, stats = intake.live, row(intake, STATS)
    later = NOW_US + 60 * 86_400 * 1_000_000
    assert live.apply(["u0"], now_us=later) == []
    assert row(intake, STATS).event_us == stats.event_us
    intake.events.append([[Event("late", "purchase", "u0", "i02", 3.0)]], now_us=later, arrived_s=0.0)
    live.apply(["u0"], now_us=later + 5)
    found = PackedReader(live.rows).read_row(STATS, "u0", now_us=later + 5).values
    assert (found["user_baskets_7d"], found["user_baskets_28d"], found["user_baskets_91d"]) == (1, 1, 2)
