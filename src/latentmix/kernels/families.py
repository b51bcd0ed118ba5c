"""The covariance families of a Gaussian mixture: one class and one dict line each.

Every family writes log p(x|k) = theta_k . phi(x): a row enters as its features phi(x)
(`quadratic_features`, x, 1), a component as its natural parameters theta_k, and a block
of rows costs two matrix products. The maximisation step needs no row again: it reads the
moments that phi(X)^T R adds up. "Precision factor" is scikit-learn's
`precisions_cholesky_`: F with P = F F^T, or 1/sigma where the covariance is diagonal.
"""

from __future__ import annotations

from typing import Final, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Family(Protocol):
    """What the EM step asks of a covariance family. Arrays: B rows, D features, K components.

    Covariances and factors have scikit-learn's shapes: see each family's `shape`.
    """

    name: str

    def quadratic_features(self, x: Array) -> Array:
        """Return the features (B, Q) that carry x's second powers."""
        ...

    def quadratic_parameters(self, factors: Array) -> Array:
        """Return theta's part (Q, K) for those features: -x'P_k x / 2 as a linear form."""
        ...

    def shared_log_density(self, x: Array, factors: Array) -> Array:
        """Return the part (B,) of log p(x|k) that is the same for every component."""
        ...

    def precision_times(self, means: Array, factors: Array) -> Array:
        """Return P_k mean_k, (K, D)."""
        ...

    def squared_distances(self, x: Array, means: Array, factors: Array) -> Array:
        """Return (x - mean_k)' P_k (x - mean_k), (B, K), from the differences themselves."""
        ...

    def second_moments(self, x: Array, features: Array, responsibilities: Array) -> Array:
        """Return sum_n r_nk x_n x_n', in the shape of the covariances."""
        ...

    def centred_second_moments(self, x: Array, centres: Array, responsibilities: Array) -> Array:
        """Return the second moments about each component's centre (K, D)."""
        ...

    def covariances(self, counts: Array, shifts: Array, moments: Array, reg_covar: Array) -> Array:
        """Return the maximising covariances, given moments about points `shifts` off the means."""
        ...

    def factors(self, covariances: Array) -> Array:
        """Return the precision factors; NaN where a covariance is not positive definite."""
        ...

    def covariances_from_precisions(self, precisions: Array) -> Array:
        """Return the covariances whose inverses are given."""
        ...

    def precisions(self, factors: Array) -> Array:
        """Return the precision matrices (or their diagonals) from their factors."""
        ...

    def log_determinants(self, factors: Array, n_features: int) -> Array:
        """Return log det F_k, (K,) or a scalar: half the log determinant of the precision."""
        ...

    def draw(self, noise: Array, covariances: Array, components: Array | np.ndarray) -> Array:
        """Turn standard normal noise (S, D) into deviations from the given components' means."""
        ...

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the covariances, and of their factors and precisions."""
        ...

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free covariance parameters."""
        ...


def _factor_of_precision(covariance: Array) -> Array:
    """Return F, upper triangular, with F F^T the inverse of one covariance matrix."""
    lower = jnp.linalg.cholesky(covariance)
    identity = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)
    return jax.scipy.linalg.solve_triangular(lower, identity, lower=True).T


def _outer(vectors: Array) -> Array:
    return vectors[:, :, None] * vectors[:, None, :]


