"""The parity audit: equal where all is in order, and every way to be wrong is found by name."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import pytest
import served_shop
from click.testing import CliRunner
from served_shop import NOW, USERS

from bentos.event_log import Event, EventLog
from bentos.feature_log import FeatureLog, Reads, Recording
from bentos.intake import Intake
from bentos.live_rows import LiveRows
from bentos.online_features import ITEM_VIEW, USER_VIEWS, OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.row import pack, times_of, unpack
from jobs import materialize
from jobs.cli import endcap
from jobs.monitor import skew
from jobs.monitor.rules import MonitorRules
from jobs.monitor.run import parity_alerts
from jobs.parity.run import run
from jobs.parity.served import NoReadsError

shop = pytest.fixture(scope="session")(served_shop.installed)
NOW_US = microseconds(NOW)
LINKED = ("features", "registry.db")
STATS, HISTORY = USER_VIEWS


class Clock:
    """A shop's clock that tests move."""

    def __init__(self):
        self.at = NOW

    def now(self):
        """The time it was set to."""
        return self.at

    def wall_s(self):
        """The same in seconds since 1970."""
        return self.at.timestamp()


class Played:
    """A copy of the shop that answers, takes events, and logs what it read."""

    def __init__(self, shop, folder):
        self.settings = replace(shop.settings, state=folder / "state", reports=folder / "reports")
        self.settings.state.mkdir()
        for name in LINKED:
            (self.settings.state / name).symlink_to(shop.settings.state / name)
        shutil.copy(shop.settings.online_store, self.settings.online_store)
        self.release, self.clock = load(shop.release), Clock()
        self.rows = open_rows(self.settings, read_only=False, create=False)
        self.log, self.events = FeatureLog(self.settings.feature_log), EventLog(self.settings.event_log)
        self.intake = Intake(self.events, LiveRows(self.rows, self.events), self.clock)
        self.asked = 0

    def ask(self, *users, hours=1, task="all"):
        """Pages for some users, each some hours later."""
        for user in users:
            self.clock.at += timedelta(hours=hours)
            recording = Recording(OnlineFeatures(self.settings, self.release, self.clock.now))
            found = recommend(self.release, recording, user, k=5, task=task, now=self.clock.at)
            request, self.asked = f"r{self.asked}", self.asked + 1
            asked_us, ids = microseconds(self.clock.at), self.release.catalogue.item_ids
            self.log.append([Reads(request, found, asked_us, recording, ids)])

    def buy(self, user, *items, minutes=1):
        """A basket, some minutes later."""
        self.clock.at += timedelta(minutes=minutes)
        name = f"{user}-{self.clock.at.isoformat()}"
        told = [Event(f"{name}-{item}", "purchase", user, item, 1.7) for item in items]
        ((n, applied),) = self.intake.commit([told])
        assert (n, applied) == (len(items), True)

    def changed(self, view, key, feature, value):
        """Another value in the store's row of one entity, for all else as it is."""
        (row,), layout = self.rows.read(view, [key]), self.rows.layout(view)
        values = unpack(layout, row)
        event_us, created_us = times_of(row)
        packed = pack(
            layout, {**values, feature: value(values[feature])}, event_us=event_us, created_us=created_us
        )
        self.do(view, "UPDATE [{}] SET row = ? WHERE key = ?", packed, key)

    def do(self, view, statement, *values):
        """Change one row of a view behind everybody's back."""
        with closing(sqlite3.connect(self.settings.online_store)) as store, store:
            names = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            (table,) = [name for (name,) in names if name.endswith(view)]
            assert store.execute(statement.format(table), values).rowcount == 1

    def close(self):
        """Close the logs."""
        self.log.close()
        self.events.close()


@pytest.fixture
def played(shop, tmp_path):
    """A fresh copy."""
    played = Played(shop, tmp_path)
    yield played
    played.close()


def next_number(value):
    """The next number of float32 or of whole ones: one bit more."""
    return value + 1 if isinstance(value, int) else float(np.nextafter(np.float32(value), np.float32(99)))


def next_of_list(value):
    """A list with the next float32 in its last place."""
    return [*np.asarray(value)[:-1], np.nextafter(np.float32(value[-1]), np.float32(99))]


