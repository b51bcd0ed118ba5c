"""What people call the rows: class names, and a number a row that points into them.

A label file is a CSV of two columns, a row number (from 0), file name or id, and a label.
A blank label is an unknown one, and so is every row the file does not mention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from latentmix.data.dataset import UNKNOWN, Dataset
from latentmix.data.text import active, open_csv
from latentmix.errors import InputError

_HEADER_KEYS = {
    "row",
    "row number",
    "index",
    "file",
    "filename",
    "file name",
    "image",
    "path",
    "id",
}
_HEADER_LABELS = {"label", "labels", "class", "target", "category", "y"}


# Text under such a title is rarely a feature.
USUAL_TITLES = _HEADER_KEYS | _HEADER_LABELS


class Labels(NamedTuple):
    """Indices into the class names, int64 of shape (N,), -1 where unknown; and those names.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.data import Labels
    >>> told = Labels(np.array([0, -1, 1]), ("cat", "dog"))
    >>> [told.class_names[label] if label >= 0 else None for label in told.labels]
    ['cat', None, 'dog']
    """

    labels: np.ndarray
    class_names: tuple[str, ...]


def encode_names(names: Iterable[str | None]) -> Labels:
    """Return the labels for a class name a row; None or blank is unknown.

    Classes are in alphabetical order, or in that of their values if all are whole numbers.
    """
    stripped = [(name or "").strip() for name in names]
    classes = sorted(set(stripped) - {""})
    if all(_is_whole(name) for name in classes):
        classes.sort(key=int)
    index = {name: number for number, name in enumerate(classes)} | {"": UNKNOWN}
    labels = np.fromiter((index[name] for name in stripped), dtype=np.int64, count=len(stripped))
    return Labels(labels, tuple(classes))


def encode_values(values: np.ndarray, source: str) -> Labels:
    """Return the labels for an array of whole numbers or strings, one a row.

    A negative number, NaN or a blank string is unknown.

    Raises
    ------
    InputError
        If the array has another shape than (N,) or (N, 1), or holds other numbers.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or values.dtype.kind not in "biufUS":
        raise InputError(
            f"{source} has labels of shape {values.shape} and type {values.dtype}. Expected one "
            "whole number or string a row."
        )
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind == "U":
        return encode_names(values.tolist())
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), UNKNOWN, values)
        if not np.array_equal(values, np.floor(values)) or np.isinf(values).any():
            raise InputError(
                f"{source} has labels that are no whole numbers. Expected class numbers or "
                "strings, -1 or blank where unknown."
            )
    whole = values.astype(np.int64)
    known = whole >= 0
    classes, index = np.unique(whole[known], return_inverse=True)
    labels = np.full(len(whole), UNKNOWN, dtype=np.int64)
    labels[known] = index
    return Labels(labels, tuple(map(str, classes.tolist())))


def read_labels(path: str | Path, dataset: Dataset) -> Dataset:
    r"""Return `dataset` with the labels of a label file in place of any it had.

    Raises
    ------
    MissingError, FormatError, InputError
        As `read_label_rows`.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.csv").write_text("row,label\n0,cat\n2,dog\n")
    >>> from latentmix.data import load, read_labels
    >>> read_labels("labels.csv", load("digits")).describe()
    '1,797 images of 8x8, 2 classes, 2 rows labelled'
    """
    rows = read_label_rows(path, dataset.row_ids, len(dataset.X))
    return replace(dataset, labels=rows.labels, class_names=rows.class_names)


def read_label_rows(path: str | Path, row_ids: Sequence[str] | None, n_rows: int) -> Labels:
    r"""Return the labels of a label file for `n_rows` rows.

    Parameters
    ----------
    path : str or Path
        The CSV. A header such as ``file,label`` may stand first.
    row_ids : sequence of str or None
        What the rows are called; a file may also be meant by the last part of its path, if
        that is the only such one. None: by their numbers alone.
    n_rows : int

    Raises
    ------
    MissingError
        If the file cannot be read.
    FormatError
        If it is no CSV of two columns.
    InputError
        If it names an unknown row, gives one row two labels, or holds no label at all.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("labels.csv").write_text("row,label\n0,cat\n2,dog\n")
    >>> from latentmix.data import read_label_rows
    >>> read_label_rows("labels.csv", None, n_rows=4)
    Labels(labels=array([ 0, -1,  1, -1]), class_names=('cat', 'dog'))
    """
    path = Path(path)
    with open_csv(path) as lines:
        told = ((line, [*map(active, cells)]) for line, cells in lines)
        found = label_lines(told, str(path), row_ids, n_rows)
    return encode_names(found.get(row) for row in range(n_rows))


def label_lines(
    lines: Iterable[tuple[int, list[str]]], source: str, row_ids: Sequence[str] | None, n_rows: int
) -> dict[int, str]:
    """Return the label of each row that has one, from numbered lines of cells.

    `source` is for messages; all else, and what is raised, as in `read_label_rows`.
    """
    row_of = _RowFinder(row_ids, n_rows)
    names: dict[int, str] = {}
    first_line: dict[int, int] = {}
    for line, cells in lines:
        if not first_line and _is_header(cells, row_of):
            continue
        key, label = _two_cells(cells, line, source)
        row = row_of(key)
        if row is None:
            raise InputError(
                f"{source}, line {line}: {key!r} is no row of the data. Expected {row_of.expected}."
            )
        if label and names.get(row, label) != label:
            raise InputError(
                f"{source}, line {line}: {key!r} is labelled {label!r}, but {names[row]!r} in "
                f"line {first_line[row]}. Expected one label a row; remove one of the two."
            )
        if label:
            names[row] = label
        first_line.setdefault(row, line)
    if not names:
        raise InputError(f"{source} holds no label. Expected lines of row or file name and label.")
    return names


class _RowFinder:
    """From what a label file calls a row to its number."""

    def __init__(self, row_ids: Sequence[str] | None, n_rows: int) -> None:
        ids = row_ids or ()
        last_parts = [PurePosixPath(name).name for name in ids]
        once = {name for name, count in Counter(last_parts).items() if count == 1}
        self._number = {name: row for row, name in enumerate(last_parts) if name in once}
        self._number |= {name: row for row, name in enumerate(ids)}
        self._n_rows = n_rows
        # An id column of whole numbers leaves no room for row numbers beside it.
        self._by_number = not any(_is_whole(name) for name in ids)
        choices = [f"a row number from 0 to {n_rows - 1}"] if self._by_number else []
        choices += [f"a file name or id such as {ids[0]!r}"] if ids else []
        self.expected = " or ".join(choices)

    def __call__(self, key: str) -> int | None:
        """Return the row number, None if there is no such row."""
        found = self._number.get(key)
        if found is None and self._by_number and _is_whole(key) and 0 <= int(key) < self._n_rows:
            found = int(key)
        return found


def _is_header(cells: list[str], row_of: _RowFinder) -> bool:
    """Tell a header: it names no row, and at least one of its two cells is a usual title."""
    key, label = ([*cells, "", ""])[:2]
    usual = key.lower() in _HEADER_KEYS or label.lower() in _HEADER_LABELS
    return usual and row_of(key) is None


def _two_cells(cells: list[str], line: int, source: str) -> tuple[str, str]:
    # A line of one cell is a row somebody has not labelled yet.
    if len(cells) not in (1, 2):
        raise InputError(
            f"{source}, line {line} has {len(cells)} cells. Expected two: a row number or file "
            "name, and a label (quote one that holds a comma)."
        )
    return cells[0], cells[1] if len(cells) == 2 else ""


def _is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
