"""Choosing by validation labels: a row that does so is called validation-tuned.

`choose` is given validation labels and predictions of validation rows, and nothing else: a test
label is of another type, and is nowhere within its reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentmix import metrics
from latentmix.comparison.protocol import ValidationLabels
from latentmix.errors import InputError


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
