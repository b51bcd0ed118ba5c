"""k-means: starting points for the mixture.

Lloyd's algorithm (Lloyd 1982) only walks downhill, so where it starts decides where it ends.
`plus_plus` spreads the starts by drawing one centre after another, far rows likelier (Arthur and
Vassilvitskii 2007); `parallel` draws many in a few rounds and thins them out (Bahmani et al.
2012); `lloyd` alternates assignment and averaging.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.crew import Crew
from latentmix.kernels.kmeans.margins import Assignment
from latentmix.kernels.kmeans.nearest import ReadyRows, blocks, spans
from latentmix.kernels.kmeans.potential import Potential

# k-means||: Bahmani et al. find five rounds enough, of twice as many draws as centres.
ROUNDS = 5
OVERSAMPLING = 2

# Distances in float64 are taken this many rows at a time.
BLOCK_ROWS = 8184


class Clustering(NamedTuple):
    """K centres, (K, D), each row's nearest one, (N,) int32, and the Lloyd steps taken."""

    centres: Float[np.ndarray, "K D"]
    components: Int[np.ndarray, " N"]
    n_iter: int


def plus_plus(
    random: np.random.RandomState,
    x: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    n_components: int,
    crew: Crew,
    fixed: Float[np.ndarray, "M D"] | None = None,
) -> Int[np.ndarray, " K"]:
    """Return the numbers of K rows to start from (greedy k-means++).

    Each new centre is drawn in proportion to weight times squared distance from the centres so
    far. A few candidates are drawn, and the one that leaves the least inertia is kept.

    Parameters
    ----------
    random : RandomState
    x : (N, D)
        Centred rows.
    weights : (N,)
        A row of weight 0 is never drawn.
    n_components : int
        How many rows to draw.
    crew : Crew
    fixed : (M, D), optional
        Centres that exist already; their distances count, and they are not returned.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
    """
    n_fixed = 0 if fixed is None else len(fixed)
    n_candidates = 2 + int(math.log(n_components + n_fixed))
    chosen = np.zeros(n_components, np.intp)
    potential = Potential(ReadyRows(x, crew, "F"), weights)
    for centre in fixed if fixed is not None else ():
        potential.add(centre[None])
    for i in range(n_components):
        first = i + n_fixed == 0
        candidates = potential.draw(random, 1 if first else n_candidates)
        best = 0 if first else np.argmin(potential.remainders(x[candidates]))
        chosen[i] = candidates[best]
        potential.add(x[chosen[i : i + 1]])
    return chosen


def parallel(
    random: np.random.RandomState,
    x: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    n_components: int,
    crew: Crew,
) -> Float[np.ndarray, "K D"]:
    """Return K centres to start from (k-means||), in a few passes over the rows.

    Each round draws many rows at once in proportion to weight times squared distance. The rows
    drawn, weighted by the rows nearest to them, are then clustered themselves.

    Parameters
    ----------
    random : RandomState
    x : (N, D)
        Centred rows.
    weights : (N,)
        A row of weight 0 is never drawn.
    n_components : int
    crew : Crew

    References
    ----------
    Bahmani et al., "Scalable k-means++", 2012, algorithm 2.
    """
    potential = Potential(ReadyRows(x, crew, "F"), weights)
    chosen = potential.draw(random, 1)
    potential.add(x[chosen])
    for _ in range(ROUNDS):
        new = np.unique(potential.draw(random, OVERSAMPLING * n_components))
        potential.add(x[new])
        chosen = np.concatenate([chosen, new])
    candidates, masses = x[chosen], potential.masses()
    n_missing = n_components - len(np.unique(candidates, axis=0))
    if n_missing > 0:
        others = plus_plus(random, x, weights, n_missing, crew, fixed=candidates)
        candidates = np.concatenate([candidates, x[others]])
        masses = np.concatenate([masses, weights[others]])
    rows = plus_plus(random, candidates, masses, n_components, crew)
    return lloyd(candidates, masses, candidates[rows], crew, max_iter=10).centres


