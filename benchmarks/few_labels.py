"""A classifier from few labels: test error of finished runs that are taught draws of labels.

    latentmix run mnist --seed 0 --out runs/mnist-0      # three of them, without a label
    python benchmarks/few_labels.py runs/mnist-* --csv benchmarks/results/few_labels.csv

Each draw of labels goes to one of the runs, by turns: `LatentMixture.refine` has so many labels of
training rows, and no other, for training, naming and calibration. Test rows decide nothing: they
are scored for the table alone, as the run's own names have them, taught, and calibrated. A row of
the table has the further rounds' settings; it is written as soon as it is there, and rows that
stand there are not made again.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix import LatentMixture
from latentmix import load as load_model
from latentmix.data import Dataset, Split, split
from latentmix.data import load as load_data
from latentmix.metrics import error_at_coverage, expected_calibration_error
from reporting import add_row, table_rows

# So many labelled rows at least are dealt into folds to calibrate by.
FEWEST_TO_CALIBRATE = 50

# Of the further rounds: columns of the table, and parameters of a `Refinement`.
SETTINGS = ("n_rounds", "epochs", "classifier_rounds", "classifier_steps")

COLUMNS = (
    "data",
    "run",
    "asked",
    "n_labels",
    "draw",
    *SETTINGS,
    "error",
    "error_untaught",
    "ece",
    "ece_uncalibrated",
    "error_at_90",
    "seconds",
    "labels_sha256",
)


class Draw(NamedTuple):
    """Which labels are given: how many, how they are asked for, and the draw's number.

    `asked` is "query" (rows that the model asks for), "random", or "flipped": the rows of the
    random draw of the same number, a tenth of them with another class at random.
    """

    asked: str
    n_labels: int
    number: int


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--data", default="mnist", help="what the runs were fitted to")
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--queried", type=int, nargs="*", default=[10], help="labels to ask for")
    parser.add_argument(
        "--flipped", type=int, nargs="*", default=[], help="labels, a tenth of them made wrong"
    )
    parser.add_argument("--rounds", type=int, default=1, dest="n_rounds", help="further rounds")
    parser.add_argument("--epochs", type=int, default=16, help="passes over the rows in each")
    parser.add_argument(
        "--classifier-rounds", type=int, default=1, help="the last so many with a classifier"
    )
    parser.add_argument("--classifier-steps", type=int, default=6000)
    parser.add_argument("--csv", type=Path, required=True, help="the table")
    options = parser.parse_args(arguments)
    dataset = load_data(options.data)
    if dataset.labels is None:
        raise SystemExit(f"{options.data} has no labels. Give a data set that has.")
    further = {name: getattr(options, name) for name in SETTINGS}
    made = {
        (row["run"], row["asked"], int(row["n_labels"]), int(row["draw"]))
        for row in table_rows(options.csv)
        if all(int(row[name]) == value for name, value in further.items())
    }
    for run, draw in plan(options):
        if (run.name, *draw) not in made:
            add_row(
                options.csv,
                COLUMNS,
                {"data": options.data, **taught(run, dataset, draw, further)},
            )
    print(table(table_rows(options.csv)))


def plan(options: argparse.Namespace) -> list[tuple[Path, Draw]]:
    """Return every draw with the run that it goes to; what is asked for goes to each of them."""
    runs = options.runs
    queried = [(run, Draw("query", n, 0)) for n in options.queried for run in runs]
    drawn = [
        (runs[number % len(runs)], Draw(asked, n, number))
        for asked, sizes in (("random", options.labels), ("flipped", options.flipped))
        for n in sizes
        for number in range(options.draws)
    ]
    return [*queried, *drawn]


def taught(
    folder: Path, dataset: Dataset, draw: Draw, further: dict[str, int]
) -> dict[str, object]:
    """Teach a copy of a run's model, score the test rows, and return the row."""
    model, parts = load_model(folder), split(dataset, seed=0)
    train = dataset.X[parts.train]
    shown = shown_rows(model, train, draw)
    classes = dataset.labels[parts.train]
    labels = np.full(len(train), -1)
    labels[shown] = classes[shown]
    if draw.asked == "flipped":
        flip_a_tenth(labels, shown, len(dataset.class_names), seed=draw.number)
    began = time.perf_counter()
    with warnings.catch_warnings():
        # With few labels some component may have none.
        warnings.simplefilter("ignore", UserWarning)
        untaught = copy.copy(model).label(train[shown], labels[shown])
        rounds = copy.copy(model.refinement).set_params(**further)
        other = copy.copy(model).refine(train, labels=labels, refinement=rounds)
    before = scores(other, dataset, parts)
    if len(shown) >= FEWEST_TO_CALIBRATE:
        other.calibrate(train[shown], labels[shown])
    after = scores(other, dataset, parts)
    return {
        "run": folder.name,
        "asked": draw.asked,
        "n_labels": draw.n_labels,
        "draw": draw.number,
        **further,
        "error": after.error,
        "error_untaught": scores(untaught, dataset, parts).error,
        "ece": after.ece,
        "ece_uncalibrated": before.ece,
        "error_at_90": after.error_at_90,
        "seconds": round(time.perf_counter() - began, 1),
        "labels_sha256": hashlib.sha256(np.stack([shown, labels[shown]]).tobytes()).hexdigest(),
    }


