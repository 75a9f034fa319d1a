"""The ranker's training rows, column by column, against a recount of raw lines as of the window's instant."""

import math

import numpy as np
import pandas as pd
import pytest

from bentos.candidates import SOURCES, draw
from feature_repo.store import open_store
from training import ranking
from training.fit import Sources, instants_of, window_examples
from training.point_in_time import number_names
from training.split import temporal_split
from training.warehouse import Warehouse
from training.world import world_before

DIM = 4


@pytest.fixture(scope="module")
def sources(installation):
    """The slice's tables and offline store."""
    return Sources.open(installation, open_store(installation))


@pytest.fixture(scope="module")
def window(sources):
    """The ranker's last window before cut 49: weeks 48 and 49."""
    return temporal_split(sources.calendar, 49).ranker[-1]


@pytest.fixture(scope="module")
def instant(sources, window):
    """What is known at the window's instant; towers of zeros make retrieval the popularity prior."""
    split = temporal_split(sources.calendar, 49)
    world = world_before(sources.warehouse, sources.store, split.test.instant)
    users, items = (len(number_names(sources.store, name)) for name in ("user_ranking", "item_ranking"))
    n_query = world.text_vectors.shape[1] + len(world.categories.names) + 32 + users
    n_item = world.text_vectors.shape[1] + items
    towers = {"item_identity": np.zeros((1, DIM)), "item_identity_of": np.zeros(len(world), np.int32)}
    for tower, width in (("query", n_query), ("item", n_item)):
        towers |= {f"{tower}_kernel_1": np.zeros((width, 3)), f"{tower}_bias_1": np.zeros(3)}
        towers |= {f"{tower}_kernel_2": np.zeros((3, DIM)), f"{tower}_bias_2": np.zeros(DIM)}
        towers |= {f"{tower}_mean": np.zeros(width), f"{tower}_scale": np.ones(width)}
    towers |= {"category_vectors": np.zeros((len(world.categories.names), DIM)), "prior_scale": np.float32(1)}
    return instants_of(sources, world, (window.instant,), [towers])[0]


class Recount:
    """All columns of a training row from raw lines, for one window."""

    def __init__(self, settings, raw, instant):
        self.raw, self.now = raw, instant
        items = pd.read_parquet(settings.table("items")).set_index("item_id")
        self.groups = {
            name: items[column].fillna("").to_dict()
            for name, column in (
                ("department", "category_1"),
                ("category", "category_2"),
                ("type", "category_3"),
                ("manufacturer", "manufacturer"),
            )
        }
        lines = pd.concat(self.raw.by_item.values())
        week, before = raw.calendar.week_at(self.now), lines["event_timestamp"] < self.now
        since = {n: lines["event_timestamp"] >= raw.calendar.start(week - n) for n in (4, 26)}
        self.catalogue = set(lines.loc[before & since[26], "item_id"])
        self.sold = lines[before & since[4]].groupby("item_id")["basket_id"].nunique().to_dict()
        self.shop = self.shares(self.sold)

    def shares(self, weights):
        """Share of the weights that falls to each category."""
        sums = {}
        for item, weight in weights.items():
            category = self.groups["category"][item]
            sums[category] = sums.get(category, 0.0) + weight
        total = sum(sums.values())
        return {category: value / total for category, value in sums.items()} if total else {}

    def past(self, user):
        """{item: (baskets, decayed count now, days since)} of the items still in the catalogue."""
        seconds = self.now.timestamp()
        return {
            item: (count, decayed * 2 ** (-(seconds - last) / 86_400 / 91), (seconds - last) / 86_400)
            for item, (count, decayed, last) in self.raw.history(user, self.now).items()
            if item in self.catalogue
        }

    def alike(self, past, item, group):
        """The past purchases in the same group as `item`."""
        of = self.groups[group]
        return [slot for other, slot in past.items() if of[other] == of[item]]

    def row(self, user, item):
        """Every column by name; None where nothing is known."""
        stats = self.raw.user_stats(user, self.now)
        past = self.past(user)
        own = past.get(item)
        total = sum(decayed for _, decayed, _ in past.values())
        found = {**self.raw.item_stats(item, self.now), **{k: v for k, v in stats.items() if np.isscalar(v)}}
        del found["user_top_department"]
        found |= dict(
            zip(
                ("pair_count", "pair_decayed_count", "pair_days_since_last"),
                own or (0, 0, None),
                strict=True,
            )
        )
        found["pair_dueness"] = own and own[2] / (max(stats["user_tenure_days"], 1) / own[0])
        for group in ("department", "category", "type", "manufacturer"):
            near = self.alike(past, item, group)
            found[f"pair_{group}_share"] = sum(slot[1] for slot in near) / total if total else 0
        for group in ("category", "type"):
            near = self.alike(past, item, group)
            found[f"pair_{group}_days_since_last"] = min((slot[2] for slot in near), default=None)
        found["pair_type_items"] = len(self.alike(past, item, "type"))
        found |= self.scores(past, item, own, total)
        department = self.raw.departments.index(self.groups["department"][item])
        found["department_share"] = stats["user_department_shares_91d"][min(department, 31)]
        return found

    def scores(self, past, item, own, total):
        """What each source says of the item; zero towers leave the popularity prior."""
        sold, category = self.sold.get(item, 0), self.groups["category"][item]
        shop = self.shop.get(category, 0.0)
        share = (sum(slot[1] for slot in self.alike(past, item, "category")) + 10 * shop) / (total + 10)
        return {
            "score_buy_again": own and own[1],
            "score_two_tower": math.log1p(sold),
            "score_category_affinity": sold * share / max(shop, 1e-6),
            "score_top_sellers": sold,
        }


