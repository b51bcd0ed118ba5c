"""p(z): what is thought of the latents before an image is seen. One class each.

Under `StandardNormal` a VAE is the usual one. Under `MixturePrior` it is p(x, z, k), the mixture
learned with the network (Jiang et al. 2017, "Variational deep embedding"; their divergence weighs
closed forms by p(k|z) at draws, ours is log q(z|x) - log p(z) at the draw, all k summed).
"""

from __future__ import annotations

from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from latentmix.kernels.elbo import kl_to_standard_normal, log_normal
from latentmix.models.blocks import map_blocks
from latentmix.models.posteriors import Posterior

# Added to the variances that a component begins with, in squared latent units: a group may have
# none in a dimension that its rows share. What is learned from there on is free.
LEAST_VARIANCE = 1e-3


class Prior(Protocol):
    """What the VAE asks of a prior."""

    def kl(self, posterior: Posterior[Array], z: Float[Array, "B L"]) -> Float[Array, "B T"]:
        """Return KL(q(z|x) || p(z)) in nats, in T terms a row; `z` is a draw of q(z|x)."""
        ...


class StandardNormal(eqx.Module):
    """z ~ N(0, I)."""

    def kl(self, posterior: Posterior[Array], z: Float[Array, "B L"]) -> Float[Array, "B L"]:
        """Return the closed form, a term for each dimension."""
        return kl_to_standard_normal(*posterior)


class MixturePrior(eqx.Module):
    """k ~ Categorical(weights), z | k ~ N(mean_k, diag(variance_k))."""

    means: Float[Array, "K L"]
    log_variances: Float[Array, "K L"]
    log_weights: Float[Array, " K"]

    def __init__(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> None:
        """Take over a mixture: weights (K,), means and variances (K, L)."""
        self.means = jnp.asarray(means, jnp.float32)
        self.log_variances = jnp.log(jnp.asarray(variances, jnp.float32) + LEAST_VARIANCE)
        self.log_weights = jnp.log(jnp.asarray(weights, jnp.float32))

    def kl(self, posterior: Posterior[Array], z: Float[Array, "B L"]) -> Float[Array, "B 1"]:
        """Return log q(z|x) - log p(z) at the draw, whose mean over draws is the divergence."""
        log_prior = jax.nn.logsumexp(self.log_joint(z), axis=1)
        return (log_normal(z, *posterior) - log_prior)[:, None]

    def log_joint(self, z: Float[Array, "B L"]) -> Float[Array, "B K"]:
        """Return log p(k) + log p(z|k)."""
        precisions = jnp.exp(-self.log_variances)
        squared = jnp.sum((z[:, None] - self.means) ** 2 * precisions, axis=2)
        constants = jnp.sum(self.log_variances + jnp.log(2 * jnp.pi), axis=1)
        return jax.nn.log_softmax(self.log_weights) - 0.5 * (squared + constants)

    def log_responsibilities(self, z: Float[Array, "B L"]) -> Float[Array, "B K"]:
        """Return log p(k|z)."""
        return jax.nn.log_softmax(self.log_joint(z), axis=1)

    def most_probable(self, z: Float[np.ndarray, "N L"]) -> Int[np.ndarray, " N"]:
        """Return each row's most probable component, in blocks of rows."""
        components: np.ndarray = map_blocks(
            _log_joint, self, z, then=lambda log_joint: log_joint.argmax(axis=1)
        )
        return components

    def revived(self, dead: np.ndarray, shares: np.ndarray) -> MixturePrior:
        """Return the mixture with each dead component begun anew as half of a living one.

        The component that holds the most rows is cut at its mean, across its widest dimension:
        either half has the mean and the variance of half a normal there, and half of the weight.

        Parameters
        ----------
        dead : (K,) of bool
            Not all of them.
        shares : (K,)
            The rows that each holds, as shares of all.
        """
        weights = np.asarray(jax.nn.softmax(self.log_weights), np.float64)
        means, held = np.array(self.means), np.where(dead, 0.0, shares)
        log_variances = np.array(self.log_variances)
        for component in np.flatnonzero(dead):
            parent = int(held.argmax())
            widest = int(log_variances[parent].argmax())
            aside = np.sqrt(2 / np.pi * np.exp(log_variances[parent, widest]))
            log_variances[parent, widest] += np.log(1 - 2 / np.pi)
            for array in (means, log_variances):
                array[component] = array[parent]
            means[parent, widest] -= aside
            means[component, widest] += aside
            for whole in (weights, held):
                whole[parent] /= 2
                whole[component] = whole[parent]
        log_weights = jnp.log(jnp.asarray(weights, jnp.float32))
        changed = (jnp.asarray(means), jnp.asarray(log_variances), log_weights)
        revived: MixturePrior = eqx.tree_at(
            lambda prior: (prior.means, prior.log_variances, prior.log_weights), self, changed
        )
        return revived


@eqx.filter_jit
def _log_joint(prior: MixturePrior, z: Array) -> Array:
    return prior.log_joint(z)