def shown_rows(model: LatentMixture, train: np.ndarray, draw: Draw) -> np.ndarray:
    """Return the training rows whose labels are given, ascending."""
    if draw.asked == "query":
        return np.sort(copy.copy(model).query(train, draw.n_labels))
    return np.sort(np.random.RandomState(draw.number).permutation(len(train))[: draw.n_labels])


def flip_a_tenth(labels: np.ndarray, shown: np.ndarray, n_classes: int, seed: int) -> None:
    """Give a tenth of the shown rows another class, each other one as likely, in place."""
    random = np.random.RandomState(seed)
    wrong = random.permutation(shown)[: len(shown) // 10]
    labels[wrong] = (labels[wrong] + random.randint(1, n_classes, len(wrong))) % n_classes


class Scores(NamedTuple):
    """Of the test rows, in [0, 1]."""

    error: float
    ece: float
    error_at_90: float


def scores(model: LatentMixture, dataset: Dataset, parts: Split) -> Scores:
    """Score the test rows; a class that nobody labelled is never right."""
    class_proba = model.predict_class_proba(dataset.X[parts.test])
    truth = dataset.labels[parts.test]
    whole = np.zeros((len(truth), len(dataset.class_names)))
    whole[:, model.classes_.astype(int)] = class_proba
    return Scores(
        float(np.mean(whole.argmax(axis=1) != truth)),
        float(expected_calibration_error(whole, truth)),
        float(error_at_coverage(whole, truth, coverage=0.9)),
    )


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return mean, standard deviation and worst over draws."""
    lines = [
        "| labels | rounds, epochs, of a classifier, steps | draws | error, % |"
        " worst | names alone | ECE | ECE before | error at 90 %, % |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    titles = ("asked", "n_labels", *SETTINGS)
    for kind in dict.fromkeys(tuple(row[title] for title in titles) for row in rows):
        some = [row for row in rows if tuple(row[title] for title in titles) == kind]
        error, untaught, ece, before, at_90 = (
            np.array([float(row[name]) for row in some])
            for name in ("error", "error_untaught", "ece", "ece_uncalibrated", "error_at_90")
        )
        spread = f" ± {100 * error.std(ddof=1):.2f}" if len(some) > 1 else ""
        lines.append(
            f"| {kind[1]}, {kind[0]} | {', '.join(kind[2:])} | {len(some)} | "
            f"{100 * error.mean():.2f}{spread} | "
            f"{100 * error.max():.2f} | {100 * untaught.mean():.2f} | {ece.mean():.4f} | "
            f"{before.mean():.4f} | {100 * at_90.mean():.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
