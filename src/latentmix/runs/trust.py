"""How far a run's classes are to be believed: calibration, intervals, and what answers cost.

Labels that named the components are all that calibration and the first interval look at: naming is
repeated without each fold of them. Labelled test rows then say how well that went.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from latentmix import metrics
from latentmix.estimators import LatentMixture
from latentmix.runs.parts import Latents, Parts, naming_evidence

# With fewer labels, leaving a fold out takes the names of whole components along.
FEWEST_LABELS: Final = 50
LEVEL: Final = 0.95
COVERAGE: Final = 0.9


def calibrate(model: LatentMixture, latents: Latents, parts: Parts) -> None:
    """Calibrate p(y|x) by the labelled rows that named the components, if they are enough."""
    evidence = naming_evidence(model, latents, parts)
    if evidence is not None and len(evidence.indices) >= FEWEST_LABELS:
        model.calibrate_by(evidence)


def trust_of(
    model: LatentMixture, latents: Latents, parts: Parts, *, taught: bool
) -> dict[str, Any]:
    """Return what the naming labels say of the model's classes, and what labelled test rows do.

    Parameters
    ----------
    model : LatentMixture
    latents : Latents
    parts : Parts
    taught : bool
        Labels have trained the network: they are no judges of it, and give no interval.

    Returns
    -------
    dict
        ``level`` of the intervals, ``naming`` and ``test``; empty without names, and either part
        where it has no labels to speak by.
    """
    if not hasattr(model, "classes_"):
        return {}
    labels = parts.labels("test")
    return {
        "level": LEVEL,
        "naming": _of_naming(model, latents, parts, taught=taught),
        "test": trust_on(model, latents.means["test"], labels, parts.known.class_names),
    }


def _of_naming(
    model: LatentMixture, latents: Latents, parts: Parts, *, taught: bool
) -> dict[str, Any]:
    evidence = naming_evidence(model, latents, parts)
    found: dict[str, Any] = {"temperature": model.temperature_}
    if evidence is None or taught or len(evidence.indices) < FEWEST_LABELS:
        return found
    return {**found, **_interval(model.interval_by(evidence, LEVEL))}


def trust_on(
    model: LatentMixture, means: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Return how well a model's p(y|x) fits labelled rows that named nothing.

    Parameters
    ----------
    model : LatentMixture
    means : (N, L)
        Posterior means of the rows.
    labels : (N,) int
        Indices into `class_names`; -1 is unknown and left out.
    class_names : tuple of str
        A class that the components are not named by is never right.

    Returns
    -------
    dict
        Shares in [0, 1]; empty without names or labelled rows.
    """
    known = labels >= 0
    if not known.any() or not hasattr(model, "classes_"):
        return {}
    labels = labels[known]
    responsibilities = model.mixture_.predict_proba(means[known])
    class_proba = class_proba_over(model, model.class_proba_of(responsibilities), class_names)
    before = class_proba_over(model, responsibilities @ model.class_probs_, class_names)
    accuracy = metrics.accuracy(class_proba.argmax(axis=1), labels)
    return {
        "rows": len(labels),
        **_interval(metrics.wilson_interval(accuracy, len(labels), LEVEL)),
        "ece_uncalibrated": metrics.expected_calibration_error(before, labels),
        "ece": metrics.expected_calibration_error(class_proba, labels),
        "error_at_90": metrics.error_at_coverage(class_proba, labels, COVERAGE),
        "area_under_risk_coverage": metrics.area_under_risk_coverage(class_proba, labels),
    }


def class_proba_over(
    model: LatentMixture, class_proba: np.ndarray, class_names: tuple[str, ...]
) -> np.ndarray:
    """Return p(y|x), (N, C), with a column for each of `class_names`, then for other classes."""
    named = [str(name) for name in model.classes_]
    columns = [*class_names, *(name for name in named if name not in class_names)]
    over = np.zeros((len(class_proba), len(columns)))
    over[:, [columns.index(name) for name in named]] = class_proba
    return over


def _interval(interval: metrics.Interval) -> dict[str, float]:
    return {"accuracy": interval.estimate, "low": interval.low, "high": interval.high}
