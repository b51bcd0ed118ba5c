"""Which rows to label next: what every estimator with components can say of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows
from latentmix.errors import InputError
from latentmix.estimators.labels import is_known
from latentmix.estimators.validation import check_number
from latentmix.kernels.queries import Landscape, doubt_of, queried


class QueryMixin:
    """Adds `query` to an estimator whose components can be named."""

    missing_label: Any

    @abstractmethod
    def _checked(self, X: Any) -> Rows:
        """Return X as rows that a fitted estimator can answer about."""

    @abstractmethod
    def _landscape(self, X: Any) -> Landscape:
        """Return where checked rows lie, and what the mixture says of them."""

    def query(self: Any, X: Any, n: int, *, labels: Any = None) -> np.ndarray:
        """Return which rows to label next, (n,) row numbers, the most useful first.

        First a typical row of each component without a label, larger components first. Then rows
        of the clusters whose classes (before any name, components) are most in doubt for each
        label they have, typical and far from others with a label
        (:mod:`latentmix.kernels.queries`). The same model and rows give the same answer. Doubt is
        that of the names there are: label some rows, then ask again.

        Rows chosen so are no random draw: measure accuracy on others.

        Parameters
        ----------
        X : (N, D)
            Rows that could be labelled.
        n : int
        labels : (N,), optional
            Labels of those rows that have one, else -1, None or blank; they are not asked for, nor
            are rows beside them.

        Raises
        ------
        NotFittedError
            Before `fit`.
        InputError
            If there are fewer rows without a label than `n`, or not a label or mark for each row.
        ParameterError
            If `n` is no integer of 1 or more.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> asked = mixture.query(X, 2)
        >>> sorted(y[asked].tolist())
        ['high', 'low']
        >>> mixture.label(X[asked], y[asked]).predict_class(X[:2]).tolist()
        ['low', 'low']
        """
        check_is_fitted(self)
        check_number("n", n, kind=Integral, least=1)
        X = self._checked(X)
        labelled = np.zeros(len(X), bool)
        if labels is not None:
            labelled = is_known(labels, len(X), self.missing_label)
        n_free = int((~labelled).sum())
        if n > n_free:
            raise InputError(
                f"n={n} rows are asked for but only {n_free} of the {len(X)} rows of X have no "
                "label. Give more rows, or ask for fewer."
            )
        chosen: np.ndarray = self.query_in(self._landscape(X), labelled, int(n))
        return chosen

    def query_in(self: Any, landscape: Landscape, labelled: np.ndarray, n: int) -> np.ndarray:
        """Return what `query` does, from what the mixture says of rows; `labelled` is (N,) bool."""
        proba = landscape.responsibilities
        if hasattr(self, "classes_"):
            proba = self.class_proba_of(proba).astype(np.float64)
        return queried(landscape, doubt_of(proba), labelled, n)


def landscape_of(
    answers: Any, places: np.ndarray, looks: Callable[[np.ndarray], np.ndarray] | None = None
) -> Landscape:
    """Return a landscape of a mixture's answers about rows that lie at places, (N, L)."""
    places = places.astype(np.float64)
    deviation = places.std(axis=0)
    return Landscape(
        answers.responsibilities.astype(np.float64),
        answers.log_density.astype(np.float64),
        places / np.where(deviation > 0, deviation, 1.0),
        looks,
    )
