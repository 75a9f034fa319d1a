"""Off-policy estimates: what another policy would have earned in explored slots, from the log of this one.

In: n answers with m drawn slots each, their rewards, propensities as logged and the target policy's
probabilities of the same items. Out: the mean reward of an answer's drawn slots under the target, by five
estimators, each with a 95 % interval over users. An answer with fewer draws is filled up with certain ones
that earn nothing: reward 0, both probabilities 1.

    >>> draws = Draws(rewards=np.array([[1, 0], [0, 1]]), users=np.array([7, 8]),
    ...               logged=np.array([[0.5, 0.5], [0.5, 1.0]]), target=np.array([[0.75, 0.5], [0.25, 1.0]]))
    >>> draws.weights                       # of the path down to each slot
    array([[1.5, 1.5],
           [0.5, 0.5]])
    >>> ips(draws).value, snips(draws).value
    (1.0, 1.0)
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.exploration import chances
from training.intervals import bootstrap_interval

CLIP = 10.0  # the most that a weight counts in `clipped`
# Least effective sample, as a share of the answers. In simulated logs of 400 and 2,000 users the intervals of
# IPS and SNIPS held the truth 93 to 96 times in 100 with .4 and more of it, 84 to 94 times with .2 and less.
LEAST_SHARE = 0.3

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Mask = NDArray[np.bool_]


class OffPolicyError(ValueError):
    """The log cannot answer what is asked; the message names the answer, the slot and the value."""


@dataclass(frozen=True)
class Draws:
    """The drawn slots of a log, and how likely the target policy would have drawn the same.

    OffPolicyError for unequal shapes, rewards that are not finite, a logged propensity outside (0, 1] and a
    target's probability outside [0, 1].
    """

    rewards: Floats  # (n, m) what each drawn slot earned, such as a click
    logged: Floats  # (n, m) propensity of its item given the slots above
    target: Floats  # (n, m) the target's probability of it given the same slots above
    users: NDArray[Any]  # (n,) whose answer it is

    def __post_init__(self) -> None:
        shapes = [each.shape for each in (self.rewards, self.logged, self.target, self.users)]
        shape = shapes[0]
        if len(shape) != 2 or 0 in shape or shapes != [shape, shape, shape, shape[:1]]:
            raise OffPolicyError(f"Draws need three arrays (n, m) and users (n,); received shapes {shapes}")
        self._refuse("reward", self.rewards, np.isfinite(self.rewards), "a finite number")
        fits = (self.logged > 0) & (self.logged <= 1)  # NaN is neither
        self._refuse("logged propensity", self.logged, fits, "one above 0, up to 1")
        fits = (self.target >= 0) & (self.target <= 1)
        self._refuse("target's probability", self.target, fits, "one from 0 to 1")

    @staticmethod
    def _refuse(what: str, values: Floats, fits: Mask, wanted: str) -> None:
        if not fits.all():
            row, slot = np.argwhere(~fits)[0]
            raise OffPolicyError(
                f"The {what} in answer {row}, slot {slot} is {values[row, slot]}; use {wanted}"
            )

    @cached_property
    def weights(self) -> Floats:
        """Importance of each path down to each slot: (n, m), products of target / logged."""
        return np.asarray(np.cumprod(self.target / self.logged, axis=1))


@dataclass(frozen=True)
class Predicted:
    """What a model expects from a slot on to the last drawn one under the target policy: (n, m) each."""

    logged: Floats  # when the logged item stands in the slot
    target: Floats  # when the target draws the slot


@dataclass(frozen=True)
class Estimate:
    """Mean reward of an answer's drawn slots under the target, and how sure it is."""

    name: str
    value: float
    low: float  # of the 95 % interval
    high: float
    ess: float  # answers drawn by the target itself that would say as much (Kish 1965), whoever's they are
    n: int  # answers

    @property
    def thin(self) -> bool:
        """Whether so few answers carry the estimate that its interval is not to be trusted."""
        return self.ess < LEAST_SHARE * self.n


def ips(draws: Draws) -> Estimate:
    """Inverse propensities, step by step (Horvitz & Thompson 1952; McInerney et al. 2020).

    A slot's reward is weighed by the path down to it: what follows it cannot have caused it, what precedes
    it may have. Without bias where the propensities are right.
    """
    return _estimate("ips", (draws.weights * draws.rewards).sum(axis=1), draws, draws.weights)


def snips(draws: Draws) -> Estimate:
    """IPS over the mean weight of each slot (Swaminathan & Joachims 2015): less noise, a bias of order 1 / n.

    The interval is that of the ratio's linear terms. nan where the target would have drawn no logged path.
    """
    weights, mean = draws.weights, draws.weights.mean(axis=0)
    share = np.divide(weights, mean, out=np.full_like(weights, np.nan), where=mean > 0)
    values = (share * draws.rewards).mean(axis=0)
    return _estimate("snips", (values + share * (draws.rewards - values)).sum(axis=1), draws, weights)


