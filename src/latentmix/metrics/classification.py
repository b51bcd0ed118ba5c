"""How well predicted classes match true ones."""

from __future__ import annotations

import numpy as np


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of labelled rows whose class is right, in [0, 1]; NaN without any.

    Parameters
    ----------
    predicted, labels : (N,) int
        Class indices; rows labelled -1 are left out.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import accuracy
    >>> accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 0, -1])) == 2 / 3
    True
    """
    known = labels >= 0
    return float(np.mean(predicted[known] == labels[known])) if known.any() else float("nan")


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Return how many rows of each true class (row) got each predicted one (column), (C, C).

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import confusion_matrix
    >>> confusion_matrix(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0]), n_classes=2)
    array([[1, 1],
           [0, 1]])
    """
    known = labels >= 0
    matrix = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(matrix, (labels[known], predicted[known]), 1)
    return matrix
