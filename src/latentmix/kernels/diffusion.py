"""Clusters along a manifold: neighbours of neighbours belong together, however far they reach.

A mixture looks for ellipsoids, but what is alike lies in bent sheets. Rows are joined to their
nearest neighbours, a random walk on that graph says which rows reach which within some steps, and
k-means on the walk's coordinates finds the groups that it hardly ever leaves:

    graph       weights of edges from distances, each row's own scale taken out (McInnes, Healy
                and Melville 2018, UMAP, section 3.1)
    walk        eigenvectors of the normalised graph, the j-th times its eigenvalue to the number
                of steps (Coifman and Lafon 2006, "Diffusion maps")
    clusters    k-means on the coordinates, each row's of length 1 (Ng, Jordan and Weiss 2002)

How far to walk, and along how many coordinates, is not known beforehand. A walk at the wrong scale
joins two groups and splits a third, and sizes tell it. So of several, those are looked at that cut
hardly more of the graph than the best of them, and the groups of largest modularity are taken
(Newman and Girvan 2004).

Where two graphs of the same rows may each know what the other does not, they are added by several
weights, and both together judge what is found (`clusters_of_two_graphs`).

Where classes are known to be about equally frequent, groups of like size are looked for
(`kernels.kmeans.even`), and of those that cut hardly more the most even are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigsh
from sklearn.neighbors import NearestNeighbors

from latentmix.kernels.crew import Crew
from latentmix.kernels.kmeans import centres as kmeans
from latentmix.kernels.kmeans.even import entropy, evened

# Coordinates of a walk for each cluster: more than one, as the slowest ways of mixing need not be
# those between clusters.
COORDINATES_PER_CLUSTER: Final = (2, 4)

# Groups of like size are looked for along these alone: along more, groups of equal size are found
# that are none of the graph's.
EVEN_COORDINATES_PER_CLUSTER: Final = (2,)

# Starts of k-means, the tightest of which is kept.
STARTS: Final = 10

# Halvings of the interval in which a row's scale lies.
BISECTIONS: Final = 48

# A row's scale is never below this share of the mean distance to a neighbour.
LEAST_SCALE: Final = 1e-3

# Groups may cut this share of the graph's weight more than others and be taken for more even: so
# large and small groups that lie apart stay whole, which modularity alone would halve and join.
CUT_SLACK: Final = 0.02

# Modularity that other groups must gain before those of a round before are given up: on real data
# graphs drawn anew differ by a tenth of it, and chance would choose.
CLEARLY: Final = 0.01

# Merits are compared to so many digits, and of equals the first is taken: clusters that are found
# again differ in their numbers, and sums over them by a last digit.
DIGITS: Final = 9

# Of so few rows all eigenvectors are found at once, which takes a moment and always ends.
ROWS_WITHOUT_LANCZOS: Final = 1000

# Eigenvectors that Lanczos is asked for to learn whether it has missed any.
VECTORS_TO_ASK_FOR: Final = 4

# Lanczos' relative tolerance: k-means does not see the digits beyond.
EIGENVALUE_TOLERANCE: Final = 1e-4

# Whether it missed a vector is asked to this share of what lies between the smallest eigenvalue
# found and 1, the largest there is.
GLANCE: Final = 0.2

# Eigenvalues, ascending, and eigenvectors: (C,) and (N, C).
Ways = tuple[Float[np.ndarray, " C"], Float[np.ndarray, "N C"]]

# The share of what a row has that comes from its neighbours as labels flow (a in the equation), and
# how exactly the flow is found: which class is largest is all that matters.
FLOWING: Final = 0.99
FLOW_TOLERANCE: Final = 1e-4


def graph_clusters(
    graph: sparse.csr_matrix,
    n_clusters: int,
    seed: int,
    n_steps: Sequence[int] = (20, 5),
    before: Int[np.ndarray, " N"] | None = None,
    evenness: float = 0.0,
) -> Int[np.ndarray, " N"]:
    """Return the cluster of each row of a neighbour graph.

    Parameters
    ----------
    graph : (N, N)
        As `neighbour_graph` draws it.
    n_clusters : int
    seed : int
        Of k-means' starts, and of the eigenvectors' start.
    n_steps : sequence of int
        Steps of the walks that are tried: more of them see larger structure.
    before : (N,), optional
        Clusters that k-means also begins from. What it comes to from them, each with its number, is
        kept unless others have a modularity that is clearly larger.
    evenness : float
        What the entropy of the clusters' sizes weighs, where squared distances of coordinates are
        4 at most. Above 0, clusters before are one start among the others.
    """
    n_rows = graph.shape[0]
    n_clusters = min(n_clusters, n_rows)
    if n_clusters < 2 or n_rows < 3:
        return np.zeros(n_rows, np.int64) if n_clusters < 2 else np.arange(n_rows) % n_clusters
    random = np.random.RandomState(seed)
    if evenness:
        each = EVEN_COORDINATES_PER_CLUSTER
        ways = slowest_ways(graph, coordinates_for(n_clusters, each), random)
        walks = walks_along(ways, n_clusters, n_steps, each)
        return even_groups_along(graph, walks, n_clusters, random, evenness, before)
    ways = slowest_ways(graph, coordinates_for(n_clusters), random)
    walks = walks_along(ways, n_clusters, n_steps)
    anew = groups_along(graph, walks, n_clusters, random)
    if before is None:
        return anew.clusters
    mended = _best(graph, [_mended(walk, before, n_clusters) for walk in walks])
    return anew.clusters if anew.modularity > mended.modularity + CLEARLY else mended.clusters


def clusters_of_two_graphs(
    graphs: tuple[sparse.csr_matrix, sparse.csr_matrix],
    weights: Sequence[float],
    n_clusters: int,
    seed: int,
    n_steps: Sequence[int] = (20, 5),
    evenness: float = 0.0,
) -> Int[np.ndarray, " N"]:
    """Return the cluster of each row of two neighbour graphs over the same rows.

    The second is added to the first by each of the weights, clusters are found along each sum as
    `graph_clusters` does, and both graphs together judge them: of those that cut hardly more of the
    two than the best the most modular are taken, or with `evenness` the most even.
    """
    first, second = graphs
    found = [
        graph_clusters(
            sparse.csr_matrix(first + weight * second), n_clusters, seed, n_steps, evenness=evenness
        )
        for weight in weights
    ]
    return _best(sparse.csr_matrix(first + second), found, evenness).clusters


class Modular(NamedTuple):
    """Clusters (N,) and their modularity."""

    clusters: np.ndarray
    modularity: float


def groups_along(
    graph: sparse.csr_matrix,
    walks: Sequence[Float[np.ndarray, "N C"]],
    n_clusters: int,
    random: np.random.RandomState,
    n_init: int = STARTS,
) -> Modular:
    """Return the clusters of a graph along walks on it (`walks_along`)."""
    found = [_by_tightness(walk, n_clusters, n_init, random)[0] for walk in walks]
    return _best(graph, found)


def even_groups_along(
    graph: sparse.csr_matrix,
    walks: Sequence[Float[np.ndarray, "N C"]],
    n_clusters: int,
    random: np.random.RandomState,
    evenness: float,
    before: Int[np.ndarray, " N"] | None = None,
) -> Int[np.ndarray, " N"]:
    """Return clusters of like size along walks, or unlike ones where those would cut much more."""
    found = []
    for walk in walks:
        free = _by_tightness(walk, n_clusters, STARTS, random)
        starts = free if before is None else [before, *free]
        evens = [evened(walk, start, n_clusters, evenness) for start in starts]
        found += [min(evens, key=lambda each: round(each.cost, DIGITS)).groups, free[0]]
    return _best(graph, found, evenness).clusters


def coordinates_for(n_clusters: int, each: Sequence[int] = COORDINATES_PER_CLUSTER) -> int:
    """Return how many of a graph's slowest ways so many clusters are looked for along."""
    return max(each) * n_clusters


