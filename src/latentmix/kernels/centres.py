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

# A block's table of scores has about this many entries, so that it stays in the cache.
BLOCK_ENTRIES = 1 << 17

# k-means||: Bahmani et al. find five rounds enough, of twice as many draws as centres.
ROUNDS = 5
OVERSAMPLING = 2


class Clustering(NamedTuple):
    """K centres, (K, D), each row's nearest one, (N,) int32, and what they leave unexplained.

    `inertia` is the weighted sum of squared distances, `n_iter` the number of Lloyd steps taken.
    """

    centres: Float[np.ndarray, "K D"]
    components: Int[np.ndarray, " N"]
    n_iter: int
    inertia: float


def _blocks(n_rows: int, n_centres: int, n_threads: int) -> list[slice]:
    """Cut the rows into blocks, as many for each thread."""
    most = min(8184, max(64, BLOCK_ENTRIES // n_centres))
    n_blocks = -(-n_rows // (most * n_threads)) * n_threads
    size = max(64, -(-n_rows // n_blocks))
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def squared_distances(
    x: Float[np.ndarray, "N D"], centre: Float[np.ndarray, "#N D"]
) -> Float[np.ndarray, " N"]:
    """Return |x - centre|^2 without expanding it, so that equal rows are at distance 0."""
    deviation = x - centre
    distances: np.ndarray = np.einsum("nd,nd->n", deviation, deviation)
    return distances


def _draw(random: np.random.RandomState, potential: np.ndarray, n_draws: int) -> np.ndarray:
    """Return row numbers drawn in proportion to `potential`, never one where it is 0."""
    cumulative = np.cumsum(potential)
    rows = np.searchsorted(cumulative, random.random_sample(n_draws) * cumulative[-1], "right")
    # A draw that rounds to the total would fall past the last row that can be drawn.
    return np.minimum(rows, np.searchsorted(cumulative, cumulative[-1], "left"))


def plus_plus(
    random: np.random.RandomState,
    x: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    n_components: int,
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
    fixed : (M, D), optional
        Centres that exist already; their distances count, and they are not returned.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
    """
    n_fixed = 0 if fixed is None else len(fixed)
    n_candidates = 2 + int(math.log(n_components + n_fixed))
    nearest = np.full(len(x), np.inf)
    for centre in [] if fixed is None else fixed:
        np.minimum(nearest, squared_distances(x, centre), out=nearest)
    rows = np.zeros(n_components, np.intp)
    for i in range(n_components):
        first = i + n_fixed == 0
        potential = weights if first else weights * nearest
        if not potential.any():  # every row is a centre already
            potential = weights
        candidates = _draw(random, potential, 1 if first else n_candidates)
        closer = [np.minimum(nearest, squared_distances(x, x[row])) for row in candidates]
        best = int(np.argmin([weights @ one for one in closer]))
        rows[i], nearest = candidates[best], closer[best]
    return rows


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
    chosen = _draw(random, weights, 1)
    nearest = np.full(len(x), np.inf)
    new = chosen
    for _ in range(ROUNDS):
        components = nearest_centre(x, x[new], crew)
        np.minimum(nearest, squared_distances(x, x[new[components]]), out=nearest)
        potential = weights * nearest
        if not potential.any():
            break
        new = np.unique(_draw(random, potential, OVERSAMPLING * n_components))
        chosen = np.concatenate([chosen, new])
    if len(chosen) < n_components:
        extra = plus_plus(random, x, weights, n_components - len(chosen), fixed=x[chosen])
        chosen = np.concatenate([chosen, extra])
    candidates = x[chosen]
    components = nearest_centre(x, candidates, crew)
    masses = np.bincount(components, weights, minlength=len(candidates))
    rows = plus_plus(random, candidates, masses, n_components)
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
    tol : float
        Stop when the centres' total squared movement is at most this share of the mean variance
        of a feature.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", 1982.
    """
    total = weights.sum()
    mean = weights @ x / total
    least_movement = tol * float(np.mean(weights @ (x - mean) ** 2 / total))
    n_iter, before = 0, None
    while n_iter < max_iter:
        components = nearest_centre(x, centres, crew)
        moved = _means(x, weights, centres, components)
        movement = float(np.sum((moved - centres) ** 2))
        centres, n_iter = moved, n_iter + 1
        if before is not None and np.array_equal(before, components):
            break
        if movement <= least_movement:
            break
        before = components
    components = nearest_centre(x, centres, crew)
    inertia = float(weights @ squared_distances(x, centres[components]))
    return Clustering(centres, components, n_iter, inertia)


def _means(
    x: np.ndarray, weights: np.ndarray, centres: np.ndarray, components: np.ndarray
) -> np.ndarray:
    """Return the weighted means of each centre's rows; centres without rows move."""
    n_components = len(centres)
    masses = np.bincount(components, weights, minlength=n_components)
    sums = np.stack(
        [np.bincount(components, weights * column, minlength=n_components) for column in x.T],
        axis=1,
    )
    empty = np.flatnonzero(masses == 0)
    if len(empty):
        distances = np.where(weights > 0, squared_distances(x, centres[components]), 0.0)
        for k, row in zip(empty, _farthest(distances, components, len(empty)), strict=False):
            sums[components[row]] -= weights[row] * x[row]
            masses[components[row]] -= weights[row]
            sums[k], masses[k] = weights[row] * x[row], weights[row]
    occupied = masses > 0
    means = centres.copy()
    means[occupied] = sums[occupied] / masses[occupied, None]
    return means


def _farthest(distances: np.ndarray, components: np.ndarray, most: int) -> list[int]:
    """Return the rows farthest from their centres; none is the last one its centre has."""
    left = np.bincount(components[distances > 0])
    rows: list[int] = []
    for row in np.argsort(-distances, kind="stable"):
        if len(rows) == most or distances[row] == 0:
            break
        if left[components[row]] > 1:
            left[components[row]] -= 1
            rows.append(int(row))
    return rows


def nearest_centre(
    x: Float[np.ndarray, "N D"], centres: Float[np.ndarray, "K D"], crew: Crew
) -> Int[np.ndarray, " N"]:
    """Return the number of the centre nearest to each row, (N,) int32; the first one of equals."""
    components = np.empty(len(x), np.int32)
    # |x - c|^2 is least where x'c - |c|^2/2 is greatest.
    offsets = -0.5 * np.einsum("kd,kd->k", centres, centres)

    def share(blocks: Sequence[slice]) -> None:
        for block in blocks:
            components[block] = np.argmax(np.dot(x[block], centres.T) + offsets, axis=1)

    crew.run(share, _blocks(len(x), len(centres), crew.size))
    return components
