"""What a network is given in place of X: one preparation for each domain of likelihoods.

A likelihood names its domain (`latentmix.models.likelihoods.Likelihood`); here stands which rows
are in it, what is learned of them, and how what the network says is told in X's units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from latentmix.data import Rows
from latentmix.data.columns import Column, has_text
from latentmix.errors import InputError
from latentmix.estimators.table_columns import TableColumns
from latentmix.estimators.units import (
    FLOAT32,
    MOST_COUNTED,
    Preparation,
    PreparedRows,
    extent_of,
    in_blocks,
    moments_of,
)
from latentmix.kernels.binarisation import fixed_binarisation
from latentmix.models.likelihoods import LIKELIHOODS

_NO_LEVELS = "Give images as uint8, or use likelihood='continuous-bernoulli' for [0, 1]."
_NO_COUNTS = "Correct those values, or use likelihood='gaussian'."


class Standardised(Preparation):
    """Any numbers, brought to mean 0 and deviation 1; answers are in X's units."""

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        shift, deviation = moments_of(X)
        # A constant feature keeps its units: there is nothing to scale by.
        return cls(likelihood, shift, np.where(deviation > 0, deviation, 1.0))

    def rows(self, X: Rows) -> Rows:
        return PreparedRows(X, self._standardised, FLOAT32)

    def in_units(self, prepared: np.ndarray) -> np.ndarray:
        in_units: np.ndarray = prepared * self.scale + self.shift
        return in_units

    def shown(self, X: np.ndarray) -> np.ndarray:
        return X

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        standardised: np.ndarray = ((X - self.shift) / self.scale).astype(np.float32)
        return standardised


class Intensities(Preparation):
    """Bytes, divided by 255 on the device, or numbers in [0, 1]; answers are in [0, 1]."""

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        are_bytes = X.dtype == np.uint8 and extent_of(X)[1] > 1
        scale = np.full(X.shape[1], 255.0 if are_bytes else 1.0)
        return cls(likelihood, np.zeros(X.shape[1]), scale)

    def rows(self, X: Rows) -> Rows:
        if X.dtype == np.uint8 and self.scale[0] == 255.0:
            return X
        low, high = extent_of(X) if len(X) else (0.0, 1.0)
        if low < 0 or high > 1:
            raise InputError(
                f"X holds values in [{low:.4g}, {high:.4g}] but likelihood="
                f"{self.likelihood!r} needs [0, 1]. Rescale X or use likelihood='gaussian'."
            )
        return PreparedRows(X, _as_float32, FLOAT32)


class DrawnBits(Preparation):
    """0 or 1, drawn from intensities: anew in training, always the same where rows are asked of."""

    draws_anew = True

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        grey = Intensities.learned(likelihood, X)
        return cls(likelihood, grey.shift, grey.scale)

    def rows(self, X: Rows) -> Rows:
        return Intensities(self.likelihood, self.shift, self.scale).rows(X)

    def asked(self, X: Rows) -> Rows:
        self.rows(X)  # refuses what are no intensities
        return PreparedRows(X, self._drawn, np.dtype(np.uint8))

    def _drawn(self, X: np.ndarray) -> np.ndarray:
        return fixed_binarisation(X / self.scale)


class Counts(Preparation):
    """Whole numbers from 0, bytes among them, as they are; answers are counts and their means."""

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        return cls(likelihood, np.zeros(X.shape[1]), np.ones(X.shape[1]))

    def rows(self, X: Rows) -> Rows:
        check_whole(X, MOST_COUNTED, f"likelihood={self.likelihood!r} needs counts", _NO_COUNTS)
        return PreparedRows(X, _as_float32, FLOAT32)

    def shown(self, X: np.ndarray) -> np.ndarray:
        return X


class Levels(Preparation):
    """Bytes, or whole numbers from 0 to 255, divided by 255 on the device; answers in [0, 1]."""

    @classmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        return cls(likelihood, np.zeros(X.shape[1]), np.full(X.shape[1], 255.0))

    def rows(self, X: Rows) -> Rows:
        check_whole(X, 255, f"likelihood={self.likelihood!r} needs bytes", _NO_LEVELS)
        return X if X.dtype == np.uint8 else PreparedRows(X, _as_bytes, np.dtype(np.uint8))


def check_whole(X: Rows, most: int, needs: str, remedy: str) -> None:
    """Refuse rows that are no whole numbers from 0 to some most, saying where the first stands.

    Raises
    ------
    InputError
    """
    if X.dtype == np.uint8:
        return
    n_read = 0
    for block in in_blocks(X):
        bad = (block < 0) | (block > most) | (block != np.floor(block))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InputError(
                f"X holds {block[row, column]:.8g} at row {n_read + row}, column {column}, but "
                f"{needs}, whole numbers from 0 to {most}. {remedy}"
            )
        n_read += len(block)


def refuse_text(likelihood: str, X: Rows) -> None:
    """Refuse a table with text, unless the likelihood tells columns apart.

    Raises
    ------
    InputError
    """
    if has_text(X) and LIKELIHOODS[likelihood].domain != "columns":
        raise InputError(
            f"X holds text, but likelihood={likelihood!r} tells numbers alone. Expected a table of "
            "numbers; fit with likelihood='mixed', or leave columns of text out."
        )


def preparation_class(likelihood: str) -> type[Preparation]:
    """Return how rows are prepared for a likelihood."""
    return PREPARATIONS[LIKELIHOODS[likelihood].domain]


def _as_float32(X: np.ndarray) -> np.ndarray:
    return X.astype(np.float32)


def _as_bytes(X: np.ndarray) -> np.ndarray:
    return X.astype(np.uint8)


PREPARATIONS: Final[dict[str, type[Preparation]]] = {
    "numbers": Standardised,
    "intensities": Intensities,
    "drawn bits": DrawnBits,
    "counts": Counts,
    "levels": Levels,
    "columns": TableColumns,
}
