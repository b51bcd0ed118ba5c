"""The worker of `training_step.py` that trains with latentmix, in calls as the product makes them.

It also says what the machine can do at most: float32 products and memory traffic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentmix.data import load
from latentmix.models.named_tensors import to_tensors
from latentmix.models.vae import Architecture, Network, default_widths
from latentmix.runs.recipe import load_recipe
from latentmix.training.shards import Feed, most_shard_rows
from latentmix.training.vae_loop import SECONDS_PER_CALL, start
from latentmix.training.vae_rule import Rule, Shard, advance, named_keys
from serving import serve


class Ours:
    """The `seed` recipe's training, stopped and continued after any number of steps."""

    def prepare(self, data: str, folder: str, batch_size: int) -> dict[str, Any]:
        """Read or make the rows, build the network, and leave both for the peers in `folder`.

        Called again, it starts anew with another batch size.
        """
        rows = training_rows(data)
        recipe = load_recipe("seed").vae
        widths = tuple(recipe.parameters()["hidden_dims"] or default_widths(rows.shape[1]))
        keys = named_keys(0)
        shape = Architecture(rows.shape[1], widths, recipe.latent_dim, "linear", "bernoulli")
        network = Network(shape, rows.mean(axis=0) / 255, keys.init)
        self.rule = Rule(
            batch_size=batch_size,
            learning_rate=recipe.learning_rate,
            schedule=recipe.schedule,
            kl_weight=recipe.kl_weight,
            kl_warmup=recipe.kl_warmup,
            latent_dim=recipe.latent_dim,
            n_rows=len(rows),
            n_epochs=recipe.max_epochs,
            most_shard_rows=most_shard_rows(rows),
        )
        self.training = start(self.rule, keys, network)
        (device,) = self.training.state.totals.devices()
        self.feed = Feed(self.rule, keys, rows, device, self.rule.n_epochs)
        self.steps_per_call = 8
        tensors = to_tensors(network)
        np.save(Path(folder, "rows.npy"), rows)
        np.savez(Path(folder, "weights.npz"), **tensors)
        return {
            "versions": f"latentmix {version('latentmix')} (JAX {jax.__version__})",
            "n_parameters": sum(array.size for array in tensors.values()),
            "shape": {"widths": widths, "latent_dim": recipe.latent_dim, "rows": rows.shape},
            "rule": {
                "batch_size": batch_size,
                "learning_rate": recipe.learning_rate,
                "kl_weight": recipe.kl_weight,
            },
        }

    def train(self, n_steps: int) -> dict[str, float]:
        """Take so many steps; return the seconds, and the mean loss of a row, in nats."""
        rule, training, left, n_rows = self.rule, self.training, n_steps, 0
        batch_size = rule.batch_size
        training.state = training.state._replace(totals=jnp.zeros(3, jnp.float32))
        began = time.perf_counter()
        while left > 0:
            shard = self.feed.at(training.epoch, training.step)
            taken = self._call(shard, left)
            n_rows += min(taken * batch_size, rule.n_rows - training.step * batch_size)
            left -= taken
            training.step += taken
            if training.step == rule.steps_per_epoch:
                training.epoch, training.step = training.epoch + 1, 0
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "loss": float(training.state.totals[2]) / n_rows}

    def _call(self, shard: Shard, most: int) -> int:
        """Make one compiled call of at most so many steps; return how many it took."""
        rule, training, began = self.rule, self.training, time.perf_counter()
        first = training.step % rule.steps_per_shard
        left = min(rule.steps_per_shard - first, rule.steps_per_epoch - training.step)
        taken = min(most, self.steps_per_call, left)
        before = training.epoch * rule.steps_per_epoch + training.step - first
        span = jnp.asarray([first, first + taken, before], jnp.int32)
        training.state = jax.block_until_ready(advance((shard, span), rule, training.state))
        seconds_a_step = (time.perf_counter() - began) / taken
        self.steps_per_call = max(8, int(SECONDS_PER_CALL / seconds_a_step))
        return taken

    def limits(self) -> dict[str, float]:
        """Return the machine's best float32 products, in flop/s, and memory traffic, in bytes/s."""
        flops = best_products()
        # In place, as Adam works: a fresh copy of 256 MB would time the kernel's page faults.
        add = jax.jit(lambda x: x + 1, donate_argnums=0)
        held = [jnp.ones(1 << 26, jnp.float32)]
        n_bytes = 2 * held[0].nbytes

        def sweep() -> object:
            held[0] = add(held[0])
            return held[0]

        return {"flops": flops, "bandwidth": n_bytes / _shortest(sweep)}


def training_rows(data: str) -> np.ndarray:
    """Return the training rows of a named data set, or random bytes of MNIST's shape."""
    if data == "synthetic":
        return np.random.default_rng(0).integers(0, 256, (55_000, 784), np.uint8)
    dataset = load(data)
    return dataset.X if dataset.fixed_split is None else dataset.X[dataset.fixed_split.train]


def best_products(sizes: Sequence[int] = (1024, 2048, 4096)) -> float:
    """Return the machine's best float32 products of square matrices, in flop/s."""
    product = jax.jit(jnp.matmul)
    squares = [jnp.ones((n, n), jnp.float32) for n in sizes]
    return max(2 * len(x) ** 3 / _shortest(lambda x=x: product(x, x)) for x in squares)


def _shortest(call: Callable[[], object], repeats: int = 8) -> float:
    """Return the least seconds that a call takes, after one that compiles."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


if __name__ == "__main__":
    serve(Ours())
