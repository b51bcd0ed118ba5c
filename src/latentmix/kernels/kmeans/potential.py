"""How badly the centres chosen so far serve each row: what seeding draws from.

The potential of a row is its weight times its squared distance from the nearest centre (Arthur and
Vassilvitskii, "k-means++: the advantages of careful seeding", 2007). Distances are float32 where
that is good for some digits, and float64 where it is not: equal rows are at distance 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from latentmix.kernels.kmeans.nearest import LEAST_ENTRIES, ReadyRows, Workspace, blocks, spans

T = TypeVar("T")

# Rows are drawn in two steps, a group of this many neighbours first, to add up few numbers.
GROUP = 256

# A distance in float32 will do for drawing where it is this many times its doubt.
ROUGH = np.float32(32)


class Potential:
    """Each row's weight times its squared distance from the nearest of the centres so far.

    Before the first centre it is the row's weight.

    Parameters
    ----------
    rows : ReadyRows
        With `features` in the order 'F'.
    weights : (N,)
    """

    def __init__(self, rows: ReadyRows, weights: Float[np.ndarray, " N"]) -> None:
        n_rows = len(rows)
        self.rows, self.n_centres = rows, 0
        self.weights = weights.take(rows.order)
        self._nearest = np.zeros(n_rows, np.intp)
        self._squares = np.full(n_rows, np.inf)
        # Enough to compare candidates with; and below what new distances are looked at.
        self._about = np.full(n_rows, np.inf, np.float32)
        self._bound = np.full(n_rows, np.inf, np.float32)
        self._shares = (self.weights / self.weights.max()).astype(np.float32)
        self._groups = np.zeros((-(-n_rows // GROUP), GROUP))
        self._potential = self._groups.reshape(-1)[:n_rows]
        self._potential[:] = self.weights
        self._spaces = [Workspace() for _ in range(rows.crew.size)]

    def draw(self, random: np.random.RandomState, n_draws: int) -> Int[np.ndarray, " S"]:
        """Return the numbers of rows drawn in proportion to their potential, never one without.

        Where no row has any, because all are centres already, rows are drawn by their weights.
        """
        sums = self._groups.sum(axis=1)
        if not sums.any():
            self._potential[:] = self.weights
            sums = self._groups.sum(axis=1)
        cumulative = np.cumsum(sums)
        draws = random.random_sample(n_draws) * cumulative[-1]
        # A draw that rounds to the total would fall past the last group, or row, of any potential.
        last = np.searchsorted(cumulative, cumulative[-1])
        group = np.minimum(np.searchsorted(cumulative, draws, side="right"), last)
        rest = draws - (cumulative[group] - sums[group])
        inside = np.cumsum(self._groups[group], axis=1)
        last = np.sum(inside < inside[:, -1:], axis=1)
        place = np.minimum(np.sum(inside <= rest[:, None], axis=1), last)
        drawn: np.ndarray = self.rows.order[group * GROUP + place]
        return drawn

    def remainders(self, candidates: Float[np.ndarray, "S D"]) -> Float[np.ndarray, " S"]:
        """Return, up to a factor, the potential that each candidate would leave as next centre."""
        coefficients, _ = self.rows.coefficients(candidates)

        def share(parts: Sequence[tuple[Workspace, slice]]) -> np.ndarray:
            [(space, span)] = parts
            left = np.zeros(len(candidates))
            for block in blocks(span, space.size(*candidates.shape)):
                squares = space.distances(self.rows, block, coefficients)
                np.minimum(squares, self._about[block], out=squares)
                left += np.dot(squares, self._shares[block])
            return left

        total: np.ndarray = np.sum(self._run(share, len(candidates)), axis=0)
        return total

    def add(self, centres: Float[np.ndarray, "M D"]) -> None:
        """Make these the next centres."""
        coefficients, doubt = self.rows.coefficients(centres)

        def share(parts: Sequence[tuple[Workspace, slice]]) -> None:
            [(space, span)] = parts
            for block in blocks(span, space.size(*centres.shape)):
                squares = space.distances(self.rows, block, coefficients)
                least = squares[0] if len(centres) == 1 else np.min(squares, axis=0)
                closer = np.flatnonzero(least < self._bound[block] + ROUGH * doubt)
                least, nearest = least.take(closer), np.zeros(len(closer), np.intp)
                if len(centres) > 1:
                    nearest = space.first(squares.take(closer, axis=1), least)
                self._note(closer + block.start, least, centres, nearest, doubt)

        self._run(share, len(centres))
        self.n_centres += len(centres)

    def _run(
        self, share: Callable[[Sequence[tuple[Workspace, slice]]], T], n_centres: int
    ) -> list[T]:
        """Give each member of the crew a workspace and its rows, if there is work for all."""
        crew, n_rows = self.rows.crew, len(self.rows)
        many = n_rows * (n_centres + self.rows.x.shape[1]) > 4 * LEAST_ENTRIES
        parts = spans(n_rows, crew.size if many else 1)
        return crew.run(share, list(zip(self._spaces, parts, strict=False)))

    def _note(
        self,
        positions: np.ndarray,
        squares: np.ndarray,
        centres: np.ndarray,
        nearest: np.ndarray,
        doubt: np.float32,
    ) -> None:
        """Write down squared distances from new centres, where they are less."""
        rough = ROUGH * self.rows.doubt.take(positions)
        unsure = np.flatnonzero(squares < rough + ROUGH * doubt)
        squares = squares.astype(np.float64)
        x = self.rows.x[self.rows.order[positions[unsure]]]
        exact = cdist(x / self.rows.unit, centres / self.rows.unit, "sqeuclidean")
        squares[unsure], nearest[unsure] = np.min(exact, axis=1), np.argmin(exact, axis=1)
        closer = np.flatnonzero(squares < self._squares.take(positions))
        positions, squares = positions.take(closer), squares.take(closer)
        self._squares[positions] = squares
        self._about[positions] = squares
        self._bound[positions] = np.maximum(squares, rough.take(closer))
        self._potential[positions] = squares * self.weights.take(positions)
        self._nearest[positions] = self.n_centres + nearest.take(closer)

    def masses(self) -> Float[np.ndarray, " M"]:
        """Return the weight of the rows nearest to each of the centres."""
        masses: np.ndarray = np.bincount(self._nearest, self.weights, minlength=self.n_centres)
        return masses
