"""One EM iteration of `GaussianMixture`: latentmix beside other engines, by turns, in one run.

scikit-learn comes with latentmix; gmmx and pomegranate live in an environment of their own:

    python -m venv peers && peers/bin/pip install gmmx pomegranate torch==2.13.0
    python benchmarks/mixture.py --peers-python peers/bin/python \
        --out benchmarks/results/mixture.md

`--memory` fits rows that stay on the disk instead, and watches the process's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mixture_memory
from mixture_data import DESCRIPTION, Parameters, Source, first_parameters
from reporting import deliver, processor, spread
from serving import Worker

OURS, SKLEARN = "latentmix", "scikit-learn"
FIRST = "first"

# How far a mean log-likelihood may be from ours, relative, after the same number of iterations.
TOLERANCE = {"float64": 1e-6, "float32": 1e-4}

# The rows whose log-likelihood is compared, and the most there are of them.
COMPARED_ROWS = 50_000

# Thread pools spin for a while after their work: let them sleep before the next one's turn.
PAUSE = 0.2


class Case(NamedTuple):
    """What is fitted, in a short fit and a long one, and how much faster we want to be."""

    n_rows: int
    n_features: int
    n_components: int
    family: str
    iterations: tuple[int, int]
    target: float

    def __str__(self) -> str:
        return f"{self.n_rows:,} x {self.n_features}, K = {self.n_components}, {self.family}"

    def flops(self) -> float:
        """Return the operations of an iteration's two products, phi(X) Theta and phi(X)' R."""
        D = self.n_features
        n_moments = D * (D + 1) // 2 + D + 1 if self.family == "full" else 2 * D + 1
        return 2 * 2 * self.n_rows * self.n_components * n_moments


CASES = {
    "small": Case(55_000, 8, 10, "full", (2, 42), 20),
    "many": Case(200_000, 8, 100, "full", (1, 6), 40),
    "wide": Case(100_000, 32, 20, "full", (2, 12), 8),
    "diag": Case(200_000, 16, 50, "diag", (2, 12), 18),
}


class Engine(NamedTuple):
    """A worker's script and argument, and the dtype it computes in."""

    script: str
    argument: str
    dtype: str


ENGINES = {
    OURS: Engine("mixture_estimators.py", OURS, "float64"),
    SKLEARN: Engine("mixture_estimators.py", SKLEARN, "float64"),
    "gmmx": Engine("mixture_gmmx.py", "", "float32"),
    "pomegranate": Engine("mixture_pomegranate.py", "float64", "float64"),
    "pomegranate, float32": Engine("mixture_pomegranate.py", "float32", "float32"),
}


class Measured(NamedTuple):
    """A case's milliseconds an iteration, round by round, and what shows the same work."""

    milliseconds: dict[str, np.ndarray]
    differences: dict[str, tuple[float, float]]
    log_likelihood: float
    overlap: float


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    report = mixture_memory.report(options) if options.memory else beside_others(options)
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="interpreter that has gmmx and pomegranate")
    parser.add_argument("--skip-peers", action="store_true", help="only scikit-learn beside us")
    parser.add_argument(
        "--cases", nargs="+", choices=(*CASES, FIRST), default=(*CASES, FIRST), help="which"
    )
    parser.add_argument("--pairs", type=int, default=7, help="turns of each (5 or more to report)")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    mixture_memory.add_options(parser)
    options = parser.parse_args(arguments)
    if not (options.memory or options.skip_peers or options.peers_python):
        parser.error("give --peers-python, or --skip-peers")
    return options


def beside_others(options: argparse.Namespace) -> str:
    busy = os.getloadavg()[0]
    names = [OURS, SKLEARN] if options.skip_peers else list(ENGINES)
    workers = {name: started(ENGINES[name], options.peers_python) for name in names}
    about = [worker.ask("about") for worker in workers.values()]
    before = workers[SKLEARN].ask("limits")
    found = {
        chosen: measured(CASES[chosen], workers, options.pairs)
        for chosen in options.cases
        if chosen != FIRST
    }
    after = workers[SKLEARN].ask("limits")
    for worker in workers.values():
        worker.close()
    told = ["# One iteration of EM", conditions(options, about, busy)]
    if found:
        told += [timings(found), same_work(found), distance_to_limit(found, before, after)]
    if FIRST in options.cases:
        told += ["## The first result of a fresh process", first_results(options.pairs)]
    return "\n\n".join(told) + "\n"


