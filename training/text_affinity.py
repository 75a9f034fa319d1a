"""Text affinity: how much more often than the shop a shopper buys items that read like a given one.

BERT's counterpart of `bentos.affinity`: groups are no longer sharp, every purchase counts by the likeness
of its text, exp(SHARPNESS (cosine - 1)). Items that share a text share a row, so the cost follows texts.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bentos.affinity import PRIOR
from bentos.factors import unit
from feature_repo.pair_features import Floats, PastPurchases, Positions

SHARPNESS = 8.0
RARE = 1e-5  # least share of the shop that any text is held to have
LEAST = 1e-4  # decayed purchases that every text is held to have: keeps the logarithm finite


def text_codes(vectors: Floats) -> Positions:
    """Number of each item's text, (n_items,): items with equal vectors share one."""
    return np.asarray(pd.factorize(np.array([row.tobytes() for row in vectors], dtype=object))[0], np.int32)


@dataclass(frozen=True)
class TextAffinity:
    """Likeness of every text to those of some items, and the shop's own share of each."""

    codes: Positions  # (n_items,) text of each item of the world
    columns: Positions  # (n_asked,) text of each item asked for, as a column of `likeness`
    likeness: Floats  # (n_texts, n_asked_texts)
    shop: Floats  # (n_asked_texts,) share of the shop's baskets, by likeness

    @classmethod
    def of(cls, vectors: Floats, codes: Positions, baskets: Floats, asked: Positions) -> "TextAffinity":
        """Vectors (n_items, n_text) and `text_codes` of the world, baskets (n_items,), items asked for.

        The vectors are centred on what the shop sells: all its texts have much in common.
        """
        first = np.unique(codes, return_index=True)[1]
        sold = baskets > 0
        texts = unit(vectors[first] - vectors[sold].mean(axis=0))
        wanted, columns = np.unique(codes[asked], return_inverse=True)
        likeness = texts @ texts[wanted].T
        likeness -= 1.0
        likeness *= np.float32(SHARPNESS)
        np.exp(likeness, out=likeness)
        of_text = np.bincount(codes, weights=baskets, minlength=len(first)).astype(np.float32)
        shop = np.asarray(of_text @ likeness / max(float(of_text.sum()), 1.0), dtype=np.float32)
        return cls(codes, columns.astype(np.int32), likeness, shop)

    def lifts(self, past: PastPurchases) -> Floats:
        """Logarithm of the shopper's likeness-weighted share over the shop's, (n_asked,)."""
        total = float(past.decayed.sum())
        own = past.decayed @ self.likeness[self.codes[past.items]]
        lifted = np.log((own + PRIOR * self.shop + LEAST) / ((total + PRIOR) * (self.shop + RARE)))
        return np.asarray(lifted, dtype=np.float32)[self.columns]
