"""Temperature scaling of p(y|x): one number that makes probabilities say how often they are right.

p_T(y|x) is proportional to p(y|x)^(1/T), which is the softmax of log p(y|x) / T (Guo, Pleiss, Sun
and Weinberger 2017, "On calibration of modern neural networks", equation 9). T > 1 is more in
doubt, T < 1 less; the order of the classes is the same for any T.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from latentmix.kernels.arrays import Floats

# Where the best temperature is looked for: beyond these p(y|x) is flat, or certain.
COLDEST: Final = 0.05
HOTTEST: Final = 20.0

# A class that was ruled out altogether can come true: then no temperature would be finite.
LEAST_PROBABILITY: Final = 1e-12


def tempered(class_proba: Float[Floats, "N C"], temperature: float) -> Float[Floats, "N C"]:
    """Return p_T(y|x), (N, C); the same bits where the temperature is 1."""
    if temperature == 1.0:
        return class_proba
    log_proba = _log(class_proba) / temperature
    answer: np.ndarray = np.exp(log_proba - logsumexp(log_proba, axis=1, keepdims=True))
    return answer.astype(class_proba.dtype, copy=False)


def best_temperature(
    class_proba: Float[Floats, "M C"], indices: Int[np.ndarray, " M"], prior_rows: float
) -> float:
    """Return the temperature of largest likelihood, between 0.05 and 20.

    Parameters
    ----------
    class_proba : (M, C)
        p(y|x) of labelled rows whose labels had no part in it.
    indices : (M,) int
        Their classes.
    prior_rows : float
        Weight, in rows, of a prior that believes p(y|x) as it is: as if so many rows more had
        come with classes shared out as p(y|x) says. Without one, a few rows that are all right
        would leave no doubt at all.
    """
    log_proba = _log(class_proba)
    given = np.eye(class_proba.shape[1])[indices] + prior_rows / len(indices) * class_proba

    def minus_log_likelihood(log_temperature: float) -> float:
        scaled = log_proba / math.exp(log_temperature)
        normalised = scaled - logsumexp(scaled, axis=1, keepdims=True)
        return -float(np.sum(given * normalised))

    # Convex in 1/T, so there is one minimum.
    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded")
    return math.exp(found.x)


def _log(class_proba: Float[Floats, "N C"]) -> Float[Floats, "N C"]:
    logarithms: np.ndarray = np.log(np.maximum(class_proba.astype(np.float64), LEAST_PROBABILITY))
    return logarithms
