"""Distances to K centres, in float32 first: what both halves of k-means look at.

They are compared with a bound on their rounding, and what that leaves undecided is decided in
float64, so that no answer changes. Threads hand the interpreter over at every call, which costs
more than a small call's work: calls here take all of a thread's rows, or fill the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.crew import Crew

# A table of distances has this many entries, 2 MB in float32: with fewer, threads wait for the
# interpreter; with more, the table falls out of the cache.
TABLE_ENTRIES = 1 << 19

# A thread looks through its rows this many at a time, so that memory stays bounded.
MOST_ROWS = 1 << 16

# With fewer distances to compare, waking the other threads takes longer than the work.
LEAST_ENTRIES = 1 << 18


def blocks(span: slice, size: int) -> Iterator[slice]:
    """Cut a span into blocks of at most `size`."""
    for start in range(span.start, span.stop, size):
        yield slice(start, min(start + size, span.stop))


def spans(n_rows: int, n_threads: int) -> list[slice]:
    """Return equal shares of the rows."""
    stops = [n_rows * i // n_threads for i in range(n_threads + 1)]
    return [slice(*ends) for ends in pairwise(stops)]


class ReadyRows:
    """Rows made ready to be compared with centres.

    `features` (N, D + 2) float32 are the rows in a unit near their size, 1 and |x|^2: times
    [-2c, |c|^2, 1] they give |x - c|^2. `order` deals the rows out like cards, so that sorted rows
    do not leave one thread with all the work; a position is a place in this order. `doubt` (N,) and
    the doubt of `coefficients` together bound the rounding of such a distance.

    Parameters
    ----------
    x : (N, D)
        Centred: distances are expanded, and a large common offset would leave everything
        undecided.
    crew : Crew
    order : {'C', 'F'}
        How `features` lie in memory: 'C' if rows will be picked out, 'F' if blocks will be taken.
    """

    def __init__(
        self, x: Float[np.ndarray, "N D"], crew: Crew, order: Literal["C", "F"] = "C"
    ) -> None:
        n_rows, n_features = x.shape
        self.x, self.crew = np.ascontiguousarray(x), crew
        # Few rows are one member's work, and stay in order: draws do not depend on the crew then.
        n_hands = crew.size if x.size > LEAST_ENTRIES else 1
        hands = [slice(first, n_rows, n_hands) for first in range(n_hands)]
        self.order = np.concatenate([np.arange(n_rows)[hand] for hand in hands])
        self.unit = _unit(self.x)
        self.features = np.empty((n_rows, n_features + 2), np.float32, order)
        self.doubt = np.empty(n_rows, np.float32)
        # Each of the D + 2 terms and their sum is rounded, and so were the factors.
        self._rounding = 2 * (n_features + 6) * float(np.finfo(np.float32).eps)
        stops = np.cumsum([0, *(len(range(n_rows)[hand]) for hand in hands)]).tolist()
        places = [slice(*ends) for ends in pairwise(stops)]
        crew.run(self._fill, list(zip(hands, places, strict=True)))

    def _fill(self, shares: Sequence[tuple[slice, slice]]) -> None:
        for hand, place in shares:
            features = self.features[place]
            with np.errstate(over="ignore"):
                np.multiply(self.x[hand], 1 / self.unit, out=features[:, :-2], casting="same_kind")
                features[:, -2] = 1
                features[:, -1] = np.einsum("nd,nd->n", features[:, :-2], features[:, :-2])
                np.multiply(features[:, -1], np.float32(self._rounding), out=self.doubt[place])

    def __len__(self) -> int:
        return len(self.x)

    def mean_squares(self, weights: Float[np.ndarray, " N"]) -> float:
        """Return the weighted mean of |x|^2, to float32's digits."""
        mean = weights.take(self.order) @ self.doubt / (self._rounding * weights.sum())
        return float(mean) * self.unit**2

    def coefficients(self, centres: Float[np.ndarray, "K D"]) -> tuple[np.ndarray, np.float32]:
        """Return what `features` are multiplied with, (K, D + 2), and these centres' doubt."""
        scaled = centres / self.unit
        squares = np.einsum("kd,kd->k", scaled, scaled)
        table = np.ones((len(centres), self.features.shape[1]), np.float32)
        table[:, :-2] = -2 * scaled
        table[:, -2] = squares
        return table, np.float32(self._rounding * squares.max())


def _unit(x: np.ndarray) -> float:
    """Return the root mean square of all entries as a power of two: to multiply by it is exact."""
    size = math.sqrt(np.vdot(x, x) / x.size)
    if not 0 < size < math.inf:  # squares that leave the range
        size = float(np.max(np.abs(x)))
    return 2.0 ** round(math.log2(size)) if size > 0 else 1.0


class Workspace:
    """One thread's buffers, for the time of a fit."""

    def __init__(self) -> None:
        self._features = np.empty(0, np.float32)
        self._table = np.empty(0, np.float32)
        self._marks = np.empty(0, np.uint32)
        self._zeros = np.empty(0)

    @staticmethod
    def size(n_centres: int, n_features: int) -> int:
        """Return for how many rows there is room."""
        return max(1, TABLE_ENTRIES // (n_centres + n_features))

    def distances(
        self, rows: ReadyRows, positions: np.ndarray | slice, coefficients: np.ndarray
    ) -> Float[np.ndarray, "K B"]:
        """Return squared distances from all centres, in the rows' unit.

        Of finite rows and centres, which these are, no product is invalid. NumPy says so all the
        same where OpenBLAS reads more of its own memory than it needs and discards the answer.
        """
        if isinstance(positions, slice):
            features = rows.features[positions]
        else:
            shape = len(positions), rows.features.shape[1]
            self._features, features = _room(self._features, shape)
            rows.features.take(positions, axis=0, out=features, mode="clip")
        self._table, table = _room(self._table, (len(coefficients), len(features)))
        with np.errstate(invalid="ignore"):
            return np.dot(coefficients, features.T, out=table)

    def first(self, table: np.ndarray, values: np.ndarray) -> Int[np.ndarray, " B"]:
        """Return the first row of a table (K, B) that holds each column's value."""
        n = len(table)
        kind = np.uint8 if n < 256 else np.uint16 if n < 65536 else np.uint32
        self._marks, marks = _room(self._marks, table.shape)
        marks = marks.reshape(-1).view(kind)[: table.size].reshape(table.shape)
        np.multiply(table == values, np.arange(n, 0, -1, dtype=kind)[:, None], out=marks)
        first: np.ndarray = n - np.max(marks, axis=0).astype(np.intp)
        return first

    def zeros(self, size: int) -> Float[np.ndarray, " size"]:
        """Return zeros in float64."""
        self._zeros, zeros = _room(self._zeros, (size,))
        zeros[:] = 0
        return zeros


def _room(buffer: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a buffer, a larger one if need be, and its beginning in a shape."""
    n = math.prod(shape)
    if buffer.size < n:
        buffer = np.empty(max(n, TABLE_ENTRIES), buffer.dtype)
    return buffer, buffer[:n].reshape(shape)
