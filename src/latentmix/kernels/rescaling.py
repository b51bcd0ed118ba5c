"""Mixtures of rows in other units, and variances that leave the range of their numbers."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.families import Family, Mixture


def rescale(
    family: Family,
    mixture: Mixture,
    shift: Float[Floats, " D"],
    scale: Float[Floats, " D"],
) -> Mixture:
    """Return the mixture of scale * x + shift, given that of x.

    Raises
    ------
    InputError
        If variances or their inverses are past float64's range, and were not before.
    """
    with np.errstate(over="ignore"):
        covariances = family.rescale(mixture.covariances, scale)
    factors = family.factors(covariances)
    if np.isfinite(mixture.factors).all():
        refuse_overflow(covariances, factors)
    return Mixture(mixture.weights, mixture.means * scale + shift, covariances, factors)


def refuse_overflow(covariances: np.ndarray, *inverses: np.ndarray) -> None:
    """Raise InputError if covariances or their inverses are not finite in their dtype."""
    if all(np.isfinite(array).all() for array in (covariances, *inverses)):
        return
    held = np.finfo(covariances.dtype)
    other = "" if held.bits >= 64 else ", or give it in float64"
    raise InputError(
        f"The variances that fit X, or their inverses, leave the range of {held.dtype}, "
        f"{held.tiny:.3g} to {held.max:.3g}. Rescale X{other}."
    )
