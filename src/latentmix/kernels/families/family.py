"""What the EM step asks of a family, and the mixture that its parameters make up.

Arrays lie features first: a block x is (D, B), its rows the columns, so that every feature
of a block is one contiguous stretch. log p(x|k) is theta_k . phi(x), phi(x) being
[quadratic features (Q, B); x (D, B); 1], which makes an E step of two matrix products.
What a family cannot say in that form (a term shared by all components, a distance taken from
the differences themselves) has a method of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from latentmix.kernels.arrays import Floats


class Mixture(NamedTuple):
    """A mixture with K components over D features.

    `covariances` and `factors` have the family's shape. A factor is scikit-learn's
    `precisions_cholesky_`: F with P = F F', or 1/sigma where the covariance is diagonal.
    Families without a covariance have means alone; the two are empty then.
    """

    weights: Float[Floats, " K"]
    means: Float[Floats, "K D"]
    covariances: Floats
    factors: Floats


class Moments(NamedTuple):
    """What the rows of a block, or of all blocks, add up to, weighted by responsibilities.

    `first` and `second` are sums of (x - centre_k) and of its products, `second` in a shape
    of the family's own. `centres` are 0 unless a component's moments were taken about its mean.
    """

    counts: Float[Floats, " K"]
    first: Float[Floats, "K D"]
    second: Floats
    centres: Float[Floats, "K D"]

    def plus(self, other: Moments) -> Moments:
        """Return the moments of the rows of both, taken about the same centres."""
        return Moments(
            self.counts + other.counts,
            self.first + other.first,
            self.second + other.second,
            self.centres,
        )


class Assigned(NamedTuple):
    """Rows to start from, each with the number of its mean; a negative one counts for the first."""

    x: Float[Floats, "D S"]
    weights: Float[Floats, " S"]
    nearest: Int[np.ndarray, " S"]


# What reads those rows, block by block and as often as it is called.
ReadAssigned = Callable[[], Iterable[Assigned]]


class Incomplete(NamedTuple):
    """Rows x, in scaled units and 0 where missing, and what was seen in each of their patterns."""

    x: Float[Floats, "D B"]
    seen: Bool[np.ndarray, "P D"]

    @property
    def present(self) -> Float[Floats, "D _"]:
        """1 where an entry was seen, 0 where it is missing."""
        return self.of_rows(np.asarray(self.seen.T, np.float64))

    def of_rows(self, of_patterns: np.ndarray) -> np.ndarray:
        """Return for each row, along the last axis, what is given for each pattern.

        For a single pattern nothing is repeated: it spreads over the rows by itself.
        """
        if len(self.seen) == 1:
            return of_patterns
        return np.repeat(of_patterns, self.x.shape[1] // len(self.seen), axis=-1)

    def stacked(self, of_rows: Float[Floats, "Q B"]) -> Float[Floats, "Q P R"]:
        """Return a view that has the rows of each pattern along an axis of their own."""
        return of_rows.reshape(len(of_rows), len(self.seen), -1)


class Completed(Protocol):
    """What the components say of incomplete rows."""

    # log p(seen | k).
    log_densities: Float[Floats, "K B"]

    def moments(self, responsibilities: Float[Floats, "K B"]) -> Moments:
        """Return the expected moments of the completed rows."""
        ...

    def expected(self, responsibilities: Float[Floats, "K B"]) -> Float[Floats, "D B"]:
        """Return the expectation of what is missing; seen entries mean nothing."""
        ...


def joined(weights: Floats, *parts: Floats) -> Floats:
    """Return log weights and unconstrained parameters as one vector."""
    with np.errstate(divide="ignore"):
        log_weights = np.maximum(np.log(weights), -700.0)
    return np.concatenate([log_weights, *(part.ravel() for part in parts)])


def parted(vector: Floats, n_components: int, *shapes: tuple[int, ...]) -> list[Floats]:
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
    """Any family: what the E and the M step, the start and the answers call."""

    name: str
    # Rows may be rescaled by one number for each feature, by one for all, or not at all.
    scaling: str
    # Whether log p(x|k) can be taken from the deviations from a mean.
    has_centred_form: bool
    # Whether each component has a covariance of its own.
    own_covariances: bool

    def n_quadratic(self, n_features: int) -> int:
        """Return Q, the number of quadratic features."""
        ...

    def quadratic(self, x: Floats, out: Floats) -> None:
        """Write the quadratic features of x (D, B) into out (Q, B)."""
        ...

    def natural(self, mixture: Mixture) -> Float[Floats, "K P"]:
        """Return theta, (K, Q + D + 1), without the log weights."""
        ...

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        """Add to log p(x|k), (K, B), what is no linear form of phi."""
        ...

    def extra(self, x: Floats, responsibilities: Floats) -> Floats | float:
        """Return moments of a block that are no product of phi and responsibilities."""
        ...

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        """Return the second moments from phi's quadratic part, (Q, K), and `extra`."""
        ...

    def lost_digits(self, mixture: Mixture) -> Float[Floats, " K"]:
        """Return mean_k' P_k mean_k, which measures the digits that the expanded form loses.

        NaN counts as lost, and a family without an expanded form has lost them all.
        """
        ...

    def constants(self, mixture: Mixture) -> Float[Floats, " K"]:
        """Return log p(mean_k | k)."""
        ...

    def distance(self, deviation: Floats, mixture: Mixture, k: int) -> Float[Floats, " B"]:
        """Return d' P_k d of deviations (D, B) from the mean."""
        ...

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> Float[Floats, "K J"]:
        """Return E[d' P_k d] = tr(P_k Sigma_j) of deviations with each of the given covariances.

        Asked only where components have covariances of their own.
        """
        ...

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> Floats:
        """Return component k's second moments about its mean."""
        ...

    def gathered(self, seconds: Sequence[Floats]) -> Floats:
        """Return the second moments, given every component's own."""
        ...

    def recentre(self, moments: Moments, centres: Float[Floats, "K D"]) -> Moments:
        """Return the moments about other centres."""
        ...

    def start(
        self, means: Float[Floats, "K D"], lengths: Float[Floats, " D"], read: ReadAssigned
    ) -> Mixture:
        """Return a mixture at the means, to take the first moments of the rows under.

        Lengths are compared after features are multiplied by `lengths`.
        """
        ...

    def maximise(
        self, moments: Moments, previous: Mixture | None, reg_covar: Float[Floats, " D"]
    ) -> Mixture:
        """Return the mixture of greatest expected log-likelihood (the M step).

        `reg_covar` (D,) is added to every variance.
        """
        ...

    def completed(self, mixture: Mixture, rows: Incomplete) -> Completed:
        """Return what the components say of rows with missing entries."""
        ...

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Float[Floats, " S"]
    ) -> tuple[Family, Mixture]:
        """Return the components of the other features given the values, and their family.

        The weights stay what they were.
        """
        ...

    def unconstrained(self, mixture: Mixture) -> Floats:
        """Return the mixture as a vector, every value of which is a mixture."""
        ...

    def from_unconstrained(self, vector: Floats, like: Mixture) -> Mixture:
        """Return the mixture that a vector stands for; `like` has its shapes."""
        ...

    def factors(self, covariances: Floats) -> Floats:
        """Return the precision factors; NaN where a covariance is not positive definite."""
        ...

    def rescale(self, covariances: Floats, scale: Float[Floats, " D"]) -> Floats:
        """Return the covariances of rows that are multiplied by `scale` (D,)."""
        ...

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of the covariances."""
        ...

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free parameters besides the weights."""
        ...

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Float[Floats, "S D"]:
        """Draw one row from each of the given components."""
        ...


def n_free_parameters(family: Family, n_components: int, n_features: int) -> int:
    """Return the number of free parameters of a mixture: weights, and the family's own."""
    return family.n_parameters(n_components, n_features) + n_components - 1


class Gaussian(Family, Protocol):
    """What a family with covariances is asked besides."""

    def precisions(self, factors: Floats) -> Floats:
        """Return the precisions in the covariances' shape."""
        ...

    def from_precisions(self, precisions: Floats) -> Floats:
        """Return the covariances whose inverses are given; not finite where there is none."""
        ...

    def fault(self, precisions: Floats) -> str | None:
        """Return what a caller's `precisions_init` should be and is not; None if it is.

        In scikit-learn's words first. Says nothing of what `from_precisions` finds out.
        """
        ...

    def matrices(self, mixture: Mixture) -> Float[Floats, "K D D"]:
        """Return every component's covariance as a matrix."""
        ...
