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

from latentmix.kernels.nearest import (
    LEAST_ENTRIES,
    MOST_ROWS,
    Rows,
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


class Assignment:
    """Each row's nearest centre, its margin, and the sums of the rows of each centre.

    Parameters
    ----------
    rows : Rows
    weights : (N,)
    n_centres : int

    Attributes
    ----------
    sums : (K, D + 1)
        Of weight times [x, 1] over each centre's rows.
    """

    def __init__(self, rows: Rows, weights: Float[np.ndarray, " N"], n_centres: int) -> None:
        self.rows, self.weights, self.n_centres = rows, weights, n_centres
        n_rows, n_features = rows.x.shape
        # At first all rows belong to a centre that does not exist, and no margin is left.
        self._nearest = np.full(n_rows, n_centres)
        self._margins = np.zeros(n_rows, np.float32)
        self._sums = np.zeros((n_centres + 1, n_features + 1))
        self.sums = self._sums[:-1]
        self._spaces = [Workspace() for _ in range(rows.crew.size)]
        self._n_stale = n_rows  # how many rows the last update looked at

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
        unit, crew = self.rows.unit, self.rows.crew
        now = _Centres(centres / unit, *self.rows.coefficients(centres))
        lost = (
            np.arange(len(self.rows)) if moved is None else self._spend(now, _spent(moved / unit))
        )
        hands = [lost[span] for span in self._shares(len(lost), len(lost))]

        def search(share: Sequence[tuple[Workspace, np.ndarray]]) -> tuple[int, np.ndarray]:
            [(space, positions)] = share
            return self._search(space, positions, now)

        changes = crew.run(search, list(zip(self._spaces, hands, strict=False)))
        for _, sums in changes:
            self._sums += sums
        return sum(n_changed for n_changed, _ in changes)

    def _shares(self, n_rows: int, n_stale: int) -> list[slice]:
        """Cut rows into a share for each thread; one, if few of them have to be looked at."""
        many = n_stale * self.n_centres > LEAST_ENTRIES
        return spans(n_rows, self.rows.crew.size if many else 1)

    def _spend(self, centres: _Centres, spent: np.ndarray) -> np.ndarray:
        """Take what centres moved off the margins; return positions where another may win."""

        def check(share: Sequence[tuple[Workspace, slice]]) -> list[tuple[int, np.ndarray]]:
            [(space, span)] = share
            return [
                self._check(space, block, centres, spent) for block in blocks([span], MOST_ROWS)
            ]

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
        size = space.size(self.n_centres, self.rows.x.shape[1])
        for part in blocks([slice(0, len(stale))], size):
            distances = space.distances(self.rows, stale[part], centres.coefficients)
            at = nearest[part] * distances.shape[1]
            at += np.arange(len(at))
            flat = distances.reshape(-1)
            flat.take(at, out=own[part], mode="clip")
            flat[at] = np.inf
            np.min(distances, axis=0, out=others[part])
        renewed = self._renew(stale, own, others, centres)
        return len(stale), stale.compress(renewed <= 0)

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

    def _search(
        self, space: Workspace, positions: np.ndarray, centres: _Centres
    ) -> tuple[int, np.ndarray]:
        """Find the nearest of all centres; return how many rows changed, and the sums' change."""
        n_changed, sums = 0, np.zeros_like(self._sums)
        size = space.size(self.n_centres, self.rows.x.shape[1])
        few = size // 8 + 1  # float64 tables, of which some are alive at a time
        for part in blocks([slice(0, len(positions))], size):
            here = positions[part]
            distances = space.distances(self.rows, here, centres.coefficients)
            own = np.min(distances, axis=0)
            nearest = space.first(distances, own)
            distances.reshape(-1)[nearest * len(here) + np.arange(len(here))] = np.inf
            margins = self._renew(here, own, np.min(distances, axis=0), centres)
            undecided = np.flatnonzero(margins <= 0)
            for some in blocks([slice(0, len(undecided))], few):
                which = undecided[some]
                nearest[which] = self._decide(here[which], centres.exact)
            changed = np.flatnonzero(nearest != self._nearest[here])
            for some in blocks([slice(0, len(changed))], few):
                which = changed[some]
                sums += self._move(here[which], nearest[which])
            n_changed += len(changed)
        return n_changed, sums

    def _decide(self, positions: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Return the nearest centres in float64, the first of equals, and write their margins."""
        x, every = self.rows.x[self.rows.order[positions]], np.arange(len(positions))
        distances = cdist(x / self.rows.unit, centres)
        nearest: np.ndarray = np.argmin(distances, axis=1)
        own = distances[every, nearest]
        distances[every, nearest] = np.inf
        self._margins[positions] = (1 - RESERVE) * (np.min(distances, axis=1) - own)
        return nearest

    def _move(self, positions: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Give rows to other centres; return what that changes in the sums.

        One product does it, of the rows with a table that has their weight where they go and
        minus their weight where they come from.
        """
        rows = self.rows.order.take(positions)
        x = np.ones((len(rows), self._sums.shape[1]))
        x[:, :-1] = self.rows.x.take(rows, axis=0)
        weights = self.weights.take(rows)
        table = np.zeros(len(rows) * len(self._sums))
        starts = np.arange(0, len(table), len(self._sums))
        table[starts + nearest] = weights
        table[starts + self._nearest.take(positions)] = -weights
        self._nearest[positions] = nearest
        change: np.ndarray = np.dot(table.reshape(len(rows), -1).T, x)
        return change


def _spent(moved: np.ndarray) -> np.ndarray:
    """Return what a step takes off the margins of each centre's rows, at most.

    A row's own centre may have moved away from it, and the one that moved most towards it.
    """
    first, second = np.sort(moved)[:-3:-1] if len(moved) > 1 else (moved[0], 0.0)
    spent = moved + first
    spent[np.argmax(moved)] = first + second
    taken: np.ndarray = spent.astype(np.float32)
    return taken
