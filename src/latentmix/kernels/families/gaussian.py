"""Gaussian components: what they have in common, and those with matrices, full and tied.

log N(x; m, P^-1) = log det F - D/2 log 2 pi - (x - m)' P (x - m) / 2, with P = F F'. Expanded,
the quadratic is a linear form of phi(x): fast, and it loses digits as m'Pm grows. `distance`
and `centred_second` are the same from the differences themselves.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Int

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
from latentmix.kernels.families.incomplete import CompletedByMatrix
from latentmix.kernels.families.linear_algebra import (
    LOG_2_PI,
    factor_of_precision,
    regression,
    solve,
    unwhitened,
)


def conditional(
    matrices: Float[Floats, "K D D"],
    mixture: Mixture,
    seen: np.ndarray,
    values: Float[Floats, " S"],
) -> tuple[Family, Mixture]:
    """Return the components of the other features given some values, and their family."""
    spread = regression(matrices, seen)[:, ~seen]
    means = mixture.means[:, ~seen] + np.einsum(
        "kms,ks->km", spread, values - mixture.means[:, seen]
    )
    covariances = matrices[:, ~seen][:, :, ~seen] - spread @ matrices[:, seen][:, :, ~seen]
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    factors = factor_of_precision(covariances)
    return Full(), Mixture(mixture.weights, means, covariances, factors)


class ExpandedGaussian(Gaussian):
    """What all but factor models have in common: theta comes from the precision factors."""

    scaling = "feature"
    has_centred_form = True
    own_covariances = True

    @abstractmethod
    def quadratic_parameters(self, factors: Floats) -> Float[Floats, "K Q"]:
        """Return theta's part: -x'P_k x / 2 as a linear form of the quadratic features."""

    @abstractmethod
    def precision_times(self, means: Floats, factors: Floats) -> Float[Floats, "K D"]:
        """Return P_k mean_k."""

    @abstractmethod
    def log_determinants(self, mixture: Mixture) -> Float[Floats, " K"]:
        """Return log det F_k: half the log determinant of the precision."""

    @abstractmethod
    def covariances(self, moments: Moments, shifts: Floats, reg_covar: Floats) -> Floats:
        """Return the maximising covariances; `shifts` are the means seen from the centres."""

    @abstractmethod
    def moved(self, one: Float[Floats, "K D"], other: Float[Floats, "K D"]) -> Floats:
        """Return the products of the two in the shape of the second moments."""

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        pass

    def extra(self, x: Floats, responsibilities: Floats) -> Floats | float:
        return 0.0

    def lost_digits(self, mixture: Mixture) -> Floats:
        # Precisions past all numbers have lost theirs.
        with np.errstate(over="ignore", invalid="ignore"):
            linear = self.precision_times(mixture.means, mixture.factors)
            return np.asarray(np.sum(linear * mixture.means, axis=1))

    def constants(self, mixture: Mixture) -> Floats:
        n_features: int = mixture.means.shape[1]
        return self.log_determinants(mixture) - 0.5 * n_features * LOG_2_PI

    def natural(self, mixture: Mixture) -> Floats:
        linear = self.precision_times(mixture.means, mixture.factors)
        constant = self.constants(mixture) - 0.5 * np.sum(linear * mixture.means, axis=1)
        quadratic = self.quadratic_parameters(mixture.factors)
        n_components = len(mixture.means)
        quadratic = np.broadcast_to(quadratic, (n_components, quadratic.shape[1]))
        return np.concatenate([quadratic, linear, constant[:, None]], axis=1)

    def gathered(self, seconds: Sequence[Floats]) -> Floats:
        return np.stack(seconds)

    def recentre(self, moments: Moments, centres: Floats) -> Moments:
        gap = moments.centres - centres
        counts = moments.counts[:, None]
        added = self.moved(counts * gap, gap) + self.moved(moments.first, gap)
        added = added + self.moved(gap, moments.first)
        return Moments(
            moments.counts, moments.first + counts * gap, moments.second + added, centres
        )

    def start(self, means: Floats, lengths: Floats, read: ReadAssigned) -> Mixture:
        # Moments about a mean need nothing else of the mixture.
        empty = np.zeros(self.shape(*means.shape))
        return Mixture(np.full(len(means), 1 / len(means)), means, empty, empty)

    def maximise(self, moments: Moments, previous: Mixture | None, reg_covar: Floats) -> Mixture:
        shifts = moments.first / moments.counts[:, None]
        covariances = self.covariances(moments, shifts, reg_covar)
        weights = moments.counts / np.sum(moments.counts)
        return Mixture(weights, moments.centres + shifts, covariances, self.factors(covariances))


class _Matrix(ExpandedGaussian):
    """What full and tied have in common: factors are upper triangles."""

    def distance(self, deviation: Floats, mixture: Mixture, k: int) -> Floats:
        factors = mixture.factors
        whitened = (factors if factors.ndim == 2 else factors[k]).T @ deviation
        return np.asarray(np.einsum("db,db->b", whitened, whitened))

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> Floats:
        return (deviation * responsibilities) @ deviation.T

    def completed(self, mixture: Mixture, rows: Incomplete) -> Completed:
        return CompletedByMatrix(self, mixture, rows)

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Floats
    ) -> tuple[Family, Mixture]:
        return conditional(self.matrices(mixture), mixture, seen, values)

    def unconstrained(self, mixture: Mixture) -> Floats:
        # Logarithms where factors must stay positive: on the triangles' diagonals.
        factors = mixture.factors.copy()
        i = np.arange(factors.shape[-1])
        factors[..., i, i] = np.log(factors[..., i, i])
        return joined(mixture.weights, mixture.means, factors)

    def from_unconstrained(self, vector: Floats, like: Mixture) -> Mixture:
        shapes = like.means.shape, like.factors.shape
        weights, means, factors = parted(vector, len(like.weights), *shapes)
        factors = np.triu(factors)
        i = np.arange(factors.shape[-1])
        factors[..., i, i] = np.exp(factors[..., i, i])
        inverse = solve(factors, np.broadcast_to(np.eye(factors.shape[-1]), factors.shape))
        return Mixture(weights, means, np.swapaxes(inverse, -1, -2) @ inverse, factors)

    def factors(self, covariances: Floats) -> Floats:
        return factor_of_precision(covariances)

    def precisions(self, factors: Floats) -> Floats:
        return factors @ np.swapaxes(factors, -1, -2)

    def from_precisions(self, precisions: Floats) -> Floats:
        return np.asarray(np.linalg.inv(precisions), np.float64)

    def fault(self, precisions: Floats) -> str | None:
        for component, matrix in enumerate(precisions if precisions.ndim == 3 else [precisions]):
            where = f" of component {component}" if precisions.ndim == 3 else ""
            symmetric = np.allclose(matrix, matrix.T)
            least = float(np.linalg.eigvalsh(matrix).min())
            if not symmetric or least <= 0:
                found = f"has the least eigenvalue {least:.5g}" if symmetric else "is not symmetric"
                return (
                    f"should be symmetric, positive-definite, but the matrix{where} in "
                    f"precisions_init {found}. Give the inverses of covariance matrices."
                )
        return None

    def rescale(self, covariances: Floats, scale: Floats) -> Floats:
        return covariances * scale[:, None] * scale


def _pairs(n_features: int) -> tuple[Int[np.ndarray, " Q"], Int[np.ndarray, " Q"]]:
    """Return i and j of each product x_i x_j, in the order in which they stand in phi."""
    turn, i = np.divmod(np.arange(n_features * (n_features + 1) // 2), n_features)
    return i, (i + turn) % n_features


class Full(_Matrix):
    """Each component has its own covariance matrix: phi = [each x_i x_j once, x, 1]."""

    name = "full"

    def n_quadratic(self, n_features: int) -> int:
        return n_features * (n_features + 1) // 2

    def quadratic(self, x: Floats, out: Floats) -> None:
        # All features times those s places on, around the circle, for every s in one call.
        n_features, n_rows = x.shape
        n_turns = (n_features + 1) // 2
        twice = np.concatenate([x, x])
        step, item = twice.strides
        turned = np.ndarray((n_turns, n_features, n_rows), x.dtype, twice, 0, (step, step, item))
        whole = n_turns * n_features
        np.multiply(x, turned, out=out[:whole].reshape(turned.shape))
        # Half a circle on, every pair would come twice.
        half = len(out) - whole
        np.multiply(x[:half], x[n_features - half :], out=out[whole:])

    def quadratic_parameters(self, factors: Floats) -> Floats:
        i, j = _pairs(factors.shape[-1])
        # An off-diagonal product stands once in phi and twice in x'Px.
        twice = np.where(i == j, 0.5, 1.0)
        return np.asarray(-self.precisions(factors)[:, i, j] * twice)

    def precision_times(self, means: Floats, factors: Floats) -> Floats:
        whitened = np.einsum("kij,ki->kj", factors, means)
        return np.asarray(np.einsum("kij,kj->ki", factors, whitened))

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> Floats:
        return np.tensordot(self.precisions(mixture.factors), covariances, axes=([1, 2], [1, 2]))

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        n_features = int((np.sqrt(8 * len(sums) + 1) - 1) / 2)
        i, j = _pairs(n_features)
        matrices = np.empty((sums.shape[1], n_features, n_features))
        matrices[:, i, j] = matrices[:, j, i] = sums.T
        return matrices

    def moved(self, one: Floats, other: Floats) -> Floats:
        return one[:, :, None] * other[:, None, :]

    def covariances(self, moments: Moments, shifts: Floats, reg_covar: Floats) -> Floats:
        outer = shifts[:, :, None] * shifts[:, None, :]
        return moments.second / moments.counts[:, None, None] - outer + np.diag(reg_covar)

    def log_determinants(self, mixture: Mixture) -> Floats:
        logs = np.log(np.diagonal(mixture.factors, axis1=1, axis2=2))
        return np.asarray(np.sum(logs, axis=1))

    def matrices(self, mixture: Mixture) -> Floats:
        return mixture.covariances

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        rows = np.empty_like(noise)
        for k in np.unique(components):
            own = components == k
            rows[own] = mixture.means[k] + unwhitened(noise[own], mixture.factors[k])
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

    def quadratic(self, x: Floats, out: Floats) -> None:
        pass

    def quadratic_parameters(self, factors: Floats) -> Floats:
        return np.zeros((1, 0))

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        whitened = mixture.factors.T @ x
        logits -= 0.5 * np.einsum("db,db->b", whitened, whitened)

    def precision_times(self, means: Floats, factors: Floats) -> Floats:
        return (means @ factors) @ factors.T

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> NoReturn:
        raise NotImplementedError  # one covariance for all

    def lost_digits(self, mixture: Mixture) -> Floats:
        # The one second moment is about one place, or about the means: all go with the worst.
        return np.full(len(mixture.means), np.max(super().lost_digits(mixture)))

    def extra(self, x: Floats, responsibilities: Floats) -> Floats | float:
        # Responsibilities of a row sum to its weight, so the sum over components is x' W x.
        weights: Floats = np.sum(responsibilities, axis=0)
        return (x * weights) @ x.T

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        return np.asarray(extra)

    def gathered(self, seconds: Sequence[Floats]) -> Floats:
        return np.asarray(np.sum(seconds, axis=0))

    def moved(self, one: Floats, other: Floats) -> Floats:
        return one.T @ other

    def covariances(self, moments: Moments, shifts: Floats, reg_covar: Floats) -> Floats:
        between = (shifts.T * moments.counts) @ shifts
        return (moments.second - between) / float(np.sum(moments.counts)) + np.diag(reg_covar)

    def log_determinants(self, mixture: Mixture) -> Floats:
        shared = np.sum(np.log(np.diagonal(mixture.factors)))
        return np.full(len(mixture.means), shared)

    def matrices(self, mixture: Mixture) -> Floats:
        return np.repeat(mixture.covariances[None], len(mixture.means), axis=0)

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        noise = random.standard_normal((len(components), mixture.means.shape[1]))
        return np.asarray(mixture.means[components] + unwhitened(noise, mixture.factors))

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features + n_features * (n_features + 1) // 2
