"""p(x|z): what the decoder's D outputs mean. One class and one dict line each.

Every likelihood works on prepared inputs: images in [0, 1], tables standardised. For grey
pixels, strictly between 0 and 1, the Bernoulli log-likelihood is minus the cross entropy
and not a density; it is reported under that name.
"""

from __future__ import annotations

from typing import Final, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentmix.kernels.elbo import bernoulli_log_likelihood


class Likelihood(Protocol):
    """What the VAE asks of a likelihood."""

    output_gain: float

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the output layer's starting bias (D,), from the prepared inputs' means (D,)."""
        ...

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return log p(x|z) per row, (B,), in nats."""
        ...

    def mean(self, outputs: Array) -> Array:
        """Return E[x|z], (B, D), in prepared units."""
        ...

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return what `sample` shows for x given z, (B, D), in prepared units."""
        ...


class Bernoulli(eqx.Module):
    """Outputs are logits; inputs lie in [0, 1]."""

    output_gain = 1.0

    def __init__(self, n_features: int) -> None:
        """Take no parameters of its own."""

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return zeros."""
        return jnp.zeros_like(feature_means)

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return minus the cross entropy, summed over features."""
        return bernoulli_log_likelihood(x, outputs)

    def mean(self, outputs: Array) -> Array:
        """Return the probabilities."""
        return jax.nn.sigmoid(outputs)

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return the probabilities: a grey image says more than coin flips do."""
        return jax.nn.sigmoid(outputs)


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

    # Small weights: every output starts near the mean image, inside its active region.
    output_gain = 0.01
    # The smallest starting bias: an output unit must start active to learn at all.
    SMALLEST_START = 0.02

    def __init__(self, n_features: int) -> None:
        """Take no parameters of its own."""

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


class Gaussian(eqx.Module):
    """Outputs are means; each feature has one learned variance (Rybkin et al. 2021, sigma-VAE)."""

    log_variance: Float[Array, " D"]

    output_gain = 1.0

    # Standardised features: a variance below 1e-4 is a feature copied, not one explained.
    SMALLEST_LOG_VARIANCE = -9.2

    def __init__(self, n_features: int) -> None:
        """Start at unit variance, the standardised features' own."""
        self.log_variance = jnp.zeros(n_features, jnp.float32)

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


LIKELIHOODS: Final[dict[str, type[Bernoulli] | type[ReluBernoulli] | type[Gaussian]]] = {
    "bernoulli": Bernoulli,
    "relu-bernoulli": ReluBernoulli,
    "gaussian": Gaussian,
}
