"""Expectation-maximisation for a Gaussian mixture, as sums of sufficient statistics.

One EM step is a sum over blocks of rows followed by a small update: for each block
logits = phi(X) Theta gives the responsibilities R, and phi(X)^T R is added to the
statistics; `maximise` then needs no row. Memory is O(block), any order of blocks gives
the same answer, weights multiply R. Dempster, Laird and Rubin 1977; the natural-parameter
form is Bishop, PRML, section 9.2 with 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentmix.kernels.arrays import ArrayT
from latentmix.kernels.families import FAMILIES

# Above this mean_k' P_k mean_k the expanded quadratic x'Px - 2x'Pm + m'Pm has lost about six
# of float64's sixteen digits, and the centred form takes over.
EXPANDED_FORM_LIMIT = 1e6


class Mixture(NamedTuple, Generic[ArrayT]):
    """A Gaussian mixture with K components over D features.

    Attributes
    ----------
    weights : (K,)
        Mixing weights, summing to 1.
    means : (K, D)
    covariances, factors : the family's shape
        Covariances, and the factors F of their inverses F F^T.
    """

    weights: Float[ArrayT, " K"]
    means: Float[ArrayT, "K D"]
    covariances: ArrayT
    factors: ArrayT


class Blocks(NamedTuple):
    """Rows cut into equal blocks, the last one padded with rows of weight 0."""

    rows: Float[Array, "n B D"]
    weights: Float[Array, "n B"]


class Statistics(NamedTuple):
    """What one pass over the rows leaves behind: all that `maximise` needs.

    `first` and `second` are moments about `centres`: the origin in the expanded form, the
    current means in the centred one. `worst` is the row explained least, kept so that a dead
    component can be born again there.
    """

    counts: Float[Array, " K"]
    first: Float[Array, "K D"]
    second: Array
    log_likelihood: Float[Array, ""]
    centres: Float[Array, "K D"]
    worst: Float[Array, " D"]
    worst_log_density: Float[Array, ""]


def to_blocks(rows: Float[Array, "N D"], weights: Float[Array, " N"], size: int) -> Blocks:
    """Cut rows and their weights into blocks of `size` rows."""
    n_rows, n_features = rows.shape
    n_blocks = -(-n_rows // size)
    padding = n_blocks * size - n_rows
    return Blocks(
        jnp.pad(rows, ((0, padding), (0, 0))).reshape(n_blocks, size, n_features),
        jnp.pad(weights, (0, padding)).reshape(n_blocks, size),
    )


def make_mixture(
    family: str, weights: Float[Array, " K"], means: Float[Array, "K D"], covariances: Array
) -> Mixture[Array]:
    """Build a mixture and the precision factors that its density needs."""
    return Mixture(weights, means, covariances, FAMILIES[family].factors(covariances))


def largest_centre_distance(family: str, mixture: Mixture[Array]) -> Float[Array, ""]:
    """Return max_k mean_k' P_k mean_k, which measures the digits the expanded form loses."""
    scaled = FAMILIES[family].precision_times(mixture.means, mixture.factors)
    return jnp.max(jnp.sum(scaled * mixture.means, axis=1))


def log_joint(
    family: str, mixture: Mixture[Array], x: Float[Array, "B D"], *, centred: bool
) -> Float[Array, "B K"]:
    """Return log p(x, k) = log weight_k + log p(x|k), in nats.

    Parameters
    ----------
    family : str
        A name in `FAMILIES`.
    mixture : Mixture
    x : (B, D)
    centred : bool
        False: two matrix products, phi(x) Theta. True: from x - mean_k, slower, and exact
        for tight components far apart.
    """
    kind = FAMILIES[family]
    n_features = x.shape[1]
    constants = (
        jnp.log(mixture.weights)
        + kind.log_determinants(mixture.factors, n_features)
        - 0.5 * n_features * jnp.log(2 * jnp.pi)
    )
    if centred:
        return constants - 0.5 * kind.squared_distances(x, mixture.means, mixture.factors)
    linear = kind.precision_times(mixture.means, mixture.factors)
    constants = constants - 0.5 * jnp.sum(linear * mixture.means, axis=1)
    quadratic = kind.quadratic_features(x) @ kind.quadratic_parameters(mixture.factors)
    shared = kind.shared_log_density(x, mixture.factors)
    return quadratic + x @ linear.T + constants + shared[:, None]


def log_responsibilities(
    logits: Float[Array, "B K"],
) -> tuple[Float[Array, " B"], Float[Array, "B K"]]:
    """Return log p(x), (B,), and log p(k|x), (B, K), from log p(x, k)."""
    log_density = jax.nn.logsumexp(logits, axis=1)
    return log_density, logits - log_density[:, None]


@partial(jax.jit, static_argnames=("family", "centred"))
def expectation(
    family: str, mixture: Mixture[Array], blocks: Blocks, *, centred: bool
) -> Statistics:
    """Return the expected statistics of all rows under the mixture (the E step)."""

    def responsibilities(x: Array, index: Array) -> tuple[Array, Array]:
        log_density, log_resp = log_responsibilities(log_joint(family, mixture, x, centred=centred))
        return log_density, jnp.exp(log_resp)

    centres = mixture.means if centred else jnp.zeros_like(mixture.means)
    return _accumulate(family, blocks, centres, responsibilities, centred=centred)


@partial(jax.jit, static_argnames=("family", "n_components"))
def statistics_of_assignment(
    family: str, blocks: Blocks, components: Int[Array, "n B"], n_components: int
) -> Statistics:
    """Return the statistics of rows assigned outright; a row assigned to -1 counts nowhere."""

    def responsibilities(x: Array, index: Array) -> tuple[Array, Array]:
        one_hot = jax.nn.one_hot(components[index], n_components, dtype=x.dtype)
        return jnp.zeros(x.shape[0], x.dtype), one_hot

    centres = jnp.zeros((n_components, blocks.rows.shape[2]), blocks.rows.dtype)
    return _accumulate(family, blocks, centres, responsibilities, centred=False)


