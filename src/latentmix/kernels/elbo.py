"""The terms of the evidence lower bound, one number per row, nothing reduced.

ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))   (Kingma and Welling 2014, equation 3),
with q(z|x) a normal with diagonal covariance. Under a mixture prior the second term has no
closed form: E_q[log q(z|x) - log p(z)] is averaged over draws of z instead.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def reparameterise(
    mean: Float[Array, "B L"], log_variance: Float[Array, "B L"], noise: Float[Array, "B L"]
) -> Float[Array, "B L"]:
    """Return z = mean + sigma * noise, a draw from q(z|x) that gradients pass through."""
    return mean + jnp.exp(0.5 * log_variance) * noise


def kl_to_standard_normal(
    mean: Float[Array, "B L"], log_variance: Float[Array, "B L"]
) -> Float[Array, "B L"]:
    """Return KL(N(mean, exp(log_variance)) || N(0, 1)) for each latent dimension, in nats.

    Kingma and Welling 2014, appendix B, with the sign turned.
    """
    return 0.5 * (mean**2 + jnp.exp(log_variance) - 1.0 - log_variance)


def log_normal(
    z: Float[Array, "B L"], mean: Float[Array, "B L"], log_variance: Float[Array, "B L"]
) -> Float[Array, " B"]:
    """Return log N(z; mean, diag exp(log_variance)) per row, in nats."""
    squared = (z - mean) ** 2 * jnp.exp(-log_variance)
    return -0.5 * jnp.sum(squared + log_variance + jnp.log(2 * jnp.pi), axis=1)


def bernoulli_log_likelihood(
    x: Float[Array, "B D"], logits: Float[Array, "B D"]
) -> Float[Array, " B"]:
    """Return sum_d x log p + (1 - x) log(1 - p) per row, p = sigmoid(logits), in nats.

    For x strictly between 0 and 1 this is minus the cross entropy, not a likelihood.
    """
    softplus = jnp.maximum(logits, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus, axis=1)
