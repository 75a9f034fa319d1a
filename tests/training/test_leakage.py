"""No leakage: what training reads equals what the raw tables said at each row's instant, and notices a day.

The rows are retrieved as training retrieves them, from the real slice; the expectation is recomputed from raw
lines by plain loops (`raw_features`), one entity and one instant at a time. What is learnt by a release's
instant is learnt again from tables that end there.
"""

from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from table_files import first_part

from feature_repo.settings import Settings
from feature_repo.store import open_store
from training.fit import Sources, instants_of
from training.point_in_time import historical_features, pair_frame
from training.split import temporal_split
from training.warehouse import Warehouse

PER_KIND = 130  # sampled rows at instants of training, and as many at any second
CLOSE = 1e-12  # sums of the same doubles in another order
CLOSE_SHARES = 1e-6  # kept as float32
TABLES = ("user_stats", "user_history", "item_stats")


def sampled(ids, raw, seed):
    """PER_KIND (id, instant) at training's instants, and PER_KIND within the weeks around them."""
    rng = np.random.default_rng(seed)
    instants = np.array(temporal_split(raw.calendar, 49).instants)
    exact = rng.choice(instants, PER_KIND)
    loose = [
        instant + timedelta(microseconds=int(rng.integers(-14 * 86_400_000_000, 14 * 86_400_000_000)))
        for instant in rng.choice(instants, PER_KIND)
    ]
    return rng.choice(sorted(ids), 2 * PER_KIND), pd.Series([*exact, *loose])


def training_rows(settings, key, service, ids, instants):
    """Rows of a feature service as training asks for them, as dictionaries."""
    store = open_store(settings)
    return historical_features(store, pair_frame(key, ids, instants), service).to_pylist()


def differences(row, expected):
    """Names of features whose value is not the expected one; `expected` None: nothing may be known."""
    if expected is None:
        return [name for name, value in row.items() if name.startswith(("user_s", "item_b")) and value]
    return [name for name, value in expected.items() if not equal(row[name], value)]


def equal(value, expected):
    """Whether a feature is what was recounted: text and whole numbers to the letter."""
    if value is None or isinstance(expected, str | int):
        return value == expected
    close = CLOSE_SHARES if isinstance(expected, np.ndarray) else CLOSE
    return np.allclose(value, expected, rtol=close, atol=1e-9)


def history_differences(row, expected):
    """Whether the slots hold other items, counts, decayed counts, times, or these in another order."""
    if not expected:
        return ["history_items"] if row["history_items"] and any(row["history_items"]) else []
    kept = [place for place, item in enumerate(row["history_items"]) if item]
    found = {
        row["history_items"][place]: (
            row["history_counts"][place],
            row["history_decayed"][place],
            row["history_first_times"][place],
            row["history_last_times"][place],
            row["history_last_baskets"][place],
        )
        for place in kept
    }
    same = list(found) == list(expected) and all(found[item] == expected[item] for item in expected)
    return [] if same else ["history"]


def user_differences(settings, raw):
    """{feature: number of sampled rows that differ} of users."""
    ids, instants = sampled(raw.by_user, raw, seed=1)
    wrong = []
    for row in training_rows(settings, "user_id", "user_ranking", ids, instants):
        user, instant = row["user_id"], row["event_timestamp"]
        wrong += differences(row, raw.user_stats(user, instant))
        wrong += history_differences(row, raw.history(user, instant))
    return pd.Series(wrong, dtype=object).value_counts().to_dict()


def item_differences(settings, raw):
    """{feature: number of sampled rows that differ} of items; popular ones, so that something changes."""
    popular = sorted(raw.by_item, key=lambda item: -len(raw.by_item[item]))[:3_000]
    ids, instants = sampled(popular, raw, seed=2)
    wrong = []
    for row in training_rows(settings, "item_id", "item_ranking", ids, instants):
        wrong += differences(row, raw.item_stats(row["item_id"], row["event_timestamp"]))
    return pd.Series(wrong, dtype=object).value_counts().to_dict()


def kept_until(table, last):
    """Rows of a table up to an instant."""
    when = table["event_timestamp"]
    return table.filter(
        pc.less_equal(when, pa.scalar(last, type=pa.timestamp("us", tz="UTC")).cast(when.type))
    )


@pytest.fixture
def from_tables_until(installation, tmp_path, sources, world, window, towers, space):
    """A function: the window's instant, assembled from transactions and features that end with `last`."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path)

    def made(last):
        for name in TABLES:
            table = kept_until(pq.read_table(installation.feature_table(name)), last)
            settings.feature_table(name).mkdir(parents=True)
            pq.write_table(table, settings.feature_table(name) / "p.parquet")
        first_part(settings, "items").write_bytes(installation.table("items").read_bytes())
        lines = kept_until(pq.read_table(installation.table("transactions")), last)
        pq.write_table(lines, first_part(settings, "transactions"))
        settings.registry.write_bytes(installation.registry.read_bytes())
        ended = Sources(
            Warehouse.of(settings), open_store(settings), sources.calendar, sources.department_slots
        )
        return instants_of(ended, world, (window.instant,), [towers], space)[0]

    return made


def changed_arrays(one, other):
    """Names of what differs between two instants: of their releases' arrays and catalogues, and features."""

    def content(instant):
        panel = [instant.release.arrays[name] for name in ("panel_shoppers", "panel_items")]
        order = np.lexsort(panel)  # the panel's pairs stand in any order
        return {
            **vars(instant.release.catalogue),
            **instant.release.arrays,
            "panel_shoppers": panel[0][order],
            "panel_items": panel[1][order],
            "item_features": instant.item_features,
            **{f"user {name}": values for name, values in vars(instant.users).items()},
        }

    left, right = content(one), content(other)
    assert left.keys() == right.keys()

    def same(a, b):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")

    return {name for name in left if not same(left[name], right[name])}


