"""Naming the components: the maximum-likelihood estimate of p(y|k), all else frozen.

Labelled rows enter as p(k|x) and their class. The log-likelihood sum_n log sum_k p(k|x_n)
p(y_n|k) is maximised by EM: a row's share in component k is proportional to p(k|x) p(y|k),
and p(c|k) is the share of class c among k's rows. A Dirichlet prior, centred on the classes'
frequencies among the labelled rows, keeps a component with few rows from certainty and
gives one with none those frequencies. Whoever names a component as a whole labels all of its
rows: they are counted, as their component is known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from latentmix.kernels.arrays import Floats

_MAX_ITER = 200
_TOLERANCE = 1e-9


class Naming(NamedTuple):
    """p(y|k), and how many labelled rows (a sum of shares) each component rests on."""

    class_probs: Float[Floats, "K C"]
    labelled_rows: Float[Floats, " K"]


def name_components(
    responsibilities: Float[Floats, "M K"],
    labels: Float[Floats, "M C"],
    smoothing: float,
    counts: Float[Floats, "K C"] | None = None,
) -> Naming:
    """Estimate p(y|k) from labelled rows.

    Parameters
    ----------
    responsibilities : (M, K)
        p(k|x) of the labelled rows.
    labels : (M, C)
        One-hot classes.
    smoothing : float
        The Dirichlet prior's weight in rows; 0 is maximum likelihood.
    counts : (K, C), optional
        Labelled rows besides, by their component, which is known, and class.
    """
    n_components, n_classes = responsibilities.shape[1], labels.shape[1]
    whole = np.zeros((n_components, n_classes)) if counts is None else counts
    of_classes = np.sum(labels, axis=0) + np.sum(whole, axis=0)
    prior = smoothing * of_classes / np.sum(of_classes)
    class_probs = class_shares(responsibilities.T @ labels + whole, prior)
    for _ in range(_MAX_ITER):
        before = class_probs
        shared = shares(responsibilities, labels, before).T @ labels
        class_probs = class_shares(shared + whole, prior)
        if np.max(np.abs(class_probs - before)) <= _TOLERANCE:
            break
    rows = shares(responsibilities, labels, class_probs)
    return Naming(class_probs, np.sum(rows, axis=0) + np.sum(whole, axis=1))


def class_shares(counts: Float[Floats, "K C"], prior: Float[Floats, " C"]) -> Float[Floats, "K C"]:
    """Return p(y|k) from class counts and the prior's; all counts' shares where k has none."""
    frequencies = np.sum(counts, axis=0) / max(float(np.sum(counts)), 1e-300)
    counts = counts + prior
    total = np.sum(counts, axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), frequencies)


def shares(
    responsibilities: Float[Floats, "M K"],
    labels: Float[Floats, "M C"],
    class_probs: Float[Floats, "K C"],
) -> Float[Floats, "M K"]:
    """Return p(k|x, y) of labelled rows."""
    joint = responsibilities * (labels @ class_probs.T)
    total = np.sum(joint, axis=1, keepdims=True)
    # Every component that explains the row excludes its class: fall back to p(k|x).
    return np.where(total > 0, joint / np.where(total > 0, total, 1.0), responsibilities)
