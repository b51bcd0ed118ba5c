"""What a trained network answers, block by block: encode, decode, and the bound's terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr
from jaxtyping import Array

from latentmix.data import Rows
from latentmix.kernels.elbo import kl_to_standard_normal, log_normal, reparameterise
from latentmix.models.arrays import ArrayT
from latentmix.models.blocks import map_blocks
from latentmix.models.posteriors import Posterior
from latentmix.models.vae import Network, Terms, prepare

# A function of one block's NumPy array, row by row.
OfBlock = Callable[[np.ndarray], np.ndarray]


@eqx.filter_jit
def _posterior(network: Network, x: Array) -> Posterior[Array]:
    return network.posterior(prepare(x))


@eqx.filter_jit
def _encoded(network: Network, x: Array) -> Array:
    return network.likelihood.encoded(prepare(x))


@eqx.filter_jit
def _mean(network: Network, z: Array) -> Array:
    return network.likelihood.mean(network.outputs(z))


@eqx.filter_jit
def _reconstruction(network: Network, x: Array) -> Array:
    return network.likelihood.mean(network.outputs(network.posterior(prepare(x)).mean))


@eqx.filter_jit
def _sample(fixed: tuple[Network, Array], z: Array, index: Array) -> Array:
    network, key = fixed
    outputs = network.outputs(z)
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(index)
    return jax.vmap(lambda out, k: network.likelihood.sample(out[None], k)[0])(outputs, keys)


@eqx.filter_jit
def _terms(network: Network, x: Array, noise: Array) -> Terms[Array]:
    return network.terms(prepare(x), noise)


class Draws(NamedTuple, Generic[ArrayT]):
    """The bound's ingredients at S shared draws: per row, and per row and draw.

    Attributes
    ----------
    reconstruction : (N,)
        -E_q[log p(x|z)] averaged over the draws, in nats.
    kl : (N, L)
        KL(q(z|x) || N(0, I)) for each dimension, in nats.
    z : (N, S, L)
        The draws.
    log_posterior : (N, S)
        log q(z|x) at each of them.
    """

    reconstruction: ArrayT
    kl: ArrayT
    z: ArrayT
    log_posterior: ArrayT


@eqx.filter_jit
def _draws(fixed: tuple[Network, Array], x: Array) -> Draws[Array]:
    network, noise = fixed
    x = prepare(x)
    posterior = network.posterior(x)

    def at(one: Array) -> tuple[Array, Array, Array]:
        z = reparameterise(*posterior, one)
        return (
            -network.likelihood.log_likelihood(x, network.outputs(z)),
            z,
            log_normal(z, *posterior),
        )

    reconstruction, z, log_posterior = jax.lax.map(at, noise)
    return Draws(
        jnp.mean(reconstruction, axis=0),
        kl_to_standard_normal(*posterior),
        jnp.moveaxis(z, 0, 1),
        log_posterior.T,
    )


class AtMean(NamedTuple, Generic[ArrayT]):
    """What is said of a row at its posterior mean z.

    Attributes
    ----------
    posterior : Posterior
        q(z|x): mean and log-variance, (N, L) each.
    reconstruction : (N,)
        -log p(x|z), in nats.
    grey : (N,)
        Of intensities, the sum of -x log x - (1 - x) log(1 - x), in nats: the least that the cross
        entropy can be, at E[x|z] = x. 0 for what is no intensity.
    squared_error : (N,)
        |x - E[x|z]|^2 in prepared units, summed over features.
    """

    posterior: Posterior[ArrayT]
    reconstruction: ArrayT
    grey: ArrayT
    squared_error: ArrayT


@eqx.filter_jit
def _at_mean(network: Network, x: Array) -> AtMean[Array]:
    x = prepare(x)
    posterior = network.posterior(x)
    outputs = network.outputs(posterior.mean)
    squared_error = jnp.sum((x - network.likelihood.mean(outputs)) ** 2, axis=1)
    grey = jnp.zeros(len(x))
    if network.likelihood.domain in ("intensities", "levels"):
        intensity = jnp.minimum(x, 1.0)  # bytes may be divided to a last digit above it
        grey = jnp.sum(entr(intensity) + entr(1 - intensity), axis=1)
    reconstruction = -network.likelihood.log_likelihood(x, outputs)
    return AtMean(posterior, reconstruction, grey, squared_error)


def posterior(network: Network, rows: Rows) -> Posterior[np.ndarray]:
    """Return q(z|x) of each row: mean and log-variance, (N, L) each."""
    answer: Posterior[np.ndarray] = map_blocks(_posterior, network, rows)
    return answer


def encoded(network: Network, rows: Rows, function: OfBlock = lambda block: block) -> np.ndarray:
    """Return what a function of what the encoder is given, (B, E), says of each row, (N, ...)."""
    answer: np.ndarray = map_blocks(_encoded, network, rows, then=function)
    return answer


def of_means(network: Network, rows: Rows, function: OfBlock) -> np.ndarray:
    """Return what a function of posterior means, (B, L), says of each row, (N, ...)."""
    answer: np.ndarray = map_blocks(
        _posterior, network, rows, then=lambda posterior: function(posterior.mean)
    )
    return answer


def decode(network: Network, z: np.ndarray, in_units: OfBlock) -> np.ndarray:
    """Return E[x|z], (N, D); `in_units` turns a block of prepared units into those asked for."""
    mean: np.ndarray = map_blocks(_mean, network, z.astype(np.float32, copy=False), then=in_units)
    return mean


def reconstruct(network: Network, rows: Rows, in_units: OfBlock) -> np.ndarray:
    """Return E[x|z] at the posterior mean of each row, (N, D), as `decode` does."""
    mean: np.ndarray = map_blocks(_reconstruction, network, rows, then=in_units)
    return mean


def sample_from(network: Network, z: np.ndarray, seed: int, in_units: OfBlock) -> np.ndarray:
    """Return what the likelihood shows for each z, (N, D), in units as `decode` does."""
    index = np.arange(len(z), dtype=np.uint32)
    fixed = (network, jax.random.key(seed))
    latents = z.astype(np.float32, copy=False)
    shown: np.ndarray = map_blocks(_sample, fixed, latents, index, then=in_units)
    return shown


def terms(network: Network, rows: Rows, noise: np.ndarray) -> Terms[np.ndarray]:
    """Return the ELBO's terms at the given noise, one draw a row."""
    answer: Terms[np.ndarray] = map_blocks(_terms, network, rows, noise)
    return answer


def draws(
    network: Network,
    rows: Rows,
    noise: np.ndarray,
    function: Callable[[Draws[np.ndarray]], Any],
) -> Any:
    """Return what a function of the bound's ingredients, a block of them, says of each row.

    They are taken at S draws shared by all rows; noise is (S, L).
    """
    return map_blocks(_draws, (network, jnp.asarray(noise)), rows, then=function)


def at_means(
    network: Network, rows: Rows, function: Callable[[AtMean[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """Return what a function of what is said at posterior means, block by block, says of rows."""
    answer: np.ndarray = map_blocks(_at_mean, network, rows, then=function)
    return answer
