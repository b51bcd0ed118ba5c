"""Naming the components: the maximum-likelihood estimate of p(y|k), all else frozen.

Labelled rows enter as p(k|x) and their class. The log-likelihood sum_n log sum_k p(k|x_n)
p(y_n|k) is maximised by EM: a row's share in component k is proportional to p(k|x) p(y|k),
and p(c|k) is the share of class c among k's rows. A Dirichlet prior, centred on the classes'
frequencies among the labelled rows, keeps a component with few rows from certainty and
gives one with none those frequencies.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MAX_ITER = 200
_TOLERANCE = 1e-9


class Naming(NamedTuple):
    """p(y|k), and how many labelled rows (a sum of shares) each component rests on."""

    class_probabilities: Float[Array, "K C"]
    labelled_rows: Float[Array, " K"]


@jax.jit
def name_components(
    responsibilities: Float[Array, "M K"],
    labels: Float[Array, "M C"],
    smoothing: Float[Array, ""],
) -> Naming:
    """Estimate p(y|k) from labelled rows.

    Parameters
    ----------
    responsibilities : (M, K)
        p(k|x) of the labelled rows.
    labels : (M, C)
        One-hot classes.
    smoothing : scalar
        The Dirichlet prior's weight in rows; 0 is maximum likelihood.
    """
    frequencies = jnp.mean(labels, axis=0)

    def estimate(shares: Array) -> Array:
        counts = shares.T @ labels + smoothing * frequencies
        total = jnp.sum(counts, axis=1, keepdims=True)
        return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), frequencies)

    def share(class_probabilities: Array) -> Array:
        joint = responsibilities * (labels @ class_probabilities.T)
        total = jnp.sum(joint, axis=1, keepdims=True)
        # Every component that explains the row excludes its class: fall back to p(k|x).
        return jnp.where(total > 0, joint / jnp.where(total > 0, total, 1.0), responsibilities)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        before, _, n_iter = state
        after = estimate(share(before))
        return after, jnp.max(jnp.abs(after - before)), n_iter + 1

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > _TOLERANCE) & (state[2] < _MAX_ITER)

    start = (estimate(responsibilities), jnp.array(jnp.inf, labels.dtype), jnp.array(0))
    class_probabilities, _, _ = jax.lax.while_loop(unfinished, step, start)
    return Naming(class_probabilities, jnp.sum(share(class_probabilities), axis=0))
