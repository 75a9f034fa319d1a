"""Text vectors of items in a byte a number, as a release holds them: a quarter of the memory to read through.

Each vector has a scale of its own, its largest number over FULL: absmax quantisation (Dettmers et al.,
"LLM.int8()", 2022, section 2) by vectors. A number is off by half a step at most.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from feature_repo.pair_features import Floats

FULL = 127


@dataclass(frozen=True)
class TextVectors:
    """A vector is its steps times its scale."""

    steps: NDArray[np.int8]  # (n_items, n_text)
    scales: Floats  # (n_items,)

    @classmethod
    def rounded(cls, vectors: Floats) -> "TextVectors":
        """Those nearest to some vectors (n_items, n_text); zero stays zero."""
        most = np.abs(vectors).max(axis=1, initial=0.0)
        steps = np.rint(vectors * (FULL / np.where(most > 0, most, 1.0))[:, None])
        return cls(steps.astype(np.int8), np.asarray(most / FULL, dtype=np.float32))

    @classmethod
    def of(cls, release: Release) -> "TextVectors":
        """Those of a release's catalogue."""
        return cls(release.arrays["text_steps"], release.arrays["text_scales"])
