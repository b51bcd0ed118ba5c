"""k-means: starting points for the mixture.

`plus_plus` is the greedy k-means++ of Arthur and Vassilvitskii 2007: each new centre is
drawn in proportion to its squared distance from the centres so far, a few candidates are
tried and the one that helps most is kept. `lloyd` alternates assignment and averaging.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Clustering(NamedTuple):
    """K centres, the index of each row's nearest one, and the number of Lloyd steps taken."""

    centres: Float[Array, "K D"]
    components: Int[Array, " N"]
    n_iter: Int[Array, ""]


def squared_distances(x: Float[Array, "N D"], centres: Float[Array, "K D"]) -> Array:
    """Return |x - centre|^2, (N, K), expanded into one matrix product, never negative."""
    expanded = jnp.sum(x**2, axis=1)[:, None] - 2 * x @ centres.T + jnp.sum(centres**2, axis=1)
    return jnp.maximum(expanded, 0.0)


@partial(jax.jit, static_argnames=("n_components",))
def plus_plus(
    key: Array, x: Float[Array, "N D"], weights: Float[Array, " N"], n_components: int
) -> Int[Array, " K"]:
    """Return the row numbers of K starting centres (greedy k-means++).

    Parameters
    ----------
    key : PRNG key
    x : (N, D)
        Centred rows; large common offsets lose digits in `squared_distances`.
    weights : (N,)
        Rows are drawn in proportion to weight times squared distance; weight 0 is never drawn.
    n_components : int
    """
    n_candidates = 2 + int(math.log(n_components)) if n_components > 1 else 1
    first_key, rest_key = jax.random.split(key)
    first = jax.random.categorical(first_key, jnp.log(weights))
    nearest = squared_distances(x, x[first][None])[:, 0]
    chosen = jnp.zeros(n_components, jnp.int32).at[0].set(first.astype(jnp.int32))

    def add(i: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        chosen, nearest = state
        potential = weights * nearest
        # All rows on a centre already: fall back to the weights, so that a row is still drawn.
        potential = jnp.where(jnp.any(potential > 0), potential, weights)
        cumulative = jnp.cumsum(potential)
        draws = jax.random.uniform(jax.random.fold_in(rest_key, i), (n_candidates,), x.dtype)
        # A draw of exactly 1.0 * total would fall past the last row.
        rows = jnp.searchsorted(cumulative, draws * cumulative[-1], side="right")
        rows = jnp.minimum(rows, x.shape[0] - 1)
        closer = jnp.minimum(nearest[:, None], squared_distances(x, x[rows]))
        best = jnp.argmin(weights @ closer)
        return chosen.at[i].set(rows[best].astype(jnp.int32)), closer[:, best]

    all_chosen: Array = jax.lax.fori_loop(1, n_components, add, (chosen, nearest))[0]
    return all_chosen


@partial(jax.jit, static_argnames=("max_iter",))
def lloyd(
    x: Float[Array, "N D"],
    weights: Float[Array, " N"],
    centres: Float[Array, "K D"],
    max_iter: int = 300,
) -> Clustering:
    """Move centres to their rows' weighted means until no row changes its centre.

    A centre that loses all its rows moves to the row farthest from its own centre.
    """
    n_components = centres.shape[0]

    def assign(centres: Array) -> tuple[Array, Array]:
        distances = squared_distances(x, centres)
        return jnp.argmin(distances, axis=1).astype(jnp.int32), jnp.min(distances, axis=1)

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        centres, components, _, n_iter = state
        member = jax.nn.one_hot(components, n_components, dtype=x.dtype) * weights[:, None]
        counts = jnp.sum(member, axis=0)
        means = (member.T @ x) / jnp.where(counts > 0, counts, 1.0)[:, None]
        _, distance = assign(centres)
        farthest = x[jnp.argmax(jnp.where(weights > 0, distance, -1.0))]
        # Only the first empty centre moves; the others get their turn in the next steps.
        empty = counts == 0
        first_empty = empty & (jnp.cumsum(empty) == 1)
        centres = jnp.where(empty[:, None], centres, means)
        centres = jnp.where(first_empty[:, None], farthest, centres)
        moved, _ = assign(centres)
        changed = jnp.any((moved != components) & (weights > 0))
        return centres, moved, changed, n_iter + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        return state[2] & (state[3] < max_iter)

    components, _ = assign(centres)
    start = (centres, components, jnp.array(True), jnp.array(0, jnp.int32))
    centres, components, _, n_iter = jax.lax.while_loop(unfinished, step, start)
    return Clustering(centres, components, n_iter)


@jax.jit
def nearest_centre(x: Float[Array, "N D"], centres: Float[Array, "K D"]) -> Int[Array, " N"]:
    """Return the index of the centre nearest to each row."""
    return jnp.argmin(squared_distances(x, centres), axis=1).astype(jnp.int32)
