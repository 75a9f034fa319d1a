"""Features computed again from the raw tables, one entity and one instant at a time, by plain loops.

The slow reference that training rows and online values are held against. It shares no code with the
jobs: windows are filters on local dates, histories are dictionaries.
"""

import math
from datetime import datetime

import numpy as np
import pandas as pd

WINDOWS = {"7d": 1, "28d": 4, "91d": 13, "182d": 26}


class RawFeatures:
    """All features of any user or item as of any instant, from transactions, items and promotions."""

    def __init__(self, settings, calendar, departments, *, width=2_048):
        bought = pd.read_parquet(settings.table("transactions").parent)
        bought = bought[bought["quantity"] > 0]
        items = pd.read_parquet(settings.table("items"))
        bought = bought.merge(items[["item_id", "category_1"]], on="item_id", how="left")
        self.by_user = dict(tuple(bought.groupby("user_id")))
        self.by_item = dict(tuple(bought.groupby("item_id")))
        has_promotions = settings.table("promotions").exists()
        promotions = pd.read_parquet(settings.table("promotions").parent) if has_promotions else None
        self.promotions = dict(tuple(promotions.groupby("item_id"))) if has_promotions else {}
        self.calendar, self.departments, self.width = calendar, departments, width

    def week_end(self, instant: datetime) -> datetime:
        """The last week end that is not after an instant."""
        return self.calendar.start(self.calendar.week_at(instant))

    def windows(self, rows, end):
        """Rows of each window before a week end."""
        week = self.calendar.week_at(end)
        when = rows["event_timestamp"]
        return {
            name: rows[(when >= self.calendar.start(week - weeks)) & (when < end)]
            for name, weeks in WINDOWS.items()
        }

    def user_stats(self, user_id, instant):
        """Columns of user_stats; None before the first week end."""
        end = self.week_end(instant)
        rows = self.by_user[user_id]
        past = rows[rows["event_timestamp"] < end]
        if past.empty:
            return None
        window = self.windows(rows, end)
        found = {}
        for name in ("7d", "28d", "91d"):
            found[f"user_spend_{name}"] = math.fsum(window[name]["price_paid"])
            found[f"user_baskets_{name}"] = window[name]["basket_id"].nunique()
            found[f"user_items_{name}"] = window[name]["item_id"].nunique()
        quarter = window["91d"]
        discount = math.fsum(quarter["discount"])
        total = discount + math.fsum(quarter["price_paid"])
        found["user_discount_share_91d"] = discount / total if total else 0.0
        day = pd.Timedelta(days=1)
        found["user_recency_days"] = (end - past["event_timestamp"].max()) / day
        found["user_tenure_days"] = (end - past["event_timestamp"].min()) / day
        known = quarter["category_1"].isin(self.departments)
        lines = quarter["category_1"].where(known, "(other)").value_counts()
        shares = np.zeros(32)
        for department, n in lines.items():
            shares[self.departments.index(department)] = n / len(quarter)
        found["user_department_shares_91d"] = shares
        best = lines.max() if len(lines) else 0
        found["user_top_department"] = min((d for d, n in lines.items() if n == best), default="")
        return found

    def history(self, user_id, instant):
        """{item: (baskets, decayed count, first and last second, number of the last basket)}, kept slots.

        This instant's basket is included.
        """
        rows = self.by_user[user_id]
        past = rows[rows["event_timestamp"] <= instant]
        kept = {}
        for when, basket in past.groupby("event_timestamp"):
            second = int(when.timestamp())
            number = max((slot[4] for slot in kept.values()), default=0) + 1
            for item in sorted(set(basket["item_id"])):
                count, decayed, first, last, _ = kept.get(item, (0, 0.0, second, second, number))
                decayed = float(np.float32(decayed * 2 ** (-(second - last) / 86_400 / 91) + 1))
                kept[item] = (count + 1, decayed, first, second, number)

            if len(kept) > self.width:
                kept = self.best_first(kept, second)
        return self.best_first(kept, second) if kept else kept

    def best_first(self, slots, now):
        """The best `width` slots by decayed count at `now`, ties by item."""

        def rank(slot):
            item, (_, decayed, _, last, _) = slot
            return -decayed * 2 ** (-(now - last) / 86_400 / 91), item

        return dict(sorted(slots.items(), key=rank)[: self.width])

    def item_stats(self, item_id, instant):
        """Columns of item_stats; None while the item is not in the catalogue."""
        end = self.week_end(instant)
        rows = self.by_item[item_id]
        window = self.windows(rows, end)
        if window["182d"].empty:
            return None
        found = {
            f"item_baskets_{name}": len(rows[["user_id", "basket_id"]].drop_duplicates())
            for name, rows in window.items()
        }
        quarter = window["91d"]
        baskets = quarter.groupby("user_id")["basket_id"].nunique()
        found["item_users_91d"] = len(baskets)
        found["item_repeat_rate_91d"] = (baskets >= 2).mean() if len(baskets) else 0.0
        priced = window["182d"] if quarter.empty else quarter
        found["item_price_91d"] = math.fsum(priced["price_paid"]) / math.fsum(priced["quantity"])
        discount = math.fsum(quarter["discount"])
        total = discount + math.fsum(quarter["price_paid"])
        found["item_discount_share_91d"] = discount / total if total else 0.0
        for kind in ("mailer", "display"):
            found[f"item_{kind}_share"] = self.exposure(item_id, kind, end)
        first = rows["event_timestamp"].min()
        found["item_age_days"] = (end - first) / pd.Timedelta(days=1)
        return found

    def exposure(self, item_id, kind, end):
        """Widest share of stores with a promotion of a kind in the week before `end`, known by then."""
        rows = self.promotions.get(item_id)
        if rows is None:
            return 0.0
        begin = self.calendar.start(self.calendar.week_at(end) - 1)
        known = rows["announced_at"].fillna(rows["ends_at"]) <= end
        overlaps = (rows["starts_at"] < end) & (rows["ends_at"] > begin)
        return max(rows[known & overlaps & (rows["kind"] == kind)]["store_share"], default=0.0)
