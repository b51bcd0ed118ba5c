"""The likelihood of numbers that may be anything, standardised."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Gaussian(eqx.Module):
    """Outputs are means; each feature has one learned variance (Rybkin et al. 2021, sigma-VAE)."""

    log_variance: Float[Array, " D"]

    domain = "numbers"
    measure = "density"
    output_gain = 1.0

    # Standardised features: a variance below 1e-4 is a feature copied, not one explained.
    SMALLEST_LOG_VARIANCE = -9.2

    def __init__(self, feature_means: Array) -> None:
        """Start at unit variance, the standardised features' own."""
        self.log_variance = jnp.zeros_like(feature_means)

    def encoded(self, x: Array) -> Array:
        """Return x."""
        return x

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return zeros: standardised features have mean 0."""
        return jnp.zeros_like(feature_means)

    def _bounded_log_variance(self) -> Array:
        return jnp.maximum(self.log_variance, self.SMALLEST_LOG_VARIANCE)

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return log N(x; outputs, variance), summed over features."""
        log_variance = self._bounded_log_variance()
        squared = (x - outputs) ** 2 * jnp.exp(-log_variance)
        return -0.5 * jnp.sum(squared + log_variance + jnp.log(2 * jnp.pi), axis=1)

    def mean(self, outputs: Array) -> Array:
        """Return the outputs."""
        return outputs

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z)."""
        noise = jax.random.normal(key, outputs.shape, outputs.dtype)
        return outputs + jnp.exp(0.5 * self._bounded_log_variance()) * noise
