"""A covariance of low rank plus diagonal, for wide data: Lambda Lambda' + diag(psi).

A row is mean + Lambda f + noise with q factors f ~ N(0, I) (mixture of factor analysers,
Ghahramani and Hinton 1996). Nothing of size D x D is ever formed: by Woodbury
d'Pd = sum d^2 / psi - |W d|^2, W = L^-1 Lambda' / psi, L L' = I + Lambda' Lambda / psi, and the
M step regresses the rows on the factors' posterior means (their equations 12 to 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.families.family import (
    Completed,
    Family,
    Gaussian,
    Incomplete,
    Mixture,
    Moments,
    ReadAssigned,
    joined,
    parted,
)
from latentmix.kernels.families.gaussian import conditional
from latentmix.kernels.families.incomplete import CompletedByFactors
from latentmix.kernels.families.linear_algebra import LOG_2_PI, cholesky, inverse_root, solve

# Beyond, the principal axes that starting factors have are found by turning towards them.
MOST_FEATURES_FOR_EIGENVECTORS = 2000
TURNS = 4


@dataclass(frozen=True)
class FactorAnalytic(Gaussian):
    """Each component has D noise variances psi and a (D, q) matrix of loadings.

    `covariances` hold them side by side, (K, D, 1 + q): psi, then Lambda. `factors`, in the same
    shape, hold 1 / sqrt(psi) and W'.
    """

    n_factors: int = 2
    name = "factor"
    scaling = "feature"
    has_centred_form = True
    own_covariances = True

    def n_quadratic(self, n_features: int) -> int:
        return 0

    def quadratic(self, x: Floats, out: Floats) -> None:
        pass

    def natural(self, mixture: Mixture) -> Floats:
        # Every component is taken centred, so that nothing but the shape matters here.
        return np.zeros((len(mixture.means), mixture.means.shape[1] + 1))

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        pass

    def extra(self, x: Floats, responsibilities: Floats) -> Floats | float:
        return 0.0

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        raise NotImplementedError  # never expanded

    def lost_digits(self, mixture: Mixture) -> Floats:
        return np.full(len(mixture.means), np.inf)

    def gathered(self, seconds: Sequence[Floats]) -> Floats:
        return np.stack(seconds)

    def constants(self, mixture: Mixture) -> Floats:
        psi = mixture.covariances[:, :, 0]
        lower = self._lower(mixture.covariances)
        halves = np.sum(np.log(np.diagonal(lower, axis1=1, axis2=2)), axis=1)
        with np.errstate(all="ignore"):
            return np.asarray(-0.5 * np.sum(np.log(psi) + LOG_2_PI, axis=1) - halves)

    def distance(self, deviation: Floats, mixture: Mixture, k: int) -> Floats:
        whitened = deviation * mixture.factors[k, :, :1]
        low = mixture.factors[k, :, 1:].T @ deviation
        along_factors = np.einsum("qb,qb->b", low, low)
        return np.asarray(np.einsum("db,db->b", whitened, whitened) - along_factors)

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> Floats:
        noise, loads = covariances[:, :, 0], covariances[:, :, 1:]
        low = mixture.factors[:, :, 1:]
        whitened = mixture.factors[:, :, 0] ** 2 @ (noise + np.sum(loads**2, axis=2)).T
        of_noise = np.sum(low**2, axis=2) @ noise.T
        of_factors = np.sum(np.tensordot(low, loads, axes=(1, 1)) ** 2, axis=(1, 3))
        return np.asarray(whitened - of_noise - of_factors)

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> Floats:
        """Return sums of d^2 and of d E[f|d]', side by side: (D, 1 + q)."""
        weighted = deviation * responsibilities
        own = slice(k, k + 1)
        latent = self._regressions(mixture.covariances[own], mixture.factors[own])[0] @ deviation
        squares = np.einsum("db,db->d", weighted, deviation)
        return np.concatenate([squares[:, None], weighted @ latent.T], axis=1)

    def maximise(self, moments: Moments, previous: Mixture | None, reg_covar: Floats) -> Mixture:
        if previous is None:
            raise ValueError("Factors have posterior means under a mixture only: give `previous`.")
        q, counts = self.n_factors, moments.counts[:, None, None]
        regressions = self._regressions(previous.covariances, previous.factors)
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

    def unconstrained(self, mixture: Mixture) -> Floats:
        covariances = mixture.covariances.copy()
        covariances[:, :, 0] = np.log(covariances[:, :, 0])
        return joined(mixture.weights, mixture.means, covariances)

    def from_unconstrained(self, vector: Floats, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.covariances.shape
        weights, means, covariances = parted(vector, len(like.weights), *shapes)
        covariances = covariances.copy()
        covariances[:, :, 0] = np.exp(covariances[:, :, 0])
        return Mixture(weights, means, covariances, self.factors(covariances))

    def factors(self, covariances: Floats) -> Floats:
        """Return 1 / sqrt(psi) and W', side by side; NaN where psi is not positive."""
        roots = inverse_root(covariances[:, :, 0])
        scaled = np.swapaxes(covariances[:, :, 1:] * roots[:, :, None] ** 2, 1, 2)
        with np.errstate(all="ignore"):
            low = solve(self._lower(covariances), scaled)
        return np.concatenate([roots[:, :, None], np.swapaxes(low, 1, 2)], axis=2)

    def precisions(self, factors: Floats) -> Floats:
        """Return 1 / psi and W', side by side: P = diag(1 / psi) - W' W."""
        precisions = factors.copy()
        precisions[:, :, 0] **= 2
        return precisions

    def fault(self, precisions: Floats) -> str | None:
        valid = np.isfinite(self.factors(self.from_precisions(precisions))).all(axis=(1, 2))
        if valid.all():
            return None
        component = int(np.argmin(valid))
        diagonal, low = precisions[component, :, 0], precisions[component, :, 1:]
        # D x D after all, but for one component and for what is refused alone.
        least = float(np.linalg.eigvalsh(np.diag(diagonal) - low @ low.T).min())
        return (
            f"should be symmetric, positive-definite, but the matrix of component {component} in "
            f"precisions_init has the least eigenvalue {least:.5g}. Give the inverses of "
            "covariance matrices."
        )

    def from_precisions(self, precisions: Floats) -> Floats:
        """Return psi and Lambda, side by side, by Woodbury once more."""
        psi = 1 / np.where(precisions[:, :, :1] > 0, precisions[:, :, :1], np.nan)
        low = precisions[:, :, 1:]
        scaled = psi * low
        identity = np.eye(self.n_factors)
        gram = identity - np.swapaxes(low, 1, 2) @ scaled
        inverse = solve(gram, np.broadcast_to(identity, gram.shape))
        return np.concatenate([psi, scaled @ cholesky(inverse)], axis=2)

    def recentre(self, moments: Moments, centres: Floats) -> Moments:
        # The moments with the factors hold for the loadings they were taken under alone.
        raise InputError(
            "The moments of a factor model cannot be moved to other centres. Take them again from "
            "all rows, or choose another covariance_type."
        )

    def start(self, means: Floats, lengths: Floats, read: ReadAssigned) -> Mixture:
        """Return equal components whose factors are the principal axes of all deviations."""
        variances, squares, axes = _principal_axes(means, lengths, read, self.n_factors)
        # An axis has two directions; any rule that picks one will do.
        longest = np.argmax(np.abs(axes), axis=0)
        axes = axes * np.sign(axes[longest, np.arange(axes.shape[1])])
        loads = np.zeros((len(variances), self.n_factors))
        # The noise keeps half of each axis' variance, so that psi stays positive.
        halves = np.sqrt(np.maximum(squares, 0) / 2)
        with np.errstate(all="ignore"):
            loads[:, : axes.shape[1]] = axes * halves / lengths[:, None]
            # So much is rounding, where one feature's length is next to nothing beside another's.
            loads[~(np.sum(loads**2, axis=1) <= 2 * variances)] = 0.0
        least = 1e-6 * np.mean(variances) + np.finfo(float).tiny
        psi = np.maximum(variances - np.sum(loads**2, axis=1), 0) + least
        packed = np.concatenate([psi[:, None], loads], axis=1)
        covariances = np.repeat(packed[None], len(means), axis=0)
        equal = np.full(len(means), 1 / len(means))
        return Mixture(equal, means, covariances, self.factors(covariances))

    def completed(self, mixture: Mixture, rows: Incomplete) -> Completed:
        return CompletedByFactors(mixture, rows)

    def matrices(self, mixture: Mixture) -> Floats:
        loads = mixture.covariances[:, :, 1:]
        noise = mixture.covariances[:, :, 0]
        return loads @ np.swapaxes(loads, 1, 2) + noise[:, :, None] * np.eye(noise.shape[1])

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Floats
    ) -> tuple[Family, Mixture]:
        return conditional(self.matrices(mixture), mixture, seen, values)

    def rescale(self, covariances: Floats, scale: Floats) -> Floats:
        scaled = covariances * scale[:, None]
        scaled[:, :, 0] *= scale
        return scaled

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        n_draws, n_features = len(components), mixture.means.shape[1]
        factors = random.standard_normal((n_draws, self.n_factors))
        noise = random.standard_normal((n_draws, n_features))
        deviations = np.sqrt(mixture.covariances[components, :, 0])
        rows: Floats = mixture.means[components] + noise * deviations
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

    def _regressions(self, covariances: Floats, factors: Floats) -> Floats:
        """Return beta, (K, q, D): E[f|d] = beta d."""
        lower = self._lower(covariances)
        return solve(np.swapaxes(lower, 1, 2), np.swapaxes(factors[:, :, 1:], 1, 2))

    def _posterior(self, covariances: Floats) -> Floats:
        """Return (I + Lambda'Lambda / psi)^-1, (K, q, q): the factors' covariance given a row."""
        lower = self._lower(covariances)
        inverse = solve(lower, np.broadcast_to(np.eye(self.n_factors), lower.shape))
        return np.swapaxes(inverse, 1, 2) @ inverse

    def _lower(self, covariances: Floats) -> Floats:
        """Return L, (K, q, q), with L L' = I + Lambda' Lambda / psi."""
        with np.errstate(all="ignore"):
            scaled = covariances[:, :, 1:] / np.sqrt(covariances[:, :, :1])
        gram = np.swapaxes(scaled, 1, 2) @ scaled
        return cholesky(gram + np.eye(self.n_factors))


