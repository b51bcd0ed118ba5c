"""The loop around the EM step: start, iterate until the log-likelihood converges, restart.

Rows are centred and divided by one number first, so that float64 sums keep their digits and
every covariance family maps back exactly; answers are given in the rows' own units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.errors import InputError
from latentmix.kernels import kmeans
from latentmix.kernels.families import FAMILIES
from latentmix.kernels.mixture import (
    EXPANDED_FORM_LIMIT,
    Blocks,
    Mixture,
    expectation,
    largest_centre_distance,
    make_mixture,
    maximise,
    rescale,
    statistics_of_assignment,
    statistics_of_random,
    to_blocks,
)
from latentmix.training.events import EmIteration, Listener

INITIALISATIONS = ("kmeans", "k-means++", "random", "random_from_data")

# k-means chooses starting points, and needs no more rows than this to choose well.
ROWS_FOR_KMEANS = 100_000


class Start(NamedTuple):
    """Parameters that replace the initialisation's; None keeps it.

    `lower_bound` is where the fit that they come from ended: going on with it may converge at once.
    """

    weights: np.ndarray | None = None
    means: np.ndarray | None = None
    covariances: np.ndarray | None = None
    lower_bound: float = -np.inf


@dataclass(frozen=True)
class EmRule:
    """How to fit: scikit-learn's parameters of the same names."""

    family: str
    n_components: int
    init_params: str = "kmeans"
    tol: float = 1e-3
    reg_covar: float = 1e-6
    max_iter: int = 100
    start: Start = field(default=Start())


class EmFit(NamedTuple):
    """A fitted mixture (NumPy arrays), and how it got there.

    `lower_bounds` are mean log-likelihoods per row, in nats, one an iteration; `n_reborn`
    counts the components that died and were started again.
    """

    mixture: Mixture[np.ndarray]
    lower_bounds: list[float]
    converged: bool
    n_reborn: int


class _Scaled(NamedTuple):
    blocks: Blocks
    rows: Array
    weights: Array
    shift: np.ndarray
    scale: float


