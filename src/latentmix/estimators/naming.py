"""Components get names: what every estimator with components does with labelled rows."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows
from latentmix.errors import InputError, NotNamedError, ParameterError
from latentmix.estimators.dask_rows import by_blocks
from latentmix.estimators.labels import LabelledRows, labelled_rows
from latentmix.estimators.validation import check_number
from latentmix.kernels.cross_fitting import CrossFitted, cross_fitted, label_errors
from latentmix.kernels.naming import name_components
from latentmix.kernels.temperature import best_temperature, tempered
from latentmix.metrics import Interval, cross_fitted_interval

# A component with less than half a labelled row to its name was reached by none.
REACHED = 0.5

# Folds that labelled rows are dealt into where they judge what they named.
FOLDS = 10


class Evidence(NamedTuple):
    """Labelled rows as naming sees them: p(k|x), (M, K), class indices, (M,), and classes.

    `numbers`, (M,), says which rows they are. `counts`, (K, C), are labelled rows besides, whose
    component is known.
    """

    responsibilities: np.ndarray
    indices: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray | None = None

    def of(self, chosen: np.ndarray) -> Evidence:
        """Return some of the rows alone."""
        return self._replace(
            responsibilities=self.responsibilities[chosen],
            indices=self.indices[chosen],
            numbers=self.numbers[chosen],
        )


class Suspects(NamedTuple):
    """Labelled rows by how little the other labels believe theirs, the least believed first.

    Attributes
    ----------
    rows : (M,) int
        Which rows of X.
    belief : (M,)
        p(y|x) of the label given, by names that it had no part in, in [0, 1].
    suggested : (M,)
        The most probable class by those names.
    likely_wrong : (M,) bool
        Whether some other class is more believable, by how such rows are believed on average.
    """

    rows: np.ndarray
    belief: np.ndarray
    suggested: np.ndarray
    likely_wrong: np.ndarray


class NamedComponentsMixin:
    """Adds classes to an estimator with components; it has a `smoothing`.

    `classes_` (C,), `class_probs_` (K, C), `labelled_rows_` (K,), `unnamed_components_` and
    `temperature_` are there once labels were seen.
    """

    smoothing: float
    missing_label: Any = -1

    @abstractmethod
    def _checked(self, X: Any) -> Rows:
        """Return X as rows that a fitted estimator can answer about."""

    @abstractmethod
    def _responsibilities(self, X: np.ndarray) -> np.ndarray:
        """Return p(k|x) of checked rows, (M, K), as exact as it is known."""

    def label(self, X: Any, labels: Any) -> Self:
        """Name the components: estimate p(y|k) from labelled rows, all else frozen.

        Parameters
        ----------
        X : (M, D)
        labels : (M,)
            Classes: strings or integers; `missing_label` (-1 unless there is such a parameter),
            None, NaN or blank is unknown. Their order does not matter, to the bit.

        Raises
        ------
        InputError
            If the lengths differ, or no label is known.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> mixture.label(X, ["low", None, None, "high", None, None]).classes_.tolist()
        ['high', 'low']
        >>> mixture.predict_class([[2, 2], [9, 2]]).tolist()
        ['low', 'high']
        """
        self.name_by(self._evidence(X, labels))
        return self

    def calibrate(self, X: Any, labels: Any, *, n_folds: int | None = FOLDS) -> Self:
        """Make p(y|x) say how often it is right: fit its temperature to labelled rows.

        From here on `predict_class_proba` is proportional to p(y|x)^(1/T), T being `temperature_`
        (Guo et al. 2017). The most probable class stays. The temperature is that of largest
        likelihood, under a prior of `smoothing` rows that believes p(y|x) as it is. Names that are
        given anew, by `label` or `fit`, are uncalibrated again.

        Parameters
        ----------
        X : (M, D)
        labels : (M,)
            As in `label`, classes that the components are named by.
        n_folds : int or None, default=10
            The rows are those that named the components: naming is repeated without each of so
            many folds, and the fold judged by the others' names. None: rows whose labels named
            nothing, judged by the names as they are.

        Raises
        ------
        NotNamedError
            Before any label was seen.
        InputError
            If the lengths differ, no label is known, one is of a class that the components are not
            named by, or there are fewer labelled rows than folds.
        ParameterError
            If `n_folds` is neither None nor an integer of 2 or more.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X).label(X[::10], y[::10])
        >>> float(mixture.predict_class_proba([[0, 0]]).max().round(2))
        0.92
        >>> mixture = mixture.calibrate(X[1::2], y[1::2], n_folds=None)  # 50 of 50 are right
        >>> float(mixture.predict_class_proba([[0, 0]]).max().round(2))
        1.0
        """
        self._check_named()
        self.calibrate_by(self._evidence(X, labels), n_folds)
        return self

    def accuracy_interval(
        self, X: Any, labels: Any, *, level: float = 0.95, n_folds: int = FOLDS
    ) -> Interval:
        """Return the accuracy of classes on rows like these, estimated from these alone.

        Naming is repeated without each fold of the labelled rows, and scored on it. The interval
        is Wilson's, widened by how much the names without each fold differ
        (:func:`latentmix.metrics.cross_fitted_interval`): it is one for the accuracy, on
        all other rows, of the components named by these. It asks for rows drawn at random: rows
        that were chosen, as by `query`, are not like the others.

        Parameters
        ----------
        X : (M, D)
        labels : (M,)
            As in `label`, which need not have been called: the estimator stays as it is.
        level : float, default=0.95
            Share of such intervals, over draws of the rows, that hold the accuracy; in (0, 1).
        n_folds : int, default=10
            More folds leave less out, and cost as many namings.

        Returns
        -------
        Interval
            ``estimate``, ``low`` and ``high``, in [0, 1]. With a label or two for each component
            the estimate is too low: a row left out takes its component's name along.

        Raises
        ------
        InputError
            If the lengths differ, no label is known, or there are fewer labelled rows than folds.
        ParameterError
            If `level` is outside (0, 1), or `n_folds` is no integer of 2 or more.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> interval = mixture.accuracy_interval(X, y)
        >>> interval.estimate, round(interval.low, 2), round(interval.high, 2)
        (1.0, 0.96, 1.0)
        """
        check_number("level", level, above=0)
        if level >= 1:
            raise ParameterError(f"level={level!r} is out of range. Expected a number in (0, 1).")
        return self.interval_by(self._evidence(X, labels), level, n_folds)

    def suspects(self, X: Any, labels: Any, *, n_folds: int = FOLDS) -> Suspects:
        """Return the labelled rows in the order in which their labels should be looked at again.

        Naming is repeated without each fold of the labelled rows, and asked how far it believes
        the labels there. Those that confident learning counts as errors are marked (Northcutt,
        Jiang and Chuang 2021, equation 1): a row's class is taken to be the most probable of those
        that it is believed to be at least as much as rows with that label are on average.

        Parameters
        ----------
        X : (M, D)
        labels : (M,)
            As in `label`, which need not have been called: the estimator stays as it is.
        n_folds : int, default=10

        Returns
        -------
        Suspects
            ``rows``, ``belief``, ``suggested`` and ``likely_wrong``, the least believed first.

        Raises
        ------
        InputError
            If the lengths differ, no label is known, or there are fewer labelled rows than folds.
        ParameterError
            If `n_folds` is no integer of 2 or more.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> y[7] = "high"  # a slip
        >>> suspects = mixture.suspects(X, y)
        >>> int(suspects.rows[0]), str(suspects.suggested[0])
        (7, 'low')
        >>> suspects.rows[suspects.likely_wrong]
        array([7])
        """
        evidence = self._evidence(X, labels)
        class_proba = self._cross_fitted(evidence, n_folds).class_proba
        belief = class_proba[np.arange(len(class_proba)), evidence.indices]
        order = np.lexsort((evidence.numbers, belief))
        return Suspects(
            evidence.numbers[order],
            belief[order],
            evidence.classes[class_proba.argmax(axis=1)][order],
            label_errors(class_proba, evidence.indices)[order],
        )

    @by_blocks
    def predict_class(self, X: Any, *, reject_below: float = 0.0) -> np.ndarray:
        """Return the most probable class of each row, (N,), or none where it is in doubt.

        Parameters
        ----------
        X : (N, D)
        reject_below : float, default=0.0
            Rows whose most probable class has a lower p(y|x) than this get the label that marks
            an unknown class: `missing_label` (-1), blank where classes are strings, None where
            neither is of the classes' kind. For a given share of answers no other rule has fewer
            errors, if p(y|x) is right (Chow 1970, "On optimum recognition error and reject
            tradeoff"); `calibrate` first. :func:`latentmix.metrics.risk_coverage` says what a
            threshold costs.

        Raises
        ------
        NotNamedError
            Before any label was seen.
        ParameterError
            If `reject_below` is outside [0, 1].

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> between = [[0, 0], [2.5, 2.5], [5, 5]]
        >>> mixture.label(X, y).predict_class(between, reject_below=0.9).tolist()
        ['low', '', 'high']
        """
        check_number("reject_below", reject_below, least=0, most=1)
        class_proba = self.predict_class_proba(X)
        classes = self.classes_of(class_proba)
        if reject_below == 0:
            return classes
        return self._with_none(classes, class_proba.max(axis=1) < reject_below)

    @by_blocks
    def predict_class_proba(self: Any, X: Any) -> np.ndarray:
        """Return p(y|x) = sum_k p(k|x) p(y|k), (N, C), columns as `classes_`.

        Once `calibrate` was called, at the temperature it found.

        Raises
        ------
        NotNamedError
            Before any label was seen.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> mixture.label(X, y).classes_.tolist()
        ['high', 'low']
        >>> mixture.predict_class_proba([[0, 0], [5, 5]]).round(1)
        array([[0., 1.],
               [1., 0.]])
        """
        self._check_named()
        class_proba: np.ndarray = self.class_proba_of(self.predict_proba(X))
        return class_proba

    def class_proba_of(self, responsibilities: np.ndarray) -> np.ndarray:
        """Return p(y|x), (N, C), of rows with p(k|x), (N, K)."""
        self._check_named()
        class_proba: np.ndarray = responsibilities @ self.class_probs_
        return tempered(class_proba, self.temperature_)

    def classes_of(self: Any, class_proba: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row of p(y|x)."""
        self._check_named()
        classes: np.ndarray = self.classes_[class_proba.argmax(axis=1)]
        return classes

    def as_classifier(self: Any) -> Any:
        """Return a scikit-learn classifier: ``fit(X, y)`` with y as labels, -1 where unknown.

        If the components have names already, it is fitted, and predicts classes at once.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> y = np.repeat(["low", "high"], 50)
        >>> X = np.random.RandomState(0).randn(100, 2) + np.where(y == "low", 0, 5)[:, None]
        >>> mixture = GaussianMixture(2, random_state=0).fit(X)
        >>> from sklearn.model_selection import cross_val_score
        >>> cross_val_score(mixture.as_classifier(), X, y, cv=2)
        array([1., 1.])
        """
        # The classifier checks estimators of this kind, so it cannot be imported before them.
        from latentmix.estimators.classifier import classifier_of  # noqa: PLC0415

        return classifier_of(self)

    def name_by(self, evidence: Evidence) -> None:
        """Estimate p(y|k) from p(k|x) of the labelled rows."""
        one_hot = np.eye(len(evidence.classes))[evidence.indices]
        responsibilities = evidence.responsibilities.astype(np.float64)
        naming = name_components(responsibilities, one_hot, self.smoothing, evidence.counts)
        self.keep_names(evidence.classes, naming.class_probs, naming.labelled_rows)
        if len(self.unnamed_components_):
            listed = ", ".join(map(str, self.unnamed_components_))
            warnings.warn(
                f"No labelled row reached {len(self.unnamed_components_)} of "
                f"{len(self.labelled_rows_)} components ({listed}): their rows get the class "
                "frequencies. Label rows of those components to name them.",
                UserWarning,
                stacklevel=3,
            )

    def calibrate_by(self, evidence: Evidence, n_folds: int | None = FOLDS) -> None:
        """Fit the temperature as `calibrate` does, to p(k|x) of the labelled rows."""
        columns = self._columns_of(evidence.classes)[evidence.indices]
        if n_folds is None:
            class_proba = evidence.responsibilities.astype(np.float64) @ self.class_probs_
        else:
            known = evidence._replace(indices=columns, classes=self.classes_)
            class_proba = self._cross_fitted(known, n_folds).class_proba
        self.temperature_ = best_temperature(class_proba, columns, self.smoothing)

    def interval_by(
        self, evidence: Evidence, level: float = 0.95, n_folds: int = FOLDS
    ) -> Interval:
        """Return the interval of `accuracy_interval`, from p(k|x) of the labelled rows."""
        found = self._cross_fitted(evidence, n_folds)
        n_right = int(np.sum(found.class_proba.argmax(axis=1) == evidence.indices))
        return cross_fitted_interval(n_right, len(evidence.indices), found.accuracies, level)

    def keep_names(
        self, classes: np.ndarray, class_probs: np.ndarray, labelled_rows: np.ndarray
    ) -> None:
        """Set what labels teach: classes (C,), p(y|k) (K, C), and labelled rows (K,)."""
        self.classes_ = classes
        self.class_probs_ = class_probs
        self.labelled_rows_ = labelled_rows
        self.unnamed_components_ = np.flatnonzero(labelled_rows < REACHED)
        self.temperature_ = 1.0

    def _with_none(self, classes: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        """Return the classes with the mark of an unknown one where a row is rejected."""
        none: Any = "" if classes.dtype.kind == "U" else None
        kinds = {"i": Integral, "u": Integral, "f": Real}
        if isinstance(self.missing_label, kinds.get(classes.dtype.kind, ())):
            none = self.missing_label
        answer = classes.astype(object if none is None else classes.dtype)
        answer[rejected] = none
        return answer

    def _evidence(self, X: Any, labels: Any) -> Evidence:
        """Return the labelled rows among X."""
        known: LabelledRows = labelled_rows(self._checked(X), labels, self.missing_label)
        return Evidence(self._responsibilities(known.rows), *known[1:])

    def _cross_fitted(self, evidence: Evidence, n_folds: int) -> CrossFitted:
        """Return what names without each fold say of the rows."""
        check_number("n_folds", n_folds, kind=Integral, least=2)
        if len(evidence.indices) < n_folds:
            raise InputError(
                f"{len(evidence.indices)} rows have a label but n_folds={n_folds}. Expected at "
                "least one in each fold; label more rows or ask for fewer folds."
            )
        return cross_fitted(
            evidence.responsibilities,
            evidence.indices,
            len(evidence.classes),
            self.smoothing,
            int(n_folds),
        )

    def _columns_of(self, classes: np.ndarray) -> np.ndarray:
        """Return where some classes stand among those that the components are named by."""
        named = [str(name) for name in self.classes_]
        unknown = [name for name in classes.tolist() if str(name) not in named]
        if unknown:
            raise InputError(
                f"labels holds the class {unknown[0]!r}, but the components are named by "
                f"{', '.join(named)}. Give labels of those, or name them anew with "
                "label(X, labels)."
            )
        return np.array([named.index(str(name)) for name in classes.tolist()])

    def _check_named(self) -> None:
        check_is_fitted(self)
        if not hasattr(self, "classes_"):
            raise NotNamedError(
                "The components have no class names yet, and this asks for classes. Call "
                "label(X, labels) with some labelled rows first (`latentmix label RUN FILE.csv`)."
            )

    def _forget_names(self) -> None:
        for name in (
            "classes_",
            "class_probs_",
            "labelled_rows_",
            "unnamed_components_",
            "temperature_",
        ):
            if hasattr(self, name):
                delattr(self, name)
