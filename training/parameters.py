"""What training has learnt and what holds for a while, apart from the facts of a moment.

Parameters are towers, the taste space, the pool's weights and the rankers. With them a release can be
assembled as of any instant (`training.refresh`), and learning can go on (`training.warm_start`). They travel
in a release's folder as parameters.npz, which no request reads. Groups are numbered anew in each world, so
parameters name them by their items: a group of another world is the group that any of its items was in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import ReleaseError, load_ranker, read_manifest, reading, verify
from bentos.towers import KINDS
from feature_repo.pair_features import Floats, Positions
from feature_repo.positions import positions_of
from training.purchases import world_groups
from training.taste_space import TasteSpace
from training.world import World

PARAMETERS = "parameters"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class GroupNames:
    """The items of a world, sorted, and the group of each by kind: (n_items,)."""

    item_ids: NDArray[np.str_]
    groups: Mapping[str, Positions]

    @classmethod
    def of(cls, world: World) -> "GroupNames":
        """Those of a world."""
        groups = world_groups(world)
        return cls(world.item_ids, {kind: getattr(groups, kind) for kind in KINDS})


@dataclass(frozen=True)
class Parameters:
    """All that was learnt by `learnt_until`; the rankers by the end of week `cut`."""

    towers: Mapping[str, NDArray[Any]]  # of both sides, as `training.retrieval.tower_arrays` names them
    space: TasteSpace  # of the groups in `names`
    names: GroupNames
    pool_weights: Floats
    rankers: Mapping[str, Any]
    learnt_until: datetime
    cut: int

    def space_in(self, names: GroupNames) -> TasteSpace:
        """The taste space of another world: a group that no known item is in has no place, which is zero."""
        found = positions_of(self.names.item_ids, names.item_ids)
        known = found >= 0
        queries, items = {}, {}
        for kind in KINDS:
            codes = names.groups[kind]
            was = np.full(int(codes.max()) + 1, -1, dtype=np.int64)
            was[codes[known]] = self.names.groups[kind][found[known]]
            queries[kind], items[kind] = (
                np.where(was[:, None] >= 0, places[kind][was], np.float32(0))
                for places in (self.space.queries, self.space.items)
            )
        return TasteSpace(queries, items)


def arrays_of(parameters: Parameters) -> Arrays:
    """Parameters as arrays by name, but for the rankers, which a release has anyway."""
    return {
        **{f"tower {name}": array for name, array in parameters.towers.items()},
        **{f"query space {kind}": places for kind, places in parameters.space.queries.items()},
        **{f"item space {kind}": places for kind, places in parameters.space.items.items()},
        **{f"group {kind}": codes for kind, codes in parameters.names.groups.items()},
        "item_ids": parameters.names.item_ids,
        "pool_weights": parameters.pool_weights,
        "learnt_until": np.array(parameters.learnt_until.isoformat()),
        "cut": np.array(parameters.cut),
    }


def has_parameters(folder: Path) -> bool:
    """Whether the release in a folder carries its parameters."""
    return f"{PARAMETERS}.npz" in read_manifest(folder)["files"]


def load_parameters(folder: Path) -> Parameters:
    """The parameters of the release in `folder`, its files verified; ReleaseError where there are none."""
    manifest = read_manifest(folder)
    if f"{PARAMETERS}.npz" not in manifest["files"]:
        raise ReleaseError(f"The release in {folder} has no parameters; run `endcap train` again")
    verify(folder, manifest)
    with reading(folder / f"{PARAMETERS}.npz") as path, np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tasks = [
        name.removeprefix("ranker_").removesuffix(".json") for name in manifest["files"] if "ranker_" in name
    ]

    def named(start: str) -> Arrays:
        return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}

    return Parameters(
        towers=named("tower "),
        space=TasteSpace(named("query space "), named("item space ")),
        names=GroupNames(arrays["item_ids"], named("group ")),
        pool_weights=arrays["pool_weights"],
        rankers={task: load_ranker(folder / f"ranker_{task}.json") for task in tasks},
        learnt_until=datetime.fromisoformat(str(arrays["learnt_until"])),
        cut=int(arrays["cut"]),
    )
