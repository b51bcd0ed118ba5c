"""Where to start k-means: k-means++, and k-means|| for many centres in many rows.

Lloyd's algorithm only ever walks downhill, so where it starts decides where it ends. Rows drawn
evenly leave small clusters out and put two starts into large ones. `plus_plus` draws one row
after the other, far rows likelier (Arthur and Vassilvitskii 2007, "k-means++: the advantages of
careful seeding"): expected inertia within 8 (log K + 2) of the best. That is two passes over all
rows for each centre; `parallel` draws many at a time in a few passes, and thins them out
(Bahmani, Moseley, Vattani, Kumar and Vassilvitskii 2012, "Scalable k-means++").
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentmix.kernels.kmeans.descent import descend
from latentmix.kernels.kmeans.nearest import (
    Block,
    Rows,
    centred,
    in_float32,
    nearest,
    of_block,
    over_blocks,
    product,
    squares,
    with_block,
)

# Lloyd steps on the candidates of k-means||, which cost next to nothing.
THINNING_STEPS = 20

# Rows are drawn in two steps, first a group of neighbours: that takes fewer running sums.
ROWS_PER_GROUP = 64

# The squared distance of a row while there is no centre: equal for all, and no overflow.
UNSEEN = 1e30


@partial(jax.jit, static_argnames=("n_components",))
def plus_plus(
    key: Array, x: Float[Array, "N D"], weights: Float[Array, " N"], n_components: int
) -> Int[Array, " K"]:
    """Return the row numbers of K starting centres (greedy k-means++).

    Each centre is drawn in proportion to weight times squared distance from the nearest centre
    so far: 2 + log K rows are, and the one that lowers the sum of these most is kept (Arthur
    and Vassilvitskii 2007, sections 2.2 and 5).

    Parameters
    ----------
    key : PRNG key
    x : (N, D)
    weights : (N,)
        Not negative; rows of weight 0 are never drawn.
    n_components : int
        With fewer distinct rows than this, and only then, rows repeat.
    """
    uniform = jax.random.uniform(key, (n_components, _n_tried(n_components)))
    rows, scale = centred(x, weights)
    return _spread(uniform, rows, in_float32(rows, scale), scale)


@partial(jax.jit, static_argnames=("n_components", "n_rounds", "oversampling"))
def parallel(
    key: Array,
    x: Float[Array, "N D"],
    weights: Float[Array, " N"],
    n_components: int,
    n_rounds: int = 5,
    oversampling: float = 2.0,
) -> Float[Array, "K D"]:
    """Return K starting centres after few passes over the rows (k-means||).

    Each round draws rows in proportion to weight times squared distance from the nearest
    candidate so far, the first in proportion to weight alone. The candidates, each with the
    weight of the rows that it is nearest to, are then clustered themselves: k-means++ and some
    Lloyd steps (Bahmani, Moseley, Vattani, Kumar and Vassilvitskii 2012, algorithm 2).

    Parameters
    ----------
    key, x, weights, n_components
        As for `plus_plus`. In some 10 `n_components` rows or fewer, use that.
    n_rounds : int
        Passes over the rows.
    oversampling : float
        Each round draws this times `n_components` candidates. n_rounds * oversampling >= 1.
    """
    n_drawn = math.ceil(oversampling * n_components)
    n_tried = _n_tried(n_components)
    uniform = jax.random.uniform(key, (n_rounds * n_drawn + n_components * n_tried,))
    thinning = uniform[n_rounds * n_drawn :].reshape(n_components, n_tried)
    # One draw in each of equal slices of the potential: the paper's draws are independent, these
    # nearly so, and they are always as many.
    slices = jnp.arange(n_drawn) + uniform[: n_rounds * n_drawn].reshape(n_rounds, n_drawn)
    rows, scale = centred(x, weights)
    rough = in_float32(rows, scale)

    def draw(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        candidates, distance, owner = state
        drawn = _draw(slices[i] / n_drawn, rough.weights * distance)
        distance, owner = _approach(rough, rough.x[drawn], i * n_drawn, distance, owner)
        return candidates.at[i].set(drawn), distance, owner

    start = (
        jnp.zeros((n_rounds, n_drawn), jnp.int32),
        jnp.full(len(x), UNSEEN, jnp.float32),
        jnp.zeros(len(x), jnp.int32),
    )
    candidates, _, owner = jax.lax.fori_loop(0, n_rounds, draw, start)
    owned = jnp.zeros(candidates.size, jnp.float32).at[owner].add(rough.weights)
    few = Rows(rough.x[candidates.ravel()], owned, rough.shift)
    kept = _spread(thinning, few, few, jnp.float32(1))
    centres = descend(few, None, few.x[kept], THINNING_STEPS, 1e-4).centres
    return centres.astype(x.dtype) * scale + rows.shift


def _n_tried(n_components: int) -> int:
    return 2 + int(math.log(n_components))


def _spread(
    uniform: Float[Array, "K S"], rows: Rows, rough: Rows, scale: Float[Array, ""]
) -> Int[Array, " K"]:
    """Run k-means++; `rough`, in float32, compares the S rows tried for each centre."""
    lengths = squares(rough.x)

    def add(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, distance = state
        tried = _draw(uniform[i], _potential(rows.weights, distance, chosen))
        centres = rough.x[tried]
        table = lengths - 2 * product(centres, rough.x.T) + squares(centres)[:, None]
        remaining = jnp.clip(table, 0, distance.astype(table.dtype)) @ rough.weights
        best = tried[jnp.argmin(remaining)]
        return chosen.at[i].set(best), _closer(rows, best, scale, distance)

    n_rows, n_components = len(rows.x), len(uniform)
    start = (jnp.full(n_components, n_rows, jnp.int32), jnp.full(n_rows, UNSEEN, rows.x.dtype))
    chosen: Array = jax.lax.fori_loop(0, n_components, add, start)[0]
    return chosen


def _potential(
    weights: Float[Array, " N"], distance: Float[Array, " N"], chosen: Int[Array, " K"]
) -> Float[Array, " N"]:
    """Return what rows are drawn in proportion to; a number past the last row chooses none."""

    def where_all_are_copies() -> Array:
        rest = weights.at[chosen].set(0, mode="drop")
        return jnp.where(jnp.any(rest > 0), rest, weights)

    potential = weights * distance
    likely: Array = jax.lax.cond(jnp.any(potential > 0), lambda: potential, where_all_are_copies)
    return likely


def _draw(uniform: Float[Array, " S"], potential: Float[Array, " N"]) -> Int[Array, " S"]:
    """Return the rows at which the running sum of the potential passes a share of its total."""
    padding = -len(potential) % ROWS_PER_GROUP
    groups = jnp.pad(potential, (0, padding)).reshape(-1, ROWS_PER_GROUP)
    totals = jnp.sum(groups, axis=1)
    ends = jnp.cumsum(totals)
    target = uniform.astype(ends.dtype) * ends[-1]
    group = jnp.minimum(jnp.sum(ends[:, None] <= target, axis=0), len(groups) - 1)
    # Rounding can leave a target where nothing is to be drawn; the likeliest is taken there.
    group = jnp.where(totals[group] > 0, group, jnp.argmax(totals))
    within = groups[group]
    passed = jnp.cumsum(within, axis=1) <= (target - (ends - totals)[group])[:, None]
    place = jnp.minimum(jnp.sum(passed, axis=1), ROWS_PER_GROUP - 1)
    likely = within[jnp.arange(len(place)), place] > 0
    place = jnp.where(likely, place, jnp.argmax(within, axis=1))
    return (group * ROWS_PER_GROUP + place).astype(jnp.int32)


def _closer(
    rows: Rows, centre: Int[Array, ""], scale: Float[Array, ""], distance: Float[Array, " N"]
) -> Float[Array, " N"]:
    """Return each row's distance to its nearest centre, with a row for one centre more.

    It is taken from differences of rows as they are: only a row's copies are at distance 0.
    """

    def compare(block: Block, distance: Array) -> Array:
        here = squares(block.x - rows.x[centre]) / scale**2
        return with_block(distance, block, jnp.minimum(here, of_block(distance, block)))

    unshifted = rows._replace(shift=jnp.zeros_like(rows.shift))
    return over_blocks(unshifted, rows.x.shape[1], compare, distance)


def _approach(
    rows: Rows,
    centres: Float[Array, "S D"],
    first: Int[Array, ""],
    distance: Float[Array, " N"],
    owner: Int[Array, " N"],
) -> tuple[Float[Array, " N"], Int[Array, " N"]]:
    """Return each row's distance to, and number of, the nearest candidate, S more of them now."""

    def compare(block: Block, state: tuple[Array, Array]) -> tuple[Array, Array]:
        distance, owner = state
        number, here = nearest(block.x, centres)
        before = of_block(distance, block)
        number = jnp.where(here < before, first + number, of_block(owner, block))
        here = jnp.minimum(here, before)
        return with_block(distance, block, here), with_block(owner, block, number)

    return over_blocks(rows, len(centres), compare, (distance, owner))
