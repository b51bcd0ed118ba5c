"""Log-probabilities of counts, to float32's digits however large the counts are.

The usual formulas subtract terms of the size of x log x, and lose what is left of them. Here each
is written by how far the mean lies from x, as Loader (2000, "Fast and accurate computation of
binomial probabilities") does, with Stirling's formula put in for the factorials:

    log x! = (x + 1/2) log x - x + log(2 pi) / 2 + s(x)
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

LOG_2_PI: Final = 1.8378770664093453

# From here on the remainder's series has all of a float32's digits.
LEAST_FOR_SERIES: Final = 3.0


def stirling_remainder(a: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Return s(a) = log Gamma(a) - (a - 1/2) log a + a - log(2 pi) / 2 for a > 0."""
    small = a < LEAST_FOR_SERIES
    large = jnp.where(small, LEAST_FOR_SERIES, a)
    inverse = 1 / large
    square = inverse**2
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    low = jnp.where(small, a, 1.0)
    direct = gammaln(low) - (low - 0.5) * jnp.log(low) + low - LOG_2_PI / 2
    return jnp.where(small, direct, series)


def poisson_log_likelihood(
    x: Float[Array, "B D"], log_rate: Float[Array, "B D"]
) -> Float[Array, " B"]:
    """Return sum_d x log rate - rate - log x! per row, in nats."""
    positive = jnp.maximum(x, 1.0)
    t = log_rate - jnp.log(positive)
    # x (rate/x - 1 - log(rate/x)) is 0 where the rate is x.
    of_some = (
        -positive * (jnp.expm1(t) - t)
        - 0.5 * (LOG_2_PI + jnp.log(positive))
        - stirling_remainder(positive)
    )
    return jnp.sum(jnp.where(x > 0, of_some, -jnp.exp(log_rate)), axis=1)


def negative_binomial_log_likelihood(
    x: Float[Array, "B D"], log_mean: Float[Array, "B D"], log_dispersion: Float[Array, " D"]
) -> Float[Array, " B"]:
    """Return the log-probability of counts whose variance is mean + dispersion * mean^2, in nats.

    With r = 1 / dispersion,

        sum_d log Gamma(x + r) / (Gamma(r) x!) + r log(r / (r + mean)) + x log(mean / (r + mean))
    """
    r = jnp.exp(-log_dispersion)
    positive = jnp.maximum(x, 1.0)
    t = log_mean - jnp.log(positive)
    both = positive + r
    odds = log_mean + log_dispersion
    # With mean = x, both logarithms are of 1.
    further = jnp.expm1(t)
    log_total = _log1p(
        positive / both * further, jnp.logaddexp(log_mean, -log_dispersion) - jnp.log(both)
    )
    log_share = _log1p(jax.nn.sigmoid(-odds) * further, t - log_total)
    of_mean = positive * log_share - r * log_total
    of_some = (
        of_mean
        - 0.5 * (LOG_2_PI + jnp.log(positive) + jnp.log1p(positive / r))
        + stirling_remainder(both)
        - stirling_remainder(r)
        - stirling_remainder(positive)
    )
    of_none = -r * jax.nn.softplus(odds)
    return jnp.sum(jnp.where(x > 0, of_some, of_none), axis=1)


def _log1p(excess: Array, far: Array) -> Array:
    """Return log(1 + excess); where that is not near 0, as another formula has it."""
    near = jnp.abs(excess) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, excess, 0.0)), far)