def block_rows(n_rows: int, n_features: int, n_components: int) -> int:
    """Return how many rows a block holds, so that its features and logits stay in the cache."""
    width = max(n_features * (n_features + 1) // 2, n_components)
    return int(np.clip((1 << 20) // width, 64, max(64, min(8192, n_rows))))


def fit_em(
    rows: np.ndarray, weights: np.ndarray, rule: EmRule, seed: int, listener: Listener
) -> EmFit:
    """Fit a mixture by EM from one start.

    Parameters
    ----------
    rows : (N, D) float64
    weights : (N,) float64
        Row weights, 1 for a plain fit.
    rule : EmRule
    seed : int
        Of the start's random numbers.
    listener : callable
        Told of every `EmIteration`.

    Raises
    ------
    InputError
        If a component's covariance becomes singular.
    """
    with jax.enable_x64(True):
        data = _scaled(rows, weights, rule)
        reg_covar = jnp.asarray(rule.reg_covar / data.scale**2)
        mixture = _initial(data, rule, reg_covar, seed)
        total = float(np.sum(weights))
        # A density per scaled unit, turned back into one per unit of the rows.
        log_jacobian = rows.shape[1] * float(np.log(data.scale))
        lower_bounds: list[float] = []
        n_reborn, converged, previous = 0, False, rule.start.lower_bound
        for iteration in range(1, rule.max_iter + 1):
            centred = not largest_centre_distance(rule.family, mixture) < EXPANDED_FORM_LIMIT
            statistics = expectation(rule.family, mixture, data.blocks, centred=centred)
            lower_bounds.append(float(statistics.log_likelihood) / total - log_jacobian)
            _refuse_singular(lower_bounds[-1], rule)
            mixture, reborn = maximise(rule.family, statistics, reg_covar)
            n_reborn += int(jnp.sum(reborn))
            listener(EmIteration(rule.n_components, iteration, lower_bounds[-1]))
            if abs(lower_bounds[-1] - previous) < rule.tol:
                converged = True
                break
            previous = lower_bounds[-1]
        _refuse_singular(float(jnp.sum(mixture.factors)), rule)
        fitted = rescale(rule.family, mixture, jnp.asarray(data.shift), jnp.asarray(data.scale))
        return EmFit(
            Mixture(*(np.asarray(array) for array in fitted)), lower_bounds, converged, n_reborn
        )


def _scaled(rows: np.ndarray, weights: np.ndarray, rule: EmRule) -> _Scaled:
    shift = rows.mean(axis=0)
    centred = rows - shift
    scale = float(np.sqrt(np.mean(centred**2))) or 1.0
    scaled = jnp.asarray(centred / scale)
    n_rows, n_features = rows.shape
    size = block_rows(n_rows, n_features, rule.n_components)
    device_weights = jnp.asarray(weights)
    return _Scaled(to_blocks(scaled, device_weights, size), scaled, device_weights, shift, scale)


def _initial(data: _Scaled, rule: EmRule, reg_covar: Array, seed: int) -> Mixture[Array]:
    """Return the starting mixture, in scaled units: what is given, and the rest drawn."""
    given = rule.start
    weights: Array | np.ndarray | None = given.weights
    means: Array | np.ndarray | None = None
    covariances: Array | np.ndarray | None = None
    if given.means is not None:
        means = (given.means - data.shift) / data.scale
    if given.covariances is not None:
        covariances = given.covariances / data.scale**2
    if weights is None or means is None or covariances is None:
        drawn = _drawn(data, rule, reg_covar, seed)
        weights = drawn.weights if weights is None else weights
        means = drawn.means if means is None else means
        covariances = drawn.covariances if covariances is None else covariances
    parameters = (jnp.asarray(array) for array in (weights, means, covariances))
    return make_mixture(rule.family, *parameters)


def _drawn(data: _Scaled, rule: EmRule, reg_covar: Array, seed: int) -> Mixture[Array]:
    """Return the mixture of the initialisation's responsibilities."""
    key = jax.random.key(seed)
    if rule.init_params == "random":
        statistics = statistics_of_random(rule.family, data.blocks, key, rule.n_components)
    else:
        components = _assignment(data, rule, key)
        blocked = jnp.pad(components, (0, data.blocks.weights.size - len(components)))
        statistics = statistics_of_assignment(
            rule.family, data.blocks, blocked.reshape(data.blocks.weights.shape), rule.n_components
        )
    mixture: Mixture[Array] = maximise(rule.family, statistics, reg_covar).mixture
    return mixture


def _assignment(data: _Scaled, rule: EmRule, key: Array) -> Array:
    """Return each row's starting component; -1 for rows that start in none."""
    n_rows = len(data.rows)
    draw_key, seed_key, sample_key = jax.random.split(key, 3)
    if rule.init_params == "random_from_data":
        chosen = jax.random.choice(
            draw_key,
            n_rows,
            (rule.n_components,),
            replace=False,
            p=data.weights / jnp.sum(data.weights),
        )
        return jnp.full(n_rows, -1).at[chosen].set(jnp.arange(rule.n_components))
    rows, weights = data.rows, data.weights
    sampled = n_rows > ROWS_FOR_KMEANS
    if sampled:
        subset = jax.random.choice(sample_key, n_rows, (ROWS_FOR_KMEANS,), replace=False)
        rows, weights = rows[subset], weights[subset]
    chosen = kmeans.plus_plus(seed_key, rows, weights, rule.n_components)
    if rule.init_params == "k-means++":
        original = subset[chosen] if sampled else chosen
        return jnp.full(n_rows, -1).at[original].set(jnp.arange(rule.n_components))
    centres = kmeans.lloyd(rows, weights, rows[chosen]).centres
    nearest: Array = kmeans.nearest_centre(data.rows, centres)
    return nearest


def _refuse_singular(value: float, rule: EmRule) -> None:
    if not np.isfinite(value):
        raise InputError(
            "Fitting the mixture model failed because some components have ill-defined empirical "
            "covariance (for instance caused by singleton or collapsed samples). Try to decrease "
            "the number of components, increase reg_covar, or scale the input data. Received "
            f"n_components={rule.n_components}, reg_covar={rule.reg_covar}, "
            f"covariance_type={rule.family!r}."
        )


def fit_best(
    rows: np.ndarray, weights: np.ndarray, rule: EmRule, seeds: list[int], listener: Listener
) -> EmFit:
    """Fit from several starts and keep the one with the highest final log-likelihood."""
    fits = [fit_em(rows, weights, rule, seed, listener) for seed in seeds]
    # Without an iteration (max_iter=0) no start is known to be better: the first is kept.
    return max(fits, key=lambda fit: fit.lower_bounds[-1] if fit.lower_bounds else -np.inf)


def n_free_parameters(family: str, n_components: int, n_features: int) -> int:
    """Return the number of free parameters: weights, means and covariances."""
    covariances = FAMILIES[family].n_parameters(n_components, n_features)
    return covariances + n_components * n_features + n_components - 1
