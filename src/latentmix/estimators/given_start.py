"""The parameters a caller gives EM to start from, checked; errors begin in scikit-learn's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentmix.errors import InputError
from latentmix.estimators.validation import as_floats
from latentmix.kernels.arrays import Floats
from latentmix.kernels.families import Gaussian
from latentmix.training.em_start import Start


def given_start(
    family: Gaussian,
    shape: tuple[int, int],
    weights_init: Any,
    means_init: Any,
    precisions_init: Any,
) -> Start:
    """Return what is given of the start; what is None is left to the initialisation.

    Parameters
    ----------
    family : Gaussian
    shape : (K, D)
        Components and features.
    weights_init, means_init, precisions_init : array-like or None
        As in :class:`~latentmix.GaussianMixture`.

    Raises
    ------
    InputError
        For a wrong shape, NaN or infinity, weights that are no probabilities, or precisions that
        are not positive (definite).
    """
    start = given_means(shape, weights_init, means_init)
    name = f"{family.name} precision"
    precisions = _finite(name, "precisions_init", precisions_init, family.shape(*shape))
    if precisions is None:
        return start
    return start._replace(covariances=_covariances(family, name, precisions))


def given_means(shape: tuple[int, int], weights_init: Any, means_init: Any) -> Start:
    """Return the weights and means that are given, checked as `given_start` does."""
    weights = _weights(weights_init, shape[:1])
    return Start(weights, _finite("means", "means_init", means_init, shape))


def _finite(name: str, parameter: str, value: Any, shape: tuple[int, ...]) -> Floats | None:
    """Return the array in float64, of that shape and finite; `name` is scikit-learn's."""
    if value is None:
        return None
    try:
        array = as_floats(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The parameter '{name}' should be an array of numbers, but got {value!r}. Give "
            f"{parameter} with the shape of {shape}."
        ) from error
    if array.shape != shape:
        raise InputError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}. "
            f"Change {parameter}, n_components or covariance_type so that they agree with X."
        )
    if not np.all(np.isfinite(array)):
        raise InputError(
            f"The parameter '{name}' should be finite, but {parameter} contains NaN or infinity."
        )
    return array


def _weights(value: Any, shape: tuple[int, ...]) -> Floats | None:
    weights = _finite("weights", "weights_init", value, shape)
    if weights is None:
        return None
    if np.any(weights < 0) or np.any(weights > 1):
        raise InputError(
            # The sentence is scikit-learn's, which names the two the wrong way round.
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.min():.5f}, min value {weights.max():.5f}. The least is "
            f"{weights.min():.5g} and the greatest {weights.max():.5g}: divide weights_init, which "
            "may not be negative, by its sum."
        )
    # The rounding of a sum of so small numbers, in the precision they are given in.
    tolerance = 1e-6 if getattr(value, "dtype", None) == np.float32 else 1e-8
    if abs(weights.sum() - 1) > tolerance:
        raise InputError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}. Divide weights_init by its sum."
        )
    return weights


def _covariances(family: Gaussian, name: str, precisions: Floats) -> Floats:
    """Return the covariances whose inverses are given, which must be positive (definite)."""
    fault = family.fault(precisions)
    if fault is not None:
        raise InputError(f"The parameter '{name}' {fault}")
    covariances = family.from_precisions(precisions)
    valid = np.isfinite(family.factors(covariances)).reshape(len(covariances), -1).all(axis=1)
    if not valid.all():
        component = int(np.flatnonzero(~valid)[0])
        raise InputError(
            f"The parameter '{name}' should be symmetric, positive-definite, but precisions_init "
            f"gives component {component} no covariance. Give the inverses of covariances."
        )
    return covariances
