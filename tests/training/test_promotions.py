"""The rankers that read promotions: the same pairs and candidates, two columns more, none from the future.

The slice of the real data has no times of announcement: what a row may know is counted from raw promotions
that had started by then.
"""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_release import ITEM_FEATURES, NOW, USER_FEATURES, tiny_release, user_row

from bentos.candidates import draw
from bentos.release import load
from bentos.scoring import matrix, matrix_columns
from bentos.shopper import shopper
from feature_repo.store import open_store
from jobs.evaluate import promoted_rankers
from jobs.train import promoted_folder, release_folder, save_promoted
from training import promotions
from training.point_in_time import historical_features, pair_frame
from training.promotions import Promoted, coming_promotions, two_rankers
from training.ranking import PairSet, ranker_columns, train_ranker
from training.split import temporal_split

NAMES = ("item_coming_mailer_share_assumed", "item_coming_display_share_assumed")
RELEASE = tiny_release()
N_OWN = len(matrix_columns(USER_FEATURES, ITEM_FEATURES))


@pytest.fixture(autouse=True)
def _named(monkeypatch, request):
    """Names of the columns without a feature store, where a test has none."""
    if "installation" not in request.fixturenames:
        monkeypatch.setattr(promotions, "number_names", lambda *_: list(NAMES))


