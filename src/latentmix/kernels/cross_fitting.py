"""Naming without a row: what the other labelled rows say of it.

Labelled rows are dealt into folds, components are named without each fold in turn, and the names
are asked for p(y|x) of the rows left out. A row's own label then has no say in what is said of it,
which is what an accuracy, a temperature and a suspicion need (Stone 1974, "Cross-validatory choice
and assessment of statistical predictions"). Only the naming is repeated: components stay.

Nothing depends on the order in which rows are given, to the bit: they are put into an order of
their own first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from latentmix.kernels.arrays import Floats
from latentmix.kernels.naming import name_components


def order_of_rows(
    responsibilities: Float[Floats, "M K"], indices: Int[np.ndarray, " M"]
) -> Int[np.ndarray, " M"]:
    """Return the rows' numbers by class, and within a class by p(k|x): what they hold decides."""
    return np.lexsort((*responsibilities.T[::-1], indices))


def dealt(n_rows: int, n_folds: int) -> Int[np.ndarray, " M"]:
    """Return the fold of each row of an ordered set, (M,): dealt like cards.

    Rows that follow each other are of one class, and alike: each fold gets its share of them.
    """
    return np.arange(n_rows) % n_folds


class CrossFitted(NamedTuple):
    """What is said of labelled rows by names that they had no part in.

    Attributes
    ----------
    class_proba : (M, C)
        p(y|x) of each row, by the names without its fold.
    accuracies : (F,)
        Share of all rows, those left out included, that the names without each fold get right: by
        how much they differ, names depend on which rows were labelled.
    """

    class_proba: Float[Floats, "M C"]
    accuracies: Float[Floats, " F"]


def cross_fitted(
    responsibilities: Float[Floats, "M K"],
    indices: Int[np.ndarray, " M"],
    n_classes: int,
    smoothing: float,
    n_folds: int,
) -> CrossFitted:
    """Name components without each fold in turn, and return what that says.

    Parameters
    ----------
    responsibilities : (M, K)
        p(k|x) of the labelled rows.
    indices : (M,) int
        Their classes.
    n_classes : int
        Number of classes, C.
    smoothing : float
        As in `name_components`.
    n_folds : int
        From 2 to M, where each row is left out alone.
    """
    order = order_of_rows(responsibilities, indices)
    ordered, labels = responsibilities[order].astype(np.float64), indices[order]
    one_hot = np.eye(n_classes)[labels]
    fold = dealt(len(order), n_folds)
    class_proba = np.empty((len(order), n_classes))
    accuracies = np.empty(n_folds)
    for number in range(n_folds):
        out = fold == number
        named = name_components(ordered[~out], one_hot[~out], smoothing)
        said = ordered @ named.class_probs
        class_proba[order[out]] = said[out]
        accuracies[number] = np.mean(said.argmax(axis=1) == labels)
    return CrossFitted(class_proba, accuracies)


def label_errors(
    class_proba: Float[Floats, "M C"], indices: Int[np.ndarray, " M"]
) -> Bool[np.ndarray, " M"]:
    """Return which labels confident learning counts as errors, (M,).

    Rows with a label are believed to be of that class by t on average. A row counts for the most
    probable class that it is believed to be of by its t or more, and as an error if that is another
    than its label's (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating uncertainty
    in dataset labels", equation 1).

    Parameters
    ----------
    class_proba : (M, C)
        p(y|x) by names that a row's own label had no part in.
    indices : (M,) int
        The labels given.
    """
    one_hot = np.eye(class_proba.shape[1])[indices]
    counts = one_hot.sum(axis=0)
    average = np.sum(one_hot * class_proba, axis=0) / np.maximum(counts, 1)
    # Rounding must not decide where all rows of a class are believed alike.
    believable = (class_proba >= average * (1 - 1e-9)) & (counts > 0)
    best = np.where(believable, class_proba, -1.0).argmax(axis=1)
    errors: np.ndarray = believable.any(axis=1) & (best != indices)
    return errors
