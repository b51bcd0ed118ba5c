"""Rows given to the nearest of moving centres: the inner half of Lloyd's algorithm.

A row keeps its margin, how much nearer its centre is than any other. Moving centres spend it; only
rows whose margin is spent are looked at again (Hamerly, "Making k-means even faster", 2010), and
the sums of a centre's rows change only by the rows that come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from latentmix.kernels.kmeans.nearest import (
    LEAST_ENTRIES,
    MOST_ROWS,
    ReadyRows,
    Workspace,
    blocks,
    spans,
)

# Margins are float32, rounded each time something is taken off: this share of them makes up for
# the rounding of thousands of times.
RESERVE = 2.0**-12


class _Centres(NamedTuple):
    """K centres in float64 and as coefficients in float32, and what the latter are unsure of."""

    exact: np.ndarray
    coefficients: np.ndarray
    doubt: np.float32


class _Change(NamedTuple):
    """How many rows go to another centre, and what that adds to sums and masses."""

    n_rows: int
    sums: np.ndarray
    masses: np.ndarray


class Assignment:
    """Each row's nearest centre, its margin, and the sums of the rows of each centre.

    Parameters
    ----------
    rows : ReadyRows
    weights : (N,)
    n_centres : int

    Attributes
    ----------
    sums : (K, D)
        Of weight times row over each centre's rows.
    masses : (K,)
        Of their weights.
    """

    def __init__(self, rows: ReadyRows, weights: Float[np.ndarray, " N"], n_centres: int) -> None:
        self.rows, self.n_centres = rows, n_centres
        n_rows, n_features = rows.x.shape
        self.weights = weights
        # At first all rows belong to a centre that does not exist, and no margin is left.
        self._nearest = np.full(n_rows, n_centres)
        self._margins = np.zeros(n_rows, np.float32)
        self._n_stale = n_rows  # how many rows the last update looked at
        self._sums = np.zeros((n_centres + 1, n_features))
        self._masses = np.zeros(n_centres + 1)
        self.sums, self.masses = self._sums[:-1], self._masses[:-1]
        self._spaces = [Workspace() for _ in range(rows.crew.size)]

    @property
    def components(self) -> Int[np.ndarray, " N"]:
        """The number of each row's nearest centre, (N,) int32."""
        components = np.empty(len(self.rows), np.int32)
        components[self.rows.order] = self._nearest
        return components

    def update(
        self, centres: Float[np.ndarray, "K D"], moved: Float[np.ndarray, " K"] | None = None
    ) -> int:
        """Find each row's nearest centre; return how many rows changed theirs.

        Parameters
        ----------
        centres : (K, D)
        moved : (K,), optional
            How far each centre has moved since the last call; without it all rows are looked at.
        """
        unit = self.rows.unit
        now = _Centres(centres / unit, *self.rows.coefficients(centres))
        lost = (
            np.arange(len(self.rows)) if moved is None else self._spend(now, _spent(moved / unit))
        )
        hands = [lost[span] for span in self._shares(len(lost), len(lost))]

        def search(share: Sequence[tuple[Workspace, np.ndarray]]) -> _Change:
            [(space, positions)] = share
            nearest = self._search(space, positions, now)
            changed = np.flatnonzero(nearest != self._nearest.take(positions))
            return self._move(space, positions.take(changed), nearest.take(changed))

        changes = self.rows.crew.run(search, list(zip(self._spaces, hands, strict=False)))
        for change in changes:
            self._sums += change.sums
            self._masses += change.masses
        return sum(change.n_rows for change in changes)

    def _shares(self, n_rows: int, n_stale: int) -> list[slice]:
        """Cut rows into a share for each thread; one, if few of them have to be looked at."""
        many = n_stale * self.n_centres > LEAST_ENTRIES
        return spans(n_rows, self.rows.crew.size if many else 1)

    def _spend(self, centres: _Centres, spent: np.ndarray) -> np.ndarray:
        """Take what centres moved off the margins; return positions where another may win."""

        def check(share: Sequence[tuple[Workspace, slice]]) -> list[tuple[int, np.ndarray]]:
            [(space, span)] = share
            return [self._check(space, block, centres, spent) for block in blocks(span, MOST_ROWS)]

        shares = self._shares(len(self.rows), self._n_stale)
        found = self.rows.crew.run(check, list(zip(self._spaces, shares, strict=False)))
        self._n_stale = sum(n_stale for parts in found for n_stale, _ in parts)
        return np.concatenate([lost for parts in found for _, lost in parts])

    def _check(
        self, space: Workspace, block: slice, centres: _Centres, spent: np.ndarray
    ) -> tuple[int, np.ndarray]:
        """Renew the margins that are spent; return how many, and those where another may win."""
        margins, nearest = self._margins[block], self._nearest[block]
        margins -= spent.take(nearest)
        stale = np.flatnonzero(margins <= 0)
        nearest = nearest.take(stale)
        stale += block.start
        own, others = np.empty((2, len(stale)), np.float32)
        for part in blocks(slice(0, len(stale)), space.size(*centres.exact.shape)):
            distances = space.distances(self.rows, stale[part], centres.coefficients)
            at = nearest[part] * distances.shape[1]
            at += np.arange(len(at))
            flat = distances.reshape(-1)
            flat.take(at, out=own[part], mode="clip")
            flat[at] = np.inf
            np.min(distances, axis=0, out=others[part])
        margins = self._renew(stale, own, others, centres)
        return len(stale), stale.compress(margins <= 0)

    def _renew(
        self, positions: np.ndarray, own: np.ndarray, others: np.ndarray, centres: _Centres
    ) -> np.ndarray:
        """Write margins, given squared distances from a row's centre and from the next."""
        doubt = self.rows.doubt.take(positions)
        doubt += centres.doubt
        own += doubt
        others -= doubt
        np.maximum(others, 0, out=others)
        margins: np.ndarray = np.sqrt(others, out=others)
        margins -= np.sqrt(own, out=own)
        margins *= 1 - RESERVE
        self._margins[positions] = margins
        return margins

    def _search(self, space: Workspace, positions: np.ndarray, centres: _Centres) -> np.ndarray:
        """Return the nearest of all centres, and renew the margins."""
        nearest = np.empty(len(positions), np.intp)
        own, others = np.empty((2, len(positions)), np.float32)
        for part in blocks(slice(0, len(positions)), space.size(*centres.exact.shape)):
            distances = space.distances(self.rows, positions[part], centres.coefficients)
            np.min(distances, axis=0, out=own[part])
            nearest[part] = space.first(distances, own[part])
            at = nearest[part] * distances.shape[1]
            at += np.arange(len(at))
            distances.reshape(-1)[at] = np.inf
            np.min(distances, axis=0, out=others[part])
        margins = self._renew(positions, own, others, centres)
        undecided = np.flatnonzero(margins <= 0)
        for part in blocks(slice(0, len(undecided)), space.size(*centres.exact.shape)):
            which = undecided[part]
            nearest[which] = self._decide(positions[which], centres.exact)
        return nearest

    def _decide(self, positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the nearest centres in float64, the first of equals, and renew the margins."""
        x, every = self.rows.x[self.rows.order[positions]], np.arange(len(positions))
        distances = cdist(x / self.rows.unit, centres)
        nearest: np.ndarray = np.argmin(distances, axis=1)
        own = distances[every, nearest]
        distances[every, nearest] = np.inf
        self._margins[positions] = (1 - RESERVE) * (np.min(distances, axis=1) - own)
        return nearest

    def _move(self, space: Workspace, positions: np.ndarray, nearest: np.ndarray) -> _Change:
        """Give rows to other centres; return what that changes.

        A product does it, of the rows with a table that has their weight where they go and minus
        their weight where they come from.
        """
        rows, n_centres = self.rows.order.take(positions), len(self._masses)
        before, weights = self._nearest.take(positions), self.weights.take(rows)
        sums = np.zeros_like(self._sums)
        for part in blocks(slice(0, len(rows)), space.size(*self._sums.shape) // 2 + 1):
            x = self.rows.x.take(rows[part], axis=0)
            table = space.zeros(len(x) * n_centres)
            starts = np.arange(0, len(table), n_centres)
            table[starts + nearest[part]] = weights[part]
            table[starts + before[part]] = -weights[part]
            sums += np.dot(table.reshape(-1, n_centres).T, x)
        masses = np.bincount(nearest, weights, n_centres) - np.bincount(before, weights, n_centres)
        self._nearest[positions] = nearest
        return _Change(len(positions), sums, masses)


def _spent(moved: np.ndarray) -> np.ndarray:
    """Return what a step takes off the margins of each centre's rows, at most.

    A row's own centre may have moved away from it, and the one that moved most towards it.
    """
    first, second = np.sort(moved)[:-3:-1] if len(moved) > 1 else (moved[0], 0.0)
    spent = moved + first
    spent[np.argmax(moved)] = first + second
    taken: np.ndarray = spent.astype(np.float32)
    return taken