def walks_along(
    ways: Ways,
    n_clusters: int,
    n_steps: Sequence[int],
    each: Sequence[int] = COORDINATES_PER_CLUSTER,
) -> list[Float[np.ndarray, "N C"]]:
    """Return the coordinates of the walks that are tried; of `coordinates_for` ways, or more."""
    values, vectors = ways
    return [
        walk_coordinates(values[-n_coordinates:], vectors[:, -n_coordinates:], steps)
        for steps in n_steps
        for n_coordinates in (per_cluster * n_clusters for per_cluster in each)
    ]


def _best(graph: sparse.csr_matrix, found: Sequence[np.ndarray], evenness: float = 0.0) -> Modular:
    """Return of those that cut hardly more than the best the most modular, or the most even."""
    within, modularities = np.transpose([within_and_modularity(graph, each) for each in found])
    merits = np.asarray([entropy(each) for each in found]) if evenness else modularities
    near = within >= within.max() - CUT_SLACK
    best = int(np.argmax(np.where(near, np.round(merits, DIGITS), -np.inf)))
    return Modular(found[best], float(modularities[best]))


def within_and_modularity(
    graph: sparse.csr_matrix, groups: Int[np.ndarray, " N"]
) -> tuple[float, float]:
    """Return the share of a graph's weight within groups, and by how much it exceeds chance.

    sum_k w_k / w and sum_k (w_k / w - (d_k / w)^2), with w the weight of all edges, each counted at
    both its ends, w_k that of the edges within group k, and d_k that of the edges with an end
    there. The second, modularity, is 0 for one group; many, even, and with few edges between them
    come near 1. Without an edge, as among one row, both are 0.
    """
    member = sparse.csr_matrix((np.ones(len(groups)), (np.arange(len(groups)), groups)))
    between = (member.T @ graph @ member).toarray() / max(graph.sum(), np.finfo(float).tiny)
    within = float(np.trace(between))
    return within, within - float(np.sum(between.sum(axis=0) ** 2))


