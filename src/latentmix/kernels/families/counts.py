"""Components over binary features and over counts: Bernoulli and Poisson.

Features are independent given the component, and log p(x|k) is linear in x itself: phi = [x, 1],
no covariance, and the M step is a mean.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from scipy.special import expit, gammaln, logit

from latentmix.kernels.families.family import Family, Mixture, Moments, joined, parted

# A probability or rate estimated as 0 would exclude for ever what was not seen so far.
LEAST_MEAN = 1e-10


class _Discrete:
    """What the two have in common: means are all their parameters."""

    scaling = "none"
    always_centred = False
    own_covariances = False

    def n_quadratic(self, n_features: int) -> int:
        return 0

    def quadratic(self, x: np.ndarray, out: np.ndarray) -> None:
        pass

    def extra(self, x: np.ndarray, responsibilities: np.ndarray) -> np.ndarray | float:
        return 0.0

    def second(self, sums: np.ndarray, extra: np.ndarray | float) -> np.ndarray:
        return np.zeros((0,))

    def clipped(self, means: np.ndarray) -> np.ndarray:
        """Return the means, away from the border of their domain."""
        raise NotImplementedError

    def of_means(self, weights: np.ndarray, means: np.ndarray) -> Mixture:
        """Return the mixture with these means."""
        return Mixture(weights, self.clipped(means), np.zeros((0,)), np.zeros((0,)))

    def maximise(
        self, moments: Moments, previous: Mixture | None, reg_covar: np.ndarray
    ) -> Mixture:
        means = moments.centres + moments.first / moments.counts[:, None]
        return self.of_means(moments.counts / np.sum(moments.counts), means)

    def restrict(self, mixture: Mixture, seen: np.ndarray) -> tuple[Family, Mixture]:
        return self, mixture._replace(means=mixture.means[:, seen])

    def complete(self, moments: Moments, mixture: Mixture, seen: np.ndarray) -> Moments:
        first = moments.counts[:, None] * mixture.means
        first[:, seen] = moments.first
        return moments._replace(first=first, centres=np.zeros_like(mixture.means))

    def unconstrained(self, mixture: Mixture) -> np.ndarray:
        return joined(mixture.weights, self.to_reals(mixture.means))

    def from_unconstrained(self, vector: np.ndarray, like: Mixture) -> Mixture:
        weights, reals = parted(vector, len(like.weights), like.means.shape)
        return self.of_means(weights, self.from_reals(reals))

    def to_reals(self, means: np.ndarray) -> np.ndarray:
        """Return the means on the whole real line."""
        raise NotImplementedError

    def from_reals(self, reals: np.ndarray) -> np.ndarray:
        """Return the means that real numbers stand for."""
        raise NotImplementedError

    def factors(self, covariances: np.ndarray) -> np.ndarray:
        return covariances

    def rescale(self, covariances: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return covariances

    def distance(self, deviation: np.ndarray, mixture: Mixture, k: int) -> NoReturn:
        raise NotImplementedError  # never centred

    def centred_second(
        self, deviation: np.ndarray, responsibilities: np.ndarray, mixture: Mixture, k: int
    ) -> NoReturn:
        raise NotImplementedError  # never centred

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        return (0,)

    def n_parameters(self, n_components: int, n_features: int) -> int:
        return n_components * n_features


class Bernoulli(_Discrete):
    """Binary features: log p(x|k) = x . logit(p_k) + sum log(1 - p_k)."""

    name = "bernoulli"

    def clipped(self, means: np.ndarray) -> np.ndarray:
        return np.clip(means, LEAST_MEAN, 1 - LEAST_MEAN)

    def to_reals(self, means: np.ndarray) -> np.ndarray:
        return np.asarray(logit(means))

    def from_reals(self, reals: np.ndarray) -> np.ndarray:
        return np.asarray(expit(reals))

    def natural(self, mixture: Mixture) -> np.ndarray:
        p = mixture.means
        constant = np.sum(np.log1p(-p), axis=1, keepdims=True)
        return np.concatenate([np.log(p) - np.log1p(-p), constant], axis=1)

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        pass

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        draws = random.uniform(size=(len(components), mixture.means.shape[1]))
        return (draws < mixture.means[components]).astype(np.float64)


class Poisson(_Discrete):
    """Counts: log p(x|k) = x . log(rate_k) - sum rate_k - sum log x!."""

    name = "poisson"

    def clipped(self, means: np.ndarray) -> np.ndarray:
        return np.maximum(means, LEAST_MEAN)

    def to_reals(self, means: np.ndarray) -> np.ndarray:
        return np.log(means)

    def from_reals(self, reals: np.ndarray) -> np.ndarray:
        return np.exp(reals)

    def natural(self, mixture: Mixture) -> np.ndarray:
        rates = mixture.means
        return np.concatenate([np.log(rates), -np.sum(rates, axis=1, keepdims=True)], axis=1)

    def adjust(self, logits: np.ndarray, x: np.ndarray, mixture: Mixture) -> None:
        logits -= np.sum(gammaln(x + 1), axis=0)

    def draw(
        self, random: np.random.RandomState, mixture: Mixture, components: np.ndarray
    ) -> np.ndarray:
        return random.poisson(mixture.means[components]).astype(np.float64)
