"""k-means: latentmix's kernels beside scikit-learn's KMeans, by turns, in one process.

python benchmarks/kmeans.py --out benchmarks/results/kmeans.md
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

from latentmix.kernels.crew import Crew
from latentmix.kernels.kmeans import centres as kmeans
from reporting import deliver, processor, spread

OURS, SKLEARN = "latentmix", "scikit-learn"

# Steps of a short descent and of a long one, whose difference is timed: checks, copies and the
# last assignment cancel.
STEPS = (2, 42)

# How far the inertia at the end may be from scikit-learn's from the same centres, relative.
TOLERANCE = 1e-9

# Thread pools spin for a while after their work: let them sleep before the next one's turn.
PAUSE = 0.1


class Case(NamedTuple):
    """The shape of what is clustered."""

    n_rows: int
    n_features: int
    n_components: int

    def __str__(self) -> str:
        return f"{self.n_rows:,} x {self.n_features}, K = {self.n_components}"


CASES = {
    "small": Case(55_000, 8, 10),
    "many": Case(200_000, 8, 100),
    "wide": Case(100_000, 32, 20),
    "middle": Case(200_000, 16, 50),
}


class Result(NamedTuple):
    """Centres, and the steps that led to them."""

    centres: np.ndarray
    n_iter: int = 0


class Side(NamedTuple):
    """What one side does: Lloyd from given centres, starts by seed, and both in one."""

    descent: Callable[[np.ndarray, int, float], Result]
    starts: dict[str, Callable[[int], Result]]
    fit: Callable[[int], Result]


class Measured(NamedTuple):
    """Of each task, round by round: seconds, inertia at the end and steps taken.

    `same` are the ends of both sides from the same centres: inertia and steps.
    """

    rounds: dict[str, np.ndarray]
    same: dict[str, tuple[float, int]]

    def milliseconds(self, task: str) -> np.ndarray:
        """Return the milliseconds of a task in each round."""
        return 1e3 * self.rounds[task][:, 0]

    def inertia(self, task: str) -> float:
        """Return the mean over the rounds of the inertia that a task ended with."""
        return float(self.rounds[task][:, 1].mean())

    def n_iter(self, task: str) -> float:
        """Return the mean over the rounds of the steps that a task took."""
        return float(self.rounds[task][:, 2].mean())


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    busy = os.getloadavg()[0]
    found = {CASES[name]: measured(CASES[name], options.rounds) for name in options.cases}
    told = [conditions(options, busy), steps(found), fits(found), starts(found), same_work(found)]
    report = "\n\n".join(["# k-means", *told]) + "\n"
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7 or more to report)")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def drawn_rows(case: Case) -> np.ndarray:
    """Draw from twice as many normal distributions as centres, overlapping, of unlike widths."""
    rng = np.random.default_rng(0)
    means = 1.2 * rng.normal(size=(2 * case.n_components, case.n_features))
    widths = rng.uniform(0.5, 1.5, size=(2 * case.n_components, 1))
    which = rng.integers(2 * case.n_components, size=case.n_rows)
    rows = means[which] + widths[which] * rng.normal(size=(case.n_rows, case.n_features))
    return rows - rows.mean(axis=0)


def ours(rows: np.ndarray, n_components: int) -> Side:
    weights = np.ones(len(rows))

    def descent(centres: np.ndarray, max_iter: int, tol: float) -> Result:
        with Crew() as crew:
            found = kmeans.lloyd(rows, weights, centres, crew, max_iter, tol)
        return Result(found.centres, found.n_iter)

    def plus_plus(seed: int) -> Result:
        random = np.random.RandomState(seed)
        with Crew() as crew:
            return Result(rows[kmeans.plus_plus(random, rows, weights, n_components, crew)])

    def parallel(seed: int) -> Result:
        with Crew() as crew:
            random = np.random.RandomState(seed)
            return Result(kmeans.parallel(random, rows, weights, n_components, crew))

    def fit(seed: int) -> Result:
        return descent(plus_plus(seed).centres, 300, 1e-4)

    return Side(descent, {"k-means++": plus_plus, "k-means||": parallel}, fit)


def theirs(rows: np.ndarray, n_components: int) -> Side:
    def fit(**parameters: Any) -> Result:
        fitted = KMeans(n_components, n_init=1, **parameters).fit(rows)
        return Result(fitted.cluster_centers_, fitted.n_iter_)

    def descent(centres: np.ndarray, max_iter: int, tol: float) -> Result:
        return fit(init=centres, max_iter=max_iter, tol=tol)

    def plus_plus(seed: int) -> Result:
        return Result(kmeans_plusplus(rows, n_components, random_state=seed)[0])

    return Side(descent, {"k-means++": plus_plus}, lambda seed: fit(random_state=seed))


def inertia(rows: np.ndarray, centres: np.ndarray) -> float:
    weights = np.ones(len(rows))
    with Crew() as crew:
        nearest = kmeans.lloyd(rows, weights, centres, crew, max_iter=0)
        return kmeans.inertia(rows, weights, nearest, crew)


def timed(task: Callable[[], Result]) -> tuple[float, Result]:
    time.sleep(PAUSE)
    begun = time.perf_counter()
    result = task()
    return time.perf_counter() - begun, result


def measured(case: Case, n_rounds: int) -> Measured:
    rows = drawn_rows(case)
    centres = rows[np.random.default_rng(1).choice(len(rows), case.n_components, replace=False)]
    sides = {OURS: ours(rows, case.n_components), SKLEARN: theirs(rows, case.n_components)}
    tasks: dict[str, Callable[[int], tuple[float, Result]]] = {}
    for name, side in sides.items():
        tasks[f"{name}: step"] = lambda seed, side=side: step(side, centres)
        tasks[f"{name}: fit"] = lambda seed, side=side: timed(lambda: side.fit(seed))
        for start, draw in side.starts.items():
            tasks[f"{name}: {start}"] = lambda seed, draw=draw: timed(lambda: draw(seed))
    same = {}
    for name, side in sides.items():
        end = side.descent(centres, 300, 1e-4)
        same[name] = (inertia(rows, end.centres), end.n_iter)
        side.fit(0)
    if not abs(same[OURS][0] / same[SKLEARN][0] - 1) < TOLERANCE:
        raise SystemExit(f"{case}: not the same end from the same centres: {same}.")
    # Neighbours in this order are the two sides of a ratio, and take turns.
    order = sorted(tasks, key=lambda task: task.partition(": ")[2])
    found: dict[str, list[tuple[float, float, int]]] = {task: [] for task in order}
    for seed in range(1, n_rounds + 1):
        for task in order:
            seconds, result = tasks[task](seed)
            found[task].append((seconds, inertia(rows, result.centres), result.n_iter))
    return Measured({task: np.array(values) for task, values in found.items()}, same)


def step(side: Side, centres: np.ndarray) -> tuple[float, Result]:
    """Return seconds of one step, from a short and a long descent."""
    short, begun = timed(lambda: side.descent(centres, STEPS[0], 0.0))
    long, ended = timed(lambda: side.descent(centres, STEPS[1], 0.0))
    return (long - short) / (ended.n_iter - begun.n_iter), ended


def conditions(options: argparse.Namespace, busy: float) -> str:
    return (
        f"latentmix {version('latentmix')} (NumPy {version('numpy')}) beside scikit-learn "
        f"{version('scikit-learn')}; Python {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, {processor()}, load average at the start {busy:.1f}. float64; "
        f"{options.rounds} rounds by turns, ratios round by round. Rows are drawn from twice as "
        "many overlapping normal distributions as there are centres."
    )


def steps(found: dict[Case, Measured]) -> str:
    return times(
        "One Lloyd step from the same centres, milliseconds: a descent of "
        f"{STEPS[1]} steps less one of {STEPS[0]}, by the steps between.",
        found,
        ["step"],
    )


def fits(found: dict[Case, Measured]) -> str:
    lines = [
        times("k-means++ and Lloyd until it converges, milliseconds.", found, ["fit"]),
        "",
        "| mean over the rounds | inertia, latentmix / scikit-learn | steps, latentmix "
        "| steps, scikit-learn |",
        "| --- | ---: | ---: | ---: |",
    ]
    for case, one in found.items():
        tasks = [f"{name}: fit" for name in (OURS, SKLEARN)]
        ratio = one.inertia(tasks[0]) / one.inertia(tasks[1])
        taken = " | ".join(f"{one.n_iter(task):.0f}" for task in tasks)
        lines.append(f"| {case} | {ratio:.4f} | {taken} |")
    return "\n".join(lines)


def starts(found: dict[Case, Measured]) -> str:
    lines = [
        times("Starts alone, milliseconds.", found, ["k-means++", "k-means||"]),
        "",
        "| inertia of the starts / scikit-learn's | k-means++ | k-means\\|\\| |",
        "| --- | ---: | ---: |",
    ]
    for case, one in found.items():
        theirs = one.inertia(f"{SKLEARN}: k-means++")
        ratios = (one.inertia(f"{OURS}: {name}") / theirs for name in ("k-means++", "k-means||"))
        lines.append(f"| {case} | {' | '.join(f'{ratio:.3f}' for ratio in ratios)} |")
    return "\n".join(lines)


def times(title: str, found: dict[Case, Measured], tasks: list[str]) -> str:
    """Return a table of both sides' times, and of their ratios round by round."""
    lines = [title, "", "| case | side | min | median | max | times latentmix's |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for case, one in found.items():
        for task in (f"{name}: {task}" for task in tasks for name in (OURS, SKLEARN)):
            if task not in one.rounds:
                continue
            name, _, what = task.partition(": ")
            side, ratio = name, ""
            if len(tasks) > 1:
                side += f", {what}".replace("|", "\\|")
            if name == SKLEARN:
                ratios = one.milliseconds(task) / one.milliseconds(f"{OURS}: {what}")
                ratio = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
            lines.append(f"| {case} | {side} | {spread(one.milliseconds(task))} | {ratio} |")
    return "\n".join(lines)


def same_work(found: dict[Case, Measured]) -> str:
    told = []
    for case, one in found.items():
        ratio = one.same[OURS][0] / one.same[SKLEARN][0] - 1
        told.append(f"{case}: {ratio:+.1e} in {one.same[OURS][1]} steps for {one.same[SKLEARN][1]}")
    return (
        "The same work: from the same centres to convergence (tol 1e-4), latentmix's inertia "
        f"differs from scikit-learn's, relative, by {'; '.join(told)}."
    )


if __name__ == "__main__":
    main()
