"""The ranker's training rows, column by column, against a recount of raw lines as of the window's instant."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bentos.candidates import SOURCES, draw
from bentos.pool import INPUTS
from training import ranking
from training.fit import window_examples, with_pool
from training.warehouse import Warehouse

LINE = ("category_2", "category_3", "manufacturer")
GROUPS = {  # kind of group: what its members agree in
    "departments": ("category_1",),
    "categories": ("category_2",),
    "types": ("category_3",),
    "manufacturers": ("manufacturer",),
    "lines": LINE,
    "variants": ("category_1", *LINE, "brand", "size"),
}
LEARNT = {f"score_{name}" for name in ("two_tower", "co_purchase", "neighbours", "pool")}
ALPHA, REGULARISATION = 4.0, 30.0  # of the co-purchase factors


@pytest.fixture(scope="module")
def pooled(instant):
    """What is known at the window's instant, with a pool that weighs every input differently."""
    weights = np.linspace(0.05, 0.3, len(INPUTS)).astype(np.float32)
    return replace(instant, release=with_pool(instant.release, weights))


class Shop:
    """What the shop knew of its items at one instant, from raw lines."""

    def __init__(self, settings, raw, now):
        self.raw, self.now = raw, now
        columns = list(GROUPS["variants"])
        items = pd.read_parquet(settings.table("items")).set_index("item_id")[columns].fillna("")
        self.groups = {
            kind: dict(zip(items.index, items[list(of)].itertuples(index=False, name=None), strict=True))
            for kind, of in GROUPS.items()
        }
        self.lines = pd.concat(raw.by_user.values())
        self.catalogue = set(self.baskets(26))
        self.sold, quarter = self.baskets(4), self.baskets(13)
        self.demand = {kind: self.sums(kind, self.sold) for kind in ("types", "variants")}
        named = {kind: self.catalogue if kind in ("lines", "variants") else items.index for kind in GROUPS}
        self.shares = {kind: self.shop_shares(kind, quarter, named[kind]) for kind in GROUPS}

    def baskets(self, weeks):
        """{item: baskets} within so many weeks before the instant."""
        begin = self.raw.calendar.start(self.raw.calendar.week_at(self.now) - weeks)
        when = self.lines["event_timestamp"]
        return (
            self.lines[(when >= begin) & (when < self.now)]
            .groupby("item_id")["basket_id"]
            .nunique()
            .to_dict()
        )

    def sums(self, kind, baskets):
        """{group: baskets} over the items of the catalogue."""
        found = {}
        for item in self.catalogue:
            group = self.groups[kind][item]
            found[group] = found.get(group, 0) + baskets.get(item, 0)
        return found

    def shop_shares(self, kind, baskets, named):
        """{group: share of the baskets}, half a basket added to each of the numbered groups."""
        sums = self.sums(kind, baskets)
        last = max(sums)
        within = {group for group in map(self.groups[kind].get, named) if group <= last}
        total = sum(sums.values()) + 0.5 * len(within)
        return {group: (value + 0.5) / total for group, value in sums.items()}


class Learnt:
    """What was learnt by the instant: arrays of the release in float64, and the towers."""

    def __init__(self, release, towers, space, world):
        self.release, self.towers, self.space, self.world = release, towers, space, world
        self.arrays = {
            name: each.astype(np.float64) if each.dtype == np.float32 else each
            for name, each in release.arrays.items()
        }
        self.place = {item: place for place, item in enumerate(release.catalogue.item_ids.tolist())}