def test_all_is_equal_where_nothing_is_wrong(played):
    """Known users, unknown ones, new ones who buy, baskets one after the other, both tasks, weeks later."""
    played.ask(*USERS, "nobody")
    played.buy("u1", "i03", "i07")
    played.buy("newcomer", "i03")
    played.ask("u1", "newcomer", task="discover")
    played.buy("u1", "i03")
    played.buy("u2", "i11", minutes=60 * 24 * 9)
    played.ask("u1", "u2", "newcomer", hours=30)
    report = run(played.settings)
    assert (report.mismatches, dict(report.found.wrong)) == (0, {})
    assert len(report.answers) == played.asked == len(USERS) + 1 + 2 + 3
    assert report.found.grown == {STATS: 5, HISTORY: 5}
    layouts = {view: played.rows.layout(view) for view in USER_VIEWS}
    users = played.asked - 1  # all but nobody
    for view, layout in layouts.items():
        assert report.found.compared[f"{view}:event_timestamp"] == users + 1
        assert {report.found.compared[f"{view}:{name}"] for name in layout.names} == {users}
    items = report.found.compared[f"{ITEM_VIEW}:event_timestamp"]
    with_rows = {report.found.compared[f"{ITEM_VIEW}:{name}"] for name in played.rows.layout(ITEM_VIEW).names}
    assert items == sum(len(part.ids) for each in report.answers for part in each.items)
    assert with_rows == {sum((part.event_us > 0).sum() for each in report.answers for part in each.items)}
    assert "no mismatch" in list(report.lines())[-1]


@pytest.mark.parametrize(
    ("view", "feature", "change"),
    [
        (STATS, "user_spend_7d", next_number),
        (STATS, "user_baskets_28d", next_number),
        (STATS, "user_department_shares_91d", next_of_list),
        (STATS, "user_top_department", lambda value: value + " "),
        (HISTORY, "history_decayed", next_of_list),
        (HISTORY, "history_items", lambda value: value[::-1]),
        (STATS, "user_recency_days", lambda value: None),  # noqa: ARG005
    ],
)
def test_one_bit_of_a_user_is_found_and_named(played, view, feature, change):
    """The feature, the user and the answer; nothing else differs."""
    played.changed(view, "u4", feature, change)
    played.ask("u3", "u4", "u5")
    report = run(played.settings)
    assert report.found.wrong == {f"{view}:{feature}": 1}
    (example,) = report.found.examples[f"{view}:{feature}"]
    assert (example.request_id, example.entity, example.event_us) == ("r1", "u4", NOW_US)
    assert example.served != example.recomputed
    assert any(f"{view}:{feature} of u4" in line for line in report.lines())


def test_one_bit_of_an_item_is_found_and_named(played):
    """In every answer that read the item, and in no other."""
    feature = next(name for name in played.release.manifest["features"]["item"])
    played.changed(ITEM_VIEW, "i00", feature, next_number)
    played.ask("u3", "u5")
    report = run(played.settings)
    read = [each.request_id for each in report.answers if "i00" in each.items[0].ids]
    assert read
    assert report.found.wrong == {f"{ITEM_VIEW}:{feature}": len(read)}
    examples = report.found.examples[f"{ITEM_VIEW}:{feature}"]
    assert [(each.request_id, each.entity) for each in examples] == [(name, "i00") for name in read]


def test_a_wrong_bit_stays_found_when_purchases_grow_the_row(played):
    """A row that was wrong before it grew is wrong after."""
    played.changed(STATS, "u4", "user_discount_share_91d", next_number)
    played.buy("u4", "i02")
    played.ask("u4")
    assert run(played.settings).found.wrong == {f"{STATS}:user_discount_share_91d": 1}


def test_a_basket_that_was_counted_twice_is_found(played):
    """What the log of events does not explain is no row of the shopper."""
    played.buy("u4", "i02")
    played.changed(HISTORY, "u4", "history_counts", lambda value: np.asarray(value) + 1)
    played.ask("u4")
    assert run(played.settings).found.wrong == {f"{HISTORY}:history_counts": 1}


@pytest.mark.parametrize(("view", "key"), [(STATS, "u4"), (HISTORY, "u4"), (ITEM_VIEW, "i00")])
def test_a_lost_row_is_found(played, view, key):
    """No row where the tables have one."""
    played.do(view, "DELETE FROM [{}] WHERE key = ?", key)
    played.ask("u4")
    found = run(played.settings).found
    assert found.wrong == {f"{view}:event_timestamp": 1}
    (example,) = found.examples[f"{view}:event_timestamp"]
    assert (example.entity, example.served, example.recomputed) == (key, "no row", NOW.isoformat())


def test_a_row_of_a_time_that_nothing_explains_is_found(played):
    """Its values may be right: nobody could have known them by that time."""
    (row,), layout = played.rows.read(STATS, ["u4"]), played.rows.layout(STATS)
    later = NOW_US + 5_000_000
    moved = pack(layout, unpack(layout, row), event_us=later)
    played.rows.write({STATS: [("u4", later, 0, moved)]})
    played.ask("u4")
    assert run(played.settings).found.wrong == {f"{STATS}:event_timestamp": 1}