def clipped(draws: Draws, most: float = CLIP) -> Estimate:
    """IPS with no weight above `most` (Bottou et al. 2013): less noise, and a bias.

    Too low for rewards from 0 on, by what the weights above `most` would have told. OffPolicyError unless
    `most` is above 0.
    """
    if not most > 0:
        raise OffPolicyError(f"most is {most}; use a weight above 0")
    weights = np.minimum(draws.weights, most)
    return _estimate("clipped_ips", (weights * draws.rewards).sum(axis=1), draws, weights)


def direct(draws: Draws, predicted: Predicted) -> Estimate:
    """What the model expects of the first drawn slot on (the direct method): as right as the model is.

    The interval is of the users only and knows nothing of the model's error.
    """
    return _estimate("direct", _fitting(draws, predicted).target[:, 0], draws, np.ones(draws.rewards.shape))


def doubly_robust(draws: Draws, predicted: Predicted) -> Estimate:
    """The model, and by weight what it missed (Dudík, Langford & Li 2011; in sequence Jiang & Li 2016).

    Without bias where either the propensities or the predictions are right.
    """
    told = _fitting(draws, predicted)
    then = np.pad(told.target[:, 1:], ((0, 0), (0, 1)))
    missed = (draws.weights * (draws.rewards + then - told.logged)).sum(axis=1)
    return _estimate("doubly_robust", told.target[:, 0] + missed, draws, draws.weights)


def estimates(draws: Draws, predicted: Predicted) -> tuple[Estimate, ...]:
    """All five."""
    weighed = ips(draws), snips(draws), clipped(draws)
    return *weighed, direct(draws, predicted), doubly_robust(draws, predicted)


def _fitting(draws: Draws, predicted: Predicted) -> Predicted:
    for name, values in vars(predicted).items():
        if values.shape != draws.rewards.shape or not np.isfinite(values).all():
            wanted = f"finite ones of shape {draws.rewards.shape}"
            raise OffPolicyError(
                f"Predictions ({name}) are of shape {values.shape} or not finite; use {wanted}"
            )
    return predicted


def _estimate(name: str, per_answer: Floats, draws: Draws, weights: Floats) -> Estimate:
    """Mean of a value per answer (n,), its interval over users, and Kish's size by the last weights."""
    found = bootstrap_interval(per_answer, users=draws.users)
    last = weights[:, -1]
    ess = last.sum() ** 2 / max(float((last**2).sum()), np.finfo(np.float64).tiny)
    return Estimate(name, *found, ess=float(ess), n=len(per_answer))


def target_chances(scores: Floats, eligible: Mask, temperature: float) -> Floats:
    """A softmax policy's probabilities of the whole pool at each draw: (n, m, n_pool).

    `scores` (n, n_pool) are the target's log odds: the logged ones, or another release's of the same pool.
    `eligible` (n, m, n_pool) is as logged: who could follow the slots that were shown. At temperature 0 the
    best is certain, of several the first in the pool. OffPolicyError for a temperature below 0 and for a
    draw without anyone eligible.
    """
    if not 0 <= temperature < np.inf:
        raise OffPolicyError(f"temperature is {temperature}; use a finite number from 0")
    if not (some := eligible.any(axis=-1)).all():
        row, slot = np.argwhere(~some)[0]
        raise OffPolicyError(f"Nobody is eligible in answer {row}, slot {slot}; leave the answer out")
    worth = scores[:, None, :]
    if temperature > 0:
        return chances(worth, eligible, temperature)
    worth = np.where(np.isfinite(worth), worth, np.finfo(np.float64).min)
    best = np.argmax(np.where(eligible, worth, -np.inf), axis=-1)
    return np.asarray(best[..., None] == np.arange(eligible.shape[-1]), np.float64)


def softmax_policy(scores: Floats, eligible: Mask, chosen: Ints, temperature: float) -> Floats:
    """The same of the logged items only: (n, m), for `Draws`.

    `chosen` (n, m) are their places in the pool. OffPolicyError for one that was not eligible.
    """
    place = chosen[..., None]
    if not (could := np.take_along_axis(eligible, place, axis=-1)[..., 0]).all():
        row, slot = np.argwhere(~could)[0]
        raise OffPolicyError(
            f"Answer {row} shows in slot {slot} one that was not eligible: read the log again"
        )
    return np.take_along_axis(target_chances(scores, eligible, temperature), place, axis=-1)[..., 0]


def require_support(target: Floats, logged: Floats) -> None:
    """OffPolicyError where the target may draw what the logging policy never does: no weight makes up for it.

    Both are probabilities of the whole pool, (n, m, n_pool).
    """
    outside = (target > 0) & ~(logged > 0)
    if outside.any():
        row, slot, place = np.argwhere(outside)[0]
        mass = np.where(outside, target, 0.0).sum(axis=-1).max()
        raise OffPolicyError(
            f"In answer {row}, slot {slot} the target draws place {place} of the pool, which the log never "
            f"does; up to {mass:.1%} of a slot is such. Log at a higher temperature"
        )
