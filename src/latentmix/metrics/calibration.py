"""Whether p(y|x) can be believed, and what it costs to answer only where it is high.

The confidence of a row is the probability of its predicted class, the largest p(y|x). Throughout,
class_proba is p(y|x), (N, C), labels are class indices, (N,), and rows labelled -1 are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from latentmix.errors import ParameterError


class ReliabilityTable(NamedTuple):
    """Confidence beside accuracy, bin by bin, (B,) each; NaN in bins without rows.

    Attributes
    ----------
    above, up_to : (B,)
        A bin holds the rows with above < confidence <= up_to.
    rows : (B,) int
    confidence : (B,)
        Mean confidence of its rows.
    accuracy : (B,)
        Share of its rows whose predicted class is right.
    """

    above: np.ndarray
    up_to: np.ndarray
    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


class RiskCoverage(NamedTuple):
    """What is wrong among the n most confident rows, for every n, (N,) each.

    Attributes
    ----------
    coverage : (N,)
        n / N.
    risk : (N,)
        Share of wrong classes among them. Of rows with one confidence, each counts as wrong by
        their mean, as none of them comes first.
    confidence : (N,)
        That of the least confident of them: the threshold to answer from.
    """

    coverage: np.ndarray
    risk: np.ndarray
    confidence: np.ndarray


def reliability_table(
    class_proba: np.ndarray, labels: np.ndarray, n_bins: int = 15
) -> ReliabilityTable:
    """Return confidence beside accuracy in bins of equal width (Guo et al. 2017, equations 1, 2).

    Raises
    ------
    ParameterError
        If there is no bin.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import reliability_table
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> table = reliability_table(proba, labels, n_bins=5)
    >>> table.rows
    array([0, 0, 1, 2, 1])
    >>> table.accuracy
    array([nan, nan,  0.,  1.,  1.])
    """
    if n_bins < 1:
        raise ParameterError(f"n_bins={n_bins} is out of range. Expected an integer >= 1.")
    confidence, right = _answers(class_proba, labels)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    rows = np.bincount(bins, minlength=n_bins)
    at_least_one = np.where(rows > 0, rows, np.nan)
    return ReliabilityTable(
        edges[:-1],
        edges[1:],
        rows,
        np.bincount(bins, confidence, n_bins) / at_least_one,
        np.bincount(bins, right, n_bins) / at_least_one,
    )


def expected_calibration_error(
    class_proba: np.ndarray, labels: np.ndarray, n_bins: int = 15
) -> float:
    """Return the mean distance of confidence and accuracy over bins, in [0, 1]; NaN without rows.

    Bins of equal width, weighted by their rows (Guo et al. 2017, equation 3).

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import expected_calibration_error
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> round(expected_calibration_error(proba, labels, n_bins=5), 2)
    0.3
    """
    table = reliability_table(class_proba, labels, n_bins)
    if not table.rows.sum():
        return float("nan")
    distance = np.abs(table.confidence - table.accuracy)
    return float(np.nansum(table.rows * distance) / table.rows.sum())


def risk_coverage(class_proba: np.ndarray, labels: np.ndarray) -> RiskCoverage:
    """Return the risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import risk_coverage
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> curve = risk_coverage(proba, labels)
    >>> curve.coverage
    array([0.25, 0.5 , 0.75, 1.  ])
    >>> curve.risk
    array([0.  , 0.  , 0.  , 0.25])
    >>> float(curve.confidence[2])  # whoever answers from here on gets all of them right
    0.7
    """
    confidence, right = _answers(class_proba, labels)
    values, group = np.unique(-confidence, return_inverse=True)
    wrong = np.bincount(group, 1 - right, len(values)) / np.bincount(group, minlength=len(values))
    order = np.sort(group)
    n_answered = np.arange(1, len(right) + 1)
    return RiskCoverage(
        n_answered / max(len(right), 1), np.cumsum(wrong[order]) / n_answered, -values[order]
    )


def area_under_risk_coverage(class_proba: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean risk over all coverages, in [0, 1]; NaN without rows.

    AURC (Geifman, Uziel and El-Yaniv 2019, "Bias-reduced uncertainty estimation", equation 1).

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import area_under_risk_coverage
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> area_under_risk_coverage(proba, labels)
    0.0625
    """
    risk = risk_coverage(class_proba, labels).risk
    return float(risk.mean()) if len(risk) else float("nan")


def error_at_coverage(class_proba: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """Return the share of wrong classes among the most confident rows, in [0, 1]; NaN without any.

    Parameters
    ----------
    class_proba, labels : see above
    coverage : float
        Share of the rows that are answered, in (0, 1]; rounded up to whole rows.

    Raises
    ------
    ParameterError
        If the coverage is outside (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.metrics import error_at_coverage
    >>> proba = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    >>> labels = np.array([0, 0, 1, 1])
    >>> error_at_coverage(proba, labels, 1.0), error_at_coverage(proba, labels, 0.75)
    (0.25, 0.0)
    """
    if not 0 < coverage <= 1:
        raise ParameterError(f"coverage={coverage!r} is out of range. Expected a share in (0, 1].")
    risk = risk_coverage(class_proba, labels).risk
    if not len(risk):
        return float("nan")
    # 0.7 of 10 rows are 7, though 0.7 * 10 is a little more.
    return float(risk[math.ceil(coverage * len(risk) - 1e-9) - 1])


def _answers(class_proba: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence of rows with a known label, and 1.0 where the predicted class is it."""
    known = np.asarray(labels) >= 0
    proba = np.asarray(class_proba, np.float64)[known]
    right = proba.argmax(axis=1) == np.asarray(labels)[known]
    return proba.max(axis=1), right.astype(np.float64)
