"""What a mixture knows of missing entries: their expectation, and the conditional mixture.

Given the seen features s of a row, p(k|x_s) weighs the components, and within one the rest is
Gaussian again: mean_m + S_ms S_ss^-1 (x_s - mean_s), covariance S_mm - S_ms S_ss^-1 S_sm (Bishop,
PRML, equations 2.81 and 2.82). Families with independent features keep their means.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, Rows, answers, patterns_of
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.families.gaussian import Full, factor_of_precision, regression


def regressions(family: Family, mixture: Mixture, seen: np.ndarray) -> Float[np.ndarray, "K D S"]:
    """Return A_k: the rest's expectation is mean + A_k (x - mean) of what was seen."""
    if family.scaling == "none" or family.name in ("diag", "spherical"):
        n_features = mixture.means.shape[1]
        return np.repeat(np.eye(n_features)[None, :, seen], len(mixture.means), axis=0)
    return regression(family.matrices(mixture), seen)  # type: ignore[attr-defined]


def impute(model: Model, x: Float[np.ndarray, "N D"], crew: Crew) -> Float[np.ndarray, "N D"]:
    """Return the rows with each NaN replaced by its conditional expectation."""
    filled = np.array(x, np.float64)
    patterns = patterns_of(filled)
    if patterns is None:
        return filled
    n_features = filled.shape[1]
    rows = Rows(filled, np.zeros(n_features), np.ones(n_features), patterns=patterns)
    shares = answers(model, rows, crew).responsibilities
    means = model.mixture.means
    for seen, numbers in patterns:
        if seen.all():
            continue
        spread = regressions(model.family, model.mixture, seen)[:, ~seen]
        expected = np.zeros((len(numbers), int((~seen).sum())))
        for k, own in enumerate(spread):
            deviations = filled[np.ix_(numbers, seen)] - means[k, seen]
            expected += shares[numbers, k, None] * (means[k, ~seen] + deviations @ own.T)
        filled[np.ix_(numbers, ~seen)] = expected
    return filled


def condition(
    model: Model, seen: np.ndarray, values: Float[np.ndarray, " S"], crew: Crew
) -> tuple[Family, Mixture]:
    """Return the mixture of the other features, given the values of those seen, and its family."""
    family, mixture = model.family, model.mixture
    row = np.full((1, len(seen)), np.nan)
    row[0, seen] = values
    unit = np.zeros(len(seen)), np.ones(len(seen))
    given = answers(model, Rows(row, *unit, patterns=patterns_of(row)), crew)
    weights = given.responsibilities[0]
    if family.scaling == "none" or family.name in ("diag", "spherical"):
        rest, marginal = family.restrict(mixture, ~seen)
        return rest, marginal._replace(weights=weights)
    matrices = family.matrices(mixture)  # type: ignore[attr-defined]
    spread = regression(matrices, seen)[:, ~seen]
    means = mixture.means[:, ~seen] + np.einsum(
        "kms,ks->km", spread, values - mixture.means[:, seen]
    )
    covariances = matrices[:, ~seen][:, :, ~seen] - spread @ matrices[:, seen][:, :, ~seen]
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    return Full(), Mixture(weights, means, covariances, factor_of_precision(covariances))
