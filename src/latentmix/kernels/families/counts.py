"""Components over binary features and over counts: Bernoulli and Poisson.

Features are independent given the component, and log p(x|k) is linear in x itself: phi = [x, 1],
no covariance, and the M step is a mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Int
from scipy.special import expit, gammaln, logit

from latentmix.kernels.arrays import Floats
from latentmix.kernels.families.family import (
    Completed,
    Family,
    Incomplete,
    Mixture,
    Moments,
    ReadAssigned,
    joined,
    parted,
)
from latentmix.kernels.families.incomplete import CompletedCounts

# A probability or rate estimated as 0 would exclude for ever what was not seen so far.
LEAST_MEAN = 1e-10


class Discrete(Family):
    """What the two have in common: means are all their parameters."""

    scaling = "none"
    has_centred_form = False
    own_covariances = False

    @abstractmethod
    def clipped(self, means: Floats) -> Floats:
        """Return the means, away from the border of their domain."""

    @abstractmethod
    def to_reals(self, means: Floats) -> Floats:
        """Return the means on the whole real line."""

    @abstractmethod
    def from_reals(self, reals: Floats) -> Floats:
        """Return the means that real numbers stand for."""

    @abstractmethod
    def linear(self, means: Floats) -> tuple[Floats, Floats]:
        """Return theta and c, (K, D): log p(x|k) sums theta x + c over features."""

    def natural(self, mixture: Mixture) -> Floats:
        theta, constants = self.linear(mixture.means)
        return np.concatenate([theta, np.sum(constants, axis=1, keepdims=True)], axis=1)

    def of_means(self, weights: Floats, means: Floats) -> Mixture:
        """Return the mixture with these means."""
        return Mixture(weights, self.clipped(means), np.zeros((0,)), np.zeros((0,)))

    def n_quadratic(self, n_features: int) -> int:
        return 0

    def quadratic(self, x: Floats, out: Floats) -> None:
        pass

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        pass

    def extra(self, x: Floats, responsibilities: Floats) -> Floats | float:
        return 0.0

    def second(self, sums: Floats, extra: Floats | float) -> Floats:
        return np.zeros((0,))

    def lost_digits(self, mixture: Mixture) -> Floats:
        return np.zeros(len(mixture.means))

    def constants(self, mixture: Mixture) -> NoReturn:
        raise NotImplementedError  # no centred form

    def distance(self, deviation: Floats, mixture: Mixture, k: int) -> NoReturn:
        raise NotImplementedError  # no centred form

    def expected_distances(self, mixture: Mixture, covariances: Floats) -> NoReturn:
        raise NotImplementedError  # no covariance

    def centred_second(
        self, deviation: Floats, responsibilities: Floats, mixture: Mixture, k: int
    ) -> NoReturn:
        raise NotImplementedError  # no centred form

    def gathered(self, seconds: Sequence[Floats]) -> NoReturn:
        raise NotImplementedError  # no centred form

    def recentre(self, moments: Moments, centres: Floats) -> Moments:
        return moments

    def start(self, means: Floats, lengths: Floats, read: ReadAssigned) -> Mixture:
        return self.of_means(np.full(len(means), 1 / len(means)), means)

    def maximise(self, moments: Moments, previous: Mixture | None, reg_covar: Floats) -> Mixture:
        means = moments.centres + moments.first / moments.counts[:, None]
        return self.of_means(moments.counts / np.sum(moments.counts), means)

    def completed(self, mixture: Mixture, rows: Incomplete) -> Completed:
        theta, constants = self.linear(mixture.means)
        completed = CompletedCounts(mixture, theta, constants, rows)
        self.adjust(completed.log_densities, rows.x, mixture)
        return completed

    def conditional(
        self, mixture: Mixture, seen: np.ndarray, values: Floats
    ) -> tuple[Family, Mixture]:
        return self, mixture._replace(means=mixture.means[:, ~seen])

    def unconstrained(self, mixture: Mixture) -> Floats:
        return joined(mixture.weights, self.to_reals(mixture.means))

    def from_unconstrained(self, vector: Floats, like: Mixture) -> Mixture:
        weights, reals = parted(vector, len(like.weights), like.means.shape)
        return self.of_means(weights, self.from_reals(reals))

    def factors(self, covariances: Floats) -> Floats:
        return covariances

    def rescale(self, covariances: Floats, scale: Floats) -> Floats:
        return covariances

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (0,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


class Bernoulli(Discrete):
    """Binary features: log p(x|k) = x . logit(p_k) + sum log(1 - p_k)."""

    name = "bernoulli"

    def clipped(self, means: Floats) -> Floats:
        return np.clip(means, LEAST_MEAN, 1 - LEAST_MEAN)

    def to_reals(self, means: Floats) -> Floats:
        return np.asarray(logit(means))

    def from_reals(self, reals: Floats) -> Floats:
        return np.asarray(expit(reals))

    def linear(self, means: Floats) -> tuple[Floats, Floats]:
        return np.log(means) - np.log1p(-means), np.log1p(-means)

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        draws = random.uniform(size=(len(components), mixture.means.shape[1]))
        return np.asarray(draws < mixture.means[components], np.float64)


class Poisson(Discrete):
    """Counts: log p(x|k) = x . log(rate_k) - sum rate_k - sum log x!."""

    name = "poisson"

    def clipped(self, means: Floats) -> Floats:
        return np.maximum(means, LEAST_MEAN)

    def to_reals(self, means: Floats) -> Floats:
        return np.log(means)

    def from_reals(self, reals: Floats) -> Floats:
        return np.exp(reals)

    def linear(self, means: Floats) -> tuple[Floats, Floats]:
        return np.log(means), -means

    def adjust(self, logits: Floats, x: Floats, mixture: Mixture) -> None:
        logits -= np.sum(gammaln(x + 1), axis=0)

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: Int[np.ndarray, " S"]
    ) -> Floats:
        return np.asarray(random.poisson(mixture.means[components]), np.float64)
