"""A shop whose last slots are drawn by chance from small pools, in a service's own logs, and its truth.

A pool is one of a few; what is drawn from it and clicked has known probabilities, so that what any softmax
policy earns can be added up over all pages.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bentos.assignment import Assigned
from bentos.event_log import Event, EventLog
from bentos.exploration import Exploration
from bentos.exposure_log import Exposure, ExposureLog
from bentos.recommend import Recommendation
from bentos.slots import Slot
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds

TEMPERATURE, POOLS, KEPT = 0.7, 6, 2
NOW_US = microseconds(datetime(2024, 1, 9, tzinfo=UTC))
EXPLORE = f"explore: {{slots: 2, temperature: {TEMPERATURE}}}"
EXPERIMENTS = f"""
layers: {{page: {{}}}}
experiments:
  tries:
    {{layer: page, control: plain, primary: ctr, start: 2024-01-01T00:00:00Z,
     arms: {{plain: {{share: 0.5}}, drawn: {{share: 0.5, {EXPLORE}}}}}}}
"""


@dataclass(frozen=True)
class Pool:
    """Items that may be drawn in `draws` slots, with scores and chances of a click."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    clicks: tuple[float, ...]
    draws: int

    def chances(self, taken, temperature):
        """Probability of each item after those taken; at temperature 0 of the best."""
        left = [n for n in range(len(self.items)) if n not in taken]
        if temperature == 0:
            best = max(left, key=lambda n: self.scores[n])
            return {n: float(n == best) for n in left}
        weights = {n: math.exp(self.scores[n] / temperature) for n in left}
        return {n: weight / sum(weights.values()) for n, weight in weights.items()}

    def value(self, temperature, taken=()):
        """Clicks that a policy of that temperature earns in the slots that are left."""
        if len(taken) == self.draws:
            return 0.0
        return sum(
            chance * (self.clicks[n] + self.value(temperature, (*taken, n)))
            for n, chance in self.chances(taken, temperature).items()
        )


def pools():
    """Some with five items and two draws, some smaller, some with one draw, one without."""
    rng = np.random.default_rng(4)
    found = []
    for number in range(POOLS):
        size = 5 - number % 3
        names = tuple(f"p{number}i{n}" for n in range(size))
        scores = tuple(np.sort(rng.normal(size=size))[::-1].tolist())
        clicks = tuple(np.sort(rng.uniform(0.02, 0.7, size))[::-1].tolist())  # the ranker is right
        found.append(Pool(names, scores, clicks, 1 if number == POOLS - 1 else 2))
    return [*found, Pool((), (), (), 0)]


POOL = pools()


@dataclass(frozen=True)
class Answer:
    """One answer as it was given: which pool, what was drawn and with which chance, what was clicked."""

    request_id: str
    user_id: str
    pool: Pool
    drawn: tuple[int, ...]
    propensities: tuple[float, ...]
    clicked: tuple[bool, ...]
    forced: bool = False

    def exposure(self, temperature):
        """As the service logs it: two slots that were kept, then those drawn."""
        able = [
            [n not in self.drawn[:draw] for n in range(len(self.pool.items))]
            for draw in range(self.pool.draws)
        ]
        slots = [Slot(f"k{n}", "", 0.0, n + 1, (), "") for n in range(KEPT)]
        for n, chance in zip(self.drawn, self.propensities, strict=True):
            more = {"propensity": chance, "explored": True}
            slots.append(Slot(self.pool.items[n], "", self.pool.scores[n], len(slots) + 1, (), "", **more))
        record = Exploration(self.pool.items, self.pool.scores, able)
        found = Recommendation(self.user_id, "all", "r:1", tuple(slots), exploration=record)
        who = Assigned({"tries": "drawn"}, forced=self.forced)
        return Exposure(self.request_id, found, len(slots), NOW_US, 1.0, who, temperature)

    def events(self):
        """A click on each slot that was clicked, twice on some, and on one that was kept."""
        names = [self.pool.items[n] for n, hit in zip(self.drawn, self.clicked, strict=True) if hit]
        names += [*names[:1], "k0"]
        told = {"kind": "click", "user_id": self.user_id, "request_id": self.request_id}
        return [Event(f"{self.request_id}/{n}", item_id=item, **told) for n, item in enumerate(names)]


def answered(rng, number, temperature, n_users):
    """One answer, drawn as the pool's chances say."""
    pool, drawn, chances = POOL[rng.integers(POOLS + 1)], (), ()
    for _ in range(pool.draws):
        chance = pool.chances(drawn, temperature)
        n = int(rng.choice(list(chance), p=list(chance.values())))
        drawn, chances = (*drawn, n), (*chances, chance[n])
    clicked = tuple(bool(rng.random() < pool.clicks[n]) for n in drawn)
    forced = bool(rng.random() < 0.1)
    return Answer(f"r{number:05d}", f"u{rng.integers(n_users)}", pool, drawn, chances, clicked, forced)


def log(folder, n, *, seed=1, n_users=200, temperature=TEMPERATURE):
    """Log so many answers with their clicks; settings, and the answers that are to be judged."""
    rng, settings = np.random.default_rng(seed), Settings(state=folder / "state", reports=folder / "reports")
    answers = [answered(rng, 10_000 * seed + number, temperature, n_users) for number in range(n)]
    shown, happened = ExposureLog(settings.exposure_log), EventLog(settings.event_log)
    plain = Recommendation("nobody", "all", "r:1", (Slot("k0", "", 0.0, 1, (), ""),))
    other = Exposure(f"o{seed}", plain, 1, NOW_US, 1.0, Assigned({"tries": "plain"}))
    shown.append([other, *(each.exposure(temperature) for each in answers)])
    happened.append([each.events() for each in answers], now_us=NOW_US, arrived_s=0.0)
    shown.close()
    happened.close()
    settings.experiments_file.write_text(EXPERIMENTS)
    return settings, [each for each in answers if each.drawn and not each.forced]