class Full:
    """Each component has its own covariance matrix: phi = [upper triangle of x x', x, 1]."""

    name = "full"

    def quadratic_features(self, x: Float[Array, "B D"]) -> Float[Array, "B Q"]:
        i, j = np.triu_indices(x.shape[1])
        return x[:, i] * x[:, j]

    def quadratic_parameters(self, factors: Float[Array, "K D D"]) -> Float[Array, "Q K"]:
        i, j = np.triu_indices(factors.shape[-1])
        # An off-diagonal product stands once in phi and twice in x'Px.
        twice = np.where(i == j, 0.5, 1.0)
        return -(self.precisions(factors)[:, i, j] * twice).T

    def shared_log_density(self, x: Array, factors: Array) -> Array:
        return jnp.zeros(x.shape[0], x.dtype)

    def precision_times(self, means: Array, factors: Array) -> Array:
        return jnp.einsum("kij,klj,kl->ki", factors, factors, means)

    def squared_distances(self, x: Array, means: Array, factors: Array) -> Array:
        def one(component: tuple[Array, Array]) -> Array:
            mean, factor = component
            return jnp.sum(((x - mean) @ factor) ** 2, axis=1)

        by_component: Array = jax.lax.map(one, (means, factors))
        return by_component.T

    def second_moments(self, x: Array, features: Array, responsibilities: Array) -> Array:
        i, j = np.triu_indices(x.shape[1])
        where = np.zeros((x.shape[1], x.shape[1]), np.int32)
        where[i, j] = where[j, i] = np.arange(i.size)
        return (responsibilities.T @ features)[:, where]

    def centred_second_moments(self, x: Array, centres: Array, responsibilities: Array) -> Array:
        def one(component: tuple[Array, Array]) -> Array:
            centre, weight = component
            deviation = x - centre
            return (deviation * weight[:, None]).T @ deviation

        moments: Array = jax.lax.map(one, (centres, responsibilities.T))
        return moments

    def covariances(self, counts: Array, shifts: Array, moments: Array, reg_covar: Array) -> Array:
        covariances = moments / counts[:, None, None] - _outer(shifts)
        return covariances + reg_covar * jnp.eye(shifts.shape[1], dtype=shifts.dtype)

    def factors(self, covariances: Array) -> Array:
        return jax.vmap(_factor_of_precision)(covariances)

    def covariances_from_precisions(self, precisions: Array) -> Array:
        covariances: Array = jnp.linalg.inv(precisions)
        return covariances

    def precisions(self, factors: Array) -> Array:
        return jnp.einsum("kij,klj->kil", factors, factors)

    def log_determinants(self, factors: Array, n_features: int) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(factors, axis1=1, axis2=2)), axis=1)

    def draw(self, noise: Array, covariances: Array, components: Array | np.ndarray) -> Array:
        return jnp.einsum("sij,sj->si", jnp.linalg.cholesky(covariances)[components], noise)

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features * (n_features + 1) // 2


class Tied:
    """All components share one covariance matrix: phi = [x, 1] and one shared second moment."""

    name = "tied"

    def quadratic_features(self, x: Array) -> Array:
        return jnp.zeros((x.shape[0], 0), x.dtype)

    def quadratic_parameters(self, factors: Array) -> Array:
        return jnp.zeros((0, 1), factors.dtype)

    def shared_log_density(self, x: Array, factors: Array) -> Array:
        return -0.5 * jnp.sum((x @ factors) ** 2, axis=1)

    def precision_times(self, means: Array, factors: Array) -> Array:
        return (means @ factors) @ factors.T

    def squared_distances(self, x: Array, means: Array, factors: Array) -> Array:
        def one(mean: Array) -> Array:
            return jnp.sum(((x - mean) @ factors) ** 2, axis=1)

        by_component: Array = jax.lax.map(one, means)
        return by_component.T

    def second_moments(self, x: Array, features: Array, responsibilities: Array) -> Array:
        # Responsibilities of a row sum to its weight, so the sum over components is x' W x.
        return (x * jnp.sum(responsibilities, axis=1, keepdims=True)).T @ x

    def centred_second_moments(self, x: Array, centres: Array, responsibilities: Array) -> Array:
        return jnp.sum(Full().centred_second_moments(x, centres, responsibilities), axis=0)

    def covariances(self, counts: Array, shifts: Array, moments: Array, reg_covar: Array) -> Array:
        covariance = (moments - (shifts.T * counts) @ shifts) / jnp.sum(counts)
        return covariance + reg_covar * jnp.eye(shifts.shape[1], dtype=shifts.dtype)

    def factors(self, covariances: Array) -> Array:
        return _factor_of_precision(covariances)

    def covariances_from_precisions(self, precisions: Array) -> Array:
        covariances: Array = jnp.linalg.inv(precisions)
        return covariances

    def precisions(self, factors: Array) -> Array:
        return factors @ factors.T

    def log_determinants(self, factors: Array, n_features: int) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(factors)))

    def draw(self, noise: Array, covariances: Array, components: Array | np.ndarray) -> Array:
        lower: Array = jnp.linalg.cholesky(covariances)
        return noise @ lower.T

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_features, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_features * (n_features + 1) // 2


