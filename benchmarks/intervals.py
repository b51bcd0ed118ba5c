"""How often the interval of an accuracy, estimated from a few labelled rows, holds that accuracy.

Over many draws of a few rows: the interval that `accuracy_interval` gives from the draw, beside the
accuracy on all other rows of components named by the draw. Nothing is trained: what is needed of a
fitted model is p(k|x) of labelled rows, from a run folder (its validation and test rows) or two
files. docs/how-we-measure.md says how it is run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix import load as load_model
from latentmix.data import load as load_data
from latentmix.kernels.cross_fitting import cross_fitted
from latentmix.kernels.naming import name_components
from latentmix.metrics import Interval, cross_fitted_interval, wilson_interval
from latentmix.runs.parts import read_latents
from latentmix.storage.manifest import open_sealed


class Pool(NamedTuple):
    """Rows to draw from: p(k|x), (N, K), and class indices, (N,)."""

    responsibilities: np.ndarray
    indices: np.ndarray


class Draw(NamedTuple):
    """One draw: its interval, that of the binomial alone, and the accuracy on the rest."""

    interval: Interval
    binomial: Interval
    accuracy: float


def pool_of_run(folder: Path, data: str) -> Pool:
    """Return validation and test rows of a run."""
    model = load_model(folder)
    latents, split = read_latents(open_sealed(folder, ("run",)))
    parts = ("validation", "test")
    means = np.concatenate([latents.means[part] for part in parts])
    labels = load_data(data).labels
    if labels is None:
        raise SystemExit(f"{data} has no labels. Give a data set that has, or two files.")
    rows = np.concatenate([getattr(split, part) for part in parts])
    return Pool(model.mixture_.predict_proba(means).astype(np.float64), labels[rows])


def draw_of(pool: Pool, drawn: np.ndarray, smoothing: float, n_folds: int) -> Draw:
    """Return what the drawn rows say of the accuracy, and what it is; `drawn` is (N,) bool."""
    responsibilities, indices = pool.responsibilities[drawn], pool.indices[drawn]
    n_classes = int(pool.indices.max()) + 1
    found = cross_fitted(responsibilities, indices, n_classes, smoothing, n_folds)
    n_right = int(np.sum(found.class_proba.argmax(axis=1) == indices))
    named = name_components(responsibilities, np.eye(n_classes)[indices], smoothing)
    rest = pool.responsibilities[~drawn] @ named.class_probs
    return Draw(
        cross_fitted_interval(n_right, len(indices), found.accuracies),
        wilson_interval(n_right / len(indices), len(indices)),
        float(np.mean(rest.argmax(axis=1) == pool.indices[~drawn])),
    )


def report(name: str, draws: list[Draw], n_rows: int) -> str:
    """Return a row of the table."""
    truth = np.array([draw.accuracy for draw in draws])

    def held(intervals: list[Interval]) -> float:
        low, high = np.array([one[1:] for one in intervals]).T
        return float(np.mean((low <= truth) & (truth <= high)))

    intervals = [draw.interval for draw in draws]
    widths = [one.high - one.low for one in intervals]
    bias = np.mean([one.estimate for one in intervals]) - truth.mean()
    return (
        f"| {name} | {n_rows} | {len(draws)} | {truth.mean():.4f} ± {truth.std():.4f} | "
        f"{bias:+.4f} | {np.mean(widths):.4f} | {held(intervals):.3f} | "
        f"{held([draw.binomial for draw in draws]):.3f} |"
    )


HEADER = (
    "| p(k given x) of | labelled rows | draws | accuracy on the rest | bias of the estimate | "
    "width | held | held by the binomial alone |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--data", default="mnist", help="what the runs were fitted to")
    parser.add_argument("--responsibilities", type=Path, help=".npy of p(k|x), (N, K)")
    parser.add_argument("--labels", type=Path, help=".npy of class indices, (N,)")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[200], help="labelled rows of a draw"
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--smoothing", type=float, default=1.0)
    args = parser.parse_args()
    pools = {folder.name: pool_of_run(folder, args.data) for folder in args.runs}
    if args.responsibilities is not None:
        stored = Pool(np.load(args.responsibilities), np.load(args.labels))
        pools[args.responsibilities.stem] = stored
    print(HEADER)
    for name, pool in pools.items():
        for n_rows in args.rows:
            draws = []
            for seed in range(args.draws):
                drawn = np.zeros(len(pool.indices), bool)
                drawn[np.random.RandomState(seed).permutation(len(drawn))[:n_rows]] = True
                draws.append(draw_of(pool, drawn, args.smoothing, args.folds))
            print(report(name, draws, n_rows), flush=True)


if __name__ == "__main__":
    main()
