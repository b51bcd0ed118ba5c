"""A training step of the `seed` network, in three batch sizes: latentmix and PyTorch, by turns.

PyTorch is no dependency of latentmix and lives in an environment of its own:

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy
    python benchmarks/training_step.py --torch-python peers/bin/python \
        --out benchmarks/results/training_step.md
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reporting import processor, spread
from serving import Worker

OURS, USUAL, BEST = "latentmix", "PyTorch, usual loop", "PyTorch, best variant"

# Steps at the end of the warm-up whose mean loss is compared, and how far it may differ.
COMPARED_STEPS, TOLERANCE = 200, 0.05

# Thread pools spin for a while after their work: let them sleep before the next one's turn.
PAUSE = 0.2


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    workers = {
        OURS: Worker(sys.executable, "training_step_ours.py"),
        USUAL: Worker(options.torch_python, "training_step_torch.py", "usual"),
        BEST: Worker(options.torch_python, "training_step_torch.py", "best"),
    }
    limits = workers[OURS].ask("limits")
    told = [of_batch_size(workers, limits, size, options) for size in options.batch_sizes]
    for worker in workers.values():
        worker.close()
    about = told[0][0]
    report = "\n\n".join(
        ["# One training step of the `seed` recipe", conditions(options, about, busy)]
        + [section for _, section in told]
    )
    print(report)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(report + "\n")


def of_batch_size(
    workers: dict[str, Worker], limits: dict[str, float], size: int, options: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """Train anew in batches of `size`; return what each worker is, and the report's section."""
    steps = steps_of(size, options)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"data": options.data, "folder": folder, "batch_size": size}
        about = {OURS: workers[OURS].ask("prepare", **asked)}
        given = {"folder": folder, "shape": about[OURS]["shape"], "rule": about[OURS]["rule"]}
        for name in (USUAL, BEST):
            about[name] = workers[name].ask("prepare", **given)
    losses = {name: warmed_up(worker, steps.warm_up) for name, worker in workers.items()}
    refuse_other_arithmetic(about, losses)
    times = measured(workers, options.rounds, steps.timed)
    section = [
        f"## Batches of {size}",
        f"{steps.timed} steps a turn, after {steps.warm_up} of warm-up.",
        timings(times, size),
        arithmetic(about[OURS]["n_parameters"], losses, steps.warm_up),
        distance_to_limit(about[OURS], limits, times[OURS]),
    ]
    return about, "\n\n".join(section)


class Steps(NamedTuple):
    """How many steps a worker takes before the first turn, and in each."""

    warm_up: int
    timed: int


def steps_of(size: int, options: argparse.Namespace) -> Steps:
    """Return fewer steps for larger batches, that take longer, but never too few to compare."""
    share = (options.batch_sizes[0] / size) ** 0.5
    return Steps(
        max(COMPARED_STEPS, round(share * options.warm_up)), max(20, round(share * options.steps))
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", required=True, help="interpreter that has PyTorch")
    parser.add_argument("--data", default="mnist", help="a named set, or 'synthetic' (random)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128, 1024])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (7 or more to report)")
    parser.add_argument("--steps", type=int, default=400, help="steps in a turn at the first size")
    parser.add_argument("--warm-up", type=int, default=1000, help="steps before the first turn")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def warmed_up(worker: Worker, n_steps: int) -> float:
    """Train from scratch, and return the mean loss of the last steps."""
    compared = min(COMPARED_STEPS, n_steps)
    if n_steps > compared:
        worker.ask("train", n_steps=n_steps - compared)
    return worker.ask("train", n_steps=compared)["loss"]


def refuse_other_arithmetic(about: dict[str, Any], losses: dict[str, float]) -> None:
    for name, told in about.items():
        if told["n_parameters"] != about[OURS]["n_parameters"]:
            raise SystemExit(f"{name} has another number of parameters: {told['n_parameters']:,}.")
        if not abs(losses[name] / losses[OURS] - 1) < TOLERANCE:
            raise SystemExit(f"{name} does not train the same model: losses {losses}.")


def measured(workers: dict[str, Worker], rounds: int, n_steps: int) -> dict[str, np.ndarray]:
    """Return the milliseconds a step of each worker, turn by turn, one working at a time."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            time.sleep(PAUSE)
            seconds = worker.ask("train", n_steps=n_steps)["seconds"]
            times[name].append(1e3 * seconds / n_steps)
    return {name: np.array(values) for name, values in times.items()}


def conditions(options: argparse.Namespace, about: dict[str, Any], busy: float) -> str:
    n_rows, n_features = about[OURS]["shape"]["rows"]
    return (
        f"{about[OURS]['versions']} beside {about[USUAL]['versions']}; Python "
        f"{platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, {processor()}, "
        f"load average at the start {busy:.1f}. Data: {options.data}, {n_rows:,} rows of "
        f"{n_features}. {options.rounds} rounds by turns."
    )


def timings(times: dict[str, np.ndarray], batch_size: int) -> str:
    lines = [
        "| ms a step | min | median | max | images a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, values in times.items():
        lines.append(f"| {name} | {spread(values)} | {1e3 * batch_size / np.median(values):,.0f} |")
    lines += [
        "",
        f"| times {OURS}'s, round by round | min | median | max |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in (USUAL, BEST):
        lines.append(f"| {name} | {spread(times[name] / times[OURS])} |")
    return "\n".join(lines)


def arithmetic(n_parameters: int, losses: dict[str, float], warm_up: int) -> str:
    listed = ", ".join(f"{loss:.2f} ({name})" for name, loss in losses.items())
    return (
        f"The same arithmetic: {n_parameters:,} parameters each, started from the same weights; "
        f"mean loss of a row over the warm-up's last {min(COMPARED_STEPS, warm_up)} steps, in "
        f"nats: {listed}."
    )


def distance_to_limit(ours: dict[str, Any], limits: dict[str, float], times: np.ndarray) -> str:
    """Say what a step needs at least: its products at the best rate, then Adam's traffic."""
    widths, n_features = ours["shape"]["widths"], ours["shape"]["rows"][1]
    encoder = [n_features, *widths]
    decoder = [ours["shape"]["latent_dim"], *reversed(widths[1:]), n_features]
    sizes = [*pairwise(encoder), *pairwise(decoder)]
    weights = sum(inputs * outputs for inputs, outputs in sizes)
    weights += 2 * widths[-1] * ours["shape"]["latent_dim"]
    # Forward, and back to the weights and to each layer's inputs but the images themselves.
    flops = 2 * ours["rule"]["batch_size"] * (3 * weights - n_features * widths[0])
    # p, m and v are read and written, the gradient is read.
    adam = 7 * 4 * ours["n_parameters"]
    products, traffic = 1e3 * flops / limits["flops"], 1e3 * adam / limits["bandwidth"]
    limit = products + traffic
    reached = 100 * limit / times
    least, middle, greatest = reached.min(), np.median(reached), reached.max()
    return (
        f"The limit: {flops / 1e6:.0f} Mflop of matrix products at {limits['flops'] / 1e9:.0f} "
        f"Gflop/s (the best square product) take {products:.2f} ms, Adam's {adam / 1e6:.0f} MB at "
        f"{limits['bandwidth'] / 1e9:.1f} GB/s (a sweep over 256 MB) {traffic:.2f} ms: "
        f"{limit:.2f} ms in all. latentmix's steps reach {least:.0f} % (min), {middle:.0f} % "
        f"(median) and {greatest:.0f} % (max) of that."
    )


if __name__ == "__main__":
    main()
