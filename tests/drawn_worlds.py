"""Worlds of two drawn slots in which every page, its probability and its clicks can be written down."""

from itertools import product

import numpy as np

from jobs.experiments.off_policy import Draws, Predicted

N_POOL, M = 4, 2


def able(path):
    """Places that may follow a path: none twice, and not place 1 after place 0."""
    return [place for place in range(N_POOL) if place not in path and not (place == 1 and 0 in path)]


PATHS = [(a, b) for a in range(N_POOL) for b in able((a,))]
STEPS = [*((a,) for a in range(N_POOL)), *PATHS]  # a place, and the path to it


class World:
    """One shopper's pool: scores that two policies go by, and the probability of a click after each path."""

    def __init__(self, seed, logged_at=0.8, aimed_at=0.6):
        rng = np.random.default_rng(seed)
        self.scores, self.other = rng.normal(size=(2, N_POOL))
        self.clicks = {step: rng.uniform(0.05, 0.6) for step in STEPS}
        self.guesses = {step: rng.normal() for step in STEPS}
        self.logging, self.target = policy(self.scores, logged_at), policy(self.other, aimed_at)
        self.strange = policy(self.scores, 3.0)  # which nobody follows

    def to_go(self, chances):
        """What a policy earns from each step on, that step included."""
        found = {path: self.clicks[path] for path in PATHS}
        for a in range(N_POOL):
            found[a,] = self.clicks[a,] + sum(chances[a, b] * found[a, b] for b in able((a,)))
        return found

    def value(self, chances):
        """What a policy earns in both slots."""
        return sum(chances[a,] * self.to_go(chances)[a,] for a in range(N_POOL))

    def logs(self):
        """Every path with every pair of clicks, and how likely the log holds it."""
        for path in PATHS:
            likely = [self.clicks[step] for step in (path[:1], path)]
            for clicks in product((0, 1), repeat=M):
                luck = np.prod([c if hit else 1 - c for hit, c in zip(clicks, likely, strict=True)])
                yield path, clicks, self.logging[path[:1]] * self.logging[path] * luck

    def expected(self, estimator, told=None, guesses=None):
        """Mean of an estimator over all logs of one answer, with propensities as told or as they were."""
        total = 0.0
        for path, clicks, chance in self.logs():
            p, q, q_hat, v_hat = columns(path, told or self.logging, self.target, guesses or self.guesses)
            draws = Draws(np.array([clicks], float), p[None], q[None], users=np.zeros(1, int))
            more = (Predicted(q_hat[None], v_hat[None]),) if guesses else ()
            total += chance * estimator(draws, *more).value
        return total


def policy(scores, temperature):
    """Probability of each step, given the path to it: softmax among those that may follow."""
    found = {}
    for path in ((), *((a,) for a in range(N_POOL))):
        weights = np.exp(scores[able(path)] / temperature)
        for place, weight in zip(able(path), weights, strict=True):
            found[*path, place] = weight / weights.sum()
    return found


def columns(path, logging, target, guesses):
    """Of a path's two steps: propensities of both policies, guesses, and the target's mean guess."""
    steps = (path[:1], path)
    means = [sum(target[*start, x] * guesses[*start, x] for x in able(start)) for start in ((), path[:1])]
    return *(np.array([each[step] for step in steps]) for each in (logging, target, guesses)), np.array(means)


class Shop:
    """Shoppers of many worlds: one logs them, the truth of the target is known."""

    def __init__(self, *temperatures, n_worlds=8):
        self.worlds = [World(seed, *temperatures) for seed in range(n_worlds)]
        self.truth = np.mean([world.value(world.target) for world in self.worlds])
        told = [
            [columns(p, world.logging, world.target, near(world)) for p in PATHS] for world in self.worlds
        ]
        self.told = np.array(told)  # (n_worlds, n_paths, 4 columns, 2 steps)
        self.likely = self.told[:, :, 0].prod(axis=-1).cumsum(axis=-1)
        self.clicks = np.array([[[w.clicks[p[:1]], w.clicks[p]] for p in PATHS] for w in self.worlds])

    def log(self, rng, n_users=400, answers=3):
        """Draws and predictions of users with one to so many answers, some of whom click thrice as often."""
        users = np.repeat(np.arange(n_users), rng.integers(1, answers + 1, n_users))
        world = rng.integers(0, len(self.worlds), n_users)[users]
        keen = np.where(rng.random(n_users) < 0.5, 0.5, 1.5)[users]
        path = (rng.random(len(users))[:, None] > self.likely[world]).sum(axis=1)
        path = np.minimum(path, len(PATHS) - 1)  # the last bound is 1 but for rounding
        rewards = (rng.random((len(users), M)) < keen[:, None] * self.clicks[world, path]).astype(float)
        p, q, q_hat, v_hat = np.moveaxis(self.told[world, path], 1, 0)
        return Draws(rewards, p, q, users), Predicted(q_hat, v_hat)


def near(world):
    """A model that is nearly right: a tenth too high."""
    return {step: 1.1 * worth for step, worth in world.to_go(world.target).items()}
