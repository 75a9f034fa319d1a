"""The two-tower model of `training.retrieval` in plain PyTorch: what its speed is measured against.

The same layers, sampled softmax with logQ correction, accidental hits and what is owned left out, Adam, and
columns gathered from constant tensors. `gathered`, `query_vectors` and `item_vectors` mirror those there,
line by line: an input that one gains, the other must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.towers import CLIP
from training.batches import TowerOptions
from training.retrieval import Arrays

MIN_PROBABILITY = 1e-6  # as tensorflow-recommenders cuts it
NEVER = float(np.finfo(np.float32).min) / 100  # as it hides what is no negative


class TorchTowers:
    """Both towers, beginning with the weights of `arrays` (as `tower_arrays` exports them).

    `held` are the examples' columns by name (as `held_examples` makes them, as arrays).
    """

    def __init__(self, arrays: Arrays, held: Mapping[str, NDArray[Any]], options: TowerOptions) -> None:
        import torch

        self.torch = torch
        self.columns = {name: _tensor(value) for name, value in held.items()}
        scaling = ("query_mean", "query_scale", "item_mean", "item_scale")
        self.weights = {
            name: _tensor(value).clone().requires_grad_()
            for name, value in arrays.items()
            if name not in scaling
        }
        # Keras' epsilon; fused is the fastest that PyTorch has on CPUs.
        self.adam = torch.optim.Adam(list(self.weights.values()), options.learning_rate, eps=1e-7, fused=True)

    def gathered(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """The towers' inputs of one batch of `week_batches`."""
        held, instant = self.columns, int(batch["instant"])
        given = {name: _tensor(batch[name]) for name in ("query", "item", "probability", "allowed", "weight")}
        item, query, rows = given["item"], given["query"], self.torch.index_select
        inputs = self.torch.cat([rows(held["text"], 0, item), rows(held["numbers"][instant], 0, item)], dim=1)
        return {
            **given,
            "queries": rows(held["queries"], 0, query),
            "query_tastes": rows(held["query_tastes"], 0, query),
            "query_factors": rows(held["query_factors"], 0, query),
            "items": ((inputs - held["item_mean"]) * held["item_scale"]).clamp(-CLIP, CLIP),
            "item_tastes": rows(held["item_tastes"], 0, item),
            "sales": rows(held["sales"][instant], 0, item),
            "item_factors": rows(held["item_factors"][int(held["fit"][instant])], 0, item),
        }

    def tower(self, name: str, inputs: Any) -> Any:
        """Two dense layers, the first with a ReLU."""
        of = self.weights
        first = self.torch.addmm(of[f"{name}_bias_1"], inputs, of[f"{name}_kernel_1"]).relu()
        return self.torch.addmm(of[f"{name}_bias_2"], first, of[f"{name}_kernel_2"])

    def query_vectors(self, batch: Mapping[str, Any]) -> Any:
        """(batch, width)."""
        of = self.weights
        body = batch["query_tastes"] @ of["query_map"] + self.tower("query", batch["queries"])
        sales = of["query_sales"].expand(len(body), -1)
        return self.torch.cat([body, sales, of["query_factors"] * batch["query_factors"]], dim=1)

    def item_vectors(self, batch: Mapping[str, Any]) -> Any:
        """(batch + others, width)."""
        body = batch["item_tastes"] + self.tower("item", batch["items"])
        return self.torch.cat([body, batch["sales"], batch["item_factors"]], dim=1)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """Weighted sum over the batch of the sampled softmax."""
        logits = self.query_vectors(batch) @ self.item_vectors(batch).T
        logits = logits - batch["probability"].clamp(MIN_PROBABILITY, 1.0).log()
        n = len(logits)
        same = batch["item"][:n, None] == batch["item"][None, :]
        logits = (logits + NEVER * same.fill_diagonal_(False)).masked_fill(~batch["allowed"], NEVER)
        each = self.torch.nn.functional.cross_entropy(logits, self.torch.arange(n), reduction="none")
        return (batch["weight"] * each).sum()

    def step(self, batch: Mapping[str, NDArray[Any]]) -> float:
        """Learn from one batch; its loss before."""
        loss = self.loss(self.gathered(batch))
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return float(loss.item())


def _tensor(value: NDArray[Any]) -> Any:
    """A tensor, in the array's own memory if it can be; positions become int64, by which PyTorch gathers."""
    import torch

    shared = torch.from_numpy(value if value.flags.writeable else value.copy())
    return shared if shared.is_floating_point() or shared.dtype == torch.bool else shared.long()