def _principal_axes(
    means: Floats, lengths: Floats, read: ReadAssigned, n_axes: int
) -> tuple[Float[Floats, " D"], Float[Floats, " Q"], Float[Floats, "D Q"]]:
    """Return the variances about the nearest means, those along the principal axes, and these.

    All rows are looked at, so that their order does not matter. Variances are in the rows' own
    units, axes and the variances along them in those of `lengths`.
    """
    n_features = len(lengths)
    if n_features <= MOST_FEATURES_FOR_EIGENVECTORS:
        variances, scatter = _scatter(means, lengths, read, None)
        squares, axes = np.linalg.eigh(scatter)
        return variances, squares[::-1][:n_axes], axes[:, ::-1][:, :n_axes]
    # Orthogonal iteration: no matrix of all features by all.
    axes = np.random.RandomState(0).standard_normal((n_features, n_axes))
    for _ in range(TURNS):
        axes = np.linalg.qr(axes)[0]
        variances, axes = _scatter(means, lengths, read, axes)
    axes, squares, _ = np.linalg.svd(axes, full_matrices=False)
    return variances, squares, axes


def _scatter(
    means: Floats, lengths: Floats, read: ReadAssigned, directions: Float[Floats, "D Q"] | None
) -> tuple[Float[Floats, " D"], Floats]:
    """Return all variances about the nearest means, and the covariance, times any directions."""
    total, variances = 0.0, np.zeros(len(lengths))
    products = np.zeros((len(lengths),) * 2 if directions is None else directions.shape)
    for rows in read():
        own = np.flatnonzero(rows.weights)
        deviations = rows.x[:, own] - means[np.maximum(rows.nearest[own], 0)].T
        deviations *= np.sqrt(rows.weights[own])
        total += float(np.sum(rows.weights))
        variances += np.einsum("db,db->d", deviations, deviations)
        deviations *= lengths[:, None]
        others = deviations.T
        products += deviations @ (others if directions is None else others @ directions)
    return variances / total, products / total
