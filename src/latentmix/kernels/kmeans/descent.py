"""Lloyd's algorithm: assign every row to its nearest centre, move centres to their rows' means.

Each pass over the rows does both, block by block (Lloyd 1982, "Least squares quantization in
PCM"). It ends in a local optimum, which depends on where it starts: see `seeding`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from latentmix.kernels.kmeans.nearest import (
    Block,
    Rows,
    centred,
    in_float32,
    nearest,
    of_block,
    over_blocks,
    squares,
    with_block,
)

# From so many distances (rows times centres) a pass on, float32 repays its compilation.
LEAST_DISTANCES_IN_FLOAT32 = 1 << 20

# Lloyd's objective falls at every step; after so many without, only rounding moves the centres.
PATIENCE = 10

# The stages of `lloyd`: steps in float32, steps in the rows' own precision, then rows are
# assigned to centres that stay.
FLOAT32, EXACT, ASSIGN, DONE = range(4)


class Clustering(NamedTuple):
    """K centres, the index of each row's nearest one, and the number of Lloyd steps taken."""

    centres: Float[Array, "K D"]
    components: Int[Array, " N"]
    n_iter: Int[Array, ""]


class _Descent(NamedTuple):
    """Where Lloyd's algorithm stands.

    `between` is the greatest sum of squares between centres so far, `n_stale` the steps since.
    """

    centres: Float[Array, "K D"]
    components: Int[Array, " N"]
    stage: Int[Array, ""]
    n_iter: Int[Array, ""]
    between: Float[Array, ""]
    n_stale: Int[Array, ""]


class _Sweep(NamedTuple):
    """What a pass over the rows finds: sums (K, D) and counts (K, 1) are weighted."""

    components: Int[Array, " N"]
    sums: Float[Array, "K D"]
    counts: Float[Array, "K 1"]
    changed: Bool[Array, ""]


