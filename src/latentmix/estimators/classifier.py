"""A mixture whose components have names, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted


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
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to all rows, those with an unknown class (-1, None, blank) included."""
        self.estimator_ = clone(self.estimator).fit(X, labels=y)
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

    @property
    def n_features_in_(self) -> int:
        """Number of features seen in `fit`."""
        n_features: int = self.estimator_.n_features_in_
        return n_features


def classifier_of(estimator: Any) -> MixtureClassifier:
    """Return a classifier around an estimator, fitted if its components have names."""
    classifier = MixtureClassifier(clone(estimator))
    if hasattr(estimator, "classes_"):
        classifier.estimator_, classifier.classes_ = estimator, estimator.classes_
    return classifier
