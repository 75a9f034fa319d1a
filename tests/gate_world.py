"""A small shop on the day of a gate: tables, features counted by plain loops, stores, challenger, champion.

`opened_shop` builds it once; `copied` gives a copy of its state, to be broken in one way by a test.
"""

import shutil
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feature_rows import ARROW_TYPES
from raw_features import RawFeatures
from served_shop import columns, shop_release
from table_files import first_part
from tiny_release import N_ITEMS

from bentos.release import save, store_release
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TABLES

DAY = date(2024, 3, 13)  # a Wednesday; the clocks changed on Sunday
CALENDAR = ShopCalendar("America/New_York", date(2023, 1, 2))
WINDOW_DAY = DAY - timedelta(days=7)
KNOWN, WINDOW_START = CALENDAR.day_end(DAY), CALENDAR.day_end(WINDOW_DAY)
USERS = [f"u{number:02d}" for number in range(30)]
ITEMS = [f"i{position:02d}" for position in range(N_ITEMS - 1)]  # the last one has no features
SLOTS = ["north", "south", ""]
METRICS = ("recall@10", "recall@20", "ndcg@10", "recall_repeat@10", "recall_new@10")
LEVELS = {"challenger": 0.5, "champion": 0.5, "buy_again": 0.45, "segment": 0.1}
STAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class GateShop:
    """Where the shop lies, and its champion's tag."""

    settings: Settings
    champion: str

    def copied(self, folder: Path) -> Settings:
        """Settings of a copy of all of its state."""
        shutil.copytree(self.settings.state, folder / "state")
        return replace(self.settings, state=folder / "state", reports=folder / "reports")


def drawn_lines(rng):
    """Lines of half a year: baskets at any second of users with six items each, returns among them."""
    found = []
    for user in USERS:
        own = rng.choice(ITEMS, 6, replace=False)
        for basket in range(int(rng.integers(8, 25))):
            at = KNOWN - timedelta(seconds=int(rng.integers(1, 200 * 86_400)))
            bought = rng.choice(own, int(rng.integers(1, 5)), replace=False).tolist()
            found += [drawn_line(rng, user, item, at, f"{user}-{basket}") for item in bought]
    last = KNOWN - timedelta(seconds=1)  # in the day's last second
    return [*found, {**found[0], "event_timestamp": last, "basket_id": "late", "quantity": 1.0}]


def drawn_line(rng, user, item, at, basket):
    """One line."""
    return {
        "user_id": user,
        "item_id": item,
        "event_timestamp": at,
        "basket_id": basket,
        "quantity": float(rng.choice([1, 1, 2, -1])),
        "price_paid": round(float(rng.uniform(0.5, 9)), 2),
        "discount": round(float(rng.choice([0, 0, 0.4])), 2),
        "store_id": "s",
    }


def write_table(settings, name, rows):
    """One table of the contract."""
    schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in TABLES[name].columns])
    pq.write_table(pa.Table.from_pylist(rows, schema), first_part(settings, name))


def write_tables(settings):
    """Transactions, items and promotions, and the calendar."""
    rng = np.random.default_rng(4)
    write_table(settings, "transactions", drawn_lines(rng))
    write_table(
        settings,
        "items",
        [
            {"item_id": item, "title": f"Item {item}", "category_1": SLOTS[number % 2], "category_2": "c",
             "category_3": "t"}
            for number, item in enumerate(ITEMS)
        ],
    )  # fmt: skip
    write_table(
        settings,
        "promotions",
        [
            {"item_id": item, "kind": kind, "starts_at": KNOWN - timedelta(days=days),
             "ends_at": KNOWN - timedelta(days=days - 7), "store_share": 0.1 + days / 100}
            for item in ITEMS[::3]
            for kind, days in (("mailer", 9), ("display", 12), ("mailer", 3))
        ],
    )  # fmt: skip
    CALENDAR.save(settings.shop_calendar)


def raw_features(settings, day=DAY):
    """The slow reference, in weeks that end with a day."""
    return RawFeatures(settings, CALENDAR.ending_with(day, 60), SLOTS)


def user_stats_rows(raw, stamp, instant):
    """Rows of user_stats that claim to be of `stamp`, with what was known at `instant`."""
    meta = {"event_timestamp": stamp, "created_timestamp": stamp}
    known = [(user, raw.user_stats(user, instant)) for user in USERS]
    return [
        {"user_id": user, **row, **meta,
         "user_department_shares_91d": row["user_department_shares_91d"][: len(SLOTS)].tolist()}
        for user, row in known if row is not None
    ]  # fmt: skip


