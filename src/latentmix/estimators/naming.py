"""Components get names: what every estimator with components does with labelled rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import NotNamedError
from latentmix.estimators.labels import KnownLabels
from latentmix.kernels.naming import name_components

# A component with less than half a labelled row to its name was reached by none.
REACHED = 0.5


class NamedComponentsMixin:
    """Adds classes to an estimator with `predict_proba` over components.

    `classes_` (C,), `class_probs_` (K, C), `labelled_rows_` (K,) and `unnamed_components_` are
    there once labels were seen.
    """

    def predict_class(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        return self.classes_of(self.predict_class_proba(X))

    def predict_class_proba(self: Any, X: Any) -> np.ndarray:
        """Return p(y|x) = sum_k p(k|x) p(y|k), (N, C), columns as `classes_`.

        Raises
        ------
        NotNamedError
            Before any label was seen.
        """
        self._check_named()
        class_proba: np.ndarray = self.predict_proba(X) @ self.class_probs_
        return class_proba

    def classes_of(self: Any, class_proba: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row of p(y|x)."""
        self._check_named()
        classes: np.ndarray = self.classes_[class_proba.argmax(axis=1)]
        return classes

    def as_classifier(self: Any) -> Any:
        """Return a scikit-learn classifier: ``fit(X, y)`` with y as labels, -1 where unknown.

        If the components have names already, it is fitted, and predicts classes at once.
        """
        # The classifier checks estimators of this kind, so it cannot be imported before them.
        from latentmix.estimators.classifier import classifier_of  # noqa: PLC0415

        return classifier_of(self)

    def name_by(self, responsibilities: np.ndarray, known: KnownLabels, smoothing: float) -> None:
        """Estimate p(y|k) from p(k|x) of the labelled rows, (M, K)."""
        one_hot = np.eye(len(known.classes))[known.indices]
        naming = name_components(responsibilities.astype(np.float64), one_hot, smoothing)
        self.keep_names(known.classes, naming.class_probs, naming.labelled_rows)
        if len(self.unnamed_components_):
            listed = ", ".join(map(str, self.unnamed_components_))
            warnings.warn(
                f"No labelled row reached {len(self.unnamed_components_)} of "
                f"{len(self.labelled_rows_)} components ({listed}): their rows get the class "
                "frequencies. Label rows of those components to name them.",
                UserWarning,
                stacklevel=3,
            )

    def keep_names(
        self, classes: np.ndarray, class_probs: np.ndarray, labelled_rows: np.ndarray
    ) -> None:
        """Set what labels teach: classes (C,), p(y|k) (K, C), and labelled rows (K,)."""
        self.classes_ = classes
        self.class_probs_ = class_probs
        self.labelled_rows_ = labelled_rows
        self.unnamed_components_ = np.flatnonzero(labelled_rows < REACHED)

    def _check_named(self) -> None:
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise NotNamedError(
                "The components have no class names yet, and this asks for classes. Call "
                "label(X, labels) with some labelled rows first (`latentmix label RUN FILE.csv`)."
            )

    def _forget_names(self) -> None:
        for name in ("classes_", "class_probs_", "labelled_rows_", "unnamed_components_"):
            if hasattr(self, name):
                delattr(self, name)
