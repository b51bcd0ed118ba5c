"""The families a mixture's components can come from: one class and one line each.

`family` says what the EM step asks of a family. `gaussian` holds covariance matrices, one a
component or one for all, `independent` variances, `factor_analytic` low rank plus diagonal,
`counts` Bernoulli and Poisson; `incomplete` is what they say of rows with missing entries.
"""

from __future__ import annotations

from typing import Final

from latentmix.kernels.families.counts import Bernoulli, Discrete, Poisson
from latentmix.kernels.families.factor_analytic import FactorAnalytic
from latentmix.kernels.families.family import Family, Gaussian, Mixture, n_free_parameters
from latentmix.kernels.families.gaussian import Full, Tied
from latentmix.kernels.families.independent import Diag, Spherical

__all__ = [
    "DISCRETE",
    "FAMILIES",
    "GAUSSIAN",
    "Discrete",
    "Family",
    "Gaussian",
    "Mixture",
    "gaussian_family",
    "n_free_parameters",
]

# By the name of a Gaussian mixture's covariance_type.
GAUSSIAN: Final[dict[str, Gaussian]] = {
    "full": Full(),
    "tied": Tied(),
    "diag": Diag(),
    "spherical": Spherical(),
    "factor": FactorAnalytic(),
}

DISCRETE: Final[dict[str, Discrete]] = {"bernoulli": Bernoulli(), "poisson": Poisson()}

FAMILIES: Final[dict[str, Family]] = {**GAUSSIAN, **DISCRETE}


def gaussian_family(covariance_type: str, n_factors: int) -> Gaussian:
    """Return the family of that name; `n_factors` is for factor models alone."""
    family = GAUSSIAN[covariance_type]
    return FactorAnalytic(n_factors) if isinstance(family, FactorAnalytic) else family
