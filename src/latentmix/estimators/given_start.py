"""The parameters a caller gives EM to start from, checked; errors begin in scikit-learn's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentmix.errors import InputError
from latentmix.kernels.families import FAMILIES, Family
from latentmix.training.em_loop import Start


def given_start(
    family: str,
    shape: tuple[int, int],
    weights_init: Any,
    means_init: Any,
    precisions_init: Any,
) -> Start:
    """Return what is given of the start; what is None is left to the initialisation.

    Parameters
    ----------
    family : str
        A name in `FAMILIES`.
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
    kind = FAMILIES[family]
    weights = _weights(weights_init, shape[:1])
    means = _finite("means", "means_init", means_init, shape)
    name = f"{family} precision"
    precisions = _finite(name, "precisions_init", precisions_init, kind.shape(*shape))
    if precisions is None:
        return Start(weights, means)
    return Start(weights, means, _covariances(kind, name, precisions))


def _finite(name: str, parameter: str, value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the array in float64, of that shape and finite; `name` is scikit-learn's."""
    if value is None:
        return None
    try:
        array = np.asarray(value, np.float64)
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


def _weights(value: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    weights = _finite("weights", "weights_init", value, shape)
    if weights is None:
        return None
    if np.any(weights < 0) or np.any(weights > 1):
        raise InputError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.max():.5f}, min value {weights.min():.5f}. Divide weights_init, which may "
            "not be negative, by its sum."
        )
    # The rounding of a sum of so small numbers, in the precision they are given in.
    tolerance = 1e-6 if getattr(value, "dtype", None) == np.float32 else 1e-8
    if abs(weights.sum() - 1) > tolerance:
        raise InputError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}. Divide weights_init by its sum."
        )
    return weights


def _covariances(kind: Family, name: str, precisions: np.ndarray) -> np.ndarray:
    """Return the covariances whose inverses are given, which must be positive (definite)."""
    # A family of matrices is one whose covariances end in (D, D) whatever D is.
    if kind.shape(1, 2)[-2:] == (2, 2):
        return _inverse_matrices(name, precisions)
    if precisions.min() <= 0:
        raise InputError(
            f"The parameter '{name}' should be positive, but precisions_init has the least value "
            f"{precisions.min():.5g}. Give the inverses of variances."
        )
    return 1 / precisions


def _inverse_matrices(name: str, precisions: np.ndarray) -> np.ndarray:
    symmetric = np.allclose(precisions, np.swapaxes(precisions, -1, -2))
    least = np.linalg.eigvalsh(precisions).min()
    try:
        covariances = np.linalg.inv(precisions)
        # A precision so near to singular that its inverse is no covariance is none either.
        np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        least = min(least, 0.0)
    if not (symmetric and least > 0):
        what = f"with the least eigenvalue {least:.5g}" if symmetric else "that is not symmetric"
        raise InputError(
            f"The parameter '{name}' should be symmetric, positive-definite, but precisions_init "
            f"has a matrix {what}. Give the inverses of covariance matrices."
        )
    return covariances
