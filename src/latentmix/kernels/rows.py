"""Rows as they were given, and which of their entries are missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats

# The numbers of a block's rows.
Block = slice | np.ndarray


class Pattern(NamedTuple):
    """The rows (numbers) in which the same features were seen, (D,) bool."""

    seen: np.ndarray
    rows: np.ndarray


class Rows(NamedTuple):
    """Rows as they were given, (N, D), in any dtype or on disk, and what belongs to each.

    They become float64, centred by `shift` and divided by `scale`, block by block. `labels` are
    class numbers, -1 where unknown; `patterns` group the rows where entries are missing.
    """

    x: np.ndarray
    shift: Float[Floats, " D"]
    scale: Float[Floats, " D"]
    weights: Float[Floats, " N"] | None = None
    labels: Int[np.ndarray, " N"] | None = None
    patterns: list[Pattern] | None = None


def patterns_of(x: np.ndarray) -> list[Pattern] | None:
    """Group rows by which entries are not NaN; None if no entry is missing."""
    missing = np.isnan(x)
    if not missing.any():
        return None
    packed = np.packbits(missing, axis=1)
    order = np.lexsort(packed.T)
    packed = packed[order]
    starts = np.flatnonzero(np.any(packed[1:] != packed[:-1], axis=1)) + 1
    groups = np.split(order, starts)
    return [Pattern(~missing[rows[0]], np.sort(rows)) for rows in groups]


def refuse_infinite(x: np.ndarray, rows: Block) -> None:
    """Raise InputError if some of `rows` of x hold an infinite value, saying where the first is."""
    infinite = np.argwhere(np.isinf(x[rows]))
    if len(infinite):
        place, column = infinite[0]
        row = rows.start + place if isinstance(rows, slice) else rows[place]
        raise InputError(
            f"X contains NaN or infinity: {x[row, column]} at row {row}, column {column}. Expected "
            "finite numbers, or NaN where one is missing; fill in or drop those rows."
        )
