"""What a finished run says of new rows: cluster, label, probability and anomaly score."""

from __future__ import annotations

from pathlib import Path

from latentmix.runs.opened import open_run, read_data, rows_for
from latentmix.runs.parts import answers_at
from latentmix.storage.files import write_csv

COLUMNS = ("row", "id", "cluster", "label", "probability", "anomaly_score")


def predict_run(folder: Path, name_or_path: str, out: Path) -> int:
    """Write a line for each row of the data, and return how many.

    `label` and `probability` are the most probable class and p(y|x); before naming, `label` is
    blank and `probability` that of the cluster, p(k|x). `anomaly_score` is minus the ELBO under
    the mixture prior, in nats: high is unusual.

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
    scores = -run.model.score_samples(X)
    ids = range(len(X)) if dataset.row_ids is None else dataset.row_ids
    write_csv(
        out,
        COLUMNS,
        (
            (row, *columns[:3], f"{columns[3]:.4f}", f"{columns[4]:.4f}")
            for row, columns in enumerate(
                zip(
                    ids,
                    answers.components,
                    answers.classes,
                    answers.probabilities,
                    scores,
                    strict=True,
                )
            )
        ),
    )
    return len(X)
