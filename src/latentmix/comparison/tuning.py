"""Choosing among methods: by validation labels, or by held-out likelihood and no label.

A row that does the first is called validation-tuned. `choose` is given validation labels and
predictions of validation rows, and nothing else: a test label is of another type, and is nowhere
within its reach. `choose_by_likelihood` sees no label at all, and its rows are unsupervised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentmix import metrics
from latentmix.comparison.protocol import ValidationLabels
from latentmix.errors import InputError, RunFailedError


def choose(validation: Sequence[np.ndarray], labels: ValidationLabels) -> int:
    """Return which method's predictions of the validation rows match their labels best.

    Parameters
    ----------
    validation : sequence of (M,) int
        Components of the validation rows, by each method.
    labels : ValidationLabels

    Returns
    -------
    int
        The method of the highest accuracy after a one-to-one match of components and classes;
        the first of several.

    Raises
    ------
    InputError
        If no validation row has a label.
    """
    if not labels.n_known:
        raise InputError(
            "No validation row has a label, and a choice was to be made by them. Expected labels; "
            "leave --tune out."
        )
    accuracies = []
    for found in validation:
        n_components = int(found.max()) + 1
        table = metrics.contingency_table(found, labels.labels, n_components, labels.n_classes)
        accuracies.append(metrics.hungarian_accuracy(table))
    return int(np.argmax(accuracies))


def choose_by_likelihood(nlls: Sequence[float | None], densities: Sequence[str]) -> int:
    """Return which method gives the validation rows the highest likelihood, or bound on it.

    Parameters
    ----------
    nlls : sequence of float or None
        Nats a validation row, by each method; None where a method has no density.
    densities : sequence of str
        What each is of.

    Returns
    -------
    int
        The method of the least; the first of several.

    Raises
    ------
    RunFailedError
        If one has none, or they are of different kinds.
    """
    known = [nll for nll in nlls if nll is not None]
    if len(known) < len(nlls) or len(set(densities)) > 1:
        kinds = ", ".join(density or "none" for density in densities)
        raise RunFailedError(
            f"The methods' densities are of the kinds {kinds}. Expected one kind, to choose by "
            "likelihood; choose among methods that have it, such as recipes."
        )
    return int(np.argmin(known))
