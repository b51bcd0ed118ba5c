"""How many groups does a graph of neighbours have? As many as other rows bear out.

Rows are drawn into two halves, and each has a graph of its own (`kernels.diffusion`). Groups found
along the one are told to the rows of the other, by their nearest neighbours there, and judged:

    stability    do they agree with the groups that the other half finds by itself? The adjusted
                 Rand index between the two (Hubert and Arabie 1985), as in Ben-Hur, Elisseeff and
                 Guyon (2002), Lange et al. (2004) and von Luxburg (2010)
    modularity   of the groups told, on a graph that had no part in finding them (Newman and Girvan
                 2004): the modularity of groups on their own graph goes on growing when they cut
                 what chance put apart, this one does not

Neither chooses alone. Two groups of groups may be as stable as the groups themselves; and the more
modular parts of an evenly filled disc are ones that nobody finds twice. So of the numbers that are
hardly less stable than the most stable one, that of the largest product of both is chosen; and one
group where halves agree on nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from latentmix.kernels.diffusion import (
    Ways,
    coordinates_for,
    groups_along,
    neighbour_graph,
    slowest_ways,
    walks_along,
    within_and_modularity,
)

# Rows of a half at most: of fewer a graph is coarser (MNIST's 10 are not told from 8 and 12 by
# 5,000), more take longer.
MOST_ROWS_OF_A_HALF: Final = 20_000

# Rows are halved so often that about this many are in all halves together, within these bounds.
ROWS_OF_ALL_HALVES: Final = 20_000
FEWEST_DRAWS, MOST_DRAWS = 2, 5

# A number is hardly less stable than the most stable if it lacks no more of the index than this.
STABILITY_SLACK: Final = 0.1

# Halves that agree to less than this on any number agree on nothing: one Gaussian in 10 dimensions
# has 0.08 at most, digits 0.78.
LEAST_STABILITY: Final = 0.3

# Numbers beyond the most modular that are tried before the search ends.
PATIENCE: Final = 5

# A row is of the group that most of so many neighbours in the other half are of.
VOTERS: Final = 5

# Starts of k-means: fewer than for groups that are kept, as many numbers are tried.
STARTS: Final = 2


class SizeOfGroups(NamedTuple):
    """What is said of one number of groups, K.

    Attributes
    ----------
    n_groups : int
    stability, modularity : tuple of float
        One for each direction of each draw: the adjusted Rand index of groups told and groups
        found, and the modularity of the groups told.
    """

    n_groups: int
    stability: tuple[float, ...]
    modularity: tuple[float, ...]

    @property
    def mean_stability(self) -> float:
        """The mean over draws and directions."""
        return float(np.mean(self.stability))

    @property
    def mean_modularity(self) -> float:
        """The mean over draws and directions."""
        return float(np.mean(self.modularity))


class _Half:
    """The rows of one half, their graph, and the ways it mixes, as many as were asked for."""

    def __init__(
        self, x: Float[np.ndarray, "M D"], n_neighbors: int, random: np.random.RandomState
    ) -> None:
        self.x, self.random = np.asarray(x, np.float64), random
        self.graph: sparse.csr_matrix = neighbour_graph(self.x, n_neighbors)
        self._ways: Ways | None = None

    def groups(self, n_groups: int, n_steps: Sequence[int], most: int) -> Int[np.ndarray, " M"]:
        """Return the group of each row."""
        if self._ways is None or len(self._ways[0]) < min(coordinates_for(n_groups), len(self.x)):
            # Twice as many as now: the search may go on, and each look-up costs.
            ahead = min(max(2 * n_groups, 12), most)
            self._ways = slowest_ways(self.graph, coordinates_for(ahead), self.random)
        walks = walks_along(self._ways, n_groups, n_steps)
        return groups_along(self.graph, walks, n_groups, self.random, STARTS).clusters


def compare_numbers(
    x: Float[np.ndarray, "N D"],
    most: int,
    seed: int,
    n_neighbors: int = 15,
    n_steps: Sequence[int] = (20, 5),
) -> tuple[SizeOfGroups, ...]:
    """Return what halves of the rows say of 2, 3, ... groups.

    Parameters
    ----------
    x : (N, D)
        Rows whose distances to near rows mean something.
    most : int
        The largest number to try. The search ends before where modularity has long been falling.
    seed : int
    n_neighbors : int
    n_steps : sequence of int
        As in `graph_clusters`.
    """
    random = np.random.RandomState(seed)
    size = min(len(x) // 2, MOST_ROWS_OF_A_HALF)
    if size < 2:
        return ()
    n_draws = int(np.clip(ROWS_OF_ALL_HALVES // (2 * size), FEWEST_DRAWS, MOST_DRAWS))
    draws = []
    for _ in range(n_draws):
        drawn = random.permutation(len(x))
        parts = np.sort(drawn[:size]), np.sort(drawn[size : 2 * size])
        draws.append(tuple(_Half(x[part], n_neighbors, random) for part in parts))
    voters = [(_nearest(one, other), _nearest(other, one)) for one, other in draws]
    compared: list[SizeOfGroups] = []
    for n_groups in range(2, min(most, size // 2) + 1):
        said = []
        for halves, nearest in zip(draws, voters, strict=True):
            found = [half.groups(n_groups, n_steps, most) for half in halves]
            for at in (0, 1):
                told = _told(found[1 - at], nearest[at], n_groups)
                stability = adjusted_rand_score(found[at], told)
                said.append((stability, within_and_modularity(halves[at].graph, told)[1]))
        compared.append(SizeOfGroups(n_groups, *map(tuple, zip(*said, strict=True))))
        best = max(compared, key=lambda each: each.mean_modularity)
        if n_groups - best.n_groups >= PATIENCE:
            break
    return tuple(compared)


def _nearest(half: _Half, other: _Half) -> Int[np.ndarray, "M V"]:
    """Return the rows of the other half that are nearest to each of this one."""
    search = NearestNeighbors(n_neighbors=min(VOTERS, len(other.x)), algorithm="brute")
    found: np.ndarray = search.fit(other.x).kneighbors(half.x, return_distance=False)
    return found


def _told(
    groups: Int[np.ndarray, " M"], nearest: Int[np.ndarray, "M V"], n_groups: int
) -> Int[np.ndarray, " M"]:
    """Return the group that most of each row's neighbours are of."""
    votes = np.zeros((len(nearest), n_groups))
    for each in nearest.T:
        votes[np.arange(len(nearest)), groups[each]] += 1
    told: np.ndarray = votes.argmax(axis=1)
    return told


def ranked(
    stability: Float[np.ndarray, " S"], modularity: Float[np.ndarray, " S"]
) -> Int[np.ndarray, " S"]:
    """Return the places of numbers of groups, the one to choose first; none if all are unstable."""
    if stability.max() < LEAST_STABILITY:
        return np.zeros(0, np.int64)
    stable = stability >= stability.max() - STABILITY_SLACK
    return np.lexsort((-stability * modularity, ~stable))
