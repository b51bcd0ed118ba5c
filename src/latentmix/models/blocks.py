"""Streaming rows through a compiled function, one block at a time, in O(block) memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentmix.data import Rows

ROWS_PER_BLOCK = 4096


def block_size(n_rows: int) -> int:
    """Return the block for so many rows: a power of two, so that few shapes are compiled."""
    return min(ROWS_PER_BLOCK, 1 << max(n_rows - 1, 0).bit_length())


def blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Yield the slices that cut `n_rows` rows into blocks."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(rows)
    return np.pad(rows, ((0, missing),) + ((0, 0),) * (rows.ndim - 1)) if missing else rows


def map_blocks(function: Callable[..., Any], fixed: Any, *rows: Rows) -> Any:
    """Apply a compiled ``function(fixed, *blocks)`` to all rows; return its arrays, joined.

    Parameters
    ----------
    function : callable
        Row by row: its outputs, a pytree of arrays, have the blocks' first axis.
    fixed : pytree
        What every call gets: a network, keys, draws.
    *rows : arrays, or what reads like them, of N rows each
        The last block is padded with zeros, and the padding's answers are cut off.

    Returns
    -------
    pytree of numpy arrays with N rows
    """
    n_rows = len(rows[0])
    size = block_size(n_rows)
    answers = []
    for block in blocks(n_rows, size):
        answer = function(fixed, *(jnp.asarray(_padded(array[block], size)) for array in rows))
        kept = block.stop - block.start
        answers.append(jax.tree.map(lambda array, kept=kept: np.asarray(array)[:kept], answer))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *answers)
