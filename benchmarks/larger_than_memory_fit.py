"""The worker of `larger_than_memory.py`: makes the file, and trains on it, mapped or read."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from latentmix import VAE
from latentmix.data import load
from latentmix.runs.recipe import load_recipe
from latentmix.training.events import Steps, StopTraining
from latentmix.training.shards import most_shard_rows
from serving import serve

SIDE = 28
# Rows warped at a time; steps of a fit that are not timed.
BLOCK, WARM_UP = 20_000, 200


class Fits:
    """Fits of the first steps of the `seed` recipe to the rows of a file."""

    def __init__(self) -> None:
        self._held: np.ndarray | None = None

    def write(self, path: str, n_rows: int) -> None:
        """Write images of MNIST, each shifted, turned and scaled at random."""
        images = jnp.asarray(load("mnist").X.reshape(-1, SIDE, SIDE))
        rows = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, SIDE * SIDE))
        for first in range(0, n_rows, BLOCK):
            key = jax.random.fold_in(jax.random.key(0), first)
            rows[first : first + BLOCK] = np.asarray(_warped(images, key))[: n_rows - first]
        rows.flush()

    def fit(self, path: str, mapped: bool, n_steps: int) -> dict[str, Any]:
        """Train for some steps; return how many images were trained on in how many seconds."""
        rows = np.load(path, mmap_mode="r") if mapped else self._read(path)
        asked = {**load_recipe("seed").vae.parameters(), "max_epochs": 1, "min_steps": 0}
        seen: list[tuple[int, float]] = []

        def listener(event: object) -> None:
            if isinstance(event, Steps):
                seen.append((event.step, time.perf_counter()))
                if event.step >= n_steps:
                    raise StopTraining

        VAE(**asked, random_state=0).fit(rows, listener=listener)
        begun = next(entry for entry in seen if entry[0] >= WARM_UP)
        return {
            "images": (seen[-1][0] - begun[0]) * asked["batch_size"],
            "seconds": seen[-1][1] - begun[1],
            "shards": n_steps * asked["batch_size"] / most_shard_rows(rows),
            "bytes": rows.nbytes,
            "versions": f"latentmix {version('latentmix')} (JAX {jax.__version__})",
        }

    def _read(self, path: str) -> np.ndarray:
        if self._held is None:
            self._held = np.load(path)
        return self._held


@jax.jit
def _warped(images: jax.Array, key: jax.Array) -> jax.Array:
    """Draw a block of images and warp each; bytes, (BLOCK, SIDE * SIDE)."""
    keys = jax.random.split(key, 3)
    chosen = images[jax.random.randint(keys[0], (BLOCK,), 0, len(images))].astype(jnp.float32)
    turn = 0.2 * jax.random.normal(keys[1], (BLOCK,))
    change = jax.random.normal(keys[2], (BLOCK, 4)) * jnp.array([0.1, 0.1, 1.5, 1.5])
    grid = jnp.stack(jnp.mgrid[:SIDE, :SIDE]) - (SIDE - 1) / 2

    def warp(image: jax.Array, angle: jax.Array, by: jax.Array) -> jax.Array:
        rotation = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        at = jnp.tensordot(rotation * jnp.exp(by[:2]), grid, 1) + by[2:, None, None]
        return map_coordinates(image, list(at + (SIDE - 1) / 2), order=1)

    return jnp.round(jax.vmap(warp)(chosen, turn, change)).astype(jnp.uint8).reshape(BLOCK, -1)


if __name__ == "__main__":
    serve(Fits())
