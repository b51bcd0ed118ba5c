"""An epoch's rows, shard by shard: one is gathered on a thread while the last is trained on.

So rows can be more than memory holds: of a memory map there are two shards in memory, and pages
that the system takes back when it needs them. The order is one shuffle of all rows, and neither
answer nor bits depend on where the rows lie.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.data import Rows
from latentmix.models.blocks import blocks
from latentmix.training.data_parallel import Replicas
from latentmix.training.vae_rule import (
    Keys,
    Rule,
    Shard,
    amounts_of,
    keys_of_places,
    noise_of,
    order_of,
)

BYTES_PER_SHARD = 1 << 26
# Rows are read in the order in which they lie, so many at a time.
ROWS_PER_READ = 4096


def most_shard_rows(rows: Rows) -> int:
    """Return how many rows a shard may hold."""
    return max(1, BYTES_PER_SHARD // rows[np.arange(1)].nbytes)


class _Place(NamedTuple):
    """Where a shard stands: its epoch, and its number within that."""

    epoch: int
    number: int


class Feed:
    """The shards of a training, asked for in their order. As a context, it ends its thread.

    Parameters
    ----------
    rule : Rule
    keys : Keys
    rows : (N, D)
    replicas : Replicas
        The devices to which batches are dealt out.
    end : int, optional
        The epoch before which no shard is asked for any more; None is not known.
    targets : (N, K), optional
        What p(k|x) of the rows is to be.
    """

    def __init__(
        self,
        rule: Rule,
        keys: Keys,
        rows: Rows,
        replicas: Replicas,
        end: int | None,
        targets: np.ndarray | None = None,
    ) -> None:
        self._rule, self._keys, self._rows = rule, keys, rows
        self.replicas, self._end, self._targets = replicas, end, targets
        self._order: tuple[int, np.ndarray] | None = None
        self._thread = ThreadPoolExecutor(1, "latentmix-shards")
        self._here: tuple[_Place, Shard] | None = None
        self._coming: tuple[_Place, Future[Shard]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def at(self, epoch: int, step: int) -> Shard:
        """Return the shard that holds an epoch's step, and have the next one gathered."""
        place = _Place(epoch, step // self._rule.steps_per_shard)
        if self._here is None or self._here[0] != place:
            self._here = None  # two shards are in memory, never three
            self._here = place, self._arrived(place)
            self._coming = self._begun(self._after(place))
        return self._here[1]

    def _arrived(self, place: _Place) -> Shard:
        coming = self._coming
        if coming is None or coming[0] != place:
            coming = self._begun(place)
        assert coming is not None
        self._coming = None
        return coming[1].result()

    def _after(self, place: _Place) -> _Place:
        epoch, number = place
        last = number + 1 == self._rule.n_shards
        return _Place(epoch + 1, 0) if last else _Place(epoch, number + 1)

    def _begun(self, place: _Place) -> tuple[_Place, Future[Shard]] | None:
        if place.epoch == self._end:
            return None
        return place, self._thread.submit(self._gathered, place)

    def _gathered(self, place: _Place) -> Shard:
        """Gather this process's share. JAX's settings belong to a thread: they are made here again.

        Each batch is dealt out: column by column of the shard, a batch a row.
        """
        rule, keys, replicas = self._rule, self._keys, self.replicas
        columns, starts = replicas.share(rule.batch_size), np.arange(rule.steps_per_shard)
        at = place.number * rule.rows_per_shard + rule.batch_size * starts[:, None] + columns
        there = (columns >= 0) & (at < rule.n_rows)
        with jax.enable_x64(False), jax.default_device(replicas.own[0]):
            numbers = self._order_of(place.epoch)[at[there]]

            def dealt(array: Array) -> Any:
                return replicas.dealt(array.reshape(*at.shape, *array.shape[1:]), axis=1)

            def read(rows: Rows) -> Any:
                return dealt(jnp.asarray(gathered(rows, numbers, there.ravel())))

            which = jnp.asarray(place.epoch), jnp.asarray(at.ravel(), jnp.int32)
            shard = Shard(
                read(self._rows),
                dealt(jnp.asarray(there.ravel(), jnp.float32)),
                dealt(noise_of(rule, keys, *which)),
                None if rule.warps is None else dealt(amounts_of(keys, *which)),
                None if self._targets is None else read(self._targets),
                dealt(keys_of_places(keys.bits, *which)) if rule.binarise else None,
            )
            return jax.block_until_ready(shard)  # type: ignore[no-any-return,no-untyped-call]

    def _order_of(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch's rows; the last one's is kept."""
        if self._order is None or self._order[0] != epoch:
            self._order = None
            self._order = epoch, np.asarray(order_of(self._rule, self._keys, epoch))
        return self._order[1]


def gathered(rows: Rows, numbers: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the rows of the given numbers in their order, where `there`, and zeros elsewhere."""
    one = rows[np.arange(1)]
    out = np.zeros((len(there), *one.shape[1:]), one.dtype)
    places, turns = np.flatnonzero(there), np.argsort(numbers)
    for block in blocks(len(numbers), ROWS_PER_READ):
        some = turns[block]
        out[places[some]] = rows[numbers[some]]
    return out
