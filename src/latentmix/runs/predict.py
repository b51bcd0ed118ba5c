"""What a finished run says of new rows: cluster, label, probability, and how strange they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentmix.data import Rows
from latentmix.estimators import LatentMixture
from latentmix.runs.opened import open_run, read_data, rows_for
from latentmix.runs.parts import answers_at
from latentmix.storage.files import write_csv

COLUMNS = ("row", "id", "cluster", "label", "probability", "anomaly_score", "p_value")


def predict_run(folder: Path, name_or_path: str, out: Path) -> int:
    """Write a line for each row of the data, and return how many.

    `label` and `probability` are the most probable class and p(y|x); before naming, `label` is
    blank and `probability` that of the cluster, p(k|x). `anomaly_score` is high for strange rows,
    and `p_value` the share of the run's validation rows that are at least as strange; both are
    blank where a run's model does not tell them, as those of earlier versions.

    Raises
    ------
    MissingError, IntegrityError, InputError
        If the run or the data cannot be used.
    WriteError
        If the file cannot be written.
    """
    run = open_run(folder)
    dataset = read_data(run, name_or_path)
    X = rows_for(run, dataset)
    answers = answers_at(run.model, run.model.transform(X))
    scores, p_values = _strangeness(run.model, X)
    ids = range(len(X)) if dataset.row_ids is None else dataset.row_ids
    write_csv(
        out,
        COLUMNS,
        (
            (row, *columns[:3], f"{columns[3]:.4f}", *columns[4:])
            for row, columns in enumerate(
                zip(
                    ids,
                    answers.components,
                    answers.classes,
                    answers.probabilities,
                    scores,
                    p_values,
                    strict=True,
                )
            )
        ),
    )
    return len(X)


def _strangeness(model: LatentMixture, X: Rows) -> tuple[list[str], list[str]]:
    """Return anomaly scores and p-values as they are written, one of each a row."""
    scores, p_values = strangeness(model, X)
    blank = [""] * len(X)
    return (
        blank if scores is None else [f"{score:.4f}" for score in scores],
        blank if p_values is None else [f"{p:.6g}" for p in p_values],
    )


def strangeness(model: LatentMixture, X: Rows) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return anomaly scores and p-values of rows, None where the model does not tell them."""
    if not hasattr(model, "usual_"):
        return None, None
    scores = model.anomaly_scores(X)
    return scores, model.usual_.p_values(scores) if len(model.usual_.held_out) else None