def taught(shares, seed=0):
    """Pairs of random columns labelled by whether the first share is high; shares follow the items'."""
    rng = np.random.default_rng(seed)
    own = rng.random((len(shares), N_OWN)).astype(np.float32)
    rows = np.insert(own, [len(ITEM_FEATURES)] * 2, shares, axis=1).astype(np.float32)
    labels = (np.nan_to_num(shares[:, 0]) > 0.5).astype(np.float32)
    return own, PairSet(rows, labels, np.full(len(shares) // 50, 50))


def test_the_release_learns_as_if_there_were_no_promotions():
    """Its ranker is to the last bit the one of rows that never had the columns; the other one reads them."""
    shares = np.random.default_rng(1).random((2_000, 2)).astype(np.float32)
    own, learned = taught(shares)
    rankers, promoted = two_rankers({"all": learned}, RELEASE, None, threads=1)
    alone = train_ranker(replace(learned, rows=own), ranker_columns(RELEASE), "all", threads=1)
    assert rankers["all"].save_raw("json") == alone.save_raw("json")
    low, high = learned.rows[:1].copy(), learned.rows[:1].copy()
    low[:, len(ITEM_FEATURES)], high[:, len(ITEM_FEATURES)] = 0.1, 0.9
    scores = [float(promoted["all"].inplace_predict(row, predict_type="margin")[0]) for row in (low, high)]
    assert scores[1] > scores[0] + 2


def test_nothing_is_learnt_where_nothing_was_promoted():
    """A shop without promotions has one ranker a task."""
    _, learned = taught(np.full((500, 2), np.nan, np.float32))
    rankers, promoted = two_rankers({"discover": learned}, RELEASE, None, threads=1)
    assert (set(rankers), promoted) == ({"discover"}, {})


class BySecondShare:
    """A ranker whose margin is the second of the promotion's columns."""

    def inplace_predict(self, rows, predict_type):
        """Margins of rows."""
        assert (predict_type, rows.shape[1]) == ("margin", N_OWN + 2)
        return np.nan_to_num(rows[:, len(ITEM_FEATURES) + 1])


def test_promoted_ranks_the_releases_candidates():
    """Its list are the release's candidates ordered by what its ranker makes of their promotions."""
    release = replace(RELEASE, rules={})
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "discover")
    features = np.ones((len(candidates.items), len(ITEM_FEATURES)), np.float32)
    shares = np.random.default_rng(2).random((len(release.catalogue.item_ids), 2)).astype(np.float32)
    found = Promoted({"discover": BySecondShare()}, shares).shown(
        release, who, candidates, features, k=10, task="discover"
    )
    assert found.tolist() == sorted(candidates.items, key=lambda item: -shares[item, 1])
    assert matrix(release, who, candidates, features).shape[1] == N_OWN


def test_rankers_are_kept_beside_the_release(tmp_path):
    """What was saved is read again; a cut whose training saw no promotions has none, not the former ones."""
    settings = SimpleNamespace(training=tmp_path)
    _, learned = taught(np.random.default_rng(1).random((500, 2)).astype(np.float32))
    _, promoted = two_rankers({"all": learned, "discover": learned}, RELEASE, None, threads=1)
    save_promoted(promoted, promoted_folder(settings, 43))
    found = promoted_rankers(settings, 43)
    assert found.keys() == promoted.keys()
    for task, ranker in promoted.items():
        np.testing.assert_array_equal(
            found[task].inplace_predict(learned.rows), ranker.inplace_predict(learned.rows)
        )
    save_promoted({}, promoted_folder(settings, 43))
    assert promoted_rankers(settings, 43) == {}
    assert not list((tmp_path / "cut-43").iterdir())


class RawPromotions:
    """Shares of one item as of one instant, by a loop over the raw table."""

    def __init__(self, settings, calendar):
        table = pd.read_parquet(settings.table("promotions"))
        self.table, self.calendar = table, calendar
        self.by_item = dict(tuple(table.groupby("item_id")))

    def shares(self, item_id, instant):
        """[mailer, display] of the week that began last, of what had started (or was announced) by its start.

        [None, None] where nothing was, and in the last hours of a week: its row is about to be replaced.
        """
        begin = self.calendar.start(self.calendar.week_at(instant))
        end = self.calendar.start(self.calendar.week_at(instant) + 1)
        rows = self.by_item.get(item_id)
        if rows is None or instant - begin > timedelta(days=6, hours=22):
            return [None, None]
        found = {}
        for row in rows.itertuples():
            known = row.starts_at if pd.isna(row.announced_at) else row.announced_at
            if known <= begin and row.starts_at < end and row.ends_at > begin:
                found[row.kind] = max(found.get(row.kind, 0.0), row.store_share)
        return [found.get("mailer", 0.0), found.get("display", 0.0)] if found else [None, None]


@pytest.fixture(scope="module")
def raw_promotions(installation, sources):
    """The raw table of the slice."""
    return RawPromotions(installation, sources.calendar)


def rows_of(settings, ids, instants):
    """[mailer, display] as training asks for them."""
    frame = pair_frame("item_id", ids, pd.Series(instants))
    table = historical_features(open_store(settings), frame, promotions.SERVICE)
    return [[row[name] for name in NAMES] for row in table.to_pylist()]


def asked(raw_promotions, seed):
    """Items of the promotions table at training's instants, and at any second around them."""
    rng = np.random.default_rng(seed)
    instants = rng.choice(np.array(temporal_split(raw_promotions.calendar, 49).instants), 300).tolist()
    shifts = rng.integers(-14 * 86_400_000_000, 14 * 86_400_000_000, 150)
    instants[150:] = [
        at + timedelta(microseconds=int(by)) for at, by in zip(instants[150:], shifts, strict=True)
    ]
    return rng.choice(sorted(raw_promotions.by_item), 300).tolist(), instants


def test_training_rows_know_only_what_had_started(installation, raw_promotions):
    """300 sampled (item, instant) rows equal a loop over the raw promotions as of the instant."""
    ids, instants = asked(raw_promotions, seed=4)
    expected = [raw_promotions.shares(item, at) for item, at in zip(ids, instants, strict=True)]
    assert rows_of(installation, ids, instants) == expected
    assert 60 < sum(shares != [None, None] for shares in expected) < 240


def test_the_second_week_of_the_window_is_not_seen(installation, raw_promotions, sources):
    """Items promoted in the second test week only have no share at the cut, those of the first week have."""
    first, second = (sources.calendar.start(week) for week in (50, 51))
    weeks = [set(raw_promotions.table.query("starts_at == @at")["item_id"]) for at in (first, second)]
    later, both = sorted(weeks[1] - weeks[0])[:200], sorted(weeks[0])[:200]
    assert len(later) == 200
    assert rows_of(installation, later, [first] * 200) == [[None, None]] * 200
    assert all(max(shares) > 0 for shares in rows_of(installation, both, [first] * 200))


def test_rows_a_day_early_are_caught(installation, raw_promotions, tmp_path):
    """Rows that claim to be known one day sooner than they were differ from the loop."""
    settings = replace(installation, state=tmp_path)
    table = pq.read_table(installation.feature_table("item_coming_promotions")).to_pandas()
    folder = settings.feature_table("item_coming_promotions")
    folder.mkdir(parents=True)
    early = table["event_timestamp"] - pd.Timedelta(days=1)
    table.assign(event_timestamp=early).to_parquet(folder / "p.parquet")
    settings.registry.write_bytes(installation.registry.read_bytes())
    ids, instants = asked(raw_promotions, seed=4)
    expected = [raw_promotions.shares(item, at) for item, at in zip(ids, instants, strict=True)]
    assert rows_of(settings, ids, instants) != expected


def test_the_release_of_the_slice_reads_no_promotion(installation, sources):
    """Its manifest names no such column, its rankers have none, and the others have two more."""
    release = load(release_folder(installation, 49))
    assert not set(NAMES) & set(release.manifest["features"]["item"])
    beside = promoted_rankers(installation, 49)
    for task, ranker in release.rankers.items():
        assert ranker.num_features() == len(ranker_columns(release))
        assert beside[task].num_features() == ranker.num_features() + 2
    shares = coming_promotions(sources.store, release, sources.calendar.end(49))
    assert shares.shape == (len(release.catalogue.item_ids), 2)
    assert 0.05 < np.isfinite(shares).all(axis=1).mean() < 0.95
