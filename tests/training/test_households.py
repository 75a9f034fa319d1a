"""Households to look at: chosen by a rule, told in full, safe to put on a page."""

import numpy as np
import pandas as pd
import pytest

from feature_repo.shop_calendar import ShopCalendar
from jobs import evaluate
from training.households import BOUGHT, QUANTILES, bought_lines, chosen
from training.quality_households import households_section


def values_of(recalls, new):
    """Values of the stack, and of a rule that must not matter."""
    rows = [{"task": "all", "model": "stack", "user_id": u, "recall@10": r} for u, r in recalls.items()]
    rows += [{"task": "discover", "model": "stack", "user_id": u, "recall@10": 0.9} for u in new]
    rows += [
        {"task": "all", "model": "segment", "user_id": u, "recall@10": 1 - r} for u, r in recalls.items()
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def test_households_stand_at_quantiles_of_recall():
    """Of 21 households the 20 %, 40 %, 60 % and 80 % points are the 5th, 9th, 13th and 17th."""
    recalls = {f"u{n:02d}": n / 100 for n in range(21)}
    sizes = dict.fromkeys(recalls, 10)
    found = chosen(values_of(recalls, recalls), sizes)
    assert found == list(zip(QUANTILES, ("u04", "u08", "u12", "u16"), strict=True))


def test_who_bought_little_or_nothing_new_is_not_chosen():
    """Only households with enough to find, in both tasks, are in the running; ties go by the id."""
    recalls = {f"u{n:02d}": 0.1 for n in range(8)}
    sizes = {user: 9 if user == "u00" else 30 for user in recalls}
    new = [user for user in recalls if user != "u01"]
    assert [user for _, user in chosen(values_of(recalls, new), sizes)] == ["u03", "u04", "u05", "u06"]
    assert chosen(values_of(recalls, new), dict.fromkeys(recalls, 1)) == []


def test_what_was_recommended_leads_what_was_bought():
    """Then what was paid for most; the list is cut, and says what was bought before."""
    bought = pd.DataFrame({"item_id": [f"i{n:02d}" for n in range(20)], "revenue": np.arange(20.0)})
    titles = {f"i{n:02d}": f"Item {n}" for n in range(20)}
    lines = bought_lines(bought, frozenset({"i19", "i00"}), {"i00", "i05", "x"}, titles)
    assert len(lines) == BOUGHT
    assert [line["title"] for line in lines[:4]] == ["Item 5", "Item 0", "Item 19", "Item 18"]
    assert [line["recommended"] for line in lines[:3]] == [True, True, False]
    assert [line["again"] for line in lines[:4]] == [False, True, True, False]


@pytest.fixture
def household():
    """One household with a title that would be markup."""
    slot = {"title": "Milk & <b>eggs</b>", "bought": True, "again": True}
    return {
        "user_id": "<7>",
        "cut": 49,
        "quantile": 0.2,
        "least_bought": 10,
        "history": [{"title": "Soup", "times": 3, "days_ago": 1}],
        "recommended": {"all": [slot], "discover": [{**slot, "bought": False}]},
        "bought": [{"title": "Milk & <b>eggs</b>", "recommended": True, "again": True}],
        "n_bought": 12,
        "n_again": 4,
        "n_history": 1234,
    }


def test_section_marks_hits_and_escapes_titles(household):
    """What was recommended and bought is marked on both sides; no title is markup."""
    text = households_section([household, {**household, "quantile": 0.8}])
    assert "<b>" not in text
    assert text.count("Milk &amp; &lt;b&gt;eggs") == 2 * 3
    assert text.count('class="hit"') == 2 * 2
    assert "Household &lt;7&gt;" in text
    assert "3 times, 1 day ago" in text
    assert "And 11 more; 4 of 12 had been bought before." in text
    assert "the 20th and 80th percentile" in text
    assert households_section([]) == ""
    assert "<script" not in text


def test_evaluation_leaves_households_of_its_cut(installation):
    """Those of the real slice agree with the raw lines: what they bought, and what they knew before."""
    told = evaluate.households(installation, 49)
    assert [each["quantile"] for each in told] == list(QUANTILES)
    lines = pd.read_parquet(installation.table("transactions"))
    lines = lines[lines["quantity"] > 0]
    calendar = ShopCalendar.load(installation.shop_calendar)
    for each in told:
        mine = lines[lines["user_id"] == each["user_id"]]
        when = mine["event_timestamp"]
        before = set(mine.loc[when <= calendar.end(49), "item_id"])
        after = (when > calendar.end(49)) & (when <= calendar.end(51))
        bought = set(mine.loc[after, "item_id"])
        assert each["n_bought"] == len(bought) >= each["least_bought"]
        assert each["n_again"] == len(bought & before)
        assert [len(items) for items in each["recommended"].values()] == [10, 10]
        assert not any(line["again"] for line in each["recommended"]["discover"])
        recommended = sum(line["bought"] for line in each["recommended"]["all"])
        assert sum(line["recommended"] for line in each["bought"]) >= min(recommended, BOUGHT)
