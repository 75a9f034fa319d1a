"""Who gets which arm: a salted hash of the user's id, so that nothing has to be kept and nobody moves.

A user has one place in [0, 1) in each layer, which says whether they are held out and in which experiment of
the layer they are; and one in each experiment, which says their arm. An experiment takes the users at the
lower end of its slice: as its ramp grows others join, and who is in stays in, with the same arm.

    >>> 0.0 <= place("page", "2375") < 1.0
    True
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bentos.experiments import Arm, Experiment, ExperimentError, Experiments


@dataclass(frozen=True)
class Assigned:
    """Arms of one user by experiment; where `forced`, a tester chose some, and nothing is to be learnt.

    `settled` are arms that users get outside of an experiment: all of its slice since it was decided; the
    control's, who are not in a rollout yet.
    """

    arms: Mapping[str, str] = field(default_factory=dict)
    settled: Mapping[str, str] = field(default_factory=dict)
    forced: bool = False
    held_out: tuple[str, ...] = ()  # layers


def place(salt: str, user_id: str) -> float:
    """A user's place in [0, 1): the same in any process and on any platform.

    The 53 bits that a float can hold of BLAKE2b (RFC 7693) over salt and id, with a byte between them that no
    id has, so that no two pairs of salt and id are the same text.
    """
    digest = hashlib.blake2b(f"{salt}\x00{user_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53


def place_in_layer(experiments: Experiments, layer: str, user_id: str) -> float | None:
    """A user's place among those of a layer that are not held out, None for who is held out."""
    open_to_all = 1.0 - experiments.layers[layer].holdout
    found = place(f"layer {layer}", user_id)
    return found / open_to_all if found < open_to_all else None


def within(experiment: Experiment, in_layer: float) -> bool:
    """Whether a place of its layer is in an experiment's slice."""
    return experiment.slice[0] <= in_layer < experiment.slice[1]


def takes(experiment: Experiment, in_layer: float) -> bool:
    """Whether an experiment has the user at a place of its layer."""
    low, high = experiment.slice
    return low <= in_layer < low + experiment.ramp * (high - low)


def arm_of(experiment: Experiment, user_id: str) -> str:
    """The arm of a user who is in an experiment."""
    found, reached = place(f"experiment {experiment.name}", user_id), 0.0
    for name, arm in experiment.arms.items():
        reached += arm.share
        if found < reached:
            return name
    # Shares add up to 1 but for 1e-9.
    return [name for name, arm in experiment.arms.items() if arm.share > 0][-1]


def assigned(
    experiments: Experiments, user_id: str, now: datetime, forced: Mapping[str, str] | None = None
) -> Assigned:
    """A user's arms at an instant, those of `forced` as a tester wants them.

    ExperimentError for a forced experiment or arm that is not there. Held-out users are in no experiment.
    """
    chosen = dict(forced or {})
    for name, arm in chosen.items():
        known = experiments.named(name).arms
        if arm not in known:
            raise ExperimentError(f"{name} has no arm {arm!r}; use {', '.join(known)}")
    arms, settled = {}, {}
    places = {layer: place_in_layer(experiments, layer, user_id) for layer in experiments.layers}
    for experiment in experiments.experiments.values():
        found = places[experiment.layer]
        if found is None or now < experiment.start:
            continue
        if experiment.settled is not None:
            if within(experiment, found):
                settled[experiment.name] = experiment.settled
        elif experiment.runs_at(now) and takes(experiment, found):
            arms[experiment.name] = arm_of(experiment, user_id)
        elif experiment.rollout is not None and experiment.runs_at(now) and within(experiment, found):
            settled[experiment.name] = experiment.control
    held_out = tuple(layer for layer, found in places.items() if found is None)
    return Assigned({**arms, **chosen}, settled, bool(chosen), held_out)


def arms_in_force(experiments: Experiments, found: Assigned) -> list[Arm]:
    """The arms themselves."""
    every = {**found.settled, **found.arms}
    return [experiments.experiments[name].arms[arm] for name, arm in every.items()]
