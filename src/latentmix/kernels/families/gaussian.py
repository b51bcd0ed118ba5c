"""Gaussian components by the shape of their covariance: full, tied, diag, spherical.

log N(x; m, P^-1) = log det F - D/2 log 2 pi - (x - m)' P (x - m) / 2, with P = F F'. Expanded,
the quadratic is a linear form of phi(x): fast, and it loses digits as m'Pm grows. `distance`
and `centred_second` are the same from the differences themselves.
"""

from __future__ import annotations

import numpy as np

from latentmix.kernels.families.family import Family, Mixture, Moments, joined, parted

LOG_2_PI = float(np.log(2 * np.pi))


def cholesky(matrices: np.ndarray) -> np.ndarray:
    """Return lower factors of (..., D, D); NaN where a matrix is not positive definite."""
    with np.errstate(all="ignore"):
        try:
            return np.linalg.cholesky(matrices)
        except np.linalg.LinAlgError:
            if matrices.ndim == 2:
                return np.full_like(matrices, np.nan)
            return np.stack([cholesky(matrix) for matrix in matrices])


def solve(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions of (K, D, D) systems; NaN where one is singular."""
    with np.errstate(all="ignore"):
        try:
            return np.linalg.solve(matrices, right)
        except np.linalg.LinAlgError:
            return np.full(right.shape, np.nan)


def factor_of_precision(covariances: np.ndarray) -> np.ndarray:
    """Return F, upper triangular, with F F' the inverse of each covariance matrix."""
    lower = cholesky(covariances)
    identity = np.eye(covariances.shape[-1])
    inverse = solve(lower, np.broadcast_to(identity, lower.shape))
    return np.swapaxes(np.tril(inverse), -1, -2)


def inverse_root(variances: np.ndarray) -> np.ndarray:
    """Return 1 / sigma; NaN where a variance is not positive."""
    with np.errstate(all="ignore"):
        return np.where(variances > 0, variances, np.nan) ** -0.5


def regression(matrices: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return A_k, (K, D, S): E[x - mean | seen] = A (x - mean)[seen]; the identity on `seen`."""
    within = matrices[:, seen][:, :, seen]
    spread = np.swapaxes(solve(within, matrices[:, seen]), 1, 2)
    spread[:, seen] = np.eye(int(seen.sum()))
    return spread


class _Gaussian:
    """What the four have in common: means, and theta from the precision factors."""

    scaling = "feature"
    always_centred = False
    own_covariances = True
    name: str

    def n_quadratic(self, n_features: int) -> int:
        raise NotImplementedError

    def quadratic_parameters(self, factors: np.ndarray) -> np.ndarray:
        """Return theta's part (K, Q): -x'P_k x / 2 as a linear form of the quadratic features."""
        raise NotImplementedError

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return P_k mean_k, (K, D)."""
        raise NotImplementedError

    def log_determinants(self, mixture: Mixture) -> np.ndarray:
        """Return log det F_k, (K,): half the log determinant of the precision."""
        raise NotImplementedError

    def covariances(
        self, moments: Moments, shifts: np.ndarray, reg_covar: np.ndarray
    ) -> np.ndarray:
        """Return the maximising covariances; `shifts` are the means seen from the centres."""
        raise NotImplementedError

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        """Return the precision factors; NaN where a covariance is not positive definite."""
        raise NotImplementedError

    def matrices(self, mixture: Mixture) -> np.ndarray:
        """Return every component's covariance as a matrix, (K, D, D)."""
        raise NotImplementedError

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Return second moments in the family's shape from (K, D, D)."""
        raise NotImplementedError

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        pass

    def extra(self, x: np.ndarray, responsibilities: np.ndarray) -> np.ndarray | float:
        return 0.0

    def from_precisions(self, precisions: np.ndarray) -> np.ndarray:
        """Return the covariances whose inverses are given."""
        raise NotImplementedError

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        """Return the precisions, in the covariances' shape."""
        raise NotImplementedError

    def unconstrained(self, mixture: Mixture) -> np.ndarray:
        # Logarithms where factors must stay positive: all of them, or a triangle's diagonal.
        return joined(mixture.weights, mixture.means, np.log(mixture.factors))

    def from_unconstrained(self, vector: np.ndarray, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.factors.shape
        weights, means, logs = parted(vector, len(like.weights), *shapes)
        factors = np.exp(logs)
        return Mixture(weights, means, self.from_precisions(self.precisions(factors)), factors)

    def constants(self, mixture: Mixture) -> np.ndarray:
        """Return log p(mean_k | k), (K,)."""
        return self.log_determinants(mixture) - 0.5 * mixture.means.shape[1] * LOG_2_PI

    def natural(self, mixture: Mixture) -> np.ndarray:
        linear = self.precision_times(mixture.means, mixture.factors)
        constant = self.constants(mixture) - 0.5 * np.sum(linear * mixture.means, axis=1)
        quadratic = self.quadratic_parameters(mixture.factors)
        n_components = len(mixture.means)
        quadratic = np.broadcast_to(quadratic, (n_components, quadratic.shape[1]))
        return np.concatenate([quadratic, linear, constant[:, None]], axis=1)

    def recentre(self, moments: Moments, centres: np.ndarray) -> Moments:
        gap = moments.centres - centres
        counts = moments.counts[:, None]
        added = self.moved(counts * gap, gap) + self.moved(moments.first, gap)
        added = added + self.moved(gap, moments.first)
        return Moments(
            moments.counts, moments.first + counts * gap, moments.second + added, centres
        )

    def moved(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the products of (K, D) and (K, D) in the shape of the second moments."""
        raise NotImplementedError

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        # The marginal of any Gaussian is a Gaussian with a part of its matrix.
        matrices = self.matrices(mixture)[:, seen][:, :, seen]
        marginal = Mixture(
            mixture.weights, mixture.means[:, seen], matrices, factor_of_precision(matrices)
        )
        return Full(), marginal

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        # Given what was seen, the rest is Gaussian: its mean regresses on the seen deviations, and
        # its conditional covariance counts once for each row (Ghahramani and Jordan 1994).
        matrices = self.matrices(mixture)
        spread = regression(matrices, seen)
        rest = matrices - spread @ matrices[:, seen]
        # Between seen features this difference is rounding error, not covariance.
        rest[:, seen] = 0.0
        rest[:, :, seen] = 0.0
        second = spread @ moments.second @ np.swapaxes(spread, 1, 2)
        second += moments.counts[:, None, None] * rest
        first = (spread @ moments.first[:, :, None])[:, :, 0]
        return Moments(moments.counts, first, self.from_matrices(second), mixture.means)

    def maximise(
        self, moments: Moments, previous: Mixture | None, reg_covar: np.ndarray
    ) -> Mixture:
        shifts = moments.first / moments.counts[:, None]
        covariances = self.covariances(moments, shifts, reg_covar)
        weights = moments.counts / np.sum(moments.counts)
        return Mixture(weights, moments.centres + shifts, covariances, self.factors(covariances))


class _Matrix(_Gaussian):
    """What full and tied have in common: factors are upper triangles."""

    def unconstrained(self, mixture: Mixture) -> np.ndarray:
        factors = mixture.factors.copy()
        i = np.arange(factors.shape[-1])
        factors[..., i, i] = np.log(factors[..., i, i])
        return joined(mixture.weights, mixture.means, factors)

    def from_unconstrained(self, vector: np.ndarray, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.factors.shape
        weights, means, factors = parted(vector, len(like.weights), *shapes)
        factors = np.triu(factors)
        i = np.arange(factors.shape[-1])
        factors[..., i, i] = np.exp(factors[..., i, i])
        inverse = np.linalg.inv(factors)
        return Mixture(weights, means, np.swapaxes(inverse, -1, -2) @ inverse, factors)

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        return factor_of_precision(covariances)

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors @ np.swapaxes(factors, -1, -2)

    def from_precisions(self, precisions: np.ndarray) -> np.ndarray:
        return np.linalg.inv(precisions)

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return covariances * np.outer(scale, scale)


class Full(_Matrix):
    """Each component has its own covariance matrix: phi = [upper triangle of x x', x, 1]."""

    name = "full"

    def n_quadratic(self, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        start = 0
        for i in range(len(x)):
            stop = start + len(x) - i
            np.multiply(x[i:], x[i], out=out[start:stop])
            start = stop

    def quadratic_parameters(self, factors: np.ndarray) -> np.ndarray:
        i, j = np.triu_indices(factors.shape[-1])
        # An off-diagonal product stands once in phi and twice in x'Px.
        twice = np.where(i == j, 0.5, 1.0)
        return -self.precisions(factors)[:, i, j] * twice

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return np.einsum("kij,kj->ki", factors, np.einsum("kij,ki->kj", factors, means))

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        n_features = int((np.sqrt(8 * len(sums) + 1) - 1) / 2)
        i, j = np.triu_indices(n_features)
        matrices = np.empty((sums.shape[1], n_features, n_features))
        matrices[:, i, j] = matrices[:, j, i] = sums.T
        return matrices

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        whitened = mixture.factors[k].T @ deviation
        return np.einsum("db,db->b", whitened, whitened)

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        return (deviation * responsibilities) @ deviation.T

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        return matrices

    def moved(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one[:, :, None] * other[:, None, :]

    def covariances(
        self, moments: Moments, shifts: np.ndarray, reg_covar: np.ndarray
    ) -> np.ndarray:
        outer = shifts[:, :, None] * shifts[:, None, :]
        return moments.second / moments.counts[:, None, None] - outer + np.diag(reg_covar)

    def log_determinants(self, mixture: Mixture) -> np.ndarray:
        return np.sum(np.log(np.diagonal(mixture.factors, axis1=1, axis2=2)), axis=1)

    def matrices(self, mixture: Mixture) -> np.ndarray:
        return mixture.covariances

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        rows = np.empty_like(noise)
        for k in np.unique(components):
            own = components == k
            rows[own] = mixture.means[k] + noise[own] @ cholesky(mixture.covariances[k]).T
        return rows

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 3) // 2


class Tied(_Matrix):
    """All components share one covariance matrix: phi = [x, 1] and one shared second moment."""

    name = "tied"
    own_covariances = False

    def n_quadratic(self, n_features: int) -> int:
        return 0

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        pass

    def quadratic_parameters(self, factors: np.ndarray) -> np.ndarray:
        return np.zeros((1, 0))

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        whitened = mixture.factors.T @ x
        logits -= 0.5 * np.einsum("db,db->b", whitened, whitened)

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return (means @ factors) @ factors.T

    def extra(self, x: np.ndarray, responsibilities: np.ndarray) -> np.ndarray | float:
        # Responsibilities of a row sum to its weight, so the sum over components is x' W x.
        return (x * np.sum(responsibilities, axis=0)) @ x.T

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        return np.asarray(extra)

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        whitened = mixture.factors.T @ deviation
        return np.einsum("db,db->b", whitened, whitened)

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        return (deviation * responsibilities) @ deviation.T

    def from_matrices(self, matrices: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(matrices, axis=0))

    def moved(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one.T @ other

    def covariances(
        self, moments: Moments, shifts: np.ndarray, reg_covar: np.ndarray
    ) -> np.ndarray:
        between = (shifts.T * moments.counts) @ shifts
        return (moments.second - between) / np.sum(moments.counts) + np.diag(reg_covar)

    def log_determinants(self, mixture: Mixture) -> np.ndarray:
        shared = np.sum(np.log(np.diagonal(mixture.factors)))
        return np.full(len(mixture.means), shared)

    def matrices(self, mixture: Mixture) -> np.ndarray:
        return np.repeat(mixture.covariances[None], len(mixture.means), axis=0)

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        return mixture.means[components] + noise @ cholesky(mixture.covariances).T

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features + n_features * (n_features + 1) // 2


class _Variances(_Gaussian):
    """What diag and spherical have in common: factors are 1 / sigma, number by number."""

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        return inverse_root(covariances)

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        return factors**2

    def from_precisions(self, precisions: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return 1.0 / precisions


class Diag(_Variances):
    """Each component has a variance for every feature: phi = [x^2, x, 1]."""

    name = "diag"

    def moved(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one * other

    def n_quadratic(self, n_features: int) -> int:
        return n_features

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        np.multiply(x, x, out=out)

    def quadratic_parameters(self, factors: np.ndarray) -> np.ndarray:
        return -0.5 * factors**2

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return means * factors**2

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        return sums.T

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        # The factor first: its square alone may be past float64's range.
        return np.asarray(np.sum((deviation * mixture.factors[k, :, None]) ** 2, axis=0))

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        return (deviation**2) @ responsibilities

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        # Features are independent given the component: the others just drop out.
        return self, Mixture(
            mixture.weights,
            mixture.means[:, seen],
            mixture.covariances[:, seen],
            mixture.factors[:, seen],
        )

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        first = np.zeros_like(mixture.means)
        second = moments.counts[:, None] * mixture.covariances
        first[:, seen], second[:, seen] = moments.first, moments.second
        return Moments(moments.counts, first, second, mixture.means)

    def covariances(
        self, moments: Moments, shifts: np.ndarray, reg_covar: np.ndarray
    ) -> np.ndarray:
        return moments.second / moments.counts[:, None] - shifts**2 + reg_covar

    def log_determinants(self, mixture: Mixture) -> np.ndarray:
        return np.sum(np.log(mixture.factors), axis=1)

    def matrices(self, mixture: Mixture) -> np.ndarray:
        return mixture.covariances[:, :, None] * np.eye(mixture.means.shape[1])

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return covariances * scale**2

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        return mixture.means[components] + noise * np.sqrt(mixture.covariances)[components]

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return 2 * n_components * n_features


class Spherical(_Variances):
    """Each component has one variance: phi = [|x|^2, x, 1]."""

    name = "spherical"
    # One variance for all features allows one unit for all.
    scaling = "common"

    def moved(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.sum(one * other, axis=1))

    def n_quadratic(self, n_features: int) -> int:
        return 1

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        np.einsum("db,db->b", x, x, out=out[0])

    def quadratic_parameters(self, factors: np.ndarray) -> np.ndarray:
        return -0.5 * (factors**2)[:, None]

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        return means * factors[:, None] ** 2

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        return sums[0]

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        return np.asarray(np.sum((deviation * mixture.factors[k]) ** 2, axis=0))

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        return np.asarray(np.sum((deviation**2) @ responsibilities))

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        # Features are independent given the component: the others just drop out.
        return self, mixture._replace(means=mixture.means[:, seen])

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        first = np.zeros_like(mixture.means)
        first[:, seen] = moments.first
        second = moments.second + moments.counts * np.sum(~seen) * mixture.covariances
        return Moments(moments.counts, first, second, mixture.means)

    def covariances(
        self, moments: Moments, shifts: np.ndarray, reg_covar: np.ndarray
    ) -> np.ndarray:
        spread = moments.second / moments.counts - np.sum(shifts**2, axis=1)
        return spread / shifts.shape[1] + np.mean(reg_covar)

    def log_determinants(self, mixture: Mixture) -> np.ndarray:
        return mixture.means.shape[1] * np.log(mixture.factors)

    def matrices(self, mixture: Mixture) -> np.ndarray:
        return mixture.covariances[:, None, None] * np.eye(mixture.means.shape[1])

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return covariances * scale[0] ** 2

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        return mixture.means[components] + noise * np.sqrt(mixture.covariances)[components, None]

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * (n_features + 1)
