"""What is asked of p(k|x) beside the ELBO: to agree with a target, to be sharp, to use all of K.

Each term is of log-responsibilities log p(k|x), (B, K), and in nats. Weighted, they stand in the
training's objective (`training.vae_rule`):

    agreement   the cross entropy -sum_k t_k log p(g=k|x) from what a row's clusters are to be, as a
                teacher that errs tells them. With x warped it asks for one answer under all warps
                (Hu et al. 2017, IMSAT; Mrabah et al. 2020, DynAE)
    sharpness   the entropy H(k|x) of a row's answer, to be small
    balance     the entropy H(k) of the mean answer, to be large

H(k) - H(k|x) is the mutual information of rows and clusters, the objective of Bridle, Heading and
MacKay (1991), of RIM (Krause, Perona and Gomes 2010) and of IMSAT; H(k) alone stands in SCAN's (Van
Gansbeke et al. 2020, equation 2).
"""

from __future__ import annotations

from typing import Final

import jax.numpy as jnp
from jaxtyping import Array, Float

# The share of a teacher's groups that are taken to be drawn at random, whatever the row, at the end
# of a training.
LABEL_NOISE: Final = 0.3

# What a share counts as at least in a logarithm, so that an unused component has a gradient.
LEAST_SHARE = 1e-30


def cross_entropy(
    targets: Float[Array, "B K"], log_responsibilities: Float[Array, "B K"]
) -> Float[Array, " B"]:
    """Return -sum_k t_k log p(k|x) of each row."""
    return -jnp.sum(targets * log_responsibilities, axis=1)


def as_told(
    log_responsibilities: Float[Array, "B K"], noise: Float[Array, ""] | float
) -> Float[Array, "B K"]:
    """Return log p(g|x) of the group g that a row is told to have: its component, with some noise.

    p(g|x) = (1 - e) p(k=g|x) + e / K, a transition matrix of label noise as in Patrini et al.
    (2017, forward correction). A row of which the mixture is sure, one way or the other, pulls no
    more: it stays where its component is dense, and a wrong group costs log(K / e) at most. Without
    noise, e = 0, each row is pulled for as long as p(k|x) is not what it is told.
    """
    n_components = log_responsibilities.shape[1]
    truly = jnp.log1p(-noise) + log_responsibilities
    return jnp.logaddexp(truly, jnp.log(noise / n_components))


def entropy(log_responsibilities: Float[Array, "B K"]) -> Float[Array, " B"]:
    """Return H(k|x) of each row, from 0 (certain) to log K."""
    return cross_entropy(jnp.exp(log_responsibilities), log_responsibilities)


def entropy_of_mean(
    log_responsibilities: Float[Array, "B K"], weights: Float[Array, " B"]
) -> Float[Array, ""]:
    """Return H(k), the entropy of the rows' weighted mean answer: log K if all are used alike."""
    shares = weights @ jnp.exp(log_responsibilities) / jnp.sum(weights)
    return -jnp.sum(shares * jnp.log(jnp.maximum(shares, LEAST_SHARE)))
