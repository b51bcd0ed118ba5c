"""The nearest of K centres for each row: block by block, never a table of N x K distances.

A block's product with the centres is soon done. What takes time is to find each row's least
entry, and where it is: compiled as two reductions that carry numbers along, it takes several
times as long as the product. `nearest` does it in one pass over the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

State = TypeVar("State")

# A block's table of distances: a smaller one is not worth starting the block's operations for,
# a larger one falls out of the cache.
BYTES_PER_BLOCK = 8 << 20
LEAST_ROWS_PER_BLOCK = 64

# Up to here comparing one centre after the other beats a minimum over the table's rows.
MOST_UNROLLED_CENTRES = 24


class Rows(NamedTuple):
    """Rows and their weights; distances are taken after subtracting `shift`."""

    x: Float[Array, "N D"]
    weights: Float[Array, " N"]
    shift: Float[Array, " D"]


class Block(NamedTuple):
    """Consecutive rows, shifted; the first of them is row number `start`."""

    start: Int[Array, ""]
    x: Float[Array, "B D"]
    weights: Float[Array, " B"]


def centred(x: Float[Array, "N D"], weights: Float[Array, " N"]) -> tuple[Rows, Float[Array, ""]]:
    """Return the rows about their weighted mean, and the root of their mean variance, or 1."""
    total = jnp.sum(weights)
    mean = weights @ x / total
    variance = jnp.sum(weights[:, None] * (x - mean) ** 2) / (total * x.shape[1])
    return Rows(x, weights, mean), jnp.where(variance > 0, jnp.sqrt(variance), 1.0)


def in_float32(rows: Rows, scale: Float[Array, ""]) -> Rows:
    """Return a float32 copy, shifted and divided by `scale`, with weights of mean 1."""
    x = ((rows.x - rows.shift) / scale).astype(jnp.float32)
    weights = rows.weights / jnp.mean(rows.weights)
    return Rows(x, weights.astype(jnp.float32), jnp.zeros(x.shape[1], jnp.float32))


def over_blocks(
    rows: Rows, n_centres: int, visit: Callable[[Block, State], State], state: State
) -> State:
    """Carry a state through all rows, in blocks whose tables (B, K) stay in the cache."""
    n_rows, itemsize = len(rows.x), rows.x.dtype.itemsize
    most = max(LEAST_ROWS_PER_BLOCK, BYTES_PER_BLOCK // (n_centres * itemsize))
    n_blocks = -(-n_rows // most)
    size = -(-n_rows // n_blocks)

    def step(index: Int[Array, ""], state: State) -> State:
        # The last block reaches back to be as long as the others; its first rows count nothing.
        start = jnp.minimum(index * size, n_rows - size)
        again = start + jnp.arange(size) < index * size
        x = jax.lax.dynamic_slice_in_dim(rows.x, start, size) - rows.shift
        weights = jax.lax.dynamic_slice_in_dim(rows.weights, start, size)
        return visit(Block(start, x, jnp.where(again, 0, weights)), state)

    carried: State = jax.lax.fori_loop(0, n_blocks, step, state)
    return carried


def of_block(values: Array, block: Block) -> Array:
    """Return the block's part of an array that has an entry for each row."""
    return jax.lax.dynamic_slice_in_dim(values, block.start, len(block.x))


def with_block(values: Array, block: Block, part: Array) -> Array:
    """Return the array with the block's part replaced."""
    return jax.lax.dynamic_update_slice_in_dim(values, part, block.start, 0)


def product(a: Float[Array, "M D"], b: Float[Array, "D ..."]) -> Float[Array, "M ..."]:
    """Return the product a b, with all digits: accelerators may drop half of float32's."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def squares(x: Float[Array, "B D"]) -> Float[Array, " B"]:
    """Return |x|^2: a product, because sums over short rows are slow."""
    return product(x * x, jnp.ones(x.shape[1], x.dtype))


def nearest(
    x: Float[Array, "B D"], centres: Float[Array, "K D"]
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Return the number of each row's nearest centre, and the squared distance to it.

    Distances are |x|^2 - 2 x.c + |c|^2: rows and centres should lie about the origin. Of more
    than `MOST_UNROLLED_CENTRES`, two equally near up to their last ceil(log2 K) bits are a tie.
    The first of ties is returned.
    """
    if len(centres) > MOST_UNROLLED_CENTRES:
        return _nearest_of_many(x, centres)
    # Without |x|^2, which is the same for all centres; one row of the table for each centre.
    scores = 0.5 * squares(centres)[:, None] - product(centres, x.T)
    least, number = scores[0], jnp.zeros(len(x), jnp.int32)
    for k in range(1, len(centres)):
        closer = scores[k] < least
        least = jnp.where(closer, scores[k], least)
        number = jnp.where(closer, k, number)
    return number, jnp.maximum(2 * least + squares(x), 0.0)


def _nearest_of_many(
    x: Float[Array, "B D"], centres: Float[Array, "K D"]
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """Write each centre's number into the last bits of its distance: the least one has both."""
    distances = product(x, -2 * centres.T) + squares(centres) + squares(x)[:, None]
    # The bits of 0 and a number would be a subnormal, and those may count as 0.
    distances = jnp.maximum(distances, np.finfo(x.dtype).tiny)
    integer = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    last_bits = (1 << (len(centres) - 1).bit_length()) - 1
    numbers = jax.lax.broadcasted_iota(integer, distances.shape, 1)
    marked = jax.lax.bitcast_convert_type(distances, integer) & ~last_bits | numbers
    least = jnp.min(jax.lax.bitcast_convert_type(marked, x.dtype), axis=1)
    number = jax.lax.bitcast_convert_type(least, integer) & last_bits
    return number.astype(jnp.int32), least
