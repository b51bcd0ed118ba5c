"""Rows with missing entries, as the components of a mixture see them (Ghahramani and Jordan 1994).

What is missing is one more hidden variable. Under a Gaussian component it is Gaussian given what
was seen, with mean h and covariance V, and all follows from the row completed by h:

    log p(seen) = log p(seen, h) + log det(2 pi V) / 2,        E[x x'] = (seen, h)(seen, h)' + V.

With the deviation d, 0 where missing, and the precision P, V is the inverse of P's missing rows
and columns, and h = -V (P d)_missing. In a factor model the factors alone have to be hidden, and
where features are independent V is diagonal and h the mean. V belongs to a pattern of missing
entries: rows come as P patterns with R rows of each, side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from latentmix.kernels.arrays import Floats
from latentmix.kernels.families.family import Family, Incomplete, Mixture, Moments
from latentmix.kernels.families.linear_algebra import LOG_2_PI, cholesky, solve


def _inverse(matrices: Floats) -> tuple[Floats, Floats]:
    """Return the inverses of positive definite matrices, and log det of these over 2."""
    lower = cholesky(matrices)
    inverse = solve(lower, np.broadcast_to(np.eye(matrices.shape[-1]), matrices.shape))
    halves = -np.sum(np.log(np.diagonal(lower, axis1=-2, axis2=-1)), axis=-1)
    return np.swapaxes(inverse, -1, -2) @ inverse, halves


class _CompletedRows:
    """Rows completed under each Gaussian component: `deviations` from its mean, none missing."""

    def __init__(self, mixture: Mixture, rows: Incomplete) -> None:
        self.mixture, self.rows, self.present = mixture, rows, rows.present
        n_components = len(mixture.means)
        self.log_densities = np.empty((n_components, rows.x.shape[1]))
        self.deviations = np.empty((n_components, *rows.x.shape))

    def seen_from(self, k: int) -> Floats:
        """Write the rows' deviations from a mean, 0 where missing; return them."""
        deviation: Floats = self.deviations[k]
        np.subtract(self.rows.x, self.mixture.means[k, :, None], out=deviation)
        deviation *= self.present
        return deviation

    def expected(self, responsibilities: Floats) -> Floats:
        expected = self.mixture.means.T @ responsibilities
        for deviation, shares in zip(self.deviations, responsibilities, strict=True):
            expected += deviation * shares
        return expected


class CompletedByMatrix(_CompletedRows):
    """Under components with covariance matrices; one precision factor may serve all of them."""

    def __init__(self, family: Family, mixture: Mixture, rows: Incomplete) -> None:
        super().__init__(mixture, rows)
        self.family, constants = family, family.constants(mixture)
        n_features: int = mixture.means.shape[1]
        factors = mixture.factors.reshape(-1, n_features, n_features)
        precisions = factors @ np.swapaxes(factors, 1, 2)
        missing = np.nonzero(~rows.seen)[1].reshape(len(rows.seen), -1)
        within = missing[:, :, None], missing[:, None, :]
        self.entries = np.ravel_multi_index(within, (n_features, n_features)).ravel()
        self.unknown, halves = _inverse(precisions[:, *within])
        volumes = halves + 0.5 * missing.shape[1] * LOG_2_PI
        places = missing, np.arange(len(missing))[:, None]
        for k in range(len(mixture.means)):
            own, deviation = min(k, len(factors) - 1), self.seen_from(k)
            if len(missing) == 1:
                pull = (precisions[own, missing[0]] @ deviation)[None]
            else:
                pull = rows.stacked(precisions[own] @ deviation)[places]
            rows.stacked(deviation)[places] = -(self.unknown[own] @ pull)
            whitened = factors[own].T @ deviation
            distance = np.einsum("db,db->b", whitened, whitened)
            self.log_densities[k] = constants[k] + rows.of_rows(volumes[own]) - 0.5 * distance

    def moments(self, responsibilities: Floats) -> Moments:
        counts = self.rows.stacked(responsibilities).sum(axis=2)
        first, seconds = np.empty_like(self.mixture.means), []
        for k, deviation in enumerate(self.deviations):
            first[k] = deviation @ responsibilities[k]
            second = (deviation * responsibilities[k]) @ deviation.T
            unknown = self.unknown[min(k, len(self.unknown) - 1)] * counts[k, :, None, None]
            second += np.bincount(self.entries, unknown.ravel(), second.size).reshape(second.shape)
            seconds.append(second)
        second = self.family.gathered(seconds)
        return Moments(counts.sum(axis=1), first, second, self.mixture.means)


