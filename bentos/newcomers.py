"""Newcomers: what the shop has sold for days only, of a kind that the shopper buys.

Hardly anybody has bought them, so that no source would draw them and no ranker place them. Where the rules
say so, the newcomer of the highest affinity is drawn beside the candidates, for the last slot alone.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bentos.candidates import Candidates, Opinions, draw, opinions
from bentos.index import best
from bentos.pool import APPEAL
from bentos.release import Release
from bentos.rules import not_blocked
from bentos.shopper import Shopper
from feature_repo.pair_features import GROUPS


def newcomer(release: Release, shopper: Shopper, thought: Opinions, rule: Mapping[str, Any]) -> int | None:
    """Position of the newcomer that suits a shopper best, if any does.

    Its first sale lies at most `days` before the release, and of its type the shopper buys at least `lift`
    times the shop's share.
    """
    appeal = release.arrays["appeal_inputs"]
    new = appeal[APPEAL.index("item_age_days")] <= np.float32(math.log1p(rule["days"]))
    new &= appeal[APPEAL.index("item_baskets_182d")] > 0  # without features an item has no age either
    new &= thought.lifts["types"] >= np.float32(math.log(rule["lift"]))
    new[shopper.past.items] = False
    places = np.flatnonzero(new).astype(np.int32)
    new[places] = not_blocked(places, release.catalogue, release.rules)
    found = best(thought.scores["affinity"], 1, among=new)
    return int(found[0]) if found.size else None


def draw_with_newcomer(
    release: Release, shopper: Shopper, task: str, thought: Opinions | None = None
) -> Candidates:
    """What `draw` draws, and where the rules try newcomers one of them, marked.

    If it was not drawn it comes last, without any source's score: so it changes no other candidate's place.
    """
    rule = release.rules.get("newcomer") or {}
    if not rule.get("enabled"):
        return draw(release, shopper, task, thought)
    thought = thought or opinions(release, shopper)
    drawn = draw(release, shopper, task, thought)
    item = newcomer(release, shopper, thought, rule)
    if item is None:
        return drawn
    rows = np.flatnonzero(drawn.items == item)
    if rows.size:
        return replace(drawn, newcomer=int(rows[0]))
    lifts = np.array([[thought.lifts[name][item] for name in GROUPS]], dtype=np.float32)
    return Candidates(
        items=np.append(drawn.items, np.int32(item)),
        scores=np.concatenate([drawn.scores, np.full((1, drawn.scores.shape[1]), np.nan, np.float32)]),
        lifts=np.concatenate([drawn.lifts, lifts]),
        newcomer=len(drawn.items),
    )
