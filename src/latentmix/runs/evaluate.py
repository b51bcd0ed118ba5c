"""Scoring a finished run on data with labels: its own test rows, or data it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentmix.data import Dataset, Rows, RowView, read_labels
from latentmix.data.columns import codes_of
from latentmix.runs.opened import OpenRun, open_run, read_data, rows_for
from latentmix.runs.parts import read_latents
from latentmix.runs.request import sha256_of
from latentmix.runs.scores import clustering_scores, density_scores
from latentmix.runs.trust import trust_on
from latentmix.storage.files import null_where_not_finite


def evaluate_run(folder: Path, name_or_path: str, label_file: Path | None = None) -> dict[str, Any]:
    """Return a run's scores on data.

    Parameters
    ----------
    folder : Path
        A finished run.
    name_or_path : str
        The data. Of the run's own data the test rows are scored; of a set with an official
        split its test rows; of other data all rows.
    label_file : Path, optional
        Labels in place of those the data have.

    Returns
    -------
    dict
        ``data``, ``part`` ('test' or 'all'), ``labelled_rows``, the clustering scores in [0, 1]
        where labels are known, under ``trust`` how far the classes can be believed, and under
        ``density`` the ELBO and its terms in nats (None where not finite).

    Raises
    ------
    MissingError, IntegrityError, InputError
        If the run or the data cannot be used.
    """
    run = open_run(folder)
    dataset = read_data(run, name_or_path)
    if label_file is not None:
        dataset = read_labels(label_file, dataset)
    X = rows_for(run, dataset)
    numbers, part = _scored_rows(run, dataset, X)
    labels = np.full(len(X), -1) if dataset.labels is None else dataset.labels
    labels, rows = labels[numbers], RowView(X, numbers)
    means = run.model.transform(rows)
    return {
        "data": dataset.source,
        "part": part,
        "rows": len(rows),
        "labelled_rows": int((labels >= 0).sum()),
        "n_components": run.model.mixture_.n_components_,
        **clustering_scores(run.model, means, labels, dataset.class_names),
        "trust": trust_on(run.model, means, labels, dataset.class_names),
        "density": null_where_not_finite(
            density_scores(run.model, rows, means, run.recipe.report.draws)
        ),
    }


def _scored_rows(run: OpenRun, dataset: Dataset, X: Rows) -> tuple[np.ndarray, str]:
    """Return the numbers of the rows to score, and what they are: none the run has learned from."""
    if sha256_of(codes_of(X)[:]) == run.request["data"]["sha256"]:
        return read_latents(run.sealed)[1].test, "test"
    if dataset.fixed_split is not None:
        return dataset.fixed_split.test, "test"
    return np.arange(len(dataset.X)), "all"
