"""Rows as they were given, which of their entries are missing, and how they are cut into blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats

# The numbers of a block's rows.
Block = slice | np.ndarray

# A pattern with so many rows has blocks of its own; with fewer it shares them. Powers of three:
# rows a power of two apart would fall into the same lines of the cache.
ROWS_OF_ITS_OWN = 3**6
SHARED_SIZES = (3**5, 3**4, 3**3, 3**2, 3, 1)


class Patterns(NamedTuple):
    """Rows grouped by which of their entries are not missing.

    `rows` are row numbers, a pattern's side by side: those of pattern p from `starts[p]` up to
    `starts[p + 1]`.
    """

    seen: Bool[np.ndarray, "P D"]
    rows: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " P+1"]

    def complete(self) -> Int[np.ndarray, " _"]:
        """Return the numbers of the rows in which nothing is missing."""
        for p in np.flatnonzero(self.seen.all(axis=1)):
            return self.rows[self.starts[p] : self.starts[p + 1]]
        return self.rows[:0]


class Rows(NamedTuple):
    """Rows as they were given, (N, D), in any dtype or on disk, and what belongs to each.

    They become float64, centred by `shift` and divided by `scale`, block by block. `labels` are
    class numbers, -1 where unknown; `patterns` group the rows where entries are missing. So many
    rows of the caller's come `before` these.
    """

    x: np.ndarray
    shift: Float[Floats, " D"]
    scale: Float[Floats, " D"]
    weights: Float[Floats, " N"] | None = None
    labels: Int[np.ndarray, " N"] | None = None
    patterns: Patterns | None = None
    before: int = 0


class PatternBlock(NamedTuple):
    """Rows of P patterns that miss equally many entries: the numbers of R rows of each."""

    seen: Bool[np.ndarray, "P D"]
    rows: Int[np.ndarray, "P R"]


def patterns_of(x: np.ndarray) -> Patterns | None:
    """Group rows by which entries are not NaN; None if no entry is missing."""
    missing = np.isnan(x)
    if not missing.any():
        return None
    packed = np.packbits(missing, axis=1)
    order = np.lexsort(packed.T)
    packed = packed[order]
    new = np.any(packed[1:] != packed[:-1], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(new) + 1, [len(x)]])
    return Patterns(~missing[order[starts[:-1]]], order, starts)


def pattern_blocks(patterns: Patterns, most_rows: int, most_entries: int) -> list[PatternBlock]:
    """Cut the rows in which some entry is missing into blocks.

    Parameters
    ----------
    patterns : Patterns
    most_rows : int
        Of a block.
    most_entries : int
        Of the matrices, missing x missing, of a block's patterns.
    """
    sizes, n_missing = np.diff(patterns.starts), np.sum(~patterns.seen, axis=1)
    blocks = []
    for p in np.flatnonzero((n_missing > 0) & (sizes >= ROWS_OF_ITS_OWN)):
        rows = patterns.rows[patterns.starts[p] : patterns.starts[p + 1]]
        for part in np.array_split(rows, -(-len(rows) // most_rows)):
            blocks.append(PatternBlock(patterns.seen[p : p + 1], part[None]))
    for n in np.unique(n_missing[n_missing > 0]):
        alike = np.flatnonzero((n_missing == n) & (sizes < ROWS_OF_ITS_OWN))
        # The number of a pattern's rows in base three: two blocks at most of each size.
        begun = patterns.starts[alike]
        for size in SHARED_SIZES:
            digits = (sizes[alike] // size) % 3
            for turn in (1, 2):
                some = digits >= turn
                rows = patterns.rows[begun[some, None] + np.arange(size)]
                begun = begun + size * some
                most = max(1, min(most_rows // size, most_entries // int(n * n)))
                for start in range(0, len(rows), most):
                    cut = slice(start, start + most)
                    blocks.append(PatternBlock(patterns.seen[alike[some][cut]], rows[cut]))
    return blocks


def refuse_infinite(x: np.ndarray, rows: Block, before: int = 0) -> None:
    """Raise InputError if some of `rows` of x hold an infinite value, saying where the first is.

    So many rows of the caller's came `before` x.
    """
    infinite = np.argwhere(np.isinf(x[rows]))
    if len(infinite):
        place, column = infinite[0]
        row = rows.start + place if isinstance(rows, slice) else rows[place]
        raise InputError(
            f"X contains NaN or infinity: {x[row, column]} at row {before + row}, column {column}. "
            "Expected finite numbers, or NaN where one is missing; fill in or drop those rows."
        )
