"""The continuous Bernoulli: a density of intensities, where cross entropy is none.

p(x) = C(p) p^x (1 - p)^(1 - x) on [0, 1] (Loaiza-Ganem and Cunningham 2019).
In the logit, t = log p - log(1 - p), that is an exponential cut off at 0 and 1:

    p(x) = exp(t x) t / (exp(t) - 1),    log C = log(t / tanh(t / 2))

Its mean is not p: it lies nearer to the middle.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentmix.kernels.elbo import bernoulli_log_likelihood
from latentmix.models.likelihoods.intensities import OfLogits

# Between minus and plus this logit, series stand for what is 0 / 0 at 0, or loses its digits
# nearby: their next terms are below a float32's last digit there.
NEAR: Final = 0.5


def log_normaliser(logits: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Return log C, in nats: log 2 at p = 1/2, and its Taylor series in the logit nearby."""
    t, square = _away_from_zero(logits), logits**2
    series = jnp.log(2.0) + square * (
        1 / 12 + square * (-7 / 1440 + square * (31 / 90720 - square * 127 / 4838400))
    )
    return jnp.where(_is_near(logits), series, jnp.log(t / jnp.tanh(t / 2)))


def mean_of(logits: Float[Array, "B D"]) -> Float[Array, "B D"]:
    """Return E[x] = 1 / (1 - exp(-t)) - 1 / t, in [0, 1]."""
    t, square = _away_from_zero(logits), logits**2
    series = 0.5 + logits * (1 / 12 + square * (-1 / 720 + square * (1 / 30240)))
    # By the side that does not overflow; the other one is its mirror image.
    size = jnp.abs(t)
    upper = 1 / -jnp.expm1(-size) - 1 / size
    return jnp.where(_is_near(logits), series, jnp.where(t > 0, upper, 1 - upper))


def draw(logits: Float[Array, "B D"], key: Array) -> Float[Array, "B D"]:
    """Return a draw of each, by the inverse of its distribution function."""
    u = jax.random.uniform(key, logits.shape, logits.dtype)
    # Never 0 / 0; at the least size, draws are uniform to a float32's digits.
    size = jnp.maximum(jnp.abs(logits), 1e-6)
    # Of the falling density; that of a positive logit is its mirror image.
    falling = jnp.clip(-jnp.log1p(u * jnp.expm1(-size)) / size, 0.0, 1.0)
    return jnp.where(logits > 0, 1 - falling, falling)


def _is_near(logits: Array) -> Array:
    return jnp.abs(logits) < NEAR


def _away_from_zero(logits: Array) -> Array:
    """Return the logits, with 1 for those near 0: a branch not taken must have a derivative."""
    return jnp.where(_is_near(logits), 1.0, logits)


class ContinuousBernoulli(OfLogits):
    """Outputs are the logits t; inputs lie in [0, 1]."""

    domain = "intensities"
    measure = "density"

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return minus the cross entropy plus log C, summed over features."""
        return bernoulli_log_likelihood(x, outputs) + jnp.sum(log_normaliser(outputs), axis=1)

    def mean(self, outputs: Array) -> Array:
        """Return the means, which are not the parameters p."""
        return mean_of(outputs)

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z)."""
        return draw(outputs, key)
