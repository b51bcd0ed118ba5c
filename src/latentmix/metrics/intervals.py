"""How far an accuracy estimated from labelled rows can be from that of all others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm


class Interval(NamedTuple):
    """An estimated share and the ends of its interval, all in [0, 1].

    Examples
    --------
    >>> from latentmix.metrics import Interval
    >>> estimate, low, high = Interval(0.9, 0.8, 0.95)
    >>> low <= estimate <= high
    True
    """

    estimate: float
    low: float
    high: float


def wilson_interval(share: float, n_rows: float, level: float = 0.95) -> Interval:
    """Return Wilson's interval for a share of independent rows (1927, "Probable inference").

    Parameters
    ----------
    share : float
        What share of the rows it was, in [0, 1].
    n_rows : float
        How many they were, or how many independent ones they are worth.
    level : float
        Share of such intervals that hold the true share, in (0, 1).

    Examples
    --------
    >>> from latentmix.metrics import wilson_interval
    >>> interval = wilson_interval(0.9, 100)  # 90 rows of 100 are right
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.826, 0.945)
    """
    z = float(norm.ppf(0.5 + level / 2))
    centre = (share + z**2 / (2 * n_rows)) / (1 + z**2 / n_rows)
    variance = share * (1 - share) / n_rows + (z / (2 * n_rows)) ** 2
    half = z * float(np.sqrt(variance)) / (1 + z**2 / n_rows)
    # Rounding may leave the ends of 0 and 1 a little beyond them.
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


def cross_fitted_interval(
    n_right: int, n_rows: int, accuracies: np.ndarray, level: float = 0.95
) -> Interval:
    """Return the interval for the accuracy of what was learned from all labelled rows.

    Two things vary with the rows that were labelled: how many of them are right, and what is
    learned from them. The first has the binomial variance. The second is estimated by the
    jackknife over folds (Shao and Wu 1989, "A general theory for jackknife variance estimation",
    equation 2.1, for folds in place of all subsets): (F - 1) / F times the squared deviations of
    `accuracies`. Wilson's interval is taken for as many rows as would give both variances alone.

    Two dependences are left out, the share of a few labels in the fate of many rows where a
    component stands between two classes, and that of folds: benchmarks/results/intervals.md says
    how often the interval holds the accuracy.

    Parameters
    ----------
    n_right : int
        Rows that are right by what was learned without their fold.
    n_rows : int
        Labelled rows, M.
    accuracies : (F,)
        Share of all labelled rows that are right by what was learned without each fold.
    level : float
        As in `wilson_interval`.

    Examples
    --------
    `accuracy_interval` of a model calls it.

    >>> import numpy as np
    >>> from latentmix.metrics import cross_fitted_interval, wilson_interval
    >>> accuracies = np.array([0.9, 0.92, 0.88, 0.9, 0.9])  # without each of five folds
    >>> wider, narrower = cross_fitted_interval(90, 100, accuracies), wilson_interval(0.9, 100)
    >>> wider.low < narrower.low and narrower.high < wider.high
    True
    """
    n_folds = len(accuracies)
    of_learning = (n_folds - 1) * float(np.var(accuracies))
    # Two rows of each kind more: a share of 1 of a few rows is not known exactly.
    share = (n_right + 2) / (n_rows + 4)
    of_rows = share * (1 - share) / n_rows
    return wilson_interval(n_right / n_rows, n_rows / (1 + of_learning / of_rows), level)
