"""Data-parallel training: each step's batch is dealt out to all devices of all processes.

Every process runs the same program. It reads its own share of each batch, XLA adds the gradients
up wherever the devices are, and all replicas take the same step: batch and seed mean what they mean
on one device, but for the order in which numbers are added. The devices are JAX's own,
`jax.devices()`; who started the processes is nothing to us (`apps.launch`, SLURM, MPI).

What is no arithmetic is decided by one process and said to the others: when to stop, where to go
on, what a graph of neighbours shows. With one device all of this is nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int
from safetensors.numpy import load as tensors_from_bytes

from latentmix.data import Rows
from latentmix.errors import ClusterError
from latentmix.storage.files import tensor_bytes

# The mesh's only axis.
ROWS = "rows"

Tree = TypeVar("Tree")


class Replicas:
    """The devices that train together, each with all weights and its share of each batch."""

    def __init__(self) -> None:
        """Take all devices, or the one that JAX was told to use."""
        # JAX's settings have no types.
        chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
        if isinstance(chosen, str):
            chosen = jax.local_devices(backend=chosen)[0]
        self.devices = jax.devices() if chosen is None else [chosen]
        self.own = [each for each in self.devices if each.process_index == jax.process_index()]

    @property
    def alone(self) -> bool:
        """Whether one device trains."""
        return len(self.devices) == 1

    @cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (ROWS,))

    def _placed(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(self._mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]

    @property
    def alike(self) -> NamedSharding | None:
        """How what all devices hold alike is placed; None for one device alone."""
        return None if self.alone else self._placed()

    def share(self, n: int) -> Int[np.ndarray, " W"]:
        """Return which of `n` places in a batch are this process's; -1 where there is none.

        All devices have as many: where `n` cannot be dealt out evenly the last ones have blanks.
        """
        each = -(-n // len(self.devices))
        places = np.arange(each * len(self.devices)).reshape(len(self.devices), each)
        mine = places[[device in self.own for device in self.devices]].ravel()
        return np.where(mine < n, mine, -1)

    def dealt(self, array: Any, axis: int) -> Any:
        """Return the array of all processes, each of which gives its own share along an axis."""
        if self.alone:
            return array
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self.dealt(jax.random.key_data(array), axis))
        shape = [*array.shape]
        shape[axis] = shape[axis] // len(self.own) * len(self.devices)
        placed = self._placed(*[None] * axis, ROWS)
        return jax.make_array_from_process_local_data(  # type: ignore[no-untyped-call]
            placed, np.asarray(array), tuple(shape)
        )

    def rows(self, rows: Rows, numbers: Int[np.ndarray, " B"]) -> Any:
        """Return some rows, of which each process reads its own if all can have as many."""
        if self.alone:
            return rows[numbers]
        if not len(numbers) or len(numbers) % len(self.devices):
            return self.everywhere(rows[numbers])
        return self.dealt(rows[numbers[self.share(len(numbers))]], axis=0)

    def everywhere(self, tree: Tree) -> Tree:
        """Return arrays that all processes hold alike as arrays of all devices."""
        if self.alone:
            return tree

        def spread(leaf: Any) -> Array:
            copies = [jax.device_put(leaf, device) for device in self.own]
            joined = jax.make_array_from_single_device_arrays
            return joined(copies[0].shape, self._placed(), copies)

        spread_tree: Tree = jax.tree.map(spread, tree)
        return spread_tree

    def here(self, tree: Tree) -> Tree:
        """Return this process's own copy of arrays that all devices hold alike."""
        if self.alone:
            return tree
        own: Tree = jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
        return own


def leads() -> bool:
    """Whether this process is the first: it decides, keeps and tells."""
    return jax.process_index() == 0


def most(number: int) -> int:
    """Return the largest of what the processes say."""
    if jax.process_count() == 1:
        return number
    with all_there():
        return int(multihost_utils.process_allgather(np.int32(number)).max())


def of_first(tree: Tree) -> Tree:
    """Return the first process's numbers in all: arrays of the same shapes everywhere."""
    if jax.process_count() == 1:
        return tree
    with all_there():
        said: Tree = multihost_utils.broadcast_one_to_all(tree)
        return said


def said_by_first(say: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return in all processes what the first one finds; the others wait and do not ask."""
    if jax.process_count() == 1:
        return say()
    content = np.frombuffer(tensor_bytes(say()) if leads() else b"", np.uint8)
    size = int(of_first(np.int32(len(content))))
    message = of_first(content if leads() else np.zeros(size, np.uint8))
    return dict(tensors_from_bytes(np.asarray(message).tobytes()))


@contextmanager
def all_there() -> Iterator[None]:
    """Say of what all processes do together that one is gone, if it is."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise ClusterError(
            "Another process of this training is gone. What was kept by then is kept; the same "
            "command goes on from the last checkpoint."
        ) from error