def neighbour_graph(x: Float[np.ndarray, "N D"], n_neighbors: int) -> sparse.csr_matrix:
    """Return the weights in [0, 1] of the edges between near rows, (N, N) and symmetric.

    `x` are rows whose Euclidean distances to near rows mean something; N goes up to some 60,000, as
    all pairs are compared. From row i to its neighbour j the weight is exp(-(d_ij - d_i) / s_i):
    d_i is the distance to the nearest row, and s_i such that the weights of i sum to
    log2(n_neighbors + 1). An edge a one way and b the other becomes a + b - ab. Fewer rows than
    that have no more neighbours than others.
    """
    n_neighbors = min(n_neighbors, len(x) - 1)
    if n_neighbors < 1:
        return sparse.csr_matrix((len(x), len(x)))
    search = NearestNeighbors(n_neighbors=n_neighbors + 1, algorithm="brute").fit(x)
    distances, neighbours = search.kneighbors(x)
    # The nearest is the row itself, or one equal to it.
    distances, neighbours = distances[:, 1:], neighbours[:, 1:]
    beyond = np.maximum(distances - distances[:, :1], 0.0)
    least = max(LEAST_SCALE * float(distances.mean()), float(np.finfo(np.float32).tiny))
    scales = _scales(beyond, np.log2(n_neighbors + 1), least)
    weights = np.exp(-beyond / scales[:, None])
    starts = np.repeat(np.arange(len(x)), n_neighbors)
    shape = (len(x), len(x))
    one_way = sparse.csr_matrix((weights.ravel(), (starts, neighbours.ravel())), shape=shape)
    other_way = one_way.T.tocsr()
    return sparse.csr_matrix(one_way + other_way - one_way.multiply(other_way))


def slowest_ways(graph: sparse.csr_matrix, n_ways: int, random: np.random.RandomState) -> Ways:
    """Return the leading eigenvalues of the normalised graph, ascending, and their eigenvectors.

    They are the ways in which a random walk on it mixes, the slowest last; as many as there are
    rows at most.
    """
    n_rows = graph.shape[0]
    lengths = 1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    scale = sparse.diags(lengths)
    normalised = sparse.csr_matrix(scale @ graph @ scale)
    if n_rows <= max(ROWS_WITHOUT_LANCZOS, n_ways + 1):
        values, vectors = np.linalg.eigh(normalised.toarray())
        return values[-n_ways:], vectors[:, -n_ways:]
    return _leading(normalised, n_ways, random.uniform(0.5, 1.5, n_rows))


def walk_coordinates(
    values: Float[np.ndarray, " C"], vectors: Float[np.ndarray, "N C"], n_steps: int
) -> Float[np.ndarray, "N C"]:
    """Return each row's coordinates after so many steps of the walk, of length 1."""
    coordinates = vectors * np.clip(values, 0.0, 1.0) ** n_steps
    norms = np.linalg.norm(coordinates, axis=1, keepdims=True)
    unit: np.ndarray = coordinates / np.maximum(norms, np.finfo(np.float64).tiny)
    return unit


def _leading(
    matrix: sparse.csr_matrix, n_vectors: int, start: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "N V"]]:
    """Return the largest eigenvalues of a symmetric matrix and their vectors.

    Of vectors that share an eigenvalue Lanczos finds one, the start's shadow on them: and groups
    with no edge between them, or hardly one, have each a vector of eigenvalue 1. So it is run
    again, from elsewhere, on the matrix without what was found, until that has nothing larger.
    """
    values, vectors = _lanczos(matrix, n_vectors, start)
    n_more = min(n_vectors, VECTORS_TO_ASK_FOR)
    while True:

        def without(x: np.ndarray, U: np.ndarray = vectors, found: np.ndarray = values) -> Any:
            return matrix @ x - U @ (found * (U.T @ x))

        rest = LinearOperator(matrix.shape, matvec=without, dtype=np.float64)
        start = np.random.RandomState(len(start)).permutation(start)
        least, glance = -np.inf, EIGENVALUE_TOLERANCE
        if len(values) == n_vectors:
            least = values[0] + EIGENVALUE_TOLERANCE
            glance = max(GLANCE * (1 - values[0]), EIGENVALUE_TOLERANCE)
        for tolerance in sorted({glance, EIGENVALUE_TOLERANCE}, reverse=True):
            more, theirs = _lanczos(rest, n_more, start, tolerance)
            larger = more > least
            if not larger.any():
                return values, vectors
        values = np.append(values, more[larger])
        best = np.argsort(values)[-n_vectors:]
        values, vectors = values[best], np.hstack([vectors, theirs[:, larger]])[:, best]