@pytest.fixture(scope="module")
def recount(installation, raw, window):
    """The recount as of the window's instant."""
    return Recount(installation, raw, window.instant)


@pytest.mark.parametrize("task", ["all", "discover"])
def test_every_column_of_sampled_pairs_is_what_was_known_then(
    recount, sources, window, instant, task, monkeypatch
):
    """At least 200 pairs of many shoppers equal the recount; a label is a purchase after the instant."""
    monkeypatch.setattr(ranking, "NEGATIVES_PER_SHOPPER", 1_000_000)
    columns, rng = ranking.ranker_columns(instant.release), np.random.default_rng(5)
    labels = sources.warehouse.purchases(window)
    compared = 0
    for user in sorted(labels["user_id"].unique())[::3]:
        examples = window_examples(instant, labels[labels["user_id"] == user], window.instant)
        pairs = ranking.pairs(instant.release, instant.item_features, examples, seed=1)[task]
        if not len(pairs.labels):
            continue  # bought nothing that was drawn
        items = instant.release.catalogue.item_ids[draw(instant.release, examples[0].shopper, task).items]
        bought = recount.raw.by_user[user]
        later = bought[
            (bought["event_timestamp"] > window.instant) & (bought["event_timestamp"] <= window.end)
        ]
        later = set(later["item_id"])
        for place in rng.choice(len(pairs.labels), min(8, len(pairs.labels)), replace=False):
            item, row = str(items[place]), dict(zip(columns, pairs.rows[place].tolist(), strict=True))
            expected = recount.row(user, item)
            for source in SOURCES:
                scores = pairs.rows[:, columns.index(f"score_{source}")]
                better = int((scores > scores[place]).sum() + (scores[:place] == scores[place]).sum())
                expected[f"rank_{source}"] = None if np.isnan(scores[place]) else better
            assert expected.keys() == row.keys()
            for name, value in expected.items():
                wanted = math.nan if value is None else value
                assert row[name] == pytest.approx(wanted, rel=2e-5, abs=1e-6, nan_ok=True), name
            assert pairs.labels[place] == (item in later)
            compared += 1
    assert compared >= 200


def test_a_basket_at_the_very_instant_is_a_feature_and_no_label(installation, window):
    """Point-in-time joins see an event at T: a window's labels begin after T, and its end belongs to it."""
    warehouse = Warehouse(installation)
    warehouse.connection.execute(
        """CREATE OR REPLACE VIEW transactions AS
           SELECT 'u' AS user_id, unnest(['at', 'after', 'end', 'late']) AS item_id, 1.0 AS quantity,
                  2.0 AS price_paid, unnest($1::TIMESTAMPTZ[]) AS event_timestamp""".replace(
            "$1",
            str(
                [
                    str(stamp)
                    for stamp in (
                        window.instant,
                        window.instant + pd.Timedelta(microseconds=1),
                        window.end,
                        window.end + pd.Timedelta(microseconds=1),
                    )
                ]
            ),
        )
    )
    assert set(warehouse.purchases(window)["item_id"]) == {"after", "end"}
    assert set(warehouse.ever_bought(window.instant)["item_id"]) == {"at"}
