"""Gaussian components whose features are independent: diag and spherical."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.arrays import Floats
from latentmix.kernels.families.family import (
    Completed,
    Family,
    Incomplete,
    Mixture,
    Moments,
    joined,
    parted,
)
from latentmix.kernels.families.gaussian import ExpandedGaussian
from latentmix.kernels.families.incomplete import CompletedByVariances
from latentmix.kernels.families.linear_algebra import inverse_root


class _Variances(ExpandedGaussian):
    """What diag and spherical have in common: independent features, factors 1 / sigma."""

    @abstractmethod
    def by_feature(self, variances: Floats) -> Float[Floats, "K _"]:
        """Return variances or factors so that they spread over the features."""

    def quadratic_parameters(self, factors: Floats) -> Floats:
        return -0.5 * self.by_feature(factors**2)

    def precision_times(self, means: Floats, factors: Floats) -> Floats:
        return means * self.by_feature(factors**2)

    def distance(self, deviation: Floats, mixture: Mixture, k: int) -> Floats:
        # The factor first: its square alone may be past float64's range.
        factor = self.by_feature(mixture.factors[k : k + 1]).T
        return np.asarray(np.sum((deviation * factor) ** 2, axis=0))

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> Floats:
        precisions, variances = (
            np.broadcast_to(self.by_feature(values), (len(values), mixture.means.shape[1]))
            for values in (self.precisions(mixture.factors), covariances)
        )
        return np.asarray(precisions @ variances.T)

    @abstractmethod
    def pooled(self, second: Float[Floats, "K D"]) -> Floats:
        """Return the second moments of all features in the shape of the variances."""

    def completed(self, mixture: Mixture, rows: Incomplete) -> Completed:
        shape = mixture.means.shape
        variances = np.broadcast_to(self.by_feature(mixture.covariances), shape)
        factors = np.broadcast_to(self.by_feature(mixture.factors), shape)
        return CompletedByVariances(mixture, variances, factors, self.pooled, rows)

    def unconstrained(self, mixture: Mixture) -> Floats:
        return joined(mixture.weights, mixture.means, np.log(mixture.factors))

    def from_unconstrained(self, vector: Floats, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.factors.shape
        weights, means, logs = parted(vector, len(like.weights), *shapes)
        factors = np.exp(logs)
        return Mixture(weights, means, self.from_precisions(self.precisions(factors)), factors)

    def factors(self, covariances: Floats) -> Floats:
        return inverse_root(covariances)

    def precisions(self, factors: Floats) -> Floats:
        return factors**2

    def from_precisions(self, precisions: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return 1.0 / precisions

    def fault(self, precisions: Floats) -> str | None:
        if precisions.min() > 0:
            return None
        component = int(np.argmin(precisions.reshape(len(precisions), -1).min(axis=1)))
        return (
            f"should be positive, but precisions_init has the least value {precisions.min():.5g}, "
            f"in component {component}. Give the inverses of variances."
        )

    def matrices(self, mixture: Mixture) -> Floats:
        return self.by_feature(mixture.covariances)[:, :, None] * np.eye(mixture.means.shape[1])

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        deviations = self.by_feature(np.sqrt(mixture.covariances))
        return np.asarray(mixture.means[components] + noise * deviations[components])


class Diag(_Variances):
    """Each component has a variance for every feature: phi = [x^2, x, 1]."""

    name = "diag"

    def by_feature(self, variances: Floats) -> Floats:
        return variances

    def moved(self, one: Floats, other: Floats) -> Floats:
        return one * other

    def n_quadratic(self, n_features: int) -> int:
        return n_features

    def quadratic(self, x: Floats, out: Floats) -> None:
        np.multiply(x, x, out=out)

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        return sums.T

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> Floats:
        return (deviation**2) @ responsibilities

    def pooled(self, second: Floats) -> Floats:
        return second

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Floats
    ) -> tuple[Family, Mixture]:
        return self, Mixture(
            mixture.weights,
            mixture.means[:, ~seen],
            mixture.covariances[:, ~seen],
            mixture.factors[:, ~seen],
        )

    def covariances(self, moments: Moments, shifts: Floats, reg_covar: Floats) -> Floats:
        return moments.second / moments.counts[:, None] - shifts**2 + reg_covar

    def log_determinants(self, mixture: Mixture) -> Floats:
        return np.asarray(np.sum(np.log(mixture.factors), axis=1))

    def rescale(self, covariances: Floats, scale: Floats) -> Floats:
        return covariances * scale * scale

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features


class Spherical(_Variances):
    """Each component has one variance: phi = [|x|^2, x, 1]."""

    name = "spherical"
    # One variance for all features allows one unit for all.
    scaling = "common"

    def by_feature(self, variances: Floats) -> Floats:
        return variances[:, None]

    def moved(self, one: Floats, other: Floats) -> Floats:
        return np.asarray(np.sum(one * other, axis=1))

    def n_quadratic(self, n_features: int) -> int:
        return 1

    def quadratic(self, x: Floats, out: Floats) -> None:
        np.einsum("db,db->b", x, x, out=out[0])

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        return np.asarray(sums[0])

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> Floats:
        return np.asarray(np.sum((deviation**2) @ responsibilities))

    def pooled(self, second: Floats) -> Floats:
        return np.asarray(np.sum(second, axis=1))

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Floats
    ) -> tuple[Family, Mixture]:
        return self, mixture._replace(means=mixture.means[:, ~seen])

    def covariances(self, moments: Moments, shifts: Floats, reg_covar: Floats) -> Floats:
        spread = moments.second / moments.counts - np.sum(shifts**2, axis=1)
        return np.asarray(spread / shifts.shape[1] + np.mean(reg_covar))

    def log_determinants(self, mixture: Mixture) -> Floats:
        n_features: int = mixture.means.shape[1]
        return n_features * np.log(mixture.factors)

    def rescale(self, covariances: Floats, scale: Floats) -> Floats:
        return np.asarray(covariances * scale[0] * scale[0])

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (n_features + 1)
