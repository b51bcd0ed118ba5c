"""The discretised logistic: a probability of each of a byte's 256 levels.

A logistic density about the output, cut at the middles between levels; the two at the ends take
all that lies beyond them (Salimans et al. 2017, PixelCNN++, equation 2, with one component):

    P(k) = sigmoid((k + 1/2 - t) / s) - sigmoid((k - 1/2 - t) / s)
"""

from __future__ import annotations

from typing import Final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

GREATEST: Final = 255
# From one level to the next, as a share of the whole range.
STEP: Final = 1 / GREATEST


class DiscretisedLogistic(eqx.Module):
    """Outputs are locations t, inputs bytes over 255; each feature has one learned scale s."""

    log_scale: Float[Array, " D"]

    domain = "levels"
    measure = "mass"
    # Small weights: every location starts near its feature's mean.
    output_gain = 0.01

    # A ninth of a level: a feature that lies at one level has nearly all of its probability.
    SMALLEST_LOG_SCALE = -7.7
    # A tenth of the range.
    START = -2.3

    def __init__(self, feature_means: Array) -> None:
        """Start at a scale of a tenth of the range."""
        self.log_scale = jnp.full_like(feature_means, self.START)

    def _scale(self) -> Array:
        return jnp.exp(jnp.maximum(self.log_scale, self.SMALLEST_LOG_SCALE))

    def encoded(self, x: Array) -> Array:
        """Return x."""
        return x

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the means."""
        return feature_means

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return log P of the levels, summed over features."""
        level, scale = jnp.round(x * GREATEST), self._scale()
        below = jax.nn.log_sigmoid(((level + 0.5) * STEP - outputs) / scale)
        above = jax.nn.log_sigmoid((outputs - (level - 0.5) * STEP) / scale)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), far from 0 too.
        between = below + above + jnp.log(-jnp.expm1(-STEP / scale))
        log_p = jnp.where(level <= 0, below, jnp.where(level >= GREATEST, above, between))
        return jnp.sum(log_p, axis=1)

    def mean(self, outputs: Array) -> Array:
        """Return the mean level over 255: the sum over levels k > 0 of P(at least k)."""
        scale = self._scale()

        def add(k: Array, total: Array) -> Array:
            return total + jax.nn.sigmoid((outputs - (k - 0.5) * STEP) / scale)

        mean: Array = STEP * jax.lax.fori_loop(1, GREATEST + 1, add, jnp.zeros_like(outputs))
        return mean

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z): the level nearest to a logistic number."""
        noise = jax.random.logistic(key, outputs.shape, outputs.dtype)
        level = jnp.round((outputs + self._scale() * noise) * GREATEST)
        return jnp.clip(level, 0, GREATEST) * STEP