class Then:
    """One shopper as of the instant: columns of their rows from raw lines, learnt scores from the arrays."""

    def __init__(self, shop, learnt, user):
        self.shop, self.arrays, self.place = shop, learnt.arrays, learnt.place
        self.release, self.towers, self.space = learnt.release, learnt.towers, learnt.space
        self.world = learnt.world
        self.stats, seconds = shop.raw.user_stats(user, shop.now), shop.now.timestamp()
        self.past = {  # {item: (baskets, decayed count now, days since)} of the items still in the catalogue
            item: (count, decayed * 2 ** (-(seconds - last) / 86_400 / 91), (seconds - last) / 86_400)
            for item, (count, decayed, _, last, _) in shop.raw.history(user, shop.now).items()
            if item in shop.catalogue
        }
        kept = shop.raw.history(user, shop.now)
        trips = max((slot[4] for slot in kept.values()), default=0)
        self.firsts = {item: (seconds - slot[2]) / 86_400 for item, slot in kept.items()}
        self.trips_since = {item: trips - slot[4] for item, slot in kept.items()}
        self.total = sum(decayed for _, decayed, _ in self.past.values())
        self.factors, self.query = self.folded(), self.query_vector()
        self.likeness = [self.cosine(vector) ** 4 for vector in self.arrays["panel_vectors"]]

    def folded(self):
        """Least squares over the catalogue: confidence 4 log(1 + decayed) for what was bought, else 1."""
        factors = self.arrays["factor_items"]
        system, right = factors.T @ factors + REGULARISATION * np.eye(factors.shape[1]), 0.0
        for item, (_, decayed, _) in self.past.items():
            vector, confidence = factors[self.place[item]], ALPHA * math.log1p(decayed)
            system += (confidence - 1) * np.outer(vector, vector)
            right = right + confidence * vector
        return np.linalg.solve(system, right)

    def cosine(self, vector):
        """Cosine with the shopper's factors, 0 where it is negative."""
        return max(float(vector @ self.factors) / np.linalg.norm(self.factors), 0.0)

    def dense(self, inputs, tower):
        """Two layers over standardised inputs, cut at three deviations."""
        of = {name.removeprefix(f"{tower}_"): each for name, each in self.towers.items()}
        inputs = np.minimum(np.maximum((inputs - of["mean"]) * of["scale"], -3), 3)
        return np.maximum(inputs @ of["kernel_1"] + of["bias_1"], 0) @ of["kernel_2"] + of["bias_2"]

    def query_vector(self):
        """The query tower's body: a network over the shopper's profile and numbers, and the mapped taste."""
        catalogue, text = self.release.catalogue, np.zeros(self.arrays["text_steps"].shape[1])
        categories = dict.fromkeys(catalogue.category_names.tolist(), 0.0)
        for item, (_, decayed, _) in self.past.items():
            place = self.place[item]
            text += decayed * self.arrays["text_scales"][place] * self.arrays["text_steps"][place]
            categories[self.shop.groups["categories"][item][0]] += decayed
        numbers = [self.stats[name] for name in self.release.manifest["features"]["user"]]
        inputs = [text / np.linalg.norm(text), np.log1p(list(categories.values()))]
        inputs += [self.stats["user_department_shares_91d"], np.log1p(np.maximum(numbers, 0))]
        return self.dense(np.concatenate(inputs), "query") + self.taste() @ self.towers["query_map"]

    def code(self, item, kind):
        """The world's number of the item's group."""
        world = int(np.flatnonzero(self.world.item_ids == item)[0])
        codes = getattr(self.world, kind)
        return (codes if kind in ("lines", "variants") else codes.codes)[world]

    def taste(self):
        """Over all groups bought from, log(1 + decayed count / 10 / shop's share) times the group's place."""
        total = 0.0
        for kind, places in self.space.queries.items():
            counts = {}
            for item, (_, decayed, _) in self.past.items():
                group = self.shop.groups[kind][item]
                number, sum_ = counts.get(group, (self.code(item, kind), 0.0))
                counts[group] = number, sum_ + decayed
            for group, (number, decayed) in counts.items():
                lift = math.log1p(decayed / (10 * self.shop.shares[kind][group]))
                total = total + lift * places[number].astype(np.float64)
        return total

    def row(self, item):
        """Every column by name, but ranks; None where nothing is known."""
        own, stats = self.past.get(item), self.stats
        found = {**self.shop.raw.item_stats(item, self.shop.now)}
        found |= {name: value for name, value in stats.items() if np.isscalar(value)}
        del found["user_top_department"]
        found["past_items"] = len(self.past)
        found["past_new_items_28d"] = sum(count == 1 and days <= 28 for count, _, days in self.past.values())
        found["pair_count"], found["pair_decayed_count"], found["pair_days_since_last"] = own or (0, 0, None)
        found["pair_dueness"] = own and own[2] / (max(stats["user_tenure_days"], 1) / own[0])
        since, mean = self.firsts.get(item) if own else None, None
        if own and own[0] > 1:
            mean = (since - own[2]) / (own[0] - 1)
        found["pair_days_since_first"], found["pair_interval_days"] = since, mean
        found["pair_interval_dueness"] = None if mean is None else own[2] / max(mean, 1)
        found["pair_baskets_since_last"] = self.trips_since[item] if own else None
        lifts = {}
        for kind in GROUPS:
            near = self.alike(item, kind)
            decayed = sum(slot[1] for slot in near)
            found[f"pair_{kind}_share"] = decayed / self.total
            if kind in ("categories", "types", "lines", "variants"):
                found[f"pair_{kind}_days_since_last"] = min((slot[2] for slot in near), default=None)
            if kind in ("types", "lines", "variants"):
                found[f"pair_{kind}_items"] = len(near)
            shop = self.shop.shares[kind][self.shop.groups[kind][item]]
            lifts[kind] = math.log((decayed + 10 * shop) / (self.total + 10) / shop)
        found |= {f"lift_{kind}": lift for kind, lift in lifts.items()}
        for kind, name in (("types", "type_popularity"), ("variants", "variant_popularity")):
            found[name] = math.log1p(self.shop.demand[kind][self.shop.groups[kind][item]])
        department = self.shop.raw.departments.index(self.shop.groups["departments"][item][0])
        found["department_share"] = stats["user_department_shares_91d"][min(department, 31)]
        return found | self.scores(item, own, found, lifts)

    def alike(self, item, kind):
        """The past purchases in the same group as `item`."""
        of = self.shop.groups[kind]
        return [slot for other, slot in self.past.items() if of[other] == of[item]]

    def scores(self, item, own, numbers, lifts):
        """What each source says of the item."""
        place, panel = self.place[item], self.arrays
        sold = self.shop.sold.get(item, 0)
        took = [
            row
            for row, took in zip(panel["panel_shoppers"], panel["panel_items"], strict=True)
            if took == place
        ]
        co_purchase = float(self.factors @ self.arrays["factor_items"][place])
        neighbours = sum(self.likeness[row] for row in took) / sum(self.likeness)
        inputs = [math.log1p(numbers[name]) for name in INPUTS if name.startswith("item_")]
        two_tower = float(self.query @ self.item_vector(item, numbers)) + 0.8 * co_purchase
        two_tower += float(self.towers["query_sales"] @ inputs[:4])  # 7, 28, 91 and 182 days
        inputs += [math.log1p(len(took)), *lifts.values()]
        inputs += [math.log(max(co_purchase, 0) + 0.01), math.log(neighbours + 1e-4), two_tower]
        return {
            "score_buy_again": own and own[1],
            "score_two_tower": two_tower,
            "score_co_purchase": co_purchase,
            "score_neighbours": neighbours or None,  # nobody alike bought it: no opinion
            "score_affinity": sum(lifts.values()),
            "score_top_sellers": sold,
            "score_pool": sum(np.linspace(0.05, 0.3, len(inputs)) * inputs),
        }

    def item_vector(self, item, numbers):
        """The item tower's body from its text, its numbers of that time and its groups' places."""
        known = [numbers[name] for name in self.release.manifest["features"]["item"]]
        text = self.world.text_vectors[int(np.flatnonzero(self.world.item_ids == item)[0])]
        inputs = np.concatenate([text, np.log1p(np.maximum(known, 0))])
        places = sum(each[self.code(item, kind)] for kind, each in self.space.items.items())
        return self.dense(inputs, "item") + places


