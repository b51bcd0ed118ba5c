"""The one record every source of data is read into: rows, and what is known about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentmix.data.columns import Column, TableRows
from latentmix.data.views import Rows
from latentmix.errors import InputError

# Columns that `describe` names.
_MOST_NAMED = 5

UNKNOWN = -1  # the label of a row nobody has labelled


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts of a data set: int64, sorted, without overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.data import Split
    >>> parts = Split(train=np.arange(80), validation=np.arange(80, 90), test=np.arange(90, 100))
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (80, 10, 10)
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of data with their labels and names, as far as these are known.

    Attributes
    ----------
    name : str
        ``"mnist"``, or the stem of a path; letters, digits, ``.``, ``_`` and ``-`` only.
    source : str
        Where it was read from, for people.
    X : ndarray of shape (N, D)
        C-contiguous. Images are uint8 in [0, 255], or float as their source has them; tables
        are float32, or float64 where the source has more digits. Every value is finite.
    labels : ndarray of int64, shape (N,), or None
        Indices into `class_names`; -1 where unknown. None if nothing is labelled.
    class_names : tuple of str
        Empty without labels.
    row_ids : tuple of str or None
        File names or the id column; None where the row number is the id.
    image_shape : tuple of int or None
        (H, W) or (H, W, C); None for tables.
    feature_names : tuple of str or None
        The titles of a table's columns, if it has any.
    columns : tuple of Column or None
        What a table's columns hold, where any is text or anything was said of them; in those that
        are categorical X has positions. None: all are numbers.
    fixed_split : Split or None
        The official split, for sets that have one.
    even_classes : bool
        Whether classes are known to have about equally many rows, as whoever made the set says.

    Raises
    ------
    InputError
        If there is no row or no column, or labels or ids are not one a row.

    Examples
    --------
    Rows of your own, in memory:

    >>> import numpy as np
    >>> from latentmix.data import Dataset
    >>> X = np.array([[1.0, 16.2], [1.0, 16.3], [2.0, 25.8]])
    >>> coins = Dataset("coins", "a drawer", X, labels=np.array([0, 0, 1]), class_names=("1", "2"))
    >>> coins.describe()
    '3 rows of 2 columns, 2 classes'
    >>> coins.class_names[coins.labels[2]]
    '2'
    """

    name: str
    source: str
    X: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    row_ids: tuple[str, ...] | None = None
    image_shape: tuple[int, ...] | None = None
    feature_names: tuple[str, ...] | None = None
    fixed_split: Split | None = None
    columns: tuple[Column, ...] | None = None
    even_classes: bool = False

    def __post_init__(self) -> None:
        if self.X.ndim != 2 or 0 in self.X.shape:
            raise InputError(
                f"{self.source} holds data of shape {self.X.shape}. Expected at least one row and "
                "one column."
            )
        self._check_one_a_row("labels", self.labels)
        self._check_one_a_row("row ids", self.row_ids)

    def of_columns(self, numbers: Sequence[int]) -> TableRows:
        """Return `rows` with some columns alone, in their order."""
        return TableRows(self.X, self.columns, self.feature_names).of_columns(numbers)

    @property
    def rows(self) -> Rows:
        """The rows in the source's own terms, X with the titles and categories of a table."""
        if self.feature_names is None and self.columns is None:
            return self.X
        return TableRows(self.X, self.columns, self.feature_names)

    def _categorical(self) -> str:
        """Return which columns are categorical, for `describe`."""
        names = self.feature_names or tuple(map(str, range(self.X.shape[1])))
        found = [
            name
            for name, column in zip(names, self.columns or (), strict=False)
            if column.kind == "categorical"
        ]
        if not found:
            return ""
        shown = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
        return f" ({len(found):,} categorical: {shown})"

    def _check_one_a_row(self, what: str, values: np.ndarray | tuple[str, ...] | None) -> None:
        if values is not None and len(values) != len(self.X):
            raise InputError(
                f"{self.source} has {len(values):,} {what} for {len(self.X):,} rows. Expected one "
                "a row; check that both come from the same set."
            )

    def describe(self) -> str:
        """Return one phrase for people, such as ``70,000 images of 28x28, 10 classes``."""
        n_rows, width = self.X.shape
        if self.image_shape is None:
            rows = f"{n_rows:,} rows of {width:,} columns{self._categorical()}"
        else:
            rows = f"{n_rows:,} images of {'x'.join(map(str, self.image_shape))}"
        if self.labels is None:
            return f"{rows}, no labels"
        n_labelled = int((self.labels != UNKNOWN).sum())
        some = f", {n_labelled:,} rows labelled" if n_labelled < n_rows else ""
        return f"{rows}, {len(self.class_names)} classes{some}"


def plain_name(text: str) -> str:
    """Return `text` with whatever does not belong in a folder's name replaced by ``-``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "data"