def started(engine: Engine, peers_python: str | None) -> Worker:
    interpreter = sys.executable if engine.argument in (OURS, SKLEARN) else peers_python
    return Worker(str(interpreter), engine.script, *filter(None, [engine.argument]))


def measured(case: Case, workers: dict[str, Worker], n_pairs: int) -> Measured:
    """Warm up every engine, check that all arrive at the same, then time them by turns."""
    source = Source(case.n_components, case.n_features, case.family, seed=0)
    rows, components = source.draw(case.n_rows, np.random.default_rng(1))
    fitted = warmed_up(case, rows, workers)
    compared = rows[:COMPARED_ROWS]
    log_likelihoods = {
        name: parameters.mean_log_likelihood(compared) for name, parameters in fitted.items()
    }
    differences = {
        name: (
            abs(log_likelihoods[name] / log_likelihoods[OURS] - 1),
            largest_difference(parameters, fitted[OURS]),
        )
        for name, parameters in fitted.items()
    }
    refuse_other_results(case, differences)
    short, long = case.iterations
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(n_pairs):
        for name, worker in workers.items():
            in_short, in_long = (seconds_of(worker, name, n_iter) for n_iter in (short, long))
            times[name].append(1e3 * (in_long - in_short) / (long - short))
    most_probable = source.parameters().log_joint(compared).argmax(axis=1)
    return Measured(
        {name: np.array(values) for name, values in times.items()},
        differences,
        log_likelihoods[OURS],
        float(np.mean(most_probable == components[:COMPARED_ROWS])),
    )


def warmed_up(case: Case, rows: np.ndarray, workers: dict[str, Worker]) -> dict[str, Parameters]:
    """Take both fits of a turn with every engine; return the parameters of the long one."""
    fitted = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", rows)
        first = first_parameters(rows, case.n_components, case.family, seed=2)
        first.save(folder / "first.npz")
        for engine, worker in workers.items():
            worker.ask("prepare", folder=str(folder), family=case.family)
            for n_iter in case.iterations:
                seconds_of(worker, engine, n_iter)
            worker.ask("save", path=str(folder / "fitted.npz"))
            fitted[engine] = Parameters.load(folder / "fitted.npz")
    return fitted


def seconds_of(worker: Worker, name: str, n_iter: int) -> float:
    """Return the seconds of a fit, having made sure that it took so many iterations."""
    time.sleep(PAUSE)
    done = worker.ask("fit", n_iter=n_iter)
    if done["n_iter"] != n_iter:
        raise SystemExit(f"{name} took {done['n_iter']} iterations for {n_iter}.")
    return float(done["seconds"])


def largest_difference(one: Parameters, other: Parameters) -> float:
    """Return the largest absolute difference of a weight, a mean or a covariance."""
    return max(
        float(np.max(np.abs(getattr(one, name) - getattr(other, name))))
        for name in ("weights", "means", "covariances")
    )


def refuse_other_results(case: Case, differences: dict[str, tuple[float, float]]) -> None:
    for name, (relative, _) in differences.items():
        if not relative < TOLERANCE[ENGINES[name].dtype]:
            raise SystemExit(
                f"{name} does not compute the same ({case}): its mean log-likelihood differs by "
                f"{relative:.1e} of it."
            )


def conditions(options: argparse.Namespace, about: list[str], busy: float) -> str:
    return (
        f"{', '.join(dict.fromkeys(about))}; Python {platform.python_version()}, "
        f"{platform.system()}, {os.cpu_count()} cores, {processor()}, load average at the start "
        f"{busy:.1f}. Rounds by turns: {options.pairs}, after a warm-up. {DESCRIPTION}"
    )