def item_stats_rows(raw, stamp, instant):
    """Rows of item_stats, the same way."""
    meta = {"event_timestamp": stamp, "created_timestamp": stamp}
    known = [(item, raw.item_stats(item, instant)) for item in ITEMS]
    return [{"item_id": item, **row, **meta} for item, row in known if row is not None]


def history_rows(raw):
    """A row for each basket."""
    return [
        history_row(raw, user, at.to_pydatetime())
        for user in USERS
        for at in sorted(set(raw.by_user[user]["event_timestamp"]))
    ]


def history_row(raw, user, at):
    """A user's history after one basket."""
    names, slots = ("counts", "decayed", "first_times", "last_times", "last_baskets"), raw.history(user, at)
    values = zip(*slots.values(), strict=True)
    columns = {f"history_{name}": list(column) for name, column in zip(names, values, strict=True)}
    meta = {"event_timestamp": at, "created_timestamp": at}
    return {"user_id": user, "history_items": list(slots), **columns, **meta}


def write_view(settings, view, rows):
    """One feature table as a folder with one part, in the place of what was there."""
    key = view.entities[0] + "_id"
    types = {key: pa.string(), "event_timestamp": STAMP, "created_timestamp": STAMP, **columns(view)}
    folder = settings.feature_table(view.name)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), folder / "part-0.parquet")


def write_stats(settings, days):
    """The two tables of snapshots; `days` says for each stamp which day's end its values are of."""
    from feature_repo.features.items import item_stats
    from feature_repo.features.users import user_stats

    users, items = [], []
    for stamp, day in days.items():
        raw, instant = raw_features(settings, day), CALENDAR.day_end(day)
        users += user_stats_rows(raw, stamp, instant)
        items += item_stats_rows(raw, stamp, instant)
    write_view(settings, user_stats, users)
    write_view(settings, item_stats, items)


def write_features(settings):
    """Snapshots of the day's end and of the window's start, and histories; then the stores."""
    import jobs.apply
    import jobs.materialize
    from feature_repo.features.users import user_history

    write_stats(settings, {WINDOW_START: WINDOW_DAY, KNOWN: DAY})
    write_view(settings, user_history, history_rows(raw_features(settings)))
    (settings.state / "features" / "departments.json").write_text('["north", "south"]')
    jobs.apply.run(settings)
    jobs.materialize.run(settings, end=KNOWN)


def day_release(settings, **facts):
    """The day's release, in the registry's order of features."""
    from feature_repo.store import open_store
    from training.point_in_time import number_names

    store = open_store(settings)
    features = {kind: number_names(store, f"{kind}_ranking") for kind in ("user", "item")}
    made = shop_release()
    manifest = {
        **made.manifest,
        "features": features,
        "as_of": KNOWN.isoformat(),
        "day": DAY.isoformat(),
        "learnt_until": WINDOW_START.isoformat(),
    }
    return replace(made, manifest={**manifest, **facts})


def drawn_values(levels=None, *, n=None, coverage=None, seed=0):
    """Values per shopper of both tasks: each model's level times what a shopper is like, and some noise."""
    rng, found = np.random.default_rng(seed), []
    users = USERS if n is None else [f"u{number}" for number in range(n)]
    for task in ("all", "discover"):
        like = rng.gamma(8, 1 / 8, len(users))
        for model, level in (levels or LEVELS).items():
            noise = rng.normal(0, 0.01, (len(users), len(METRICS)))
            values = pd.DataFrame(like[:, None] * level + noise, columns=list(METRICS))
            share = (coverage or {}).get(model, 0.02 if model == "segment" else 0.2)
            found.append(values.assign(task=task, model=model, user_id=users, **{"coverage@10": share}))
    return pd.concat(found, ignore_index=True)


def write_values(settings, values):
    """The day's values per shopper."""
    settings.day(DAY).mkdir(parents=True, exist_ok=True)
    values.to_parquet(settings.day(DAY) / "per_shopper.parquet")


def opened_shop(folder):
    """The shop with all that the gate needs; challenger and champion are equal."""
    settings = Settings(state=folder / "state", reports=folder / "reports")
    write_tables(settings)
    write_features(settings)
    release = day_release(settings)
    save(release, settings.day(DAY) / "release")
    save(release, folder / "champion")
    write_values(settings, drawn_values())
    return GateShop(settings, store_release(folder / "champion"))
