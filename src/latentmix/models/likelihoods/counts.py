"""Likelihoods of counts: whole numbers from 0. Outputs are logarithms of their means.

The encoder sees log(1 + x), less what that is at the feature's mean: counts of all sizes then
differ by numbers around 1.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentmix.kernels.counts import negative_binomial_log_likelihood, poisson_log_likelihood

# A feature that was 0 in every row starts at this mean.
SMALLEST_START = 1e-3

# Far above any count, and far below overflow: a row like none before stays a finite loss.
LARGEST_LOG_MEAN = 20.0


class Poisson(eqx.Module):
    """Outputs are log rates; the variance is the mean."""

    log_centre: Float[Array, " D"]

    domain = "counts"
    measure = "mass"
    # Small weights: every rate starts near its feature's mean.
    output_gain = 0.01

    def __init__(self, feature_means: Array) -> None:
        """Keep what the encoder sees at the means; no step of training changes that."""
        self.log_centre = jnp.log1p(feature_means)

    def encoded(self, x: Array) -> Array:
        """Return log((1 + x) / (1 + mean))."""
        return jnp.log1p(x) - jax.lax.stop_gradient(self.log_centre)

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the logarithms of the means."""
        return jnp.log(jnp.maximum(feature_means, SMALLEST_START))

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return log Poisson(x; exp(outputs)), summed over features."""
        return poisson_log_likelihood(x, _bounded(outputs))

    def mean(self, outputs: Array) -> Array:
        """Return the rates."""
        return jnp.exp(_bounded(outputs))

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z)."""
        return jax.random.poisson(key, jnp.exp(_bounded(outputs))).astype(outputs.dtype)


class NegativeBinomial(eqx.Module):
    """Outputs are log means; each feature has one learned dispersion: counts spread wider.

    The variance is mean + dispersion * mean^2, as of a Poisson whose rate is a draw from a gamma
    distribution (of a VAE: Lopez et al. 2018, scVI, whose theta is 1 / dispersion).
    """

    log_centre: Float[Array, " D"]
    log_dispersion: Float[Array, " D"]

    domain = "counts"
    measure = "mass"
    output_gain = 0.01

    # Nearer to a Poisson than any sample tells, and to where 1 / dispersion overflows.
    LOG_DISPERSIONS = (-12.0, 12.0)

    def __init__(self, feature_means: Array) -> None:
        """Start at dispersion 1; see `Poisson` for the centre."""
        self.log_centre = jnp.log1p(feature_means)
        self.log_dispersion = jnp.zeros_like(feature_means)

    def _bounded_log_dispersion(self) -> Array:
        return jnp.clip(self.log_dispersion, *self.LOG_DISPERSIONS)

    def encoded(self, x: Array) -> Array:
        """Return log((1 + x) / (1 + mean))."""
        return jnp.log1p(x) - jax.lax.stop_gradient(self.log_centre)

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the logarithms of the means."""
        return jnp.log(jnp.maximum(feature_means, SMALLEST_START))

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return the log-probability of x, summed over features."""
        return negative_binomial_log_likelihood(
            x, _bounded(outputs), self._bounded_log_dispersion()
        )

    def mean(self, outputs: Array) -> Array:
        """Return the means."""
        return jnp.exp(_bounded(outputs))

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z): a rate from the gamma distribution, then a count of it."""
        of_rate, of_count = jax.random.split(key)
        dispersion = jnp.exp(self._bounded_log_dispersion())
        unit = jax.random.gamma(of_rate, 1 / dispersion, outputs.shape, outputs.dtype) * dispersion
        return jax.random.poisson(of_count, jnp.exp(_bounded(outputs)) * unit).astype(outputs.dtype)


def _bounded(log_mean: Array) -> Array:
    return jnp.minimum(log_mean, LARGEST_LOG_MEAN)
