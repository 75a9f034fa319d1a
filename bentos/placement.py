"""Who stands where: the ranker's order under all rules, and which rule brought or cost an item its place.

In: scores of candidates. Out: their order for k slots. First come the rules that keep items out (`rules.py`),
then three that exchange places, in this order: promotion_boost, diversity, newcomer. Each is off unless the
rules say otherwise, and then costs a look into a dictionary.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import Catalogue, Release
from bentos.rule_parameters import FEATURED, Rules
from bentos.rules import Mask, apply, category_cap, marks, within_category_cap
from bentos.scoring import best_first
from feature_repo.pair_features import Floats, Positions

Rows = NDArray[np.intp]  # of candidates, best first
Applied = Callable[[Any], tuple[Rows, dict[str, int]]]  # scores to an order, and what each rule turned away
EXCHANGES = ("promotion_boost", "diversity", "newcomer")


@dataclass(frozen=True)
class Placed:
    """Rows of candidates in their order, and what the rules did to it."""

    order: Rows  # best first; who is kept out for good is not in it
    turned_away: Mapping[str, int]
    placed_by: Mapping[int, str]  # of the first k, those that stand there thanks to a rule, and the rule
    gave_way: Mapping[int, str]  # those that would be among the first k but for a rule that took their place


def placed(
    release: Release,
    items: Positions,
    scores: Floats,
    item_features: Floats | None,
    *,
    k: int,
    basket: Positions | None = None,
    newcomers: Mask | None = None,
) -> Placed:
    """The order of candidates for `k` slots.

    `scores` (n_candidates,), `item_features` (n_candidates, n_item_features) and `newcomers` (n_candidates,)
    are aligned with `items`. Where item features are not known at all, all count as available.
    """
    marked = marks(release)
    has_features: Mask = np.ones(len(items), dtype=bool)
    if item_features is not None:
        perhaps = np.flatnonzero(np.isnan(item_features[:, 0]))  # few: all others have one
        has_features[perhaps] = ~np.isnan(item_features[perhaps]).all(axis=1)

    def applied(by: Any) -> tuple[Rows, dict[str, int]]:
        order = best_first(by, items)
        sold = has_features[order]
        kept, counts = apply(items[order], sold, release.catalogue, k, release.rules, basket, marked)
        return order[kept], counts

    order, turned_away = applied(scores)
    page = Page(order, k)
    if marked.promoted is not None:
        favoured = marked.promoted[items] | featured(release, item_features, len(items))
        if favoured.any():
            new, turned_away = boosted(order, scores, favoured, k, release.rules, applied)
            page.exchange("promotion_boost", new)
    if departments_wanted(k, release.rules) > 1:
        page.exchange("diversity", diverse(page.order, items, release.catalogue, k, release.rules))
    if newcomers is not None:
        new = newcomer_last(page.order, newcomers, items, release.catalogue, k, release.rules)
        page.exchange("newcomer", new)
    lost = Counter(page.gave_way.values())
    counts = {**turned_away, **{rule: lost[rule] for rule in EXCHANGES}}
    return Placed(page.order, counts, page.placed_by, page.gave_way)


@dataclass
class Page:
    """An order as rules change it, and who came to its first k and who went, by rule."""

    order: Rows
    k: int
    placed_by: dict[int, str] = field(default_factory=dict)
    gave_way: dict[int, str] = field(default_factory=dict)

    def exchange(self, rule: str, new: Rows) -> None:
        """Take another order and book the difference; who came back has lost nothing."""
        before, after = set(self.order[: self.k].tolist()), set(new[: self.k].tolist())
        for row in before - after:
            if self.placed_by.pop(row, None) is None:
                self.gave_way[row] = rule
        for row in after - before:
            if self.gave_way.pop(row, None) is None:
                self.placed_by[row] = rule
        self.order = new


def featured(release: Release, item_features: Floats | None, n: int) -> Mask:
    """Items in a mailer or on display somewhere, where the rules promote these and the release knows them."""
    found = np.zeros(n, dtype=bool)
    if item_features is None or not release.rules["promotion_boost"].get("featured"):
        return found
    names = release.manifest["features"]["item"]
    for name in FEATURED:
        if name in names:
            found |= item_features[:, names.index(name)] > 0  # NaN, nothing known, is not above
    return found


def boosted(
    plain: Rows, scores: Floats, favoured: Mask, k: int, rules: Rules, applied: Applied
) -> tuple[Rows, dict[str, int]]:
    """The order with `boost` log odds more for the favoured, and what the rules turned away in it.

    `plain` is the order without. Of those that are among the first k by the boost alone, the best `share * k`
    stay (rounded down); all others who are not there without it lose it. A second order suffices: who comes
    better than the last that stays was kept out by others that stay too.
    """
    rule = rules["promotion_boost"]
    own = scores.astype(np.float64)  # in which no two different scores become one by the boost
    raised = own + rule["boost"] * favoured
    order, turned_away = applied(raised)
    outside = favoured.copy()
    outside[plain[:k]] = False
    risers = order[:k][outside[order[:k]]]
    most = math.floor(rule["share"] * k + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if len(risers) <= most:
        return order, turned_away
    outside[risers[:most]] = False
    return applied(np.where(outside, own, raised))


def departments_wanted(k: int, rules: Rules) -> int:
    """How many departments are to be among `k` slots."""
    return min(k, int((rules.get("diversity") or {}).get("departments", 1)))


def diverse(order: Rows, items: Positions, catalogue: Catalogue, k: int, rules: Rules) -> Rows:
    """An order with the departments wanted among the first k, as far as the candidates allow.

    The last item of a department that has several gives its place to the best item of a department not shown
    yet, and comes first behind the page. No category gets more than its cap by it: where one has its cap
    already, the next best item is tried, then the giver before.
    """
    of_row = list(
        zip(catalogue.departments[items].tolist(), catalogue.categories[items].tolist(), strict=True)
    )
    cap, wanted = category_cap(k, rules), departments_wanted(k, rules)
    page, behind, gone = order[:k].tolist(), order[k:].tolist(), set()
    while len({of_row[row][0] for row in page}) < wanted:
        found = next(exchanges(page, behind, of_row, cap), None)
        if found is None:
            break
        place, row = found
        gone.add(page[place])
        page[place] = row
        behind.remove(row)
    left = [row for row in order[:k].tolist() if row in gone]
    return np.array([*page, *left, *behind], dtype=np.intp)


def exchanges(
    page: list[int], behind: list[int], of_row: list[tuple[int, int]], cap: int
) -> Iterator[tuple[int, int]]:
    """Places of a page that may be given, the last first, with rows of departments that it lacks, best first.

    `of_row` are department and category of each row.
    """
    shown = Counter(of_row[row][0] for row in page)
    held = Counter(of_row[row][1] for row in page)
    new = [row for row in behind if of_row[row][0] not in shown]
    for place in reversed(range(len(page))):
        department, category = of_row[page[place]]
        if shown[department] > 1:
            yield from (
                (place, row)
                for row in new
                if of_row[row][1] == category or held[of_row[row][1]] < cap  # within one, none has more
            )


def newcomer_last(
    order: Rows,
    newcomers: Mask,
    items: Positions,
    catalogue: Catalogue,
    k: int,
    rules: Rules,
) -> Rows:
    """An order with the first newcomer behind slot k brought forward to it.

    `newcomers` are aligned with `items`. Nothing moves where one stands in the first k slots already, where
    there is but one slot, or where each would be one too many of its category or cost the page a department
    that `diversity` wants.
    """
    if k == 1 or newcomers[order[:k]].any():
        return order
    wanted = departments_wanted(k, rules)
    least = min(wanted, departments_of(order[:k], items, catalogue)) if wanted > 1 else 1
    for place in order[k:][newcomers[order[k:]]]:
        tried = np.append(order[: k - 1], place)
        fits = k - 1 in within_category_cap(items[tried], catalogue, k, rules)
        if fits and (least == 1 or departments_of(tried, items, catalogue) >= least):
            behind = order[k - 1 :]
            return np.concatenate([tried, behind[behind != place]])
    return order


def departments_of(rows: Rows, items: Positions, catalogue: Catalogue) -> int:
    """How many departments some rows are of."""
    return len(np.unique(catalogue.departments[items[rows]]))
