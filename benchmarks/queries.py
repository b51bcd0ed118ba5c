"""Test accuracy against labels spent: rows that `query` asks for, beside rows drawn at random.

Of finished runs: training rows are asked about by their latents, test rows scored at each number of
labels. Components stay; labels name them. Nothing is trained. docs/how-we-measure.md says how it is
run.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix import GaussianMixture
from latentmix import load as load_model
from latentmix.data import load as load_data
from latentmix.runs.parts import read_latents
from latentmix.storage.manifest import open_sealed


class Rows(NamedTuple):
    """Posterior means of rows, (N, L), and their classes, (N,)."""

    means: np.ndarray
    labels: np.ndarray


def read(folder: Path, labels: np.ndarray) -> tuple[GaussianMixture, Rows, Rows]:
    """Return the mixture of a run, its training rows and its test rows."""
    latents, split = read_latents(open_sealed(folder, ("run",)))
    train = Rows(latents.means["train"], labels[split.train])
    test = Rows(latents.means["test"], labels[split.test])
    return load_model(folder).mixture_, train, test


def accuracy(mixture: GaussianMixture, train: Rows, asked: np.ndarray, test: Rows) -> float:
    """Return the share of test rows that are right by names that the asked rows give."""
    mixture.label(train.means[asked], train.labels[asked])
    return float(np.mean(mixture.predict_class(test.means) == test.labels))


def by_query(mixture: GaussianMixture, train: Rows, test: Rows, budgets: list[int]) -> list[float]:
    """Return the accuracy at each budget, the mixture asking again at each of them."""
    known = np.full(len(train.labels), -1)
    asked, found = np.zeros(0, int), []
    mixture._forget_names()
    for budget in budgets:
        more = mixture.query(train.means, budget - len(asked), labels=known)
        known[more] = train.labels[more]
        asked = np.append(asked, more)
        found.append(accuracy(mixture, train, asked, test))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--data", default="mnist", help="what the runs were fitted to")
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 20, 50, 100, 200, 500])
    parser.add_argument("--draws", type=int, default=20)
    args = parser.parse_args()
    labels = load_data(args.data).labels
    if labels is None:
        raise SystemExit(f"{args.data} has no labels. Give a data set that has.")
    print("| run | labels | by query | at random: mean ± sd | worst | best |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for folder in args.runs:
        mixture, train, test = read(folder, labels)
        orders = [
            np.random.RandomState(s).permutation(len(train.labels)) for s in range(args.draws)
        ]
        with warnings.catch_warnings():
            # With few labels some component has none.
            warnings.simplefilter("ignore", UserWarning)
            asked = by_query(mixture, train, test, args.budgets)
            for budget, found in zip(args.budgets, asked, strict=True):
                random = [accuracy(mixture, train, order[:budget], test) for order in orders]
                print(
                    f"| {folder.name} | {budget} | {found:.4f} | {np.mean(random):.4f} ± "
                    f"{np.std(random, ddof=1):.4f} | {min(random):.4f} | {max(random):.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
