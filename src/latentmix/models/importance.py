"""log p(x) by importance weighting: an average over draws of q(z|x), in place of the bound.

With weights w_s = p(x|z_s) p(z_s) / q(z_s|x) at draws z_s of q(z|x), log of their mean is an
estimate of log p(x) whose expectation rises with the number of draws, from the ELBO at one to
log p(x) at infinitely many (Burda, Grosse and Salakhutdinov 2016, "Importance weighted
autoencoders", equation 8 and theorem 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentmix.data import Rows
from latentmix.kernels.elbo import log_normal, reparameterise
from latentmix.models.blocks import blocks, map_blocks
from latentmix.models.posteriors import Posterior
from latentmix.models.vae import Network, prepare

# log p(z) of many z, (M, L) to (M,), in nats.
LogPrior = Callable[[np.ndarray], np.ndarray]

# Draws that are decoded and weighed before the next: a block's latents then stay small.
DRAWS_PER_GROUP = 32


class LogLikelihood(NamedTuple):
    """The importance-weighted estimate of log p(x) of each row, in nats.

    Attributes
    ----------
    log_likelihood : (N,)
        log of the mean weight.
    standard_error : (N,)
        Its standard error over other draws, by the delta method; NaN of a single draw. Different
        rows have independent errors.
    """

    log_likelihood: np.ndarray
    standard_error: np.ndarray


class _Sums(NamedTuple):
    """Weights added up, each over exp(largest): sums of them and of their squares, (B,)."""

    largest: np.ndarray
    weights: np.ndarray
    squares: np.ndarray


def log_likelihood(
    network: Network, rows: Rows, n_draws: int, log_prior: LogPrior, seed: int = 0
) -> LogLikelihood:
    """Return the estimate for every row, with memory for a block of rows and a group of draws.

    Parameters
    ----------
    network : Network
    rows : (N, D)
        Prepared inputs, of which the estimate is a density.
    n_draws : int
        Draws of z for each row, S. The first are the same however many there are.
    log_prior : callable
        log p(z); several threads call it at once.
    seed : int
        Of the draws.
    """
    groups = [jnp.arange(n_draws, dtype=jnp.uint32)[g] for g in blocks(n_draws, DRAWS_PER_GROUP)]

    def weighed(fixed: tuple[Network, Array], x: Array) -> LogLikelihood:
        network, key = fixed
        begun = _begun(network, key, x)
        sums = _Sums(np.full(len(x), -np.inf), np.zeros(len(x)), np.zeros(len(x)))
        for group in groups:
            sums = _added(sums, _log_weights(network, begun, group, log_prior))
        return _estimate(sums, n_draws)

    answer: LogLikelihood = map_blocks(weighed, (network, jax.random.key(seed)), rows)
    return answer


def log_standard_normal(z: Float[np.ndarray, "M L"]) -> Float[np.ndarray, " M"]:
    """Return log N(z; 0, I), in nats."""
    log_density: np.ndarray = -0.5 * np.sum(z.astype(np.float64) ** 2 + np.log(2 * np.pi), axis=1)
    return log_density


class _Begun(NamedTuple):
    """What all draws of a block of rows share: x, q(z|x), and a key for each row, (B,)."""

    x: Array
    posterior: Posterior[Array]
    keys: Array


@eqx.filter_jit
def _begun(network: Network, key: Array, x: Array) -> _Begun:
    x = prepare(x)
    return _Begun(x, network.posterior(x), _keys_of_rows(key, x))


def _keys_of_rows(key: Array, x: Float[Array, "B D"]) -> Array:
    """Return a key for each row that its values alone decide, (B,).

    The same row then has the same draws wherever it stands, and other rows have others: were
    they shared, their errors would not average out over rows. Two random linear hashes of the
    values' bits, modulo 2^32, are the key.
    """
    bits = jax.lax.bitcast_convert_type(x + 0.0, jnp.uint32)  # 0.0 has the bits of -0.0, too
    factors = jax.random.bits(key, (2, x.shape[1]), jnp.uint32) | 1
    first, second = (jnp.sum(bits * factor, axis=1, dtype=jnp.uint32) for factor in factors)

    def fold(one: Array, other: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, one), other)

    return jax.vmap(fold)(first, second)


@eqx.filter_jit
def _at_draws(network: Network, begun: _Begun, numbers: Array) -> tuple[Array, Array]:
    """Return log p(x|z) - log q(z|x) at each draw, (G, B), and the draws, (G, B, L)."""
    x, posterior, keys = begun

    def at(number: Array) -> tuple[Array, Array]:
        def noise_of(key: Array, mean: Array) -> Array:
            return jax.random.normal(jax.random.fold_in(key, number), mean.shape, jnp.float32)

        z = reparameterise(*posterior, jax.vmap(noise_of)(keys, posterior.mean))
        log_likelihood = network.likelihood.log_likelihood(x, network.outputs(z))
        return log_likelihood - log_normal(z, *posterior), z

    answer: tuple[Array, Array] = jax.lax.map(at, numbers)
    return answer


def _log_weights(
    network: Network, begun: _Begun, numbers: Array, log_prior: LogPrior
) -> np.ndarray:
    """Return the logarithms of a group's weights, (G, B), in float64."""
    without_prior, z = (np.asarray(part) for part in _at_draws(network, begun, numbers))
    prior = log_prior(z.reshape(-1, z.shape[-1])).reshape(without_prior.shape)
    log_weights: np.ndarray = without_prior.astype(np.float64) + prior
    return log_weights


def _added(sums: _Sums, log_weights: np.ndarray) -> _Sums:
    """Return the sums with another group of weights, (G, B), in them."""
    largest = np.maximum(sums.largest, log_weights.max(axis=0))
    # Where no weight is above 0 yet there is nothing to scale by.
    unit = np.where(np.isneginf(largest), 0.0, largest)
    kept = np.exp(sums.largest - unit)
    weights = np.exp(log_weights - unit)
    return _Sums(
        largest,
        sums.weights * kept + weights.sum(axis=0),
        sums.squares * kept**2 + (weights**2).sum(axis=0),
    )


def _estimate(sums: _Sums, n_draws: int) -> LogLikelihood:
    """Return log of the mean weight, and the standard deviation of that mean over the mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = sums.largest + np.log(sums.weights / n_draws)
        # n sum w^2 / (sum w)^2 - 1 is the squared coefficient of variation; rounding may leave
        # equal weights a little below it.
        spread = np.maximum(n_draws * sums.squares / sums.weights**2 - 1, 0.0)
        return LogLikelihood(estimate, np.sqrt(spread / np.float64(n_draws - 1)))