@pytest.fixture(scope="module")
def shop(installation, raw, window):
    """The shop as of the window's instant."""
    return Shop(installation, raw, window.instant)


@pytest.fixture(scope="module")
def learnt(pooled, towers, space, world):
    """What was learnt by the window's instant."""
    return Learnt(pooled.release, towers, space, world)


def expected_ranks(scores, place):
    """{column: place of one row in each source's order}: after better ones, and equal ones before it."""
    found = {}
    for source, column in scores.items():
        better = int((column > column[place]).sum() + (column[:place] == column[place]).sum())
        found[f"rank_{source}"] = math.nan if np.isnan(column[place]) else better
    return found


def wrong_columns(row, expected):
    """Names of columns that differ from the recount; what is learnt was solved in float32."""
    assert row.keys() == expected.keys()
    return [
        name
        for name, value in expected.items()
        if row[name]
        != pytest.approx(
            math.nan if value is None else value,
            rel=2e-4 if name in LEARNT else 2e-5,
            abs=3e-5 if name in LEARNT else 2e-6,
            nan_ok=True,
        )
    ]


@pytest.mark.parametrize("task", ["all", "discover"])
def test_every_column_of_sampled_pairs_is_what_was_known_then(
    raw, shop, sources, window, pooled, learnt, task
):
    """At least 200 pairs of many shoppers equal the recount; a label is a purchase after the instant."""
    release, rng = pooled.release, np.random.default_rng(5)
    columns, labels = ranking.ranker_columns(release), sources.warehouse.purchases(window)
    compared, labelled, wrong = 0, 0, []
    for user in sorted(labels["user_id"].unique())[::3]:
        examples = window_examples(pooled, labels[labels["user_id"] == user], window.instant)
        pairs = ranking.pairs(release, pooled.item_features, examples, seed=1, negatives=1_000_000)[task]
        if not len(pairs.labels):
            continue  # bought nothing that was drawn
        items = release.catalogue.item_ids[draw(release, examples[0].shopper, task).items]
        bought = raw.by_user[user]
        when = bought["event_timestamp"]
        later = set(bought.loc[(when > window.instant) & (when <= window.end), "item_id"])
        then = Then(shop, learnt, user)
        scores = {source: pairs.rows[:, columns.index(f"score_{source}")] for source in SOURCES}
        asked = {
            *rng.choice(len(items), 12, replace=False).tolist(),
            *np.flatnonzero(pairs.labels)[:3].tolist(),
        }
        for place in asked:
            item, row = str(items[place]), dict(zip(columns, pairs.rows[place].tolist(), strict=True))
            wrong += wrong_columns(row, then.row(item) | expected_ranks(scores, place))
            assert pairs.labels[place] == (item in later)
            compared, labelled = compared + 1, labelled + (item in later)
    assert wrong == []
    assert compared >= 200
    assert labelled >= 30


def test_a_basket_at_the_very_instant_is_a_feature_and_no_label(installation, window):
    """Point-in-time joins see an event at T: a window's labels begin after T, and its end belongs to it."""
    warehouse = Warehouse.of(installation)
    warehouse.tables.connection.execute(
        """CREATE OR REPLACE VIEW transactions AS
           SELECT 'u' AS user_id, unnest(['at', 'after', 'end', 'late']) AS item_id, 1.0 AS quantity,
                  2.0 AS price_paid, 'b' AS basket_id,
                  unnest($1::TIMESTAMPTZ[]) AS event_timestamp""".replace(
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