def _lanczos(
    matrix: Any, n_vectors: int, start: np.ndarray, tolerance: float = EIGENVALUE_TOLERANCE
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, "N V"]]:
    """Return the largest eigenvalues that are found from a start, ascending, and their vectors.

    Where many are nearly equal some may not be found in time.
    """
    try:
        found: tuple[np.ndarray, np.ndarray] = eigsh(
            matrix, k=n_vectors, which="LA", tol=tolerance, v0=start
        )
    except ArpackNoConvergence as stopped:
        order = np.argsort(stopped.eigenvalues)
        return stopped.eigenvalues[order], stopped.eigenvectors[:, order]
    return found


def _scales(beyond: np.ndarray, target: float, least: float) -> np.ndarray:
    """Return s with sum_j exp(-beyond_j / s) = target in each row, by bisection; (N,)."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), np.inf)
    scales = np.full(len(beyond), max(float(beyond.mean()), least))
    for _ in range(BISECTIONS):
        too_wide = np.exp(-beyond / np.maximum(scales, least)[:, None]).sum(axis=1) > target
        high, low = np.where(too_wide, scales, high), np.where(too_wide, low, scales)
        scales = np.where(np.isinf(high), 2 * scales, (low + high) / 2)
    floored: np.ndarray = np.maximum(scales, least)
    return floored


def _by_tightness(
    points: np.ndarray, n_clusters: int, n_init: int, random: np.random.RandomState
) -> list[Int[np.ndarray, " N"]]:
    """Return the clusters of several starts of k-means, the tightest first."""
    weights, found = np.ones(len(points)), []
    with Crew() as crew:
        for _ in range(n_init):
            chosen = kmeans.plus_plus(random, points, weights, n_clusters, crew)
            each = kmeans.lloyd(points, weights, points[chosen], crew)
            found.append((kmeans.inertia(points, weights, each, crew), each.components))
    found.sort(key=lambda pair: round(pair[0] / len(points), DIGITS))
    return [components.astype(np.int64) for _, components in found]


def _mended(
    points: np.ndarray, clusters: Int[np.ndarray, " N"], n_clusters: int
) -> Int[np.ndarray, " N"]:
    """Return the clusters that k-means comes to from those given."""
    weights = np.ones(len(points))
    member = np.eye(n_clusters)[clusters]
    starts = member.T @ points / np.maximum(member.sum(axis=0), 1.0)[:, None]
    with Crew() as crew:
        return kmeans.lloyd(points, weights, starts, crew).components.astype(np.int64)


def spread_labels(
    graph: sparse.csr_matrix, labels: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, "N C"]:
    """Return p(y) of each row as labels reach it along a neighbour graph.

    What a row is given flows to its neighbours, and theirs back, until F = a S F + (1 - a) Y (Zhou
    et al. 2004, "Learning with local and global consistency", equation 3), with S the normalised
    graph. Then each class is scaled to its share of the labels (Zhu, Ghahramani and Lafferty 2003,
    "class mass normalisation").

    Parameters
    ----------
    graph : (N, N)
    labels : (N, C)
        One-hot where known, zeros elsewhere.
    """
    lengths = np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    scale = sparse.diags(1 / np.maximum(lengths, np.finfo(np.float64).tiny))
    system = sparse.eye(len(labels)) - FLOWING * (scale @ graph @ scale)
    flows = [cg(system, each, rtol=FLOW_TOLERANCE)[0] for each in labels.T]
    reached = np.maximum(np.transpose(flows), 0.0)
    counts = labels.sum(axis=0)
    reached *= (counts + 1) / np.maximum(reached.sum(axis=0), np.finfo(np.float64).tiny)
    totals = reached.sum(axis=1, keepdims=True)
    frequencies = np.broadcast_to(counts / counts.sum(), reached.shape)
    return np.where(totals > 0, reached / np.where(totals > 0, totals, 1.0), frequencies)