@partial(jax.jit, static_argnames=("family", "n_components"))
def statistics_of_random(family: str, blocks: Blocks, key: Array, n_components: int) -> Statistics:
    """Return the statistics of uniformly random responsibilities (init_params='random')."""

    def responsibilities(x: Array, index: Array) -> tuple[Array, Array]:
        shape = (x.shape[0], n_components)
        draws = jax.random.uniform(jax.random.fold_in(key, index), shape, x.dtype)
        return jnp.zeros(x.shape[0], x.dtype), draws / jnp.sum(draws, axis=1, keepdims=True)

    centres = jnp.zeros((n_components, blocks.rows.shape[2]), blocks.rows.dtype)
    return _accumulate(family, blocks, centres, responsibilities, centred=False)


def _accumulate(
    family: str,
    blocks: Blocks,
    centres: Array,
    responsibilities: Callable[[Array, Array], tuple[Array, Array]],
    *,
    centred: bool,
) -> Statistics:
    """Add up the statistics of every block, given each block's log p(x) and p(k|x)."""
    kind = FAMILIES[family]

    def add(total: Statistics, block: tuple[Array, Array, Array]) -> tuple[Statistics, None]:
        x, weights, index = block
        log_density, resp = responsibilities(x, index)
        resp = resp * weights[:, None]
        counts = jnp.sum(resp, axis=0)
        if centred:
            second = kind.centred_second_moments(x, centres, resp)
            # About the current means, first moments are small differences: sum them as such.
            first = jax.lax.map(
                lambda component: component[1] @ (x - component[0]), (centres, resp.T)
            )
        else:
            second = kind.second_moments(x, kind.quadratic_features(x), resp)
            first = resp.T @ x
        candidate = jnp.argmin(jnp.where(weights > 0, log_density, jnp.inf))
        worse = (weights[candidate] > 0) & (log_density[candidate] < total.worst_log_density)
        return Statistics(
            counts=total.counts + counts,
            first=total.first + first,
            second=total.second + second,
            log_likelihood=total.log_likelihood + weights @ log_density,
            centres=centres,
            worst=jnp.where(worse, x[candidate], total.worst),
            worst_log_density=jnp.where(worse, log_density[candidate], total.worst_log_density),
        ), None

    x = blocks.rows[0]
    dtype = x.dtype
    start = Statistics(
        counts=jnp.zeros(len(centres), dtype),
        first=jnp.zeros_like(centres),
        second=jnp.zeros(kind.shape(*centres.shape), dtype),
        log_likelihood=jnp.zeros((), dtype),
        centres=centres,
        worst=jnp.zeros(x.shape[1], dtype),
        worst_log_density=jnp.full((), jnp.inf, dtype),
    )
    index = jnp.arange(blocks.rows.shape[0])
    return jax.lax.scan(add, start, (blocks.rows, blocks.weights, index))[0]


class Maximised(NamedTuple):
    """The mixture after the M step, and which of its components had died and were reborn."""

    mixture: Mixture[Array]
    reborn: Array


@partial(jax.jit, static_argnames=("family",))
def maximise(family: str, statistics: Statistics, reg_covar: Float[Array, ""]) -> Maximised:
    """Return the mixture that maximises the expected log-likelihood (the M step).

    A component that no row reaches any more is born again, with the pooled covariance and the
    weight of one row, at the row that the mixture explains worst. Several are spread from there
    towards the mean of all rows: twins at one place would stay twins for ever.

    Parameters
    ----------
    family : str
        A name in `FAMILIES`.
    statistics : Statistics
    reg_covar : scalar
        Added to every variance.
    """
    kind = FAMILIES[family]
    total = jnp.sum(statistics.counts)
    tiny = 10 * jnp.finfo(total.dtype).eps  # type: ignore[no-untyped-call]  # untyped in JAX
    dead = statistics.counts <= tiny * jnp.maximum(total, 1.0)
    counts = jnp.where(dead, 1.0, statistics.counts)
    shifts = statistics.first / counts[:, None]
    covariances = kind.covariances(counts, shifts, statistics.second, reg_covar)
    means = jnp.where(dead[:, None], _births(statistics, dead), statistics.centres + shifts)
    if family != "tied":
        pooled = jnp.tensordot(jnp.where(dead, 0.0, counts) / total, covariances, axes=1)
        shape = (-1,) + (1,) * (covariances.ndim - 1)
        covariances = jnp.where(dead.reshape(shape), pooled, covariances)
    weights = counts / jnp.sum(counts)
    return Maximised(make_mixture(family, weights, means, covariances), dead)


def _births(statistics: Statistics, dead: Array) -> Float[Array, "K D"]:
    """Return where each dead component is born again; other rows of the answer mean nothing."""
    counts = statistics.counts
    sums = counts[:, None] * statistics.centres + statistics.first
    centre = jnp.sum(sums, axis=0) / jnp.maximum(jnp.sum(counts), 1.0)
    shares = 1 - (jnp.cumsum(dead) - 1) / jnp.maximum(jnp.sum(dead), 1)
    return centre + shares[:, None] * (statistics.worst - centre)


def rescale(
    family: str, mixture: Mixture[Array], shift: Float[Array, " D"], scale: Array
) -> Mixture[Array]:
    """Return the mixture of scale * x + shift, given that of x."""
    covariances = mixture.covariances * scale**2
    return make_mixture(family, mixture.weights, mixture.means * scale + shift, covariances)
