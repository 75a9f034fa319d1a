"""One tiny release with known answers: 20 items, popularity falling with their position."""

from datetime import UTC, datetime

import numpy as np

from bentos.pool import INPUTS
from bentos.release import Catalogue, Release
from bentos.scoring import matrix_columns
from bentos.towers import KINDS, SALES

NOW = datetime(2024, 3, 4, 12, tzinfo=UTC)
USER_FEATURES = ["user_spend_28d", "user_tenure_days"]
ITEM_FEATURES = ["item_baskets_28d", "item_price_91d"]
N_ITEMS, N_CATEGORIES, N_TEXT, N_DIM = 20, 5, 4, 2


class ByColumn:
    """A ranker whose margin is one column of the matrix, 0 where it is missing."""

    def __init__(self, column: str) -> None:
        self.place = matrix_columns(USER_FEATURES, ITEM_FEATURES).index(column)

    def inplace_predict(self, rows, predict_type):
        """Margins of rows."""
        assert predict_type == "margin"
        return np.nan_to_num(rows[:, self.place])


def history(items, counts, days_ago):
    """A user row's history columns, as the store keeps them."""
    seconds = [int(NOW.timestamp() - day * 86_400) for day in days_ago]
    return {
        "history_items": list(items),
        "history_counts": list(counts),
        "history_decayed": [float(count) for count in counts],
        "history_first_times": [second - 60 * 86_400 for second in seconds],
        "history_last_times": seconds,
        "history_last_baskets": list(range(len(seconds), 0, -1)),
    }


def user_row(items=("i03", "i13", "i07"), counts=(5, 2, 1), days_ago=(2, 10, 100), department="north"):
    """A known user's features by name."""
    return {
        **history(items, counts, days_ago),
        "user_spend_28d": 50.0,
        "user_tenure_days": 200.0,
        "user_top_department": department,
        "user_department_shares_91d": [0.75, 0.25, 0.0],
        "event_timestamp": NOW,
    }


class InMemory:
    """A reader over dictionaries; an item's features are its popularity and its position."""

    def __init__(self, users, missing=()):
        self.users, self.missing = users, set(missing)

    def read_user(self, user_id):
        """The user's features, None for an unknown one."""
        return self.users.get(user_id)

    def read_items(self, items):
        """Two features per item, NaN for the missing ones."""
        rows = [[np.nan] * 2 if f"i{item:02d}" in self.missing else [20.0 - item, item] for item in items]
        return np.array(rows, dtype=np.float32).reshape(-1, 2)

    def last_items(self, items):
        """What can always be read was never read last."""

    def late(self):
        """Never."""


def tiny_groups():
    """Codes of every item by kind of group: items 10 apart are of one line, below i05 even of one variant."""
    positions = np.arange(N_ITEMS, dtype=np.int32)
    categories, departments, lines = positions % N_CATEGORIES, positions % 2, positions % 10
    return {
        "departments": departments,
        "categories": categories,
        "types": categories,
        "manufacturers": departments,
        "lines": lines,
        "variants": np.where(lines < 5, lines, np.where(positions < 10, positions, positions - 5)),
    }


def tiny_sources(popularity):
    """What the candidate sources read, in numbers that can be reckoned with.

    Groups sell as their items do. Even items point one way, odd ones the other. Of the panel's three, the
    first goes with the even, the second with the odd, the third mostly with the odd. The pool is the log of
    sales plus the lift of the line.
    """
    groups = tiny_groups()
    sums = {name: np.bincount(codes, weights=popularity) for name, codes in groups.items()}
    panel_items = np.array([0, 2, 1, 5, 1], np.int32)
    newcomers = np.bincount(panel_items, minlength=N_ITEMS)
    sales = [share * popularity for share in (0.25, 1, 3, 6)]
    appeal = np.stack([*sales, np.full(N_ITEMS, 100.0), newcomers])
    return {
        **{name: groups[name] for name in ("manufacturers", "lines", "variants")},
        **{f"shop_share_{name}": (sum_ / sum_.sum()).astype(np.float32) for name, sum_ in sums.items()},
        "type_popularity": np.log1p(sums["types"][groups["types"]]).astype(np.float32),
        "variant_popularity": np.log1p(sums["variants"][groups["variants"]]).astype(np.float32),
        "factor_items": np.eye(2, dtype=np.float32)[groups["departments"]],
        "factor_gram": np.eye(2, dtype=np.float32) * (10 + 30),  # ten items each way, and the regularisation
        "panel_vectors": np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32),
        "panel_shoppers": np.array([0, 0, 1, 1, 2], np.int32),
        "panel_items": panel_items,
        "appeal_inputs": np.log1p(appeal).astype(np.float32),
        "pool_weights": np.array([name in ("item_baskets_28d", "lines") for name in INPUTS], np.float32),
    }


def tiny_release() -> Release:
    """A release without learning: towers of zeros, so that two_tower is the log of sales."""
    positions = np.arange(N_ITEMS)
    popularity = (N_ITEMS - positions).astype(np.float32)
    groups = tiny_groups()
    departments = groups["departments"]
    n_query = N_TEXT + N_CATEGORIES + 3 + len(USER_FEATURES)
    sales = np.zeros((N_ITEMS, len(SALES)), dtype=np.float32)
    sales[:, SALES.index("item_baskets_28d")] = np.log1p(popularity)
    segments = np.stack([popularity[::-1], np.where(departments == 1, popularity, 0)])
    return Release(
        tag="endcap-release:tiny",
        manifest={
            "as_of": NOW.isoformat(),
            "recorded": True,
            "features": {"user": USER_FEATURES, "item": ITEM_FEATURES},
        },
        catalogue=Catalogue(
            item_ids=np.array([f"i{position:02d}" for position in positions]),
            titles=np.array([f"Item {position}" for position in positions]),
            departments=departments,
            categories=groups["categories"],
            types=groups["types"],
            department_names=np.array(["north", "south"]),
            category_names=np.array([f"CATEGORY {code}" for code in range(N_CATEGORIES)]),
            type_names=np.array([f"TYPE {code}" for code in range(N_CATEGORIES)]),
        ),
        arrays={
            "query_kernel_1": np.zeros((n_query, 3), np.float32),
            "query_bias_1": np.zeros(3, np.float32),
            "query_kernel_2": np.zeros((3, N_DIM), np.float32),
            "query_bias_2": np.zeros(N_DIM, np.float32),
            "query_mean": np.zeros(n_query, np.float32),
            "query_scale": np.ones(n_query, np.float32),
            "query_map": np.zeros((N_DIM, N_DIM), np.float32),
            "query_sales": np.array([name == "item_baskets_28d" for name in SALES], np.float32),
            "query_factors": np.float32(0),
            **{f"taste_{kind}": np.zeros((groups[kind].max() + 1, N_DIM), np.float32) for kind in KINDS},
            "text_steps": 127 * np.eye(N_TEXT, dtype=np.int8)[positions % N_TEXT],
            "text_scales": np.full(N_ITEMS, 1 / 127, np.float32),
            "item_bodies": np.zeros((N_ITEMS, N_DIM), dtype=np.float32),
            "item_log_sales": sales,
            "popularity": popularity,
            **tiny_sources(popularity),
            "segment_names": np.array(["north", "south"]),
            "segment_popularity": segments.astype(np.float32),
            "department_slots": np.array(["north", "south", ""]),
            "department_slot_of": np.array([0, 1], np.int32),
        },
        rankers={"all": ByColumn("pair_count"), "discover": ByColumn("item_baskets_28d")},
        rules={"available": {"enabled": True}, "category_cap": {"share": 1.0}},
    )
