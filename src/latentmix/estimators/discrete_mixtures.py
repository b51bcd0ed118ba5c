"""Mixtures over binary features and over counts, on the engine of the Gaussian one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import Tags

from latentmix.errors import InputError
from latentmix.estimators.given_start import given_means
from latentmix.estimators.mixture import MixtureEstimator
from latentmix.kernels.families import DISCRETE, Discrete, Mixture
from latentmix.training.em_start import Start


class DiscreteMixture(MixtureEstimator):
    """A mixture whose components have means alone; the subclasses name the family.

    Parameters
    ----------
    n_components : int or 'auto', default=1
        Number of components, K; 'auto' takes as many as the rows call for, by BIC.
    tol : float, default=1e-3
        EM stops when the mean log-likelihood per row (nats) changes by less.
    max_iter : int, default=100
        The most EM iterations; 0 leaves the mixture as it starts.
    n_init : int, default=1
        Number of starts; the one with the highest log-likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'k-means||', 'labels', 'random', 'random_from_data'}
        Where the first responsibilities come from (default 'kmeans').
    weights_init : (K,) array, optional
        Starting weights.
    means_init : (K, D) array, optional
        Starting means; those on the border of the domain are moved 1e-10 away from it.
    random_state : int, RandomState or None
        Seed of the starts and of `sample`.
    warm_start, verbose, verbose_interval
        As in :class:`~latentmix.GaussianMixture`.
    acceleration : {None, 'squarem'}, default=None
        As in :class:`~latentmix.GaussianMixture`.
    smoothing : float, default=1.0
        Weight, in rows, of the prior on p(y|k), centred on the class frequencies.
    missing_label : default=-1
        What marks an unknown label, besides None, NaN and blanks.

    Attributes
    ----------
    weights_ : (K,)
        Mixing weights, summing to 1.
    means_ : (K, D)
        Component means: probabilities in [0, 1], or rates.
    n_components_, converged_, n_iter_, lower_bound_, lower_bounds_, n_reborn_, n_falls_
        As in :class:`~latentmix.GaussianMixture`.
    classes_, class_probs_, labelled_rows_, unnamed_components_, n_features_in_, feature_names_in_
        As in :class:`~latentmix.GaussianMixture`.
    """

    family: str
    domain: tuple[float, float]

    def __init__(
        self,
        n_components: int | str = 1,
        *,
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        acceleration: str | None = None,
        smoothing: float = 1.0,
        missing_label: Any = -1,
    ) -> None:
        self.n_components = n_components
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.acceleration = acceleration
        self.smoothing = smoothing
        self.missing_label = missing_label

    def _family(self) -> Discrete:
        return DISCRETE[self.family]

    def _given(self, n_features: int) -> Start:
        shape = (int(self.n_components), n_features)
        start = given_means(shape, self.weights_init, self.means_init)
        if start.means is None:
            return start
        self._check_range(start.means, "means_init", "Change means_init")
        return start._replace(means=self._family().clipped(start.means))

    def _mixture(self) -> Mixture:
        # Off the border again, where float32 and whoever sets the means by hand may have put them.
        return self._family().of_means(
            np.asarray(self.weights_, np.float64), np.asarray(self.means_, np.float64)
        )

    def keep_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Set the fitted arrays, as they were stored."""
        self.weights_, self.means_ = tensors["weights_"], tensors["means_"]

    def _keep_mixture(self, mixture: Mixture, dtype: np.dtype) -> None:
        self.weights_ = mixture.weights.astype(dtype)
        self.means_ = mixture.means.astype(dtype)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _check_values(self, X: np.ndarray) -> None:
        self._check_range(X, "X", "Rescale X")

    def _check_range(self, X: np.ndarray, name: str, remedy: str) -> None:
        """Refuse values outside the domain, whatever they are called."""
        if not X.size:
            return
        low, high = self.domain
        # NaN, where all values are missing, is neither too small nor too large.
        least, most = float(np.fmin.reduce(X, axis=None)), float(np.fmax.reduce(X, axis=None))
        # Infinity is refused later, where its row is told.
        if least < low or high < most < np.inf:
            negative = "Negative values in data: " if least < 0 else ""
            raise InputError(
                f"{negative}{name} holds values in [{least:g}, {most:g}] but "
                f"{type(self).__name__} needs [{low:g}, {high:g}]. {remedy} or use GaussianMixture."
            )


class BernoulliMixture(DiscreteMixture):
    """Mixture of independent binary features: p(x|k) = prod_d p_kd^x_d (1 - p_kd)^(1 - x_d).

    Parameters and attributes are those of
    :class:`~latentmix.estimators.discrete_mixtures.DiscreteMixture`; `means_` are the
    probabilities p_kd. Values between 0 and 1 count as shares of a 0 and a 1.

    References
    ----------
    Bishop (2006), "Pattern Recognition and Machine Learning", section 9.3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import BernoulliMixture
    >>> X = np.repeat(np.eye(2), 20, axis=0).repeat(3, axis=1)
    >>> BernoulliMixture(2, random_state=0).fit(X).means_.round().sum(axis=1)
    array([3., 3.])
    """

    family = "bernoulli"
    domain = (0.0, 1.0)


class PoissonMixture(DiscreteMixture):
    """Mixture of independent counts: p(x|k) = prod_d rate_kd^x_d exp(-rate_kd) / x_d!.

    Parameters and attributes are those of
    :class:`~latentmix.estimators.discrete_mixtures.DiscreteMixture`; `means_` are the rates.

    References
    ----------
    Karlis and Meligkotsidou (2007), "Finite mixtures of multivariate Poisson distributions".

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import PoissonMixture
    >>> X = np.repeat([[1.0, 9.0], [9.0, 1.0]], 20, axis=0)
    >>> np.sort(PoissonMixture(2, random_state=0).fit(X).means_[:, 0]).round(6)
    array([1., 9.])
    """

    family = "poisson"
    # Beyond, the squares that a start's distances are made of leave float64.
    domain = (0.0, 1e150)
