"""k-means for groups of like size: what is known of classes that are equally frequent.

k-means cares for distances alone, and where nothing lies between two classes it would as soon halve
a third. Here large groups cost more. With p_k the share of rows in group k, and H the entropy of
the shares, groups minimise

    mean_i |x_i - c_k(i)|^2 - evenness H,    H = -sum_k p_k log p_k

as RIM (Krause, Perona and Gomes 2010) and IMSAT (Hu et al. 2017) reward the entropy of a
classifier's answers. To first order a row that comes to group k costs `evenness` log p_k beside its
squared distance, so that rows go where both together are least; frequency-sensitive competitive
learning (Banerjee and Ghosh 2004) has such a bias, too.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr

# Rows asked at once would all leave a large group: shares are counted anew after each part of them.
# Where a pass over them lowers nothing they are asked in so many times as many parts, up to the
# most.
PARTS: Final = 16
TIMES_AS_MANY: Final = 8
MOST_PARTS: Final = 1024

# Passes end when fewer rows go elsewhere, as a share of all.
FEW: Final = 1e-4


class EvenGroups(NamedTuple):
    """Each row's group, (N,), and what is left of the cost above."""

    groups: Int[np.ndarray, " N"]
    cost: float


def evened(
    x: Float[np.ndarray, "N D"],
    groups: Int[np.ndarray, " N"],
    n_groups: int,
    evenness: float,
    max_iter: int = 60,
) -> EvenGroups:
    """Return the groups that rows come to from those given.

    Parameters
    ----------
    x : (N, D)
    groups : (N,)
        In [0, n_groups).
    n_groups : int
    evenness : float
        In units of squared distance.
    max_iter : int
        The most passes over the rows.
    """
    best, n_parts = _judged(x, groups, n_groups, evenness), PARTS
    for _ in range(max_iter):
        found = _passed(x, best.groups, n_groups, evenness, n_parts)
        tried = _judged(x, found, n_groups, evenness)
        if tried.cost < best.cost:
            n_moved = np.count_nonzero(found != best.groups)
            best = tried
            if n_moved <= FEW * len(x):
                break
        elif n_parts < min(MOST_PARTS, len(x)):
            n_parts *= TIMES_AS_MANY
        else:
            break
    return best


def entropy(groups: Int[np.ndarray, " N"]) -> float:
    """Return the entropy of the groups' sizes, in nats: log(K) if there are K of the same."""
    return float(np.sum(entr(np.bincount(groups) / len(groups))))


def _passed(
    x: np.ndarray, groups: np.ndarray, n_groups: int, evenness: float, n_parts: int
) -> Int[np.ndarray, " N"]:
    """Return groups after a pass over the rows, a part of them after the other."""
    groups = groups.copy()
    counts = np.bincount(groups, minlength=n_groups)
    centres = _means(x, groups, counts)
    lengths = np.sum(centres**2, axis=1)
    for first in range(min(n_parts, len(x))):
        part = slice(first, None, n_parts)
        dearness = lengths + evenness * np.log(np.maximum(counts, 1))
        found = np.argmin(dearness - 2 * x[part] @ centres.T, axis=1)
        counts += np.bincount(found, minlength=n_groups)
        counts -= np.bincount(groups[part], minlength=n_groups)
        groups[part] = found
    return groups


def _judged(x: np.ndarray, groups: np.ndarray, n_groups: int, evenness: float) -> EvenGroups:
    means = _means(x, groups, np.bincount(groups, minlength=n_groups))
    inertia = float(np.mean(np.sum((x - means[groups]) ** 2, axis=1)))
    return EvenGroups(groups, inertia - evenness * entropy(groups))


def _means(x: np.ndarray, groups: np.ndarray, counts: np.ndarray) -> Float[np.ndarray, "K D"]:
    """Return the mean of each group's rows, 0 of one without."""
    sums = np.stack([np.bincount(groups, column, len(counts)) for column in x.T], axis=1)
    means: np.ndarray = sums / np.maximum(counts, 1)[:, None]
    return means
