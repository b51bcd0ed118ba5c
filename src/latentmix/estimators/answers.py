"""What a fitted mixture answers, as scikit-learn's: clusters, densities, draws, imputed entries."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import ParameterError
from latentmix.estimators.dask_rows import by_blocks
from latentmix.estimators.row_sources import check_matrix, float_type
from latentmix.estimators.validation import check_number, random_of
from latentmix.kernels import completion
from latentmix.kernels.answers import Answers, answers
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model
from latentmix.kernels.families import Family, Mixture, n_free_parameters
from latentmix.kernels.rows import Rows, patterns_of


class AnswersMixin:
    """Adds what is asked of a fitted mixture; the estimator says which family and parameters.

    X is always a matrix of rows, (N, D), NaN where an entry is missing. Each method raises
    NotFittedError before `fit`, and InputError for a stream, another width, infinite values, or
    values outside the family's domain. Answers have the dtype of the fitted attributes.
    """

    weights_: np.ndarray
    means_: np.ndarray
    random_state: Any

    @abstractmethod
    def _family(self) -> Family:
        """Return the family that the parameters ask for."""

    @abstractmethod
    def _mixture(self) -> Mixture:
        """Return the fitted mixture in float64."""

    def _check_values(self, X: np.ndarray) -> None:
        """Refuse values outside the family's domain."""

    @by_blocks
    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable component of each row, (N,) of int.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> nearest = mixture.predict([[0, 0], [12, 2]])
        >>> mixture.means_[nearest].round()
        array([[ 1.,  2.],
               [10.,  2.]])
        """
        components: np.ndarray = self._answers(X).responsibilities.argmax(axis=1)
        return components

    @by_blocks
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return p(k|x), (N, K), rows summing to 1.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> proba = mixture.predict_proba([[0, 0], [12, 2]])
        >>> proba.max(axis=1).round(2)
        array([1., 1.])
        """
        return self._answers(X).responsibilities.astype(self._dtype, copy=False)

    @by_blocks
    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of each row, (N,), in nats: of what was seen of it.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> usual, strange = mixture.score_samples([[1, 2], [5, 2]])
        >>> bool(usual > strange)
        True
        """
        return self._answers(X).log_density.astype(self._dtype, copy=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples` over the rows, in nats; y is ignored."""
        return float(self.score_samples(X).mean())

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion, in nats doubled; lower is better.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.random.RandomState(0).randn(100, 1) + np.repeat([[0], [9]], 50, axis=0)
        >>> bic = {k: GaussianMixture(k, random_state=0).fit(X).bic(X) for k in (1, 2, 3)}
        >>> min(bic, key=bic.get)
        2
        """
        log_density = self._answers(X).log_density
        penalty = self._n_parameters() * np.log(len(log_density))
        return float(penalty - 2 * log_density.sum())

    def aic(self, X: Any) -> float:
        """Return the Akaike information criterion, in nats doubled; lower is better.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> mixture.aic(X) < GaussianMixture().fit(X).aic(X)
        True
        """
        return float(2 * self._n_parameters() - 2 * self._answers(X).log_density.sum())

    def impute(self, X: Any) -> np.ndarray:
        """Return X with each NaN replaced by its conditional expectation, (N, D), in X's dtype.

        E[x_missing | x_seen] = sum_k p(k | x_seen) E[x_missing | x_seen, k].

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 12], [10, 14], [10, 10]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> mixture.impute([[1, np.nan], [10, np.nan]]).round(2)
        array([[ 1.,  2.],
               [10., 12.]])
        """
        check_is_fitted(self)
        X = check_matrix(self, X, reset=False)
        self._check_values(X)
        with Crew() as crew:
            filled = completion.impute(Model(self._family(), self._mixture()), X, crew)
        return filled.astype(float_type(X), copy=False)

    def sample(self, n_samples: float = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, (n_samples, D), and the components they come from, (n_samples,), in order.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ParameterError
            If `n_samples` is no whole number of 1 or more, or `random_state` no seed.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> rows, components = mixture.sample(4)
        >>> rows.shape, components.shape
        ((4, 2), (4,))
        """
        check_is_fitted(self)
        # A whole number such as 1e4 is as good as an integer, as in scikit-learn's.
        whole = isinstance(n_samples, float) and n_samples.is_integer()
        n_draws = int(n_samples) if whole else n_samples
        try:
            check_number("n_samples", n_draws, kind=Integral, least=1)
        except ParameterError as error:
            raise ParameterError(f"Invalid value for 'n_samples': {error}") from None
        random = random_of(self.random_state)
        weights = self.weights_.astype(np.float64)
        counts = random.multinomial(int(n_draws), weights / weights.sum())
        components = np.repeat(np.arange(len(counts)), counts)
        return self.draw(components, random), components

    def draw(self, components: np.ndarray, random_state: Any = None) -> np.ndarray:
        """Draw one row from each of the given components, (S,): (S, D).

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> high = mixture.predict([[10, 2]])[0]
        >>> mixture.draw([high, high], random_state=0)[:, 0].round(1)
        array([10., 10.])
        """
        check_is_fitted(self)
        random = random_of(random_state)
        drawn = self._family().draw(random, self._mixture(), components)
        return drawn.astype(self._dtype, copy=False)

    @property
    def n_components_(self) -> int:
        """Number of components of the fitted mixture, also where 'auto' found it."""
        return len(self.weights_)

    @property
    def _dtype(self) -> np.dtype:
        dtype: np.dtype = self.means_.dtype
        return dtype

    def _n_parameters(self) -> int:
        return n_free_parameters(self._family(), *self._mixture().means.shape)

    def _answers(self, X: Any) -> Answers:
        """Return log p(x), (N,), and p(k|x), (N, K), in float64."""
        check_is_fitted(self)
        X = check_matrix(self, X, reset=False)
        self._check_values(X)
        family, mixture = self._family(), self._mixture()
        shift = np.zeros(mixture.means.shape[1])
        if family.scaling != "none":
            # Seen from the mixture's own mean, the expanded quadratic keeps its digits.
            shift = mixture.weights @ mixture.means
            mixture = mixture._replace(means=mixture.means - shift)
        patterns = patterns_of(X) if X.dtype.kind == "f" else None
        rows = Rows(X, shift, np.ones_like(shift), patterns=patterns)
        with Crew() as crew:
            return answers(Model(family, mixture), rows, crew)