class CompletedByFactors(_CompletedRows):
    """Under factor models: the hidden variable is f, and the missing entries are Lambda f."""

    def __init__(self, mixture: Mixture, rows: Incomplete) -> None:
        super().__init__(mixture, rows)
        n_factors = mixture.covariances.shape[2] - 1
        seen, missing = np.asarray(rows.seen, np.float64), rows.of_rows(~rows.seen.T)
        self.latent = np.empty((len(mixture.means), n_factors, rows.x.shape[1]))
        self.unknown = np.empty((len(mixture.means), len(seen), n_factors, n_factors))
        for k in range(len(mixture.means)):
            deviation = self.seen_from(k)
            loads, roots = mixture.covariances[k, :, 1:], mixture.factors[k, :, 0]
            scaled = loads * roots[:, None]
            products = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), -1)
            gram = (seen @ products).reshape(-1, n_factors, n_factors) + np.eye(n_factors)
            self.unknown[k], halves = _inverse(gram)
            pull = rows.stacked((scaled * roots[:, None]).T @ deviation)
            latent = np.swapaxes(self.unknown[k] @ np.swapaxes(pull, 0, 1), 0, 1)
            self.latent[k] = latent.reshape(n_factors, -1)
            explained = loads @ self.latent[k]
            if len(seen) == 1:
                deviation[~rows.seen[0]] = explained[~rows.seen[0]]
            else:
                np.copyto(deviation, explained, where=missing)
            explained -= deviation
            explained *= roots[:, None]  # the noise, in units of its deviation
            distance = np.einsum("db,db->b", explained, explained)
            distance += np.einsum("qb,qb->b", self.latent[k], self.latent[k])
            constants = halves + seen @ (np.log(roots) - 0.5 * LOG_2_PI)
            self.log_densities[k] = rows.of_rows(constants) - 0.5 * distance

    def moments(self, responsibilities: Floats) -> Moments:
        missing = ~self.rows.seen
        first, seconds = np.empty_like(self.mixture.means), []
        for k, counts in enumerate(self.rows.stacked(responsibilities).sum(axis=2)):
            noise, loads = np.split(self.mixture.covariances[k], [1], axis=1)
            deviation = self.deviations[k]
            first[k] = deviation @ responsibilities[k]
            # Of each feature, over the rows where it is missing.
            uncertain = (missing * counts[:, None]).T
            unknown = np.tensordot(uncertain, self.unknown[k], axes=1)
            along = np.einsum("dij,dj->di", unknown, loads)
            squares = np.square(deviation) @ responsibilities[k] + np.sum(along * loads, axis=1)
            squares += uncertain.sum(axis=1) * noise[:, 0]
            cross = deviation @ (self.latent[k] * responsibilities[k]).T + along
            seconds.append(np.concatenate([squares[:, None], cross], axis=1))
        counts = responsibilities.sum(axis=1)
        return Moments(counts, first, np.stack(seconds), self.mixture.means)


class _IndependentFeatures:
    """Where features are independent, what is missing is expected to be its mean."""

    def __init__(self, mixture: Mixture, rows: Incomplete) -> None:
        self.mixture, self.rows, self.present = mixture, rows, rows.present

    def expected(self, responsibilities: Floats) -> Floats:
        return np.asarray(self.mixture.means.T @ responsibilities)

    def missing(self, responsibilities: Floats) -> Float[Floats, "K D"]:
        """Return how many rows of each component miss each feature."""
        counts = self.rows.stacked(responsibilities).sum(axis=2)
        return np.asarray(counts @ ~self.rows.seen)


class CompletedByVariances(_IndependentFeatures):
    """Under Gaussians with independent features: variances (K, D), factors 1 / sigma (K, D)."""

    def __init__(
        self,
        mixture: Mixture,
        variances: Floats,
        factors: Floats,
        pooled: Callable[[Floats], Floats],
        rows: Incomplete,
    ) -> None:
        super().__init__(mixture, rows)
        self.variances, self.pooled = variances, pooled
        self.log_densities = np.empty((len(factors), rows.x.shape[1]))
        constants = (np.log(factors) - 0.5 * LOG_2_PI) @ self.present
        for k, factor in enumerate(factors):
            whitened = (rows.x - mixture.means[k, :, None]) * (factor[:, None] * self.present)
            distance = np.einsum("db,db->b", whitened, whitened)
            np.subtract(constants[k], 0.5 * distance, out=self.log_densities[k])

    def deviation(self, k: int) -> Floats:
        """Return the rows seen from a mean, (D, B), where they were seen."""
        return (self.rows.x - self.mixture.means[k, :, None]) * self.present

    def moments(self, responsibilities: Floats) -> Moments:
        first = np.empty_like(self.mixture.means)
        second = self.missing(responsibilities) * self.variances
        for k, shares in enumerate(responsibilities):
            deviation = self.deviation(k)
            first[k] = deviation @ shares
            second[k] += np.square(deviation, out=deviation) @ shares
        counts = responsibilities.sum(axis=1)
        return Moments(counts, first, self.pooled(second), self.mixture.means)


class CompletedCounts(_IndependentFeatures):
    """Under components whose log p(x|k) sums theta x + c over features, both (K, D)."""

    def __init__(
        self, mixture: Mixture, theta: Floats, constants: Floats, rows: Incomplete
    ) -> None:
        super().__init__(mixture, rows)
        self.log_densities = theta @ rows.x + constants @ self.present

    def moments(self, responsibilities: Floats) -> Moments:
        means = self.mixture.means
        first = responsibilities @ self.rows.x.T + self.missing(responsibilities) * means
        counts = responsibilities.sum(axis=1)
        return Moments(counts, first, np.zeros(0), np.zeros_like(means))
