"""How well clusters match classes, read off their contingency table (K components, C classes).

Accuracy matches components with classes one to one (Kuhn 1955, the Hungarian method), so with
more components than classes the rest count as wrong; purity lets many share a class. Mutual
information (Strehl and Ghosh 2002) and the Rand index (Hubert and Arabie 1985) need no match.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import entr


def contingency_table(
    components: np.ndarray, labels: np.ndarray, n_components: int, n_classes: int
) -> np.ndarray:
    """Return how many rows of each class fell into each component, (K, C) integers.

    Parameters
    ----------
    components : (N,) int
    labels : (N,) int
        Class indices; rows labelled -1 are left out.
    n_components, n_classes : int

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import contingency_table
    >>> components, labels = np.array([2, 2, 0, 0, 1]), np.array([0, 0, 1, 1, -1])
    >>> contingency_table(components, labels, n_components=3, n_classes=2)
    array([[0, 2],
           [0, 0],
           [2, 0]])
    """
    known = labels >= 0
    table = np.zeros((n_components, n_classes), dtype=np.int64)
    np.add.at(table, (components[known], labels[known]), 1)
    return table


def hungarian_accuracy(table: np.ndarray) -> float:
    """Return the share of rows that the best one-to-one match of components and classes explains.

    In [0, 1]; NaN for an empty table.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import hungarian_accuracy
    >>> table = np.array([[8, 2], [0, 10]])  # rows of 2 components, by 2 classes
    >>> hungarian_accuracy(table)
    0.9
    """
    rows, columns = linear_sum_assignment(table, maximize=True)
    return _share(table[rows, columns].sum(), table)


def purity(table: np.ndarray) -> float:
    """Return the share of rows in their component's largest class, in [0, 1]; NaN if empty.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import hungarian_accuracy, purity
    >>> table = np.array([[8, 2], [0, 5], [0, 5]])  # rows of 3 components, by 2 classes
    >>> purity(table), hungarian_accuracy(table)
    (0.9, 0.65)
    """
    return _share(table.max(axis=1, initial=0).sum(), table)


def purity_per_component(table: np.ndarray) -> np.ndarray:
    """Return each component's purity, (K,); NaN where it holds no labelled row.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import purity_per_component
    >>> table = np.array([[8, 2], [0, 10]])  # rows of 2 components, by 2 classes
    >>> purity_per_component(table)
    array([0.8, 1. ])
    """
    sizes = table.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(sizes > 0, table.max(axis=1, initial=0) / np.maximum(sizes, 1), np.nan)


def normalized_mutual_info(table: np.ndarray) -> float:
    """Return mutual information over the mean of both entropies, in [0, 1]; NaN if empty.

    1 where both partitions hold a single part, as in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import normalized_mutual_info
    >>> table = np.array([[8, 2], [0, 10]])  # rows of 2 components, by 2 classes
    >>> round(normalized_mutual_info(table), 2)
    0.62
    """
    total = table.sum()
    if total == 0:
        return float("nan")
    joint = table / total
    components, classes = joint.sum(axis=1), joint.sum(axis=0)
    mean_entropy = 0.5 * (_entropy(components) + _entropy(classes))
    if mean_entropy == 0:
        return 1.0
    information = _entropy(components) + _entropy(classes) - _entropy(joint.ravel())
    return float(np.clip(information / mean_entropy, 0.0, 1.0))


def adjusted_rand_index(table: np.ndarray) -> float:
    """Return the Rand index corrected for chance, in [-0.5, 1]; NaN if empty.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import adjusted_rand_index
    >>> table = np.array([[8, 2], [0, 10]])  # rows of 2 components, by 2 classes
    >>> round(adjusted_rand_index(table), 2)
    0.62
    """
    if table.sum() == 0:
        return float("nan")
    together = _pairs(table).sum()
    components, classes = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    all_pairs = _pairs(table.sum())
    if all_pairs == 0:
        return 1.0
    expected = components * classes / all_pairs
    most = 0.5 * (components + classes)
    return 1.0 if most == expected else float((together - expected) / (most - expected))


def _share(count: int, table: np.ndarray) -> float:
    total = table.sum()
    return float(count / total) if total else float("nan")


def _entropy(shares: np.ndarray) -> float:
    """Return the entropy in nats; 0 log 0 is 0."""
    return float(np.sum(entr(shares)))


def _pairs(counts: np.ndarray) -> np.ndarray:
    """Return the number of pairs among so many, as floats: squares of counts overflow early."""
    return np.asarray(counts, dtype=np.float64) * (np.asarray(counts, np.float64) - 1) / 2
