"""The families a mixture's components can come from: one class and one line each.

`family` says what the EM step asks of a family. `gaussian` holds the four covariance types
of scikit-learn, `factor_analytic` low rank plus diagonal, `counts` Bernoulli and Poisson.
"""

from __future__ import annotations

from typing import Final

from latentmix.kernels.families.counts import Bernoulli, Poisson
from latentmix.kernels.families.factor_analytic import FactorAnalytic
from latentmix.kernels.families.family import Family, Gaussian, Mixture
from latentmix.kernels.families.gaussian import Diag, Full, Spherical, Tied

__all__ = ["DISCRETE", "FAMILIES", "GAUSSIAN", "Family", "Gaussian", "Mixture"]

# By the name of a Gaussian mixture's covariance_type.
GAUSSIAN: Final[dict[str, Gaussian]] = {
    "full": Full(),
    "tied": Tied(),
    "diag": Diag(),
    "spherical": Spherical(),
    "factor": FactorAnalytic(),
}

DISCRETE: Final[dict[str, Family]] = {"bernoulli": Bernoulli(), "poisson": Poisson()}

FAMILIES: Final[dict[str, Family]] = {**GAUSSIAN, **DISCRETE}
