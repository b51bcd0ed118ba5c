"""Labels as people give them: some known, some not, strings or integers."""

from __future__ import annotations

import math
import warnings
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from latentmix.data import Rows
from latentmix.data.columns import codes_of
from latentmix.errors import InputError


class KnownLabels(NamedTuple):
    """The rows whose class is known, their class indices, and the sorted classes."""

    rows: np.ndarray
    indices: np.ndarray
    classes: np.ndarray

    def among(self, rows: np.ndarray) -> KnownLabels:
        """Return the labels of the rows that are chosen, (N,) bool, and the classes they have."""
        kept = rows[self.rows]
        numbers, indices = np.unique(self.indices[kept], return_inverse=True)
        return KnownLabels(self.rows[kept], indices, self.classes[numbers])


class LabelledRows(NamedTuple):
    """The rows whose class is known, (M, D), their class indices, (M,), and the sorted classes.

    `numbers`, (M,), says where they stood. In an order that rows and classes alone decide: whatever
    is learned from them is the same, to the bit, in whichever order they came.
    """

    rows: np.ndarray
    indices: np.ndarray
    classes: np.ndarray
    numbers: np.ndarray


def labelled_rows(X: Rows, labels: Any, missing_label: object = -1) -> LabelledRows:
    """Return the rows with a known label.

    Raises
    ------
    InputError
        As `known_labels` does.
    """
    known = known_labels(labels, len(X), missing_label)
    rows = np.ascontiguousarray(codes_of(X)[known.rows])
    # Each row as one value, so that rows are compared byte by byte.
    width = max(rows.dtype.itemsize * rows.shape[1], 1)
    values = np.unique(rows.view(np.dtype((np.void, width))).ravel(), return_inverse=True)[1]
    order = np.lexsort((known.indices, values))
    return LabelledRows(
        X[known.rows[order]], known.indices[order], known.classes, known.rows[order]
    )


def known_labels(labels: Any, n_rows: int, missing_label: object = -1) -> KnownLabels:
    """Separate known from unknown labels (`missing_label`, None, NaN or blank).

    Raises
    ------
    InputError
        If there are not `n_rows` labels, or none is known.
    """
    known = is_known(labels, n_rows, missing_label)
    array = _as_objects(labels)
    if not known.any():
        raise InputError(
            f"None of the {n_rows} labels is known: all are -1, None or blank. Expected at least "
            "one known label; give some to name the components."
        )
    kinds = {isinstance(label, str) for label in array[known].tolist()}
    if len(kinds) > 1:
        raise InputError(
            "labels mixes text with numbers. Expected classes of one kind; give them all as text."
        )
    values = np.asarray(array[known].tolist())  # integers beside None are integers again
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise InputError(
            f"labels holds infinity, {int(np.isinf(values).sum())} times, which is no class. "
            "Expected names or finite numbers; give -1 or None where a class is unknown."
        )
    classes, indices = np.unique(values, return_inverse=True)
    if missing_label == -1 and classes.tolist() == [1] and not known.all():
        warnings.warn(
            "labels holds nothing but -1 and 1, and -1 is read as unknown, not as a class. If both "
            "are classes, call them 0 and 1.",
            UserWarning,
            stacklevel=3,
        )
    return KnownLabels(np.flatnonzero(known), indices, classes)


def is_known(labels: Any, n_rows: int, missing_label: object = -1) -> np.ndarray:
    """Return which rows have a known label, (N,) bool.

    Raises
    ------
    InputError
        If there are not `n_rows` labels.
    """
    array = _as_objects(labels)
    if array.ndim != 1 or len(array) != n_rows:
        raise InputError(
            f"labels has shape {array.shape} but X has {n_rows} rows. Give one label for each "
            "row, -1 (or None) where it is unknown."
        )
    return np.array([not _missing(label, missing_label) for label in array.tolist()], bool)


def _as_objects(labels: Any) -> np.ndarray:
    # NumPy would turn -1 and NaN beside strings into strings.
    return np.asarray(labels, dtype=object)


def _missing(label: object, missing_label: object) -> bool:
    if label is None or (isinstance(label, str) and label.strip() == ""):
        return True
    if isinstance(label, Real) and math.isnan(label):
        return True
    if type(label).__name__ == "NAType":  # pandas.NA, which is neither equal nor unequal
        return True
    return type(label) is not bool and label == missing_label
