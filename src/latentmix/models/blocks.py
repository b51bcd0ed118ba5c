"""Streaming rows through a compiled function, a few blocks at a time, in O(block) memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from latentmix.data import Rows

T = TypeVar("T")

# Activations of all blocks under way then stay in the processor's cache, and products are large
# enough for all cores.
ROWS_PER_BLOCK = 2048

# What is sent elsewhere at once: none of it is much to hold or to do again.
BYTES_PER_PIECE = 4 << 20

# While one block is multiplied, another's activations are taken, a third is read or written.
N_UNDER_WAY = 3


def block_size(n_rows: int) -> int:
    """Return the block for so many rows: a power of two, so that few shapes are compiled."""
    return min(ROWS_PER_BLOCK, 1 << max(n_rows - 1, 0).bit_length())


def blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Yield the slices that cut `n_rows` rows into blocks."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def pieces(rows: Rows) -> Iterator[slice]:
    """Yield slices of all rows for others to answer: they cut no block in two, to the same bits."""
    n_blocks = BYTES_PER_PIECE // (ROWS_PER_BLOCK * rows.shape[1] * rows.dtype.itemsize)
    yield from blocks(len(rows), max(1, n_blocks) * ROWS_PER_BLOCK)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(rows)
    return np.pad(rows, ((0, missing),) + ((0, 0),) * (rows.ndim - 1)) if missing else rows


def _same(answer: Any) -> Any:
    return answer


def map_blocks(
    function: Callable[..., Any],
    fixed: Any,
    *rows: Rows,
    then: Callable[[Any], Any] = _same,
) -> Any:
    """Apply a compiled ``function(fixed, *blocks)`` to all rows; return its arrays, joined.

    Threads take the blocks in turn, so that the cores multiply one block while another's rows are
    read and a third's answers are copied. No more than three blocks are held beside the joined
    arrays, and an answer has the same bits whichever thread computed it.

    Parameters
    ----------
    function : callable
        Row by row: its outputs, a pytree of arrays, have the blocks' first axis.
    fixed : pytree
        What every call gets: a network, keys, draws.
    *rows : N rows each
        Arrays, or what else has a length and gives an array for a slice: one thread at a time asks
        for it, in the rows' order. The last block is padded with zeros, and the padding's answers
        are cut off.
    then : callable, optional
        What becomes of each block's answers, NumPy arrays, before they are joined: row by row too,
        and by several threads at once.

    Returns
    -------
    pytree of numpy arrays with N rows
    """
    n_rows = len(rows[0])
    size = block_size(n_rows)

    taken = _Shared((block, [array[block] for array in rows]) for block in blocks(n_rows, size))
    joined = _Joined(n_rows)

    def answer(block: slice, parts: list[Any]) -> None:
        padded = (jnp.asarray(_padded(np.asarray(part), size)) for part in parts)
        n_kept = block.stop - block.start
        found = function(fixed, *padded)
        joined.write(block, then(jax.tree.map(lambda array: np.asarray(array)[:n_kept], found)))

    def answer_the_rest() -> None:
        try:
            for block, parts in taken:
                answer(block, parts)
        finally:
            taken.close()  # which has ended, unless this thread has failed

    # The first block compiles the function and says what the joined arrays are.
    answer(*next(taken))
    if n_rows > size:
        with ThreadPoolExecutor(N_UNDER_WAY) as threads:
            members = [threads.submit(answer_the_rest) for _ in range(N_UNDER_WAY)]
            try:
                for member in members:
                    member.result()
            finally:
                taken.close()
    return joined.arrays


class _Shared(Iterator[T]):
    """An iterator for several threads: one at a time takes the next item, until it is closed."""

    def __init__(self, items: Generator[T]) -> None:
        self._items, self._lock = items, threading.Lock()

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)

    def close(self) -> None:
        """Have no more items."""
        with self._lock:
            self._items.close()


class _Joined:
    """Arrays of N rows, made for the first block's answers and filled block by block."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.arrays: Any = None

    def write(self, block: slice, answer: Any) -> None:
        """Write a block's answers where its rows stand."""
        if self.arrays is None:
            self.arrays = jax.tree.map(self._empty_like, answer)
        jax.tree.map(lambda whole, part: whole.__setitem__(block, part), self.arrays, answer)

    def _empty_like(self, part: np.ndarray) -> np.ndarray:
        return np.empty((self.n_rows, *part.shape[1:]), part.dtype)
