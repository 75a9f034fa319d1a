"""Which items a request looks at before any is drawn: all of them, or as many as a large catalogue allows.

Two views with one method. `Whole` looks at the catalogue, exactly. `Bounded` looks at what the index of the
two towers holds for nearest, what the panel of neighbours newly bought most, the shop's best, and what the
shopper bought: no more items however many there are. Training and evaluation draw through the same view.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bentos.index import at_least, best
from bentos.nearest import Nearest, nearest
from bentos.neighbours import newly_bought
from bentos.pool import everybodys
from bentos.release import Release
from bentos.towers import query_side
from feature_repo.pair_features import Floats, Positions

log = logging.getLogger("bentoml.endcap")
# A draw from all items takes 1.5 ms of CPU with 49,000 items, 3.3 with 300,000, 7 with a million; a bounded
# one 2.6, 3.6 and 3.9.
EXACT_BELOW = 300_000
NEAREST, NEWLY_BOUGHT, SHOPS_BEST = 2_000, 2_000, 4_096  # items that a bounded view takes from each source


class View(Protocol):
    """Which items a request looks at."""

    def items(self, factors: Floats, query: Floats, near: Floats, own: Positions) -> Positions | None:
        """Positions in increasing order, `own` among them; None for the whole catalogue.

        `factors` (n_factors,) are the shopper's, `query` (n_taste,) is their side of the two towers, `near`
        (n_newly_bought + 1,) what `neighbours` says, `own` (n,) what they bought.
        """


@dataclass(frozen=True)
class Whole:
    """All items."""

    def items(self, factors: Floats, query: Floats, near: Floats, own: Positions) -> None:
        """The whole catalogue, whoever asks."""


@dataclass(frozen=True)
class Bounded:
    """At most NEAREST + NEWLY_BOUGHT + SHOPS_BEST items and what the shopper bought."""

    release: Release
    lists: Nearest
    shops_best: Positions  # (SHOPS_BEST,)

    def items(self, factors: Floats, query: Floats, near: Floats, own: Positions) -> Positions:
        """The union, each item once."""
        closest = self.lists.items(query_side(self.release, factors, query), NEAREST)
        shares = np.where(near[:-1] > 0, near[:-1], np.float32(-np.inf))
        bought = newly_bought(self.release).items[at_least(shares, NEWLY_BOUGHT)]
        found = np.sort(np.concatenate([closest, bought, self.shops_best, own]))
        return np.compress(np.append(True, found[1:] != found[:-1]), found)  # numpy.unique takes long


def view(release: Release) -> View:
    """The view for the size of a release's catalogue, the same for all requests."""
    return release.once("view", view_by_size)


def view_by_size(release: Release) -> View:
    """`Whole` below EXACT_BELOW, `Bounded` from there on; `Whole`, slow but right, where faiss is missing."""
    n_items = len(release.catalogue.item_ids)
    if n_items < EXACT_BELOW:
        return Whole()
    try:
        return bounded(release)
    except ImportError:
        said = "faiss is missing, so each request looks at all %s items, which takes long; %s"
        log.warning(said, f"{n_items:,}", "pip install 'endcap[large]'")
        return Whole()


def bounded(release: Release) -> Bounded:
    """A bounded view, however small the catalogue; ImportError without faiss."""
    return Bounded(release, nearest(release), best(everybodys(release), SHOPS_BEST))
