"""The two-tower model of `training.retrieval` in plain PyTorch: what its speed is measured against.

The same layers, in-batch softmax with logQ correction, accidental hits removed, Adam, and columns gathered
from constant tensors. `gather` and `item_vectors` mirror `batch_of` and `item_vectors` there, line by line:
an input that one gains, the other must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.towers import CLIP
from feature_repo.pair_features import Positions
from training.retrieval import Arrays, TowerOptions

MIN_PROBABILITY = 1e-6  # as tensorflow-recommenders cuts it
NEVER = float(np.finfo(np.float32).min) / 100  # as it hides an accidental hit


class TorchTowers:
    """Both towers, beginning with the weights of `arrays` (as `tower_arrays` exports them).

    `held` are the examples' columns by name (as `held_examples` makes them, as arrays), `identity` and
    `probability` (n_items,) as in `batch_of`.
    """

    def __init__(
        self,
        arrays: Arrays,
        held: Mapping[str, NDArray[Any]],
        identity: Positions,
        probability: NDArray[np.float64],
        options: TowerOptions,
    ) -> None:
        import torch

        self.torch = torch
        columns = {**held, "identity": identity, "probability": probability.astype(np.float32)}
        self.columns = {name: _tensor(value) for name, value in columns.items()}
        scaling = ("query_mean", "query_scale", "item_mean", "item_scale", "item_identity_of")
        self.weights = {
            name: _tensor(value).requires_grad_() for name, value in arrays.items() if name not in scaling
        }
        # Keras' epsilon; fused is the fastest that PyTorch has on CPUs.
        self.adam = torch.optim.Adam(list(self.weights.values()), options.learning_rate, eps=1e-7, fused=True)
        self.batch_size, self.seed = options.batch_size, options.seed

    def gather(self, rows: Any) -> dict[str, Any]:
        """The towers' inputs of some examples (batch,)."""
        held = self.columns
        item, instant = held["item"][rows], held["instant"][rows]
        inputs = self.torch.cat([held["text"][item], held["numbers"][instant, item]], dim=1)
        return {
            "query": held["queries"][held["query"][rows]],
            "item": ((inputs - held["item_mean"]) * held["item_scale"]).clamp(-CLIP, CLIP),
            "prior": held["prior"][instant, item],
            "category": held["categories"][item],
            "identity": held["identity"][item],
            "probability": held["probability"][item],
            "item_id": item,
        }

    def tower(self, name: str, inputs: Any) -> Any:
        """Two dense layers, the first with a ReLU."""
        of = self.weights
        first = self.torch.addmm(of[f"{name}_bias_1"], inputs, of[f"{name}_kernel_1"]).relu()
        return self.torch.addmm(of[f"{name}_bias_2"], first, of[f"{name}_kernel_2"])

    def query_vectors(self, batch: Mapping[str, Any]) -> Any:
        """(batch, n_dim + 1)."""
        body = self.tower("query", batch["query"])
        return self.torch.cat([body, self.torch.ones_like(body[:, :1])], dim=1)

    def item_vectors(self, batch: Mapping[str, Any]) -> Any:
        """(batch, n_dim + 1)."""
        of, rows = self.weights, self.torch.nn.functional.embedding
        own = (batch["identity"] > 0)[:, None] * rows(batch["identity"], of["item_identity"])
        body = self.tower("item", batch["item"]) + own + rows(batch["category"], of["category_vectors"])
        return self.torch.cat([body, of["prior_scale"] * batch["prior"][:, None]], dim=1)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """Mean over the batch of the sampled softmax."""
        logits = self.query_vectors(batch) @ self.item_vectors(batch).T
        logits = logits - batch["probability"].clamp(MIN_PROBABILITY, 1.0).log()
        same = batch["item_id"][:, None] == batch["item_id"][None, :]
        logits = logits + NEVER * same.fill_diagonal_(False)
        return self.torch.nn.functional.cross_entropy(logits, self.torch.arange(len(logits)))

    def fit(self, rows: NDArray[np.intp], steps: int) -> float:
        """Train some steps on shuffled `rows`; the mean loss over them."""
        order = self.torch.from_numpy(rows)[self.torch.randperm(len(rows))]
        losses = []
        for step in range(steps):
            loss = self.loss(self.gather(order[step * self.batch_size : (step + 1) * self.batch_size]))
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
            losses.append(loss.item())
        return float(np.mean(losses))


def _tensor(value: NDArray[Any]) -> Any:
    """A tensor of its own memory; positions become int64, by which PyTorch gathers fastest."""
    import torch

    copied = torch.from_numpy(np.array(value))
    return copied if copied.is_floating_point() else copied.long()
