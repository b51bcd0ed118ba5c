"""What the EM step asks of a family, and the mixture that its parameters make up.

Arrays lie features first: a block x is (D, B), its rows the columns, so that every feature
of a block is one contiguous stretch. log p(x|k) is theta_k . phi(x), phi(x) being
[quadratic features (Q, B); x (D, B); 1], which makes an E step of two matrix products.
What a family cannot say in that form (a term shared by all components, a distance taken from
the differences themselves) has a method of its own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float


class Mixture(NamedTuple):
    """A mixture with K components over D features.

    `covariances` and `factors` have the family's shape. A factor is scikit-learn's
    `precisions_cholesky_`: F with P = F F', or 1/sigma where the covariance is diagonal.
    Families without a covariance have means alone; the two are empty then.
    """

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K D"]
    covariances: np.ndarray
    factors: np.ndarray


class Moments(NamedTuple):
    """What the rows of a block, or of all blocks, add up to, weighted by responsibilities.

    `first` and `second` are sums of (x - centre_k) and of its products, `second` in a shape
    of the family's own. `centres` are 0 unless a component's moments were taken about its mean.
    """

    counts: Float[np.ndarray, " K"]
    first: Float[np.ndarray, "K D"]
    second: np.ndarray
    centres: Float[np.ndarray, "K D"]

    def plus(self, other: Moments) -> Moments:
        """Return the moments of the rows of both, taken about the same centres."""
        return Moments(
            self.counts + other.counts,
            self.first + other.first,
            self.second + other.second,
            self.centres,
        )


def joined(weights: np.ndarray, *parts: np.ndarray) -> np.ndarray:
    """Return log weights and unconstrained parameters as one vector."""
    with np.errstate(divide="ignore"):
        log_weights = np.maximum(np.log(weights), -700.0)
    return np.concatenate([log_weights, *(part.ravel() for part in parts)])


def parted(vector: np.ndarray, n_components: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Return the weights and the parameters of those shapes that a vector joins."""
    log_weights = vector[:n_components]
    weights = np.exp(log_weights - np.max(log_weights))
    parts, start = [weights / np.sum(weights)], n_components
    for shape in shapes:
        stop = start + int(np.prod(shape))
        parts.append(vector[start:stop].reshape(shape))
        start = stop
    return parts


class Family(Protocol):
    """Any family: what the E and the M step call."""

    name: str
    # Rows may be rescaled by one number for each feature, by one for all, or not at all.
    scaling: str
    # Whether every component is always taken in the centred form.
    always_centred: bool
    # Whether each component has a covariance of its own.
    own_covariances: bool

    def n_quadratic(self, n_features: int) -> int:
        """Return Q, the number of quadratic features."""
        ...

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the quadratic features of x (D, B) into out (Q, B)."""
        ...

    def natural(self, mixture: Mixture) -> Float[np.ndarray, "K P"]:
        """Return theta, (K, Q + D + 1), without the log weights."""
        ...

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        """Add to log p(x|k), (K, B), what is no linear form of phi."""
        ...

    def extra(self, x: np.ndarray, responsibilities: np.ndarray) -> np.ndarray | float:
        """Return moments of a block that are no product of phi and responsibilities."""
        ...

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        """Return the second moments from phi's quadratic part, (Q, K), and `extra`."""
        ...

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> np.ndarray:
        """Return d' P_k d, (B,), of deviations (D, B) from the mean."""
        ...

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> np.ndarray:
        """Return component k's second moments about its mean."""
        ...

    def maximise(
        self, moments: Moments, previous: Mixture | None, reg_covar: np.ndarray
    ) -> Mixture:
        """Return the mixture of greatest expected log-likelihood (the M step).

        `reg_covar` (D,) is added to every variance.
        """
        ...

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        """Return the marginal mixture of the features `seen` (D,) bool, and its family."""
        ...

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        """Return expected moments of all features, given those of rows seen in part."""
        ...

    def unconstrained(self, mixture: Mixture) -> np.ndarray:
        """Return the mixture as a vector, every value of which is a mixture."""
        ...

    def from_unconstrained(self, vector: np.ndarray, like: Mixture) -> Mixture:
        """Return the mixture that a vector stands for; `like` has its shapes."""
        ...

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        """Return the precision factors; NaN where a covariance is not positive definite."""
        ...

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the covariances of rows that are multiplied by `scale` (D,)."""
        ...

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the covariances."""
        ...

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters besides the weights."""
        ...

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        """Draw one row from each of the given components, (S, D)."""
        ...


class Gaussian(Family, Protocol):
    """What the centred form and the Gaussian answers ask besides."""

    def constants(self, mixture: Mixture) -> np.ndarray:
        """Return log p(mean_k | k), (K,)."""
        ...

    def recentre(self, moments: Moments, centres: np.ndarray) -> Moments:
        """Return the moments about other centres, (K, D)."""
        ...

    def precision_times(self, means: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return P_k mean_k, (K, D)."""
        ...

    def precisions(self, factors: np.ndarray) -> np.ndarray:
        """Return the precisions in the covariances' shape."""
        ...

    def from_precisions(self, precisions: np.ndarray) -> np.ndarray:
        """Return the covariances whose inverses are given."""
        ...

    def matrices(self, mixture: Mixture) -> np.ndarray:
        """Return every component's covariance as a matrix, (K, D, D)."""
        ...