class Diag:
    """Each component has a variance for every feature: phi = [x^2, x, 1]."""

    name = "diag"

    def quadratic_features(self, x: Array) -> Array:
        return x**2

    def quadratic_parameters(self, factors: Array) -> Array:
        return -0.5 * (factors**2).T

    def shared_log_density(self, x: Array, factors: Array) -> Array:
        return jnp.zeros(x.shape[0], x.dtype)

    def precision_times(self, means: Array, factors: Array) -> Array:
        return means * factors**2

    def squared_distances(self, x: Array, means: Array, factors: Array) -> Array:
        def one(component: tuple[Array, Array]) -> Array:
            mean, factor = component
            return jnp.sum(((x - mean) * factor) ** 2, axis=1)

        by_component: Array = jax.lax.map(one, (means, factors))
        return by_component.T

    def second_moments(self, x: Array, features: Array, responsibilities: Array) -> Array:
        return responsibilities.T @ features

    def centred_second_moments(self, x: Array, centres: Array, responsibilities: Array) -> Array:
        def one(component: tuple[Array, Array]) -> Array:
            centre, weight = component
            return weight @ (x - centre) ** 2

        moments: Array = jax.lax.map(one, (centres, responsibilities.T))
        return moments

    def covariances(self, counts: Array, shifts: Array, moments: Array, reg_covar: Array) -> Array:
        return moments / counts[:, None] - shifts**2 + reg_covar

    def factors(self, covariances: Array) -> Array:
        return jnp.where(covariances > 0, covariances, jnp.nan) ** -0.5

    def covariances_from_precisions(self, precisions: Array) -> Array:
        return 1.0 / precisions

    def precisions(self, factors: Array) -> Array:
        return factors**2

    def log_determinants(self, factors: Array, n_features: int) -> Array:
        return jnp.sum(jnp.log(factors), axis=1)

    def draw(self, noise: Array, covariances: Array, components: Array | np.ndarray) -> Array:
        return noise * jnp.sqrt(covariances)[components]

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components, n_features)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


class Spherical:
    """Each component has one variance: phi = [|x|^2, x, 1]."""

    name = "spherical"

    def quadratic_features(self, x: Array) -> Array:
        return jnp.sum(x**2, axis=1, keepdims=True)

    def quadratic_parameters(self, factors: Array) -> Array:
        return -0.5 * (factors**2)[None, :]

    def shared_log_density(self, x: Array, factors: Array) -> Array:
        return jnp.zeros(x.shape[0], x.dtype)

    def precision_times(self, means: Array, factors: Array) -> Array:
        return means * factors[:, None] ** 2

    def squared_distances(self, x: Array, means: Array, factors: Array) -> Array:
        return Diag().squared_distances(x, means, factors[:, None])

    def second_moments(self, x: Array, features: Array, responsibilities: Array) -> Array:
        return (responsibilities.T @ features)[:, 0]

    def centred_second_moments(self, x: Array, centres: Array, responsibilities: Array) -> Array:
        return jnp.sum(Diag().centred_second_moments(x, centres, responsibilities), axis=1)

    def covariances(self, counts: Array, shifts: Array, moments: Array, reg_covar: Array) -> Array:
        return (moments / counts - jnp.sum(shifts**2, axis=1)) / shifts.shape[1] + reg_covar

    def factors(self, covariances: Array) -> Array:
        return jnp.where(covariances > 0, covariances, jnp.nan) ** -0.5

    def covariances_from_precisions(self, precisions: Array) -> Array:
        return 1.0 / precisions

    def precisions(self, factors: Array) -> Array:
        return factors**2

    def log_determinants(self, factors: Array, n_features: int) -> Array:
        return n_features * jnp.log(factors)

    def draw(self, noise: Array, covariances: Array, components: Array | np.ndarray) -> Array:
        return noise * jnp.sqrt(covariances)[components, None]

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (n_components,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components


FAMILIES: Final[dict[str, Family]] = {
    "full": Full(),
    "tied": Tied(),
    "diag": Diag(),
    "spherical": Spherical(),
}
