"""A covariance of low rank plus diagonal, for wide data: Lambda Lambda' + diag(psi).

A row is mean + Lambda f + noise with q factors f ~ N(0, I) (mixture of factor analysers,
Ghahramani and Hinton 1996). Nothing of size D x D is ever formed: by Woodbury
d'Pd = sum d^2 / psi - |W d|^2, W = L^-1 Lambda' / psi, L L' = I + Lambda' Lambda / psi, and the
M step regresses the rows on the factors' posterior means (their equations 12 to 14).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentmix.errors import InputError
from latentmix.kernels.families.family import Family, Mixture, Moments, joined, parted
from latentmix.kernels.families.gaussian import LOG_2_PI, cholesky, inverse_root, solve

# Beyond, starting factors are the principal axes of 2000 rows.
MOST_FEATURES_FOR_EIGENVECTORS = 2000


@dataclass(frozen=True)
class FactorAnalytic:
    """Each component has D noise variances psi and a (D, q) matrix of loadings.

    `covariances` hold them side by side, (K, D, 1 + q): psi, then Lambda. `factors`, in the same
    shape, hold 1 / sqrt(psi) and W'.
    """

    n_factors: int = 2
    name = "factor"
    scaling = "feature"
    always_centred = True
    own_covariances = True

    def n_quadratic(self, n_features: int) -> int:
        return 0

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        pass

    def natural(self, mixture: Mixture) -> np.ndarray:
        # Every component is centred, so that nothing but the shape matters here.
        return np.zeros((len(mixture.means), mixture.means.shape[1] + 1))

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        pass

    def extra(self, x: np.ndarray, responsibilities: np.ndarray) -> np.ndarray | float:
        return 0.0

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        raise NotImplementedError  # never expanded

    def constants(self, mixture: Mixture) -> np.ndarray:
        """Return log p(mean_k | k), (K,)."""
        psi = mixture.covariances[:, :, 0]
        lower = self._lower(mixture.covariances)
        halves = np.sum(np.log(np.diagonal(lower, axis1=1, axis2=2)), axis=1)
        with np.errstate(all="ignore"):
            return -0.5 * np.sum(np.log(psi) + LOG_2_PI, axis=1) - halves

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return P_k mean_k, (K, D)."""
        loads = factors[:, :, 1:]
        low = np.einsum("kdq,kd->kq", loads, means)
        return means * factors[:, :, 0] ** 2 - np.einsum("kdq,kq->kd", loads, low)

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        whitened = deviation * mixture.factors[k, :, :1]
        low = mixture.factors[k, :, 1:].T @ deviation
        return np.einsum("db,db->b", whitened, whitened) - np.einsum("qb,qb->b", low, low)

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        """Return sums of d^2 and of d E[f|d]', side by side: (D, 1 + q)."""
        weighted = deviation * responsibilities
        latent = self._regressions(mixture)[k] @ deviation
        squares = np.einsum("db,db->d", weighted, deviation)
        return np.concatenate([squares[:, None], weighted @ latent.T], axis=1)

    def maximise(
        self, moments: Moments, previous: Mixture | None, reg_covar: np.ndarray
    ) -> Mixture:
        if previous is None:
            raise ValueError("Factors have posterior means under a mixture only: give `previous`.")
        q, counts = self.n_factors, moments.counts[:, None, None]
        regressions = self._regressions(previous)
        posterior = self._posterior(previous.covariances)
        cross = moments.second[:, :, 1:]
        latent = regressions @ moments.first[:, :, None]
        gram = np.empty((len(counts), q + 1, q + 1))
        gram[:, :q, :q] = regressions @ cross + counts * posterior
        gram[:, :q, q:], gram[:, q:, :q] = latent, np.swapaxes(latent, 1, 2)
        gram[:, q:, q:] = counts
        # Rows regressed on [f; 1]: the loadings, and how far the mean moves.
        target = np.concatenate([cross, moments.first[:, :, None]], axis=2)
        solution = np.swapaxes(solve(gram, np.swapaxes(target, 1, 2)), 1, 2)
        explained = np.sum(solution * target, axis=2)
        psi = (moments.second[:, :, 0] - explained) / moments.counts[:, None] + reg_covar
        covariances = np.concatenate([psi[:, :, None], solution[:, :, :q]], axis=2)
        weights = moments.counts / np.sum(moments.counts)
        means = moments.centres + solution[:, :, q]
        return Mixture(weights, means, covariances, self.factors(covariances))

    def unconstrained(self, mixture: Mixture) -> np.ndarray:
        covariances = mixture.covariances.copy()
        covariances[:, :, 0] = np.log(covariances[:, :, 0])
        return joined(mixture.weights, mixture.means, covariances)

    def from_unconstrained(self, vector: np.ndarray, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.covariances.shape
        weights, means, covariances = parted(vector, len(like.weights), *shapes)
        covariances = covariances.copy()
        covariances[:, :, 0] = np.exp(covariances[:, :, 0])
        return Mixture(weights, means, covariances, self.factors(covariances))

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        """Return 1 / sqrt(psi) and W', side by side; NaN where psi is not positive."""
        roots = inverse_root(covariances[:, :, 0])
        scaled = np.swapaxes(covariances[:, :, 1:] * roots[:, :, None] ** 2, 1, 2)
        with np.errstate(all="ignore"):
            low = solve(self._lower(covariances), scaled)
        return np.concatenate([roots[:, :, None], np.swapaxes(low, 1, 2)], axis=2)

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        """Return 1 / psi and W', side by side: P = diag(1 / psi) - W' W."""
        precisions = factors.copy()
        precisions[:, :, 0] **= 2
        return precisions

    def from_precisions(self, precisions: np.ndarray) -> np.ndarray:
        """Return psi and Lambda, side by side, by Woodbury once more."""
        psi = 1 / precisions[:, :, :1]
        low = precisions[:, :, 1:]
        scaled = psi * low
        gram = np.eye(self.n_factors) - np.swapaxes(low, 1, 2) @ scaled
        return np.concatenate([psi, scaled @ cholesky(np.linalg.inv(gram))], axis=2)

    def recentre(self, moments: Moments, centres: np.ndarray) -> Moments:
        # The moments with the factors hold for the loadings they were taken under alone.
        raise InputError(
            "partial_fit is not available for covariance_type='factor'. Give fit the blocks as an "
            "iterable that can be read again, or choose 'full', 'tied', 'diag' or 'spherical'."
        )

    def start(self, means: np.ndarray, deviations: np.ndarray, weights: np.ndarray) -> Mixture:
        """Return equal components whose factors are the principal axes of the deviations (M, D)."""
        n_features = deviations.shape[1]
        scaled = deviations * np.sqrt(weights / weights.sum())[:, None]
        variances = np.sum(scaled**2, axis=0)
        if n_features <= MOST_FEATURES_FOR_EIGENVECTORS:
            squares, axes = (part[..., ::-1].T for part in np.linalg.eigh(scaled.T @ scaled))
        else:
            some = np.linspace(0, len(scaled) - 1, min(len(scaled), 2000)).astype(np.intp)
            singular, axes = np.linalg.svd(scaled[some], full_matrices=False)[1:]
            squares = singular**2 * len(scaled) / len(some)
        axes = axes[: self.n_factors]
        # An axis has two directions; any rule that picks one will do.
        longest = np.argmax(np.abs(axes), axis=1)
        axes = axes * np.sign(axes[np.arange(len(axes)), longest])[:, None]
        loads = np.zeros((n_features, self.n_factors))
        # The noise keeps half of each axis' variance, so that psi stays positive.
        lengths = np.sqrt(np.maximum(squares[: len(axes)], 0) / 2)
        loads[:, : len(axes)] = axes.T * lengths
        least = 1e-6 * np.mean(variances) + np.finfo(float).tiny
        psi = np.maximum(variances - np.sum(loads**2, axis=1), 0) + least
        packed = np.concatenate([psi[:, None], loads], axis=1)
        covariances = np.repeat(packed[None], len(means), axis=0)
        equal = np.full(len(means), 1 / len(means))
        return Mixture(equal, means, covariances, self.factors(covariances))

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        # Without the rows of Lambda that were not seen, it is a factor model still.
        covariances = mixture.covariances[:, seen]
        return self, Mixture(
            mixture.weights, mixture.means[:, seen], covariances, self.factors(covariances)
        )

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        # What was not seen is Lambda_m f plus noise, and f is known from what was.
        part = self.restrict(mixture, seen)[1]
        posterior = self._posterior(part.covariances)
        regressions = self._regressions(part)
        counts = moments.counts[:, None]
        gram = regressions @ moments.second[:, :, 1:] + counts[:, :, None] * posterior
        hidden = mixture.covariances[:, ~seen, 1:]
        cross = hidden @ gram
        first, second = np.empty_like(mixture.means), np.empty_like(mixture.covariances)
        first[:, seen], second[:, seen] = moments.first, moments.second
        first[:, ~seen] = (hidden @ (regressions @ moments.first[:, :, None]))[:, :, 0]
        squares = np.sum(cross * hidden, axis=2) + counts * mixture.covariances[:, ~seen, 0]
        second[:, ~seen] = np.concatenate([squares[:, :, None], cross], axis=2)
        return Moments(moments.counts, first, second, mixture.means)

    def matrices(self, mixture: Mixture) -> np.ndarray:
        """Return every component's covariance as a matrix, (K, D, D)."""
        loads = mixture.covariances[:, :, 1:]
        noise = mixture.covariances[:, :, 0]
        return loads @ np.swapaxes(loads, 1, 2) + noise[:, :, None] * np.eye(noise.shape[1])

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the covariances of rows times `scale` (D,)."""
        factors = np.broadcast_to(scale[:, None], covariances.shape[1:]).copy()
        factors[:, 0] = scale**2
        return covariances * factors

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        n_draws, n_features = len(components), mixture.means.shape[1]
        factors = random.standard_normal((n_draws, self.n_factors))
        noise = random.standard_normal((n_draws, n_features))
        rows = mixture.means[components] + noise * np.sqrt(mixture.covariances[components, :, 0])
        for k in np.unique(components):
            own = components == k
            rows[own] += factors[own] @ mixture.covariances[k, :, 1:].T
        return rows

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, 1 + self.n_factors)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        # Loadings count up to a rotation of the factors.
        rotations = self.n_factors * (self.n_factors - 1) // 2
        return n_components * (n_features * (2 + self.n_factors) - rotations)

    def _regressions(self, mixture: Mixture) -> np.ndarray:
        """Return beta, (K, q, D): E[f|d] = beta d."""
        lower = self._lower(mixture.covariances)
        return solve(np.swapaxes(lower, 1, 2), np.swapaxes(mixture.factors[:, :, 1:], 1, 2))

    def _posterior(self, covariances: np.ndarray) -> np.ndarray:
        """Return the covariances (K, q, q) of the factors given a row: (I + Lambda'Lambda/psi)^-1."""
        lower = self._lower(covariances)
        inverse = solve(lower, np.broadcast_to(np.eye(self.n_factors), lower.shape))
        return np.swapaxes(inverse, 1, 2) @ inverse

    def _lower(self, covariances: np.ndarray) -> np.ndarray:
        """Return L, (K, q, q), with L L' = I + Lambda' Lambda / psi."""
        with np.errstate(all="ignore"):
            scaled = covariances[:, :, 1:] / np.sqrt(covariances[:, :, :1])
        gram = np.swapaxes(scaled, 1, 2) @ scaled
        return cholesky(gram + np.eye(self.n_factors))
