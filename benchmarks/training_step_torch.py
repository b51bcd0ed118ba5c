"""The worker of `training_step.py` that trains with PyTorch, in an environment of its own.

`VARIANTS` are ways to write the loop: the rows of a batch collected by a DataLoader, as most
people do, or indexed out of one tensor; Adam as it is by default, or fused; the model and its
loss called eagerly, or compiled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from serving import serve


class Images(Dataset[Tensor]):
    """Rows in [0, 1], one at a time."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index]


def collected(rows: Tensor, batch_size: int) -> Iterator[Tensor]:
    loader = DataLoader(Images(rows), batch_size=batch_size, shuffle=True)
    while True:
        yield from loader


def indexed(rows: Tensor, batch_size: int) -> Iterator[Tensor]:
    while True:
        for chosen in torch.randperm(len(rows)).split(batch_size):
            yield rows[chosen]


class Variant(NamedTuple):
    """A way to write the loop; `compiled` is the mode of torch.compile, None for eager."""

    batches: Callable[[Tensor, int], Iterator[Tensor]]
    fused: bool | None = None
    compiled: str | None = None


VARIANTS = {
    "loader": Variant(collected),
    "indexed": Variant(indexed),
    "fused": Variant(indexed, fused=True),
    "compiled": Variant(indexed, fused=True, compiled="default"),
    "autotuned": Variant(indexed, fused=True, compiled="max-autotune-no-cudagraphs"),
}


def dense(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class Vae(nn.Module):
    """The same network as latentmix's, its parameters in the same order."""

    def __init__(self, n_features: int, widths: list[int], latent_dim: int) -> None:
        super().__init__()
        self.encoder = dense([n_features, *widths])
        self.mean = nn.Linear(widths[-1], latent_dim)
        self.log_variance = nn.Linear(widths[-1], latent_dim)
        self.decoder = dense([latent_dim, *reversed(widths[1:])])
        self.output = nn.Linear(widths[1], n_features)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits, the mean and the log-variance."""
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.output(self.decoder(z)), mean, log_variance


def rows_and_network(folder: str, shape: dict[str, Any]) -> tuple[Tensor, Vae]:
    """Return the rows, in [0, 1], and the network with latentmix's first weights."""
    torch.manual_seed(0)
    rows = torch.from_numpy(np.load(Path(folder, "rows.npy"))).float() / 255
    network = Vae(rows.shape[1], shape["widths"], shape["latent_dim"])
    with np.load(Path(folder, "weights.npz")) as weights, torch.no_grad():
        for parameter, name in zip(network.parameters(), weights.files, strict=True):
            parameter.copy_(torch.from_numpy(weights[name].T))
    return rows, network


def about(network: nn.Module, *also: str) -> dict[str, Any]:
    versions = f"PyTorch {torch.__version__} ({torch.get_num_threads()} threads)"
    return {
        "versions": " on ".join([*also, versions]),
        "n_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


class Theirs:
    """The `seed` recipe's training, stopped and continued after any number of steps."""

    def __init__(self, variant: str) -> None:
        self.variant = VARIANTS[variant]

    def prepare(self, folder: str, shape: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
        """Read the rows and the first weights from `folder`, and build the same network."""
        rows, network = rows_and_network(folder, shape)
        self.optimiser = torch.optim.Adam(
            network.parameters(), lr=rule["learning_rate"], fused=self.variant.fused
        )
        self.batches = self.variant.batches(rows, rule["batch_size"])

        def loss(x: Tensor) -> Tensor:
            logits, mean, log_variance = network(x)
            cross_entropy = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            kl = 0.5 * torch.sum(mean**2 + log_variance.exp() - 1 - log_variance)
            return (cross_entropy + rule["kl_weight"] * kl) / len(x)

        self.loss = loss
        if self.variant.compiled is not None:
            self.loss = torch.compile(loss, dynamic=False, mode=self.variant.compiled)
            # Both sizes of batch now, the epoch's last one too: no turn is to compile.
            for size in {rule["batch_size"], len(rows) % rule["batch_size"]} - {0}:
                self.loss(rows[:size]).backward()
        return about(network)

    def train(self, n_steps: int) -> dict[str, float]:
        """Take so many steps; return the seconds, and the mean loss of a row, in nats."""
        total, n_rows = 0.0, 0
        began = time.perf_counter()
        for _ in range(n_steps):
            x = next(self.batches)
            self.optimiser.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.optimiser.step()
            total += loss.item() * len(x)
            n_rows += len(x)
        return {"seconds": time.perf_counter() - began, "loss": total / n_rows}


if __name__ == "__main__":
    serve(Theirs(sys.argv[1]))