def test_older_rows_are_told_and_no_mismatch(played):
    """The store was filled a week ago: the values are those of then, a week behind what training has."""
    week = timedelta(weeks=1)
    materialize.run(played.settings, end=NOW - week)
    played.ask("u1", hours=2)
    report = run(played.settings)
    assert (report.mismatches, report.found.behind_hours[STATS]) == (0, [week.total_seconds() / 3600])
    assert "100.0% of the reads, by 168.0 h" in " ".join(report.lines())


def test_rows_of_an_earlier_fill_are_explained(played):
    """A live row that a later fill left in place, as it is newer: the fill before it explains it."""
    played.buy("u4", "i02")
    until = microseconds(played.clock.at) + 9
    for view in USER_VIEWS:
        played.rows.write({view: []}, known_until_us=until)
    played.ask("u4")
    report = run(played.settings)
    assert (report.mismatches, report.found.grown[HISTORY]) == (0, 1)


def test_only_the_answers_asked_for_are_audited(played):
    """The newest, or those of one local day of the shop: midnight of New York is five hours after UTC's."""
    played.ask("u1", "u2", "u3")  # at six, seven and eight of 4 March, UTC
    assert [each.request_id for each in run(played.settings, most=2).answers] == ["r1", "r2"]
    calendar = ShopCalendar("America/New_York", date(2024, 1, 1))
    played.settings.shop_calendar.parent.mkdir()
    calendar.save(played.settings.shop_calendar)
    played.ask("u4", hours=22)  # at six of 5 March
    assert [each.request_id for each in run(played.settings, date(2024, 3, 5)).answers] == ["r3"]
    assert len(run(played.settings, date(2024, 3, 4)).answers) == 3
    assert (played.settings.day(date(2024, 3, 4)) / "parity.json").is_file()
    with pytest.raises(NoReadsError):
        run(played.settings, date(2024, 3, 6))


def test_the_monitor_audits_the_day_by_itself(played):
    """All equal, or the feature; a day of which nothing was logged is worth a look."""
    played.settings.shop_calendar.parent.mkdir()
    ShopCalendar("America/New_York", date(2024, 1, 1)).save(played.settings.shop_calendar)
    told = lambda day: [(each.level, each.name) for each in parity_alerts(played.settings, day)]  # noqa: E731
    played.ask("u1")
    assert told(date(2024, 3, 4)) == [("ok", "features")]
    assert told(date(2024, 3, 5)) == [("warn", "features")]
    played.changed(STATS, "u2", "user_items_7d", next_number)
    played.ask("u2")
    assert told(date(2024, 3, 4)) == [("fail", f"{STATS}:user_items_7d")]


def test_a_feature_that_is_lost_on_the_way_is_skew(played, monkeypatch):
    """As served against the tables: nothing moved, then one feature is missing in the store for everybody."""
    monkeypatch.setattr(skew, "LEAST", 5)
    played.settings.shop_calendar.parent.mkdir()
    ShopCalendar("America/New_York", date(2024, 1, 1)).save(played.settings.shop_calendar)
    told = lambda: skew.skew_alerts(played.settings, date(2024, 3, 4), MonitorRules())  # noqa: E731
    assert told() == []
    played.ask(*USERS)
    names = {each.name for each in told()}
    assert {f"{STATS}:user_spend_7d", f"{ITEM_VIEW}:item_price_91d"} <= names
    assert f"{STATS}:user_tenure_days" not in names
    assert [(each.figures["psi"], each.figures["null_after"]) for each in told()] == [(0.0, 0.0)] * len(names)
    for user in USERS[:8]:
        played.changed(STATS, user, "user_spend_7d", lambda value: None)  # noqa: ARG005
    played.ask(*USERS[:8])
    odd = {each.name: each for each in told() if each.level != "ok"}
    assert {name: each.level for name, each in odd.items()} == {f"{STATS}:user_spend_7d": "fail"}
    assert odd[f"{STATS}:user_spend_7d"].figures["null_after"] == pytest.approx(8 / 9)


def test_the_verb_says_what_differs_and_ends_with_its_code(played, monkeypatch):
    """0 and a count where all is equal, 5 with the feature where not, a command where nothing was logged."""
    monkeypatch.setenv("ENDCAP_STATE", str(played.settings.state))
    monkeypatch.setenv("ENDCAP_REPORTS", str(played.settings.reports))
    ask = partial(CliRunner().invoke, endcap, ["audit-parity"])
    nothing = ask()
    assert (nothing.exit_code, "ENDCAP_LOG_FEATURES" in nothing.output) == (1, True)
    played.ask("u1")
    right = ask()
    assert (right.exit_code, "1 answers" in right.output, "no mismatch" in right.output) == (0, True, True)
    played.changed(STATS, "u2", "user_items_7d", next_number)
    played.ask("u2")
    wrong = ask()
    assert wrong.exit_code == 5
    assert f"{STATS}:user_items_7d: 1 of 2" in wrong.output
    assert (played.settings.reports / "parity.json").is_file()