def timings(found: dict[str, Measured]) -> str:
    lines = [
        "An iteration's time is that of a long fit less that of a short one, over the iterations "
        "between: starts, checks and compilation cancel. Ratios, theirs to ours, are taken round "
        "by round.",
        "",
        "| case | engine | min, ms | median | max | min, ratio | median | max | target |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, case in found.items():
        for engine, milliseconds in case.milliseconds.items():
            ratios = milliseconds / case.milliseconds[OURS]
            target = f"{CASES[name].target:g}" if engine == SKLEARN else ""
            lines.append(
                f"| {CASES[name]} | {label(engine)} | {spread(milliseconds)} | "
                f"{spread(ratios) if engine != OURS else ' | | '} | {target} |"
            )
    return "\n".join(lines)


def same_work(found: dict[str, Measured]) -> str:
    """Show that the engines arrive at the same mixture."""
    lines = [
        f"The same work: after the long fit, SciPy's mean log-likelihood of the first "
        f"{COMPARED_ROWS:,} rows under each engine's mixture, its relative difference from "
        "latentmix's, and the largest difference of any weight, mean or covariance. Told apart: "
        "how many rows belong to the component that is most probable under the truth.",
        "",
        "| case | told apart | iterations | nats a row | engine | relative | largest |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for name, case in found.items():
        short, long = CASES[name].iterations
        for engine, (relative, largest) in case.differences.items():
            if engine != OURS:
                lines.append(
                    f"| {CASES[name]} | {100 * case.overlap:.0f} % | {short}, {long} | "
                    f"{case.log_likelihood:.4f} | {label(engine)} | {relative:.0e} | "
                    f"{largest:.0e} |"
                )
    return "\n".join(lines)


def label(engine: str) -> str:
    dtype = ENGINES[engine].dtype
    return engine if engine.endswith(dtype) else f"{engine}, {dtype}"


def distance_to_limit(
    found: dict[str, Measured], before: dict[str, float], after: dict[str, float]
) -> str:
    """Say what an iteration needs at least: its two products at the best rate."""
    rate, single = (max(before[dtype], after[dtype]) for dtype in ("float64", "float32"))
    lines = [
        f"The limit: an iteration's two products at {rate / 1e9:.0f} Gflop/s, what NumPy reaches "
        f"for float64 matrices of 2000 x 2000 with {before['threads']:.0f} threads (before the "
        f"fits {before['float64'] / 1e9:.0f}, after them {after['float64'] / 1e9:.0f}: close "
        f"together on a quiet machine; float32: {single / 1e9:.0f}).",
        "",
        "| case | Gflop | limit, ms | latentmix, median ms | limit's share |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, case in found.items():
        flops, median = CASES[name].flops(), float(np.median(case.milliseconds[OURS]))
        least = 1e3 * flops / rate
        lines.append(
            f"| {CASES[name]} | {flops / 1e9:.2f} | {least:.2f} | {median:.2f} | "
            f"{100 * least / median:.0f} % |"
        )
    return "\n".join(lines)


def first_results(n_pairs: int) -> str:
    """Time whole processes, from their start to their end, by turns."""
    case = CASES["small"]
    source = Source(case.n_components, case.n_features, case.family, seed=0)
    rows, _ = source.draw(case.n_rows, np.random.default_rng(1))
    times: dict[str, list[float]] = {OURS: [], SKLEARN: []}
    fits: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        np.save(path, rows)
        # The first turn only brings the files into memory.
        for turn in range(n_pairs + 1):
            for engine, seconds in times.items():
                taken, fits[engine] = fresh_process(engine, path, case.n_components)
                if turn:
                    seconds.append(taken)
    seconds = {engine: np.array(values) for engine, values in times.items()}
    lines = [
        f"Seconds from the start to the end of a process that imports, reads {case.n_rows:,} x "
        f"{case.n_features} rows and fits K = {case.n_components} with default parameters and "
        "`random_state=0`. JAX's cache of compiled programs is off. Each engine draws its own "
        "start and stops where its own rule says.",
        "",
        "| engine | min, s | median | max | iterations | nats a row |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for engine, values in seconds.items():
        lines.append(
            f"| {engine} | {spread(values)} | {fits[engine]['n_iter']} | "
            f"{fits[engine]['log_likelihood']:.4f} |"
        )
    lines += [
        "",
        "| times latentmix's, pair by pair | min | median | max | target |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| {SKLEARN} | {spread(seconds[SKLEARN] / seconds[OURS])} | above 1 |",
    ]
    return "\n".join(lines)


def fresh_process(engine: str, path: Path, n_components: int) -> tuple[float, Any]:
    """Return the seconds a process takes that imports and fits, and what it says of the fit."""
    script = Path(__file__).with_name("mixture_first.py")
    command = [sys.executable, "-W", "ignore", script, engine, path, str(n_components)]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    time.sleep(PAUSE)
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - began, json.loads(done.stdout)


if __name__ == "__main__":
    main()
