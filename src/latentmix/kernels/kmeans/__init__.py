"""k-means: starting points for the mixture, and the rows that belong to them.

`seeding` says where to start, `descent` goes down from there, `nearest` finds centres for rows.
All are pure functions of arrays in float32 or float64; weights multiply rows.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from latentmix.kernels.kmeans.descent import Clustering, lloyd, nearest_centre
from latentmix.kernels.kmeans.seeding import parallel, plus_plus

__all__ = ["Clustering", "k_means", "lloyd", "nearest_centre", "parallel", "plus_plus"]

# From so many distances (rows times centres) a pass on, k-means|| repays its longer compilation.
LEAST_DISTANCES_IN_PARALLEL = 1 << 22


def k_means(
    key: Array,
    x: Float[Array, "N D"],
    weights: Float[Array, " N"],
    n_components: int,
    max_iter: int = 300,
    tol: float = 1e-4,
) -> Clustering:
    """Cluster rows: k-means++ where that is quick and k-means|| where not, then Lloyd.

    The parameters are those of `plus_plus` and `lloyd`.
    """
    if len(x) * n_components < LEAST_DISTANCES_IN_PARALLEL:
        starts = x[plus_plus(key, x, weights, n_components)]
    else:
        starts = parallel(key, x, weights, n_components)
    clustering: Clustering = lloyd(x, weights, starts, max_iter, tol)
    return clustering
