"""Tables that lie in Python: data frames, and arrays of objects, whose columns may hold text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from latentmix.data.columns import Column, TableRows
from latentmix.data.rows import check_finite
from latentmix.errors import InputError


def as_table(X: Any) -> TableRows | None:
    """Return a table that holds text, categories or truth values; None for whatever else.

    Parameters
    ----------
    X : (N, D)
        A data frame of pandas or polars, an array of objects or text, or rows in lists.

    Raises
    ------
    InputError
        If a column holds neither numbers nor text, or some of its values are missing.
    """
    columns = _columns_of(X)
    if columns is None or not any(_says_something(column) for column in columns):
        return None
    titles = titles_of(X)
    coded = [
        _coded(column, f"column {number if titles is None else titles[number]!r}")
        for number, column in enumerate(columns)
    ]
    values = np.column_stack([values for values, _ in coded])
    check_finite(values, "X", titles)
    return TableRows(values, [column for _, column in coded], titles)


def titles_of(X: Any) -> tuple[str, ...] | None:
    """Return the titles of a data frame's columns, None where they are no text or not there."""
    titles = getattr(X, "columns", None)
    if titles is None or isinstance(X, TableRows) or not all(isinstance(t, str) for t in titles):
        return None
    return tuple(titles)


def _columns_of(X: Any) -> list[Any] | None:
    """Return the columns of what may hold text; a pandas column keeps its own type."""
    if hasattr(X, "iloc") and len(getattr(X, "shape", ())) == 2:
        return [X.iloc[:, number] for number in range(X.shape[1])]
    if hasattr(X, "get_columns"):
        return list(X.get_columns())
    if isinstance(X, list | tuple):
        X = _array_of(X)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OUST":
        return list(X.T)
    return None


def _array_of(rows: Sequence[Any]) -> np.ndarray:
    """Return rows in lists as an array; beside text, numbers stay numbers."""
    try:
        array = np.asarray(rows)
    except ValueError:  # of unequal lengths: for others to refuse
        return np.zeros(0)
    return np.array(rows, dtype=object) if array.dtype.kind in "UST" else array


def _says_something(column: Any) -> bool:
    """Say whether a column holds anything but numbers."""
    if _is_category(column):
        return True
    values = np.asarray(column)
    if values.dtype.kind == "O":
        return any(isinstance(value, str | bool | np.bool_) for value in values.tolist())
    return values.dtype.kind in "bUST"


def _is_category(column: Any) -> bool:
    return str(getattr(column, "dtype", "")) == "category"


def _coded(column: Any, where: str) -> tuple[np.ndarray, Column | None]:
    """Return a column's numbers, or its positions among its categories, and what is known of it."""
    values = np.asarray(column)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8")
    if values.dtype.kind in "iuf" and not _is_category(column):
        return values.astype(np.float64), None
    kinds = {type(value) for value in values.tolist()}
    if kinds <= {bool, np.bool_}:
        return values.astype(np.float64), Column("binary")
    if any(issubclass(kind, str) for kind in kinds) or _is_category(column):
        _check_there(values, where)
        return _by_category(values, where)
    try:
        if values.dtype.kind not in "bO":  # NumPy makes numbers of dates, too
            raise TypeError(f"{values.dtype} is no type of numbers")
        return values.astype(np.float64), None
    except (TypeError, ValueError) as error:
        _check_there(values, where)
        kind = values.dtype if values.dtype.kind != "O" else min(kind.__name__ for kind in kinds)
        raise InputError(
            f"X holds values of type {kind} in {where}. Expected numbers, text or truth values; "
            "convert them."
        ) from error


def _by_category(values: np.ndarray, where: str) -> tuple[np.ndarray, Column]:
    """Return the positions of values among those there are: whole numbers, or else text."""
    found = values.tolist()
    if all(_is_whole(value) for value in found):
        found = [int(value) for value in found]
    else:
        found = [_text_of(value, where) for value in found]
    categories = sorted(set(found))
    position = {category: number for number, category in enumerate(categories)}
    positions = np.fromiter((position[value] for value in found), np.float64, len(found))
    return positions, Column("categorical", tuple(categories))


def _text_of(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Real | bool | np.bool_):
        return f"{value:.0f}" if _is_whole(value) else str(value)
    raise InputError(
        f"X holds a value of type {type(value).__name__} in {where}. Expected numbers, text or "
        "truth values; convert them."
    )


def _is_whole(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def _check_there(values: np.ndarray, where: str) -> None:
    """Refuse missing values and blank text, saying where the first stands."""
    missing = np.array([_is_missing(value) for value in values.tolist()])
    if missing.any():
        row = int(missing.argmax())
        raise InputError(
            f"X contains NaN or blanks: {values[row]!r} at row {row}, {where}, and "
            f"{int(missing.sum())} such values there in all. Expected a value in every row; fill "
            "in or drop those rows."
        )
