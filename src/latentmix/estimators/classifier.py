"""A mixture whose components have names, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from latentmix.errors import InputError
from latentmix.estimators.labels import KnownLabels, known_labels
from latentmix.estimators.validation import check_weights


# scikit-learn carries no types, so its classes are Any.
class MixtureClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classes by way of components, for grid searches, cross-validation and calibration.

    Parameters
    ----------
    estimator : GaussianMixture, LatentMixture or another with components
        Fitted with y as its labels.

    Attributes
    ----------
    classes_ : (C,)
    estimator_ : the fitted estimator

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import GaussianMixture
    >>> from sklearn.model_selection import GridSearchCV
    >>> y = np.repeat(["low", "high"], 50)
    >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
    >>> classifier = GaussianMixture(random_state=0).as_classifier()
    >>> GridSearchCV(classifier, {"estimator__n_components": [1, 2]}, cv=2).fit(X, y).best_params_
    {'estimator__n_components': 2}
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to all rows, those with an unknown class (-1, None, blank) included.

        Parameters
        ----------
        X : (N, D)
        y : (N,)
            Classes.
        sample_weight : (N,), optional
            Weights of the rows, for mixtures: a latent mixture takes none.

        Raises
        ------
        InputError
            If y is None, holds numbers that are no classes, or does not fit the rows; or if the
            weights do not, or the estimator takes none.
        """
        if y is None:
            raise InputError(
                "MixtureClassifier requires y to be passed, but the target y is None. Give the "
                "classes of the rows, -1 or None where unknown."
            )
        y = column_or_1d(y, warn=True)
        check_classification_targets(np.asarray(y[self._known(y, len(y)).rows].tolist()))
        weights = self._weights(sample_weight)
        self.estimator_ = clone(self.estimator).fit(X, labels=y, **weights)
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        check_is_fitted(self)
        classes: np.ndarray = self.estimator_.predict_class(X)
        return classes

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return p(y|x), (N, C)."""
        check_is_fitted(self)
        class_proba: np.ndarray = self.estimator_.predict_class_proba(X)
        return class_proba

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of rows with a known class that get it right.

        Raises
        ------
        InputError
            If y or the weights do not fit the rows, no class is known, or no row with a known
            class has any weight.
        """
        y, predicted = column_or_1d(y), self.predict(X)
        rows = self._known(y, len(predicted)).rows
        weights = None
        if sample_weight is not None:
            weights = check_weights(sample_weight, len(predicted))[rows]
            if not weights.any():
                raise InputError(
                    "sample_weight is zero for every row with a known class. Expected at least "
                    "one to score by; give it a weight, or leave sample_weight out."
                )
        known = np.asarray(y[rows].tolist())
        return float(accuracy_score(known, predicted[rows], sample_weight=weights))

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`."""
        n_features: int = self.estimator_.n_features_in_
        return n_features

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the features seen in `fit`, where X had any."""
        names: np.ndarray = self.estimator_.feature_names_in_
        return names

    def _weights(self, sample_weight: Any) -> dict[str, Any]:
        """Return the weights as an argument of the estimator's `fit`, none if none are given."""
        if sample_weight is None:
            return {}
        if not has_fit_parameter(self.estimator, "sample_weight"):
            raise InputError(
                f"sample_weight is given, but {type(self.estimator).__name__} weighs no rows. "
                "Leave it out, or classify by a mixture alone, as GaussianMixture."
            )
        return {"sample_weight": sample_weight}

    def _known(self, y: np.ndarray, n_rows: int) -> KnownLabels:
        return known_labels(y, n_rows, getattr(self.estimator, "missing_label", -1))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags


def classifier_of(estimator: Any) -> MixtureClassifier:
    """Return a classifier around an estimator, fitted if its components have names."""
    classifier = MixtureClassifier(clone(estimator))
    if hasattr(estimator, "classes_"):
        classifier.estimator_, classifier.classes_ = estimator, estimator.classes_
    return classifier
