"""The last layers of the encoder, which say what q(z|x) = N(mean, sigma^2) is.

`LinearHeads` is the usual reading: a linear mean and a linear log-variance. `ReluHeads` is
the seed's specification taken at its word: Mu and Sigma each end in a ReLU. A head is one
class and one line in `HEADS`.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentmix.models.arrays import ArrayT
from latentmix.models.mlp import Dense


class Posterior(NamedTuple, Generic[ArrayT]):
    """The mean and log-variance of q(z|x), a normal with diagonal covariance."""

    mean: Float[ArrayT, "B L"]
    log_variance: Float[ArrayT, "B L"]


class LinearHeads(eqx.Module):
    """Mean and log-variance as affine functions of the last hidden layer."""

    mean: Dense
    log_variance: Dense

    def __init__(self, n_inputs: int, latent_dim: int, key: Array) -> None:
        """Draw both layers."""
        mean_key, spread_key = jax.random.split(key)
        self.mean = Dense(n_inputs, latent_dim, mean_key, gain=1.0)
        self.log_variance = Dense(n_inputs, latent_dim, spread_key, gain=1.0)

    def __call__(self, hidden: Float[Array, "B H"]) -> Posterior[Array]:
        """Return q(z|x)."""
        return Posterior(self.mean(hidden), self.log_variance(hidden))


@jax.custom_vjp
def reviving_relu(x: Array) -> Array:
    """Return max(x, 0), whose gradient also reaches a unit at rest where that would raise it.

    Going forward this is exactly ReLU; going back, a unit below zero is pushed up as if it were
    active, and never further down, so none stays dead.
    """
    return jnp.maximum(x, 0.0)


def _forward(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0.0), x


def _backward(x: Array, gradient: Array) -> tuple[Array]:
    # Descent moves against the gradient: a negative one raises the unit.
    return (jnp.where((x > 0) | (gradient < 0), gradient, 0.0),)


reviving_relu.defvjp(_forward, _backward)


class ReluHeads(eqx.Module):
    """Mu = ReLU(.) and Sigma = ReLU(.) + floor, both started inside their active region."""

    mean: Dense
    sigma: Dense

    # Sigma's floor keeps log Sigma^2 finite; the biases start every unit where it is active.
    SIGMA_FLOOR = 1e-3
    MEAN_START = 1.0
    SIGMA_START = 0.5

    def __init__(self, n_inputs: int, latent_dim: int, key: Array) -> None:
        """Draw both layers and lift their biases."""
        mean_key, spread_key = jax.random.split(key)
        mean = Dense(n_inputs, latent_dim, mean_key, gain=0.3)
        sigma = Dense(n_inputs, latent_dim, spread_key, gain=0.3)
        self.mean = eqx.tree_at(lambda layer: layer.bias, mean, mean.bias + self.MEAN_START)
        self.sigma = eqx.tree_at(lambda layer: layer.bias, sigma, sigma.bias + self.SIGMA_START)

    def __call__(self, hidden: Float[Array, "B H"]) -> Posterior[Array]:
        """Return q(z|x)."""
        sigma = reviving_relu(self.sigma(hidden)) + self.SIGMA_FLOOR
        return Posterior(reviving_relu(self.mean(hidden)), 2 * jnp.log(sigma))


Heads = LinearHeads | ReluHeads
HEADS: Final[dict[str, type[Heads]]] = {"linear": LinearHeads, "relu": ReluHeads}