@pytest.fixture(scope="module")
def a_day_early(installation, tmp_path_factory):
    """Settings over the same feature tables whose rows claim to be known one day before they were."""
    state = tmp_path_factory.mktemp("early") / "state"
    for name in TABLES:
        table = pq.read_table(installation.feature_table(name))
        early = pc.subtract(table["event_timestamp"], pa.scalar(timedelta(days=1)))
        early = early.cast(table["event_timestamp"].type)
        (state / "features" / name).mkdir(parents=True)
        place = table.column_names.index("event_timestamp")
        pq.write_table(
            table.set_column(place, "event_timestamp", early), state / "features" / name / "p.parquet"
        )
    settings = Settings(state=state, reports=state)
    settings.registry.write_bytes(installation.registry.read_bytes())
    return settings


def test_training_rows_of_users_know_exactly_the_past(installation, raw):
    """260 sampled (user, instant) rows equal a recount of the raw lines, every feature."""
    assert user_differences(installation, raw) == {}


def test_training_rows_of_items_know_exactly_the_past(installation, raw):
    """260 sampled (item, instant) rows equal a recount of the raw lines, every feature."""
    assert item_differences(installation, raw) == {}


def test_user_features_a_day_early_are_caught(a_day_early, raw):
    """Rows stamped one day too soon differ from the recount, in statistics and in histories."""
    wrong = user_differences(a_day_early, raw)
    assert {"history", "user_spend_7d", "user_recency_days"} <= wrong.keys()


def test_item_features_a_day_early_are_caught(a_day_early, raw):
    """Rows stamped one day too soon differ from the recount."""
    assert {"item_baskets_7d", "item_age_days"} <= item_differences(a_day_early, raw).keys()


def test_what_comes_after_changes_nothing_in_a_release(from_tables_until, window, instant):
    """Tables that end at a window's instant give the same release as tables that know the whole year.

    Factors, panel, popularity, histories: to the last bit, with one world in which the items are numbered.
    """
    ended = from_tables_until(window.instant)
    assert len(instant.release.arrays["panel_items"]) > 1_000
    assert changed_arrays(ended, instant) == set()


def test_a_release_notices_the_last_day(from_tables_until, window, instant):
    """Tables that end a day too soon give other factors and another panel: the comparison sees a day."""
    changed = changed_arrays(from_tables_until(window.instant - timedelta(days=1)), instant)
    assert {"factor_items", "panel_vectors", "panel_items", "popularity", "user last_times"} <= changed


def test_the_panel_knows_exactly_the_past(raw, instant, window):
    """Who was known four weeks before, their tastes then, and what was new to each since, from raw lines."""
    earlier = raw.calendar.start(raw.calendar.week_at(window.instant) - 4)
    arrays, ids = instant.release.arrays, instant.release.catalogue.item_ids
    place = {item: number for number, item in enumerate(ids.tolist())}
    factors = arrays["factor_items"].astype(np.float64)
    shared = factors.T @ factors + 30 * np.eye(factors.shape[1])
    users = sorted(user for user, rows in raw.by_user.items() if (rows["event_timestamp"] < earlier).any())
    assert arrays["panel_vectors"].shape == (len(users), factors.shape[1])
    expected = set()
    for row, user in enumerate(users):
        rows = raw.by_user[user]
        when = rows["event_timestamp"]
        since = set(rows.loc[(when >= earlier) & (when < window.instant), "item_id"])
        new = since - set(rows.loc[when <= earlier, "item_id"])
        expected |= {(row, place[item]) for item in new if item in place}
        system, right = shared.copy(), 0.0
        for item, (_, decayed, _, last, _) in raw.history(user, earlier).items():
            if item in place:
                vector = factors[place[item]]
                confidence = 4 * np.log1p(decayed * 2 ** (-(earlier.timestamp() - last) / 86_400 / 91))
                system += (confidence - 1) * np.outer(vector, vector)
                right = right + confidence * vector
        solved = np.linalg.solve(system, right)
        expected_vector = solved / max(np.linalg.norm(solved), 1e-6)
        np.testing.assert_allclose(arrays["panel_vectors"][row], expected_vector, rtol=1e-3, atol=1e-4)
    found = zip(arrays["panel_shoppers"].tolist(), arrays["panel_items"].tolist(), strict=True)
    assert set(found) == expected
