"""The M step: the mixture that the expected statistics make most likely, and repairs.

Weights are shares of the rows, class probabilities shares of each component's labelled rows;
means and covariances are the family's affair. A component that no row reaches any more, or whose
covariance has collapsed, is born again where the mixture explains the data worst.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from latentmix.kernels.arrays import Floats
from latentmix.kernels.expectation import Model, Statistics
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.families.family import Moments
from latentmix.kernels.naming import class_shares

# A component with no more than rounding error of all rows is dead.
DEAD_SHARE = 10 * float(np.finfo(np.float64).eps)

# In place of log 0, so that 0 rows times it stay 0.
LEAST_LOG_PROBABILITY = float(np.log(np.finfo(np.float64).tiny))


class Maximised(NamedTuple):
    """The model after the M step, and which of its components (K,) were born again.

    Of those, `collapsed` had rows and no covariance, the others no rows.
    """

    model: Model
    reborn: Bool[np.ndarray, " K"]
    collapsed: Bool[np.ndarray, " K"]


def maximise(
    model: Model,
    statistics: Statistics,
    reg_covar: Float[Floats, " D"],
    smoothing: float = 0.0,
) -> Maximised:
    """Return the model that maximises the expected log-likelihood (the M step).

    Parameters
    ----------
    model : Model
        The one that the statistics were taken under.
    statistics : Statistics
    reg_covar : (D,)
        Added to every variance.
    smoothing : float
        Weight, in rows, of the prior on p(y|k), centred on the classes' frequencies.

    Raises
    ------
    ValueError
        If no row has any weight under the mixture.
    """
    moments = statistics.moments
    total = float(np.sum(moments.counts))
    dead = moments.counts <= DEAD_SHARE * total
    if dead.all():
        raise ValueError("No row has any weight under the mixture.")
    one_row = min(1.0, total / len(dead))
    guarded = moments._replace(counts=np.where(dead, one_row, moments.counts))
    mixture = model.family.maximise(guarded, model.mixture, reg_covar)
    lost = dead.copy()
    if model.family.own_covariances:
        lost |= ~np.isfinite(mixture.factors.reshape(len(dead), -1)).all(axis=1)
    if lost.any() and not lost.all():
        mixture = _reborn(model.family, mixture, guarded, statistics, lost)
    names = _class_probs(model, statistics, smoothing)
    return Maximised(Model(model.family, mixture, names), lost, lost & ~dead)


def _class_probs(model: Model, statistics: Statistics, smoothing: float) -> Floats | None:
    """Return log p(y|k), (K, C): the shares of each component's labelled rows."""
    if model.log_class_probs is None:
        return None
    prior = smoothing * _frequencies(statistics)
    with np.errstate(divide="ignore"):
        logs = np.log(class_shares(statistics.class_counts, prior))
    return np.maximum(logs, LEAST_LOG_PROBABILITY)


def log_prior(model: Model, statistics: Statistics, smoothing: float) -> float:
    """Return the log prior density of p(y|k), in nats and up to a constant.

    It is sum_k sum_c smoothing frequency_c log p(c|k). The M step maximises it along with the
    expected log-likelihood, so that their sum is what never falls.
    """
    if model.log_class_probs is None or not smoothing:
        return 0.0
    return smoothing * float(np.sum(model.log_class_probs @ _frequencies(statistics)))


def _frequencies(statistics: Statistics) -> Float[Floats, " C"]:
    """Return the classes' shares of the labelled rows, the same under any model."""
    counts = statistics.class_counts
    return np.asarray(np.sum(counts, axis=0) / max(float(np.sum(counts)), 1e-300))


def _reborn(
    family: Family,
    mixture: Mixture,
    moments: Moments,
    statistics: Statistics,
    lost: Bool[np.ndarray, " K"],
) -> Mixture:
    """Put each lost component at a badly explained row, with the others' pooled covariance.

    Where there are more of them than such rows, they are spread from the last one towards the
    mean of all rows: twins at one place would stay twins for ever. Counts and shares begin half
    way there, for at a row itself a mean of 0 would exclude all others.
    """
    alive = np.where(lost, 0.0, moments.counts)
    share = alive / np.sum(alive)
    means, covariances = mixture.means.copy(), mixture.covariances
    centre = share @ means
    places = [row for _, row in statistics.worst if np.isfinite(row).all()] or [centre]
    for i, k in enumerate(np.flatnonzero(lost)):
        place = places[min(i, len(places) - 1)]
        behind = max(0, i - len(places) + 1) + (0 if family.has_centred_form else 1)
        means[k] = centre + (place - centre) / (1 + behind)
    if family.own_covariances:
        pooled = np.tensordot(share, np.where(_like(lost, covariances), 0.0, covariances), axes=1)
        covariances = np.where(_like(lost, covariances), pooled, covariances)
    return Mixture(mixture.weights, means, covariances, family.factors(covariances))


def _like(flags: np.ndarray, array: Floats) -> np.ndarray:
    """Return the components' flags so that they spread over an array whose first axis is K."""
    return flags.reshape((-1,) + (1,) * (array.ndim - 1))
