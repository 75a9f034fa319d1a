"""A few households of the test, to look at: what they bought before, what they were shown, what they bought.

In: values per shopper and the release at its cut. Out: records that JSON can hold, one a household. Which
households is a rule, not a choice: those at QUANTILES of the stack's recall@10 on all purchases, among those
who bought at least LEAST_BOUGHT items in the test weeks, something new to them among these.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bentos.candidates import TASKS
from bentos.release import Release
from bentos.shopper import Shopper
from training.fit import Instant, Sources
from training.per_shopper import SLOTS
from training.rankings import shoppers_of, shown
from training.split import Split

QUANTILES = (0.2, 0.4, 0.6, 0.8)
LEAST_BOUGHT = 10
HISTORY = 10  # items of the past that are told
BOUGHT = 15  # items of the test weeks that are told: what was recommended first, then the dearest
METRIC = "recall@10"
Record = dict[str, Any]


def chosen(values: pd.DataFrame, sizes: Mapping[str, int]) -> list[tuple[float, str]]:
    """(quantile, user id) of the households to show.

    `values` are per shopper, `sizes` the number of items that each bought. Equal recalls go by the id.
    """
    stack = values[values["model"] == "stack"]
    of_all = stack[stack["task"] == "all"].set_index("user_id")[METRIC]
    new_too = set(stack.loc[stack["task"] == "discover", "user_id"])
    fit = [user for user in of_all.index if sizes[user] >= LEAST_BOUGHT and user in new_too]
    ordered = sorted(fit, key=lambda user: (of_all[user], user))
    places = {round(quantile * (len(ordered) - 1)): quantile for quantile in QUANTILES} if ordered else {}
    return [(quantile, ordered[place]) for place, quantile in places.items()]


def households(
    sources: Sources, split: Split, instant: Instant, release: Release, values: pd.DataFrame
) -> list[Record]:
    """Records of the chosen households, the worst served first."""
    bought = sources.warehouse.purchases(split.test)
    found = chosen(values, bought["user_id"].value_counts().to_dict())
    titles = sources.warehouse.items()["title"].to_dict()
    before = sources.warehouse.ever_bought(split.test.instant)
    who = shoppers_of(instant, [user for _, user in found], split.test.instant)
    return [
        {
            "user_id": user,
            "cut": split.cut,
            "quantile": quantile,
            "least_bought": LEAST_BOUGHT,
            **told(
                instant,
                release,
                shopper,
                bought[bought["user_id"] == user],
                frozenset(before.loc[before["user_id"] == user, "item_id"]),
                titles,
            ),
        }
        for (quantile, user), shopper in zip(found, who, strict=True)
    ]


def told(
    instant: Instant,
    release: Release,
    shopper: Shopper,
    bought: pd.DataFrame,
    before: frozenset[str],
    titles: Mapping[str, str],
) -> Record:
    """One household's past, what each task would have shown, and what it bought.

    `bought` has item_id and revenue of the test weeks, `before` the items that it had bought until then.
    """
    ids, past = release.catalogue.item_ids, shopper.past
    first = np.argsort(-past.decayed, kind="stable")[:HISTORY]
    slots = {task: ids[shown(instant, release, shopper, task)["stack"][:SLOTS]].tolist() for task in TASKS}
    really = set(bought["item_id"])
    return {
        "history": [
            {
                "title": titles[str(ids[past.items[place]])],
                "times": int(past.counts[place]),
                "days_ago": int(past.days_since[place]),
            }
            for place in first
        ],
        "recommended": {
            task: [
                {"title": titles[item], "bought": item in really, "again": item in before} for item in items
            ]
            for task, items in slots.items()
        },
        "bought": bought_lines(bought, before, {item for items in slots.values() for item in items}, titles),
        "n_bought": len(bought),
        "n_again": len(really & before),
        "n_history": len(past.items),
    }


def bought_lines(
    bought: pd.DataFrame, before: frozenset[str], shown_items: set[str], titles: Mapping[str, str]
) -> Sequence[Record]:
    """What was bought: what had been recommended first, then by what was paid; at most BOUGHT."""
    ordered = bought.assign(found=bought["item_id"].isin(shown_items))
    ordered = ordered.sort_values(["found", "revenue", "item_id"], ascending=[False, False, True])[:BOUGHT]
    return [
        {"title": titles[item], "recommended": bool(found), "again": item in before}
        for item, found in zip(ordered["item_id"], ordered["found"], strict=True)
    ]