@jax.jit
def lloyd(
    x: Float[Array, "N D"],
    weights: Float[Array, " N"],
    centres: Float[Array, "K D"],
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Clustering:
    """Move centres to their rows' weighted means until they stay (Lloyd 1982).

    Most steps need no more than float32: float64 rows of which there are many are taken in
    float32 to where they would stop, and go on in float64 from there.

    Parameters
    ----------
    x : (N, D)
    weights : (N,)
        Not negative; rows of weight 0 are assigned, and move nothing.
    centres : (K, D)
        Where to start. A centre without rows moves to the row farthest from its own centre.
    max_iter : int
        At most so many steps.
    tol : float
        As in scikit-learn: stop when the centres' squared movement in a step is at most `tol`
        times the features' mean variance. 0: stop when no row changes its centre.
    """
    rows, scale = centred(x, weights)
    start, tolerance = centres - rows.shift, tol * scale**2
    rough = None
    if x.dtype == jnp.float64 and len(x) * len(centres) >= LEAST_DISTANCES_IN_FLOAT32:
        rough = in_float32(rows, scale)
    end = descend(rows, rough, start, max_iter, tolerance, scale)
    return Clustering(end.centres + rows.shift, end.components, end.n_iter)


@jax.jit
def nearest_centre(x: Float[Array, "N D"], centres: Float[Array, "K D"]) -> Int[Array, " N"]:
    """Return the index of the centre nearest to each row."""
    shift = jnp.mean(centres, axis=0)
    rows = Rows(x, jnp.ones(len(x), x.dtype), shift)

    def assign(block: Block, components: Array) -> Array:
        return with_block(components, block, nearest(block.x, centres - shift)[0])

    return over_blocks(rows, len(centres), assign, jnp.zeros(len(x), jnp.int32))


def descend(
    rows: Rows,
    rough: Rows | None,
    centres: Float[Array, "K D"],
    max_iter: int,
    tolerance: float | Array,
    scale: float | Array = 1.0,
) -> _Descent:
    """Run Lloyd's algorithm on rows about their shift, first on their float32 copy if given.

    Parameters
    ----------
    rows, rough : Rows
        `rough` is `in_float32(rows, scale)`, or None.
    centres : (K, D)
        Where to start, with the shift subtracted.
    max_iter : int
    tolerance : float
        Stop when the centres' squared movement in a step is at most this.
    scale : float
    """

    def sweep(now: _Descent) -> _Sweep:
        if rough is None:
            return _sweep(rows, now.centres, now.components)

        def quickly() -> _Sweep:
            found = _sweep(rough, now.centres / scale, now.components)
            return found._replace(sums=found.sums * scale)

        exactly = partial(_sweep, rows, now.centres, now.components)
        found: _Sweep = jax.lax.cond(now.stage == FLOAT32, quickly, exactly)
        return found

    def step(now: _Descent) -> _Descent:
        found = sweep(now)
        means, filled = _means(rows, now.centres, found)
        same = ~(found.changed | filled)
        return _advanced(now, found, means, same, max_iter, tolerance)

    # One step is an exact one, and none at all only assigns.
    stage = jnp.clip(2 - jnp.asarray(max_iter), EXACT if rough is None else FLOAT32, ASSIGN)
    none, nothing = jnp.array(0, jnp.int32), jnp.array(-jnp.inf, centres.dtype)
    components = jnp.zeros(len(rows.x), jnp.int32)
    start = _Descent(centres, components, stage.astype(jnp.int32), none, nothing, none)
    end: _Descent = jax.lax.while_loop(lambda now: now.stage < DONE, step, start)
    return end


def _advanced(
    now: _Descent,
    found: _Sweep,
    means: Float[Array, "K D"],
    same: Bool[Array, ""],
    max_iter: int,
    tolerance: float | Array,
) -> _Descent:
    """Return the state after a sweep, which found the new means: the next step's, or stage's."""
    between = jnp.sum(found.counts * means**2)
    n_stale = jnp.where(between > now.between, 0, now.n_stale + 1)
    n_iter = now.n_iter + (now.stage < ASSIGN)
    # The first step of a stage has nothing to compare with.
    same &= now.between > -jnp.inf
    stops = same | (jnp.sum((means - now.centres) ** 2) <= tolerance)
    stops |= (n_stale >= PATIENCE) | (n_iter >= max_iter - (now.stage == FLOAT32))
    stops |= now.stage == ASSIGN
    # Where no row changed its centre, all are assigned already.
    stage = now.stage + jnp.where(stops, 1 + (same & (now.stage == EXACT)), 0)
    return _Descent(
        jnp.where(now.stage == ASSIGN, now.centres, means),
        found.components,
        stage.astype(jnp.int32),
        n_iter,
        jnp.where(stops, -jnp.inf, jnp.maximum(between, now.between)),
        jnp.where(stops, 0, n_stale),
    )


def _sweep(rows: Rows, centres: Float[Array, "K D"], components: Int[Array, " N"]) -> _Sweep:
    """Assign every row to its nearest centre, and add up each centre's rows in the same pass."""
    n_centres, n_features = centres.shape
    dtype = rows.x.dtype
    near = centres.astype(dtype)

    def assign(block: Block, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        components, sums, changed = state
        number, _ = nearest(block.x, near)
        changed |= jnp.any((number != of_block(components, block)) & (block.weights > 0))
        weight = block.weights[:, None]
        terms = jnp.concatenate([weight * block.x, weight], axis=1)
        part = jnp.zeros((n_centres, n_features + 1), dtype).at[number].add(terms)
        return with_block(components, block, number), sums + part, changed

    sums = jnp.zeros((n_centres, n_features + 1), centres.dtype)
    start = (components, sums, jnp.array(False))
    components, sums, changed = over_blocks(rows, n_centres, assign, start)
    return _Sweep(components, sums[:, :-1], sums[:, -1:], changed)


def _means(
    rows: Rows, centres: Float[Array, "K D"], found: _Sweep
) -> tuple[Float[Array, "K D"], Bool[Array, ""]]:
    """Return the new centres, and whether one without rows was moved to the farthest row."""
    occupied = found.counts > 0
    means = jnp.where(occupied, found.sums / jnp.where(occupied, found.counts, 1), centres)

    def away(block: Block, distance: Array) -> Array:
        own = means[of_block(found.components, block)].astype(block.x.dtype)
        return with_block(distance, block, squares(block.x - own))

    def fill() -> tuple[Array, Array]:
        # One centre a step: the farthest rows of one step may all lie together.
        distance = over_blocks(rows, rows.x.shape[1], away, jnp.zeros_like(rows.weights))
        farthest = jnp.argmax(jnp.where(rows.weights > 0, distance, 0))
        k, moves = jnp.argmin(occupied[:, 0]), distance[farthest] > 0
        there = jnp.where(moves, rows.x[farthest] - rows.shift, means[k])
        return means.at[k].set(there), moves

    moved: tuple[Array, Array] = jax.lax.cond(
        jnp.all(occupied), lambda: (means, jnp.array(False)), fill
    )
    return moved
