"""Likelihoods of intensities, numbers in [0, 1], such as a pixel's brightness."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from latentmix.kernels.elbo import bernoulli_log_likelihood


class OfLogits(eqx.Module):
    """What likelihoods have in common whose outputs are logits: no parameters, a start at 1/2."""

    output_gain = 1.0

    def __init__(self, feature_means: Array) -> None:
        """Take no parameters of its own."""

    def encoded(self, x: Array) -> Array:
        """Return x."""
        return x

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return zeros."""
        return jnp.zeros_like(feature_means)


class Bernoulli(OfLogits):
    """Outputs are logits; inputs lie in [0, 1]."""

    domain = "intensities"
    measure = "cross entropy"

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return minus the cross entropy, summed over features."""
        return bernoulli_log_likelihood(x, outputs)

    def mean(self, outputs: Array) -> Array:
        """Return the probabilities."""
        return jax.nn.sigmoid(outputs)

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return the probabilities: a grey image says more than coin flips do."""
        return jax.nn.sigmoid(outputs)


class Binarised(OfLogits):
    """Outputs are logits; inputs are 0 or 1, drawn from intensities."""

    domain = "drawn bits"
    measure = "mass"

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return the log-probability of x, summed over features."""
        return bernoulli_log_likelihood(x, outputs)

    def mean(self, outputs: Array) -> Array:
        """Return the probabilities."""
        return jax.nn.sigmoid(outputs)

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z)."""
        return jax.random.bernoulli(key, jax.nn.sigmoid(outputs)).astype(outputs.dtype)


# Probabilities are clipped this far from 0 and 1, away from log 0: at most 0.8 nats for
# 784 pixels that are exactly black or white.
CLIP = 1e-3

# The least p (1 - p) that a gradient is divided by: without it, the pixels that are nearly
# always black drown all others.
LEAST_VARIANCE = 0.05


@jax.custom_jvp
def clipped_cross_entropy(x: Array, outputs: Array) -> Array:
    """Return -x log p - (1 - x) log(1 - p) for p = ReLU(outputs) clipped to [CLIP, 1 - CLIP].

    The derivative with respect to an output is (p - x) / max(p (1 - p), LEAST_VARIANCE): the
    exact one where that is bounded, and not zero for a unit that rests at 0 or saturates at 1
    where it should not.
    """
    p = jnp.clip(outputs, CLIP, 1 - CLIP)
    return -(x * jnp.log(p) + (1 - x) * jnp.log1p(-p))


@clipped_cross_entropy.defjvp
def _clipped_cross_entropy_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    x, outputs = primals
    p = jnp.clip(outputs, CLIP, 1 - CLIP)
    slope = (p - x) / jnp.maximum(p * (1 - p), LEAST_VARIANCE)
    # A unit at its bound is not pushed further out.
    outwards = ((outputs <= 0) & (slope > 0)) | ((outputs >= 1) & (slope < 0))
    return clipped_cross_entropy(x, outputs), jnp.where(outwards, 0.0, slope) * tangents[1]


class ReluBernoulli(eqx.Module):
    """Outputs end in a ReLU and are the probabilities themselves (the seed taken at its word)."""

    domain = "intensities"
    measure = "cross entropy"
    # Small weights: every output starts near the mean image, inside its active region.
    output_gain = 0.01
    # The smallest starting bias: an output unit must start active to learn at all.
    SMALLEST_START = 0.02

    def __init__(self, feature_means: Array) -> None:
        """Take no parameters of its own."""

    def encoded(self, x: Array) -> Array:
        """Return x."""
        return x

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the mean image, so that every unit starts inside its active region."""
        return jnp.maximum(feature_means, self.SMALLEST_START)

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return minus the cross entropy of the clipped outputs, summed over features."""
        return -jnp.sum(clipped_cross_entropy(x, outputs), axis=1)

    def mean(self, outputs: Array) -> Array:
        """Return the clipped outputs."""
        return jnp.clip(outputs, CLIP, 1 - CLIP)

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return the clipped outputs."""
        return self.mean(outputs)
