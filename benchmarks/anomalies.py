"""Anomaly detection: rows of another kind than a model was fitted to, told by its scores.

    python benchmarks/anomalies.py FOLDER --csv benchmarks/results/anomalies.csv

Fits a recipe to the training rows of MNIST (Fashion-MNIST's test rows are the anomalies), of
Fashion-MNIST (MNIST's), and of MNIST without each digit (its test rows). The usual rows are the
test rows of the kind that was fitted; validation rows of that kind are held out for p-values.
Labels leave a digit out and score, nothing else. Fitted models are kept in FOLDER, a row of the
table is written as soon as it is there, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from latentmix import LatentMixture
from latentmix import load as load_model
from latentmix.data import Dataset, RowView, split
from latentmix.data import load as load_data
from latentmix.runs.execute import model_of
from latentmix.runs.recipe import load_recipe
from latentmix.runs.request import Request
from reporting import add_row, table_rows

OTHERS = {"mnist": "fashion-mnist", "fashion-mnist": "mnist"}
P_VALUE = 0.05

COLUMNS = (
    "recipe",
    "data",
    "without",
    "anomalies",
    "seed",
    "usual_rows",
    "anomalous_rows",
    "auroc_bound",
    "auroc_likelihood",
    "auroc",
    "usual_at_0.05",
    "anomalous_at_0.05",
    "fit_seconds",
    "score_seconds",
)


class Task(NamedTuple):
    """What is fitted: a recipe, data, the class that is left out ('' is none), and a seed."""

    recipe: str
    data: str
    without: str
    seed: int

    @property
    def name(self) -> str:
        """The name of the folder that the model is kept in."""
        left_out = f"-without-{self.without}" if self.without else ""
        return f"{self.data}{left_out}-{self.recipe}-{self.seed}"


class Rows(NamedTuple):
    """The rows of a task: fitted, held out, to be scored as usual, and as anomalies."""

    train: RowView
    held_out: RowView
    usual: RowView
    anomalies: RowView


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where fitted models are kept")
    parser.add_argument("--csv", type=Path, required=True, help="the table")
    parser.add_argument("--recipe", default="default", help="what is fitted to whole sets")
    parser.add_argument("--left-out-recipe", default="default", help="and without a digit")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--digits", nargs="*", default=list("0123456789"), help="to leave out")
    parser.add_argument("--draws", type=int, default=0, help="for log_likelihood; 0: not scored")
    options = parser.parse_args(arguments)
    made = {tuple(row[name] for name in Task._fields) for row in table_rows(options.csv)}
    for task in plan(options):
        if tuple(map(str, task)) not in made:
            add_row(options.csv, COLUMNS, scored(task, options.folder, options.draws))
    print(table(table_rows(options.csv)))


def plan(options: argparse.Namespace) -> list[Task]:
    """Return every task, whole sets first."""
    seeds = range(options.seeds)
    whole = [Task(options.recipe, data, "", seed) for data in OTHERS for seed in seeds]
    parts = [Task(options.left_out_recipe, "mnist", d, s) for s in seeds for d in options.digits]
    return [*whole, *parts]


def scored(task: Task, folder: Path, n_draws: int) -> dict[str, object]:
    """Fit a model or read the kept one, score both kinds of rows, and return the row."""
    dataset = load_data(task.data)
    rows = rows_for(task, dataset)
    model, fit_seconds = fitted(task, dataset, rows, folder)
    began = time.perf_counter()
    strange = np.concatenate([model.anomaly_scores(some) for some in (rows.usual, rows.anomalies)])
    seconds = time.perf_counter() - began
    is_anomaly = np.arange(len(strange)) >= len(rows.usual)
    bound = np.concatenate([model.score_samples(some) for some in (rows.usual, rows.anomalies)])
    flagged = model.usual_.p_values(strange) <= P_VALUE
    return {
        **task._asdict(),
        "anomalies": task.without or OTHERS[task.data],
        "usual_rows": len(rows.usual),
        "anomalous_rows": len(rows.anomalies),
        "auroc_bound": auroc(is_anomaly, -bound),
        "auroc_likelihood": likelihood_auroc(model, rows, is_anomaly, n_draws) if n_draws else "",
        "auroc": auroc(is_anomaly, strange),
        "usual_at_0.05": round(float(flagged[~is_anomaly].mean()), 4),
        "anomalous_at_0.05": round(float(flagged[is_anomaly].mean()), 4),
        "fit_seconds": fit_seconds,
        "score_seconds": round(seconds, 1),
    }


def rows_for(task: Task, dataset: Dataset) -> Rows:
    """Return a task's rows."""
    parts = split(dataset, seed=0)
    left_out = np.asarray(dataset.class_names)[dataset.labels] == task.without

    def usual(numbers: np.ndarray) -> RowView:
        return RowView(dataset.X, numbers[~left_out[numbers]])

    anomalies = RowView(dataset.X, parts.test[left_out[parts.test]])
    if not task.without:
        other = load_data(OTHERS[task.data])
        anomalies = RowView(other.X, split(other, seed=0).test)
    return Rows(usual(parts.train), usual(parts.validation), usual(parts.test), anomalies)


def fitted(task: Task, dataset: Dataset, rows: Rows, folder: Path) -> tuple[LatentMixture, object]:
    """Return a task's model, and the seconds of its fit, blank if it was kept."""
    kept = folder / task.name
    if (kept / "manifest.json").exists():
        model = load_model(kept)
        return model if hasattr(model, "usual_") else model.learn_usual(*rows[:2]), ""
    named = tuple(name for name in dataset.class_names if name != task.without)
    shown = replace(dataset, labels=None, class_names=named)
    model = model_of(Request(load_recipe(task.recipe), shown, kept, task.seed))
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(rows.train, validation_data=rows.held_out)
    seconds = round(time.perf_counter() - began, 1)
    model.save(kept)
    return model, seconds


def likelihood_auroc(
    model: LatentMixture, rows: Rows, is_anomaly: np.ndarray, n_draws: int
) -> float:
    """Return the AUROC of minus the importance-weighted log p(x)."""
    found = [model.log_likelihood(some, n_draws) for some in (rows.usual, rows.anomalies)]
    return auroc(is_anomaly, -np.concatenate([each.log_likelihood for each in found]))


def auroc(is_anomaly: np.ndarray, scores: np.ndarray) -> float:
    """Return the probability that an anomaly scores above a usual row."""
    finite = np.nan_to_num(scores.astype(np.float64))
    return round(float(roc_auc_score(is_anomaly, finite)), 5)


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return the AUROC of each kind of task, mean and worst over its fits."""
    lines = [
        "| recipe | fitted to | anomalies | fits | AUROC of the bound | AUROC | worst | usual, "
        "anomalous rows with p <= 0.05 |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]

    def kind(row: dict[str, str]) -> tuple[str, str, str]:
        left_out = bool(row["without"])
        fitted_to = f"{row['data']} without a digit" if left_out else row["data"]
        return row["recipe"], fitted_to, "that digit" if left_out else row["anomalies"]

    for each in dict.fromkeys(map(kind, rows)):
        some = [row for row in rows if kind(row) == each]
        names = ("auroc_bound", "auroc", "usual_at_0.05", "anomalous_at_0.05")
        bound, score, usual, found = (np.array([float(r[name]) for r in some]) for name in names)
        lines.append(
            f"| {' | '.join(each)} | {len(some)} | {bound.mean():.3f} | {score.mean():.4f} | "
            f"{score.min():.4f} | {usual.mean():.3f}, {found.mean():.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
