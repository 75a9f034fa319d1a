"""Newcomers: candidates that the shop has sold for days only, of a kind that the shopper buys.

What is new has few sales to speak for it and seldom reaches a page by its score. Where the rules say so, the
best of them may have the last slot.
"""

import math

import numpy as np

from bentos.candidates import SOURCES, Candidates
from bentos.pool import APPEAL
from bentos.release import Release
from bentos.rules import Mask
from feature_repo.pair_features import GROUPS


def newcomers(release: Release, candidates: Candidates, task: str) -> Mask | None:
    """Which candidates are newcomers to try, (n_candidates,); None where the rules try none in this task.

    Their first sale lies at most `days` before the release, of their type the shopper buys at least `lift`
    times the shop's share, and them the shopper never bought.
    """
    rule = release.rules.get("newcomer") or {}
    if task not in rule.get("tasks", ()):
        return None
    appeal = release.arrays["appeal_inputs"][:, candidates.items]
    young = appeal[APPEAL.index("item_age_days")] <= np.float32(math.log1p(rule["days"]))
    known = appeal[APPEAL.index("item_baskets_182d")] > 0  # without features an item has no age either
    suits = candidates.lifts[:, GROUPS.index("types")] >= np.float32(math.log(rule["lift"]))
    bought = ~np.isnan(candidates.scores[:, SOURCES.index("buy_again")])
    return np.asarray(young & known & suits & ~bought)
