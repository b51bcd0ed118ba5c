"""Tables whose columns are of several kinds, prepared column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from latentmix.data import Rows
from latentmix.data.columns import Column, codes_of, in_words, table_of
from latentmix.errors import InputError
from latentmix.estimators.schema import called, listed, refuse_text
from latentmix.estimators.units import (
    FLOAT32,
    MOST_COUNTED,
    Preparation,
    PreparedRows,
    in_blocks,
    moments_of,
)

# How a column's codes in X become numbers, or positions among the categories that were fitted.
Reading = Callable[[np.ndarray], np.ndarray]


class TableColumns(Preparation):
    """Numbers standardised, counts, 0 and 1 as they are, categories by their positions."""

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        continuous = np.array([column.kind == "continuous" for column in columns])
        mean, deviation = moments_of(codes_of(X))
        scaled = continuous & (deviation > 0)
        shift, scale = np.where(continuous, mean, 0.0), np.where(scaled, deviation, 1.0)
        return cls(likelihood, shift, scale, columns)

    def rows(self, X: Rows) -> Rows:
        codes, readings = codes_of(X), self._readings(X)
        n_read = 0
        for block in in_blocks(codes):
            self._check(readings, block, n_read, X)
            n_read += len(block)

        def prepare(block: np.ndarray) -> np.ndarray:
            read = [reading(block[:, number]) for number, reading in enumerate(readings)]
            prepared: np.ndarray = (np.column_stack(read) - self.shift) / self.scale
            return prepared.astype(np.float32)

        return PreparedRows(codes, prepare, FLOAT32)

    def in_units(self, prepared: np.ndarray) -> np.ndarray:
        return in_words(prepared * self.scale + self.shift, self.columns)

    def shown(self, X: np.ndarray) -> np.ndarray:
        return X

    def _readings(self, X: Rows) -> list[Reading]:
        """Return how each column of X is read: as numbers, and positions among categories."""
        table = table_of(X)
        known = (None,) * len(self.columns) if table is None else table.columns
        for number, (column, own) in enumerate(zip(self.columns, known, strict=True)):
            if column.kind != "categorical":
                refuse_text(column.kind, own, called(table, number))
        return [
            _position_among(column.categories, own) if column.kind == "categorical" else _as_it_is
            for column, own in zip(self.columns, known, strict=True)
        ]

    def _check(self, readings: Sequence[Reading], block: np.ndarray, n_read: int, X: Rows) -> None:
        """Refuse values that a column does not hold; `block` are codes, from row `n_read` on."""
        for number, (column, reading) in enumerate(zip(self.columns, readings, strict=True)):
            bad = _outside(column.kind, reading(block[:, number]))
            if bad.any():
                row = int(bad.argmax())
                table = table_of(X)
                own = None if table is None else table.columns[number]
                value = _written(block[row, number], own)
                raise InputError(
                    f"X holds {value} at row {n_read + row}, {called(table, number)}, which is "
                    f"{column.kind}. Expected {_expected(column)}"
                )


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values


def _position_among(categories: Sequence[str] | Sequence[int], own: Column | None) -> Reading:
    """Return what gives a column's positions among categories, -1 for what is none of them.

    Categories are compared as they are written, so that 1 is 1 whether it is text or not.
    """
    position = {str(category): number for number, category in enumerate(categories)}
    if own is not None and own.categories:
        table = np.array([position.get(str(category), -1) for category in own.categories])

        def of_codes(values: np.ndarray) -> np.ndarray:
            positions: np.ndarray = table[values.astype(int)]
            return positions

        return of_codes
    whole = {int(text): at for text, at in position.items() if _is_whole_number(text)}
    codes = np.array(sorted(whole), np.float64)
    positions = np.array([whole[code] for code in sorted(whole)], int)

    def of_numbers(values: np.ndarray) -> np.ndarray:
        if not len(codes):
            return np.full(len(values), -1)
        at = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
        return np.where(codes[at] == values, positions[at], -1)

    return of_numbers


def _is_whole_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(text)) == text


def _outside(kind: str, values: np.ndarray) -> np.ndarray:
    """Return which values no column of a kind holds, (B,) bool."""
    outside: np.ndarray = np.zeros(len(values), bool)
    if kind == "count":
        outside = (values < 0) | (values > MOST_COUNTED) | (values != np.floor(values))
    elif kind == "binary":
        outside = (values != 0) & (values != 1)
    elif kind == "categorical":
        outside = values < 0
    return outside


def _expected(column: Column) -> str:
    """Return the end of the sentence that refuses a value: what was expected, and the remedy."""
    if column.kind == "count":
        return f"whole numbers from 0 to {MOST_COUNTED}; correct it, or call the column continuous."
    if column.kind == "binary":
        return "0 or 1; correct it, or call the column categorical or a count."
    return (
        f"a category that was fitted, {listed(column.categories)}; correct it, or fit with all "
        "categories there are, by rows or as columns={...: [...]}."
    )


def _written(code: float, own: Column | None) -> str:
    """Return a value as the table has it, for a message."""
    return repr(own.categories[int(code)]) if own is not None and own.categories else f"{code:.8g}"