def lloyd(
    x: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    centres: Float[np.ndarray, "K D"],
    crew: Crew,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Clustering:
    """Move centres to their rows' weighted means until they stand still.

    Parameters
    ----------
    x : (N, D)
        Centred rows.
    weights : (N,)
    centres : (K, D)
        Where to start.
    crew : Crew
    max_iter : int
        The most steps; 0 finds each row's nearest centre, the first one of equals.
    tol : float
        Stop when the centres' total squared movement is at most this share of the mean variance
        of a feature.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", 1982.
    """
    least_mass = 0.5 * np.min(weights[weights > 0], initial=np.inf)
    assignment = Assignment(ReadyRows(x, crew), weights, len(centres))
    moved, n_iter = None, 0
    while n_iter < max_iter:
        n_changed = assignment.update(centres, moved)
        if n_iter == 0:
            least_movement = tol * _mean_variance(assignment, weights)
        means = _means(assignment, centres, least_mass)
        moved = np.sqrt(np.sum((means - centres) ** 2, axis=1))
        centres, n_iter = means, n_iter + 1
        if (n_changed == 0 and n_iter > 1) or moved @ moved <= least_movement:
            break
    if moved is None or moved.any():
        assignment.update(centres, moved)
    return Clustering(centres, assignment.components, n_iter)


def inertia(
    x: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    clustering: Clustering,
    crew: Crew,
) -> float:
    """Return what the centres leave unexplained: the weighted sum of squared distances.

    It takes a pass over the rows that `lloyd` has no need of, and so is apart from it.
    """
    squares = _squared_distances(x, clustering.centres, clustering.components, crew)
    return float(weights @ squares)


def _mean_variance(assignment: Assignment, weights: np.ndarray) -> float:
    """Return the weighted variance of a feature, on average."""
    mean = np.sum(assignment.sums, axis=0) / np.sum(assignment.masses)
    variance = assignment.rows.mean_squares(weights) - float(mean @ mean)
    return max(0.0, variance) / len(mean)


def _squared_distances(
    x: np.ndarray, centres: np.ndarray, components: np.ndarray, crew: Crew
) -> np.ndarray:
    """Return how far each row is from its centre, squared, (N,)."""
    squares = np.empty(len(x))

    def share(parts: Sequence[slice]) -> None:
        for block in (b for part in parts for b in blocks(part, BLOCK_ROWS)):
            deviation = centres.take(components[block], axis=0)
            deviation -= x[block]
            np.einsum("nd,nd->n", deviation, deviation, out=squares[block])

    crew.run(share, spans(len(x), crew.size))
    return squares


def _means(assignment: Assignment, centres: np.ndarray, least_mass: float) -> np.ndarray:
    """Return the weighted means of each centre's rows; a centre without rows moves to one."""
    sums, masses = assignment.sums, assignment.masses
    empty = np.flatnonzero(masses < least_mass)  # but for rounding, 0
    if len(empty):
        sums[empty], masses[empty] = 0.0, 0.0
        sums, masses = _occupied(assignment, centres, empty, least_mass)
    means = centres.copy()
    occupied = masses > 0
    means[occupied] = sums[occupied] / masses[occupied, None]
    return means


def _occupied(
    assignment: Assignment, centres: np.ndarray, empty: np.ndarray, least_mass: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums and masses when centres without rows have taken those farthest from theirs.

    As in scikit-learn; but no two take equal rows, and none takes the last row of its centre.
    """
    rows, weights, components = assignment.rows, assignment.weights, assignment.components
    sums, masses = assignment.sums.copy(), assignment.masses.copy()
    squares = _squared_distances(rows.x, centres, components, rows.crew)
    squares[weights == 0] = 0.0
    homeless, taken = list(empty), set()
    for row in np.argsort(-squares, kind="stable"):
        if not homeless or squares[row] == 0:
            break
        own, weight, x = components[row], weights[row], rows.x[row]
        if masses[own] - weight > least_mass and x.tobytes() not in taken:
            taken.add(x.tobytes())
            new = homeless.pop(0)
            sums[own] -= weight * x
            masses[own] -= weight
            sums[new], masses[new] = weight * x, weight
    return sums, masses
