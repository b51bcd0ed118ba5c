"""A training step of the `seed` network, in three batch sizes: latentmix and its peers, by turns.

The peers are no dependencies of latentmix and live in environments of their own:

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy
    python -m venv pythae && pythae/bin/pip install torch==2.13.0 pythae==0.1.2
    python benchmarks/training_step.py --torch-python peers/bin/python \
        --pythae-python pythae/bin/python --out benchmarks/results/training_step.md
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

from reporting import deliver, processor, spread
from serving import Worker


class Peer(NamedTuple):
    """A program to compare with: the option that names its interpreter, and its worker."""

    option: str
    script: str
    arguments: tuple[str, ...] = ()


def pytorch(variant: str) -> Peer:
    return Peer("torch_python", "training_step_torch.py", (variant,))


OURS, LOADER, PYTHAE = "latentmix", "PyTorch, DataLoader", "pythae"

# To add a way to write PyTorch's loop: a line here, and one of `VARIANTS` in its worker.
PEERS = {
    LOADER: pytorch("loader"),
    "PyTorch, indexed": pytorch("indexed"),
    "PyTorch, indexed, fused Adam": pytorch("fused"),
    "PyTorch, indexed, fused Adam, torch.compile": pytorch("compiled"),
    "PyTorch, indexed, fused Adam, torch.compile, max-autotune": pytorch("autotuned"),
    PYTHAE: Peer("pythae_python", "training_step_pythae.py"),
}

# Steps at the end of the warm-up whose mean loss is compared, and how far it may differ.
COMPARED_STEPS, TOLERANCE = 200, 0.05

# Thread pools spin for a while after their work: let them sleep before the next one's turn.
PAUSE = 0.2


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    workers = {OURS: Worker(sys.executable, "training_step_ours.py")}
    for name, peer in PEERS.items():
        if interpreter := getattr(options, peer.option):
            workers[name] = Worker(interpreter, peer.script, *peer.arguments)
    results = [of_batch_size(workers, size, options) for size in options.batch_sizes]
    for worker in workers.values():
        worker.close()
    report = "\n\n".join(
        [
            "# One training step of the `seed` recipe",
            summary(results),
            conditions(options, results[0].about, busy),
            *(section(result, options) for result in results),
        ]
    )
    deliver(report, options.out)


class Limit(NamedTuple):
    """The least that a step needs, in milliseconds, turn by turn, and what for, in words."""

    milliseconds: np.ndarray
    explained: str


class Result(NamedTuple):
    """What was found in batches of one size, by the workers' names.

    `about` is what each says of itself, `losses` those of the warm-up's last steps, `times` the
    milliseconds a step, turn by turn.
    """

    batch_size: int
    about: dict[str, Any]
    losses: dict[str, float]
    times: dict[str, np.ndarray]
    limit: Limit

    def ratios(self, name: str) -> np.ndarray:
        """Return a peer's times over ours, round by round."""
        return self.times[name] / self.times[OURS]

    @property
    def reached(self) -> np.ndarray:
        """The limit over our times, in percent."""
        return 100 * self.limit.milliseconds / self.times[OURS]

    @property
    def best_pytorch(self) -> str | None:
        """The variant of PyTorch with the least median."""
        variants = [name for name in self.times if name.startswith("PyTorch")]
        return min(variants, key=lambda name: np.median(self.times[name]), default=None)


def of_batch_size(workers: dict[str, Worker], size: int, options: argparse.Namespace) -> Result:
    """Have all train anew in batches of `size`, first compared, then timed."""
    steps = steps_of(size, options)
    with tempfile.TemporaryDirectory() as folder:
        asked = {"data": options.data, "folder": folder, "batch_size": size}
        about = {OURS: workers[OURS].ask("prepare", **asked)}
        given = {"folder": folder, "shape": about[OURS]["shape"], "rule": about[OURS]["rule"]}
        for name in workers.keys() - {OURS}:
            about[name] = workers[name].ask("prepare", **given)
        losses = {name: warmed_up(worker, steps.warm_up) for name, worker in workers.items()}
        refuse_other_arithmetic(about, losses)
        times, rates = measured(workers, options.rounds, steps.timed)
    return Result(size, about, losses, times, limit_of(about[OURS], rates))


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
    parser.add_argument("--torch-python", help="interpreter that has PyTorch")
    parser.add_argument("--pythae-python", help="interpreter that has pythae")
    parser.add_argument("--data", default="mnist", help="a named set, or 'synthetic' (random)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128, 1024])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (7 or more to report)")
    parser.add_argument("--steps", type=int, default=400, help="steps in a turn at the first size")
    parser.add_argument("--warm-up", type=int, default=1000, help="steps before the first turn")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def warmed_up(worker: Worker, n_steps: int) -> float:
    """Train from scratch, and return the mean loss of the last steps."""
    if n_steps > COMPARED_STEPS:
        worker.ask("train", n_steps=n_steps - COMPARED_STEPS)
    return worker.ask("train", n_steps=COMPARED_STEPS)["loss"]


def refuse_other_arithmetic(about: dict[str, Any], losses: dict[str, float]) -> None:
    for name, told in about.items():
        if told["n_parameters"] != about[OURS]["n_parameters"]:
            raise SystemExit(f"{name} has another number of parameters: {told['n_parameters']:,}.")
        if not abs(losses[name] / losses[OURS] - 1) < TOLERANCE:
            raise SystemExit(f"{name} does not train the same model: losses {losses}.")


def measured(
    workers: dict[str, Worker], rounds: int, n_steps: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the milliseconds a step of each worker, turn by turn, one working at a time.

    With them the machine's rates, measured right before each of our turns: a shared machine is
    not the same machine an hour later.
    """
    times: dict[str, list[float]] = {name: [] for name in workers}
    rates: dict[str, list[float]] = {"flops": [], "bandwidth": []}
    for _ in range(rounds):
        for name, rate in workers[OURS].ask("limits").items():
            rates[name].append(rate)
        for name, worker in workers.items():
            time.sleep(PAUSE)
            seconds = worker.ask("train", n_steps=n_steps)["seconds"]
            times[name].append(1e3 * seconds / n_steps)
    arrays = [{name: np.array(values) for name, values in d.items()} for d in (times, rates)]
    return arrays[0], arrays[1]


def limit_of(ours: dict[str, Any], rates: dict[str, np.ndarray]) -> Limit:
    """Return what a step needs at least: its products at the best rate, then Adam's traffic."""
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
    products, traffic = 1e3 * flops / rates["flops"], 1e3 * adam / rates["bandwidth"]
    return Limit(
        products + traffic,
        f"The limit, measured before each turn: {flops / 1e6:.0f} Mflop of matrix products at "
        f"{middle(rates['flops'] / 1e9, 0)} Gflop/s (the best square product) take "
        f"{middle(products, 2)} ms, Adam's {adam / 1e6:.0f} MB at "
        f"{middle(rates['bandwidth'] / 1e9, 1)} GB/s (a sweep over 256 MB) {middle(traffic, 2)} "
        f"ms: {middle(products + traffic, 2)} ms in all.",
    )


def summary(results: Sequence[Result]) -> str:
    """Return the ratios that count, a line for each batch size."""
    lines = [
        "How many times as fast latentmix is, and how near the machine's limit: medians, in "
        "brackets the least and the greatest of the rounds.",
        "",
        f"| batch | images a second | best variant of PyTorch | {LOADER} | {PYTHAE} | % of the "
        "limit |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        compared = (result.best_pytorch, LOADER, PYTHAE)
        cells = [f"{result.batch_size:,}", f"{images_a_second(result, OURS):,.0f}"]
        cells += [middle(result.ratios(n), 2) if n in result.times else "-" for n in compared]
        lines.append(f"| {' | '.join([*cells, middle(result.reached, 0)])} |")
    best = {r.batch_size: r.best_pytorch for r in results if r.best_pytorch is not None}
    if best:
        told = "; ".join(f"{name} ({size:,})" for size, name in best.items())
        lines += ["", f"The best variant of PyTorch, the one with the least median: {told}."]
    absent = [name for name in PEERS if name not in results[0].times]
    if absent:
        lines += ["", f"Left out, as no interpreter with them was given: {'; '.join(absent)}."]
    return "\n".join(lines)


def middle(values: np.ndarray, digits: int) -> str:
    """Return the median, and in brackets the least and the greatest value."""
    median, least, most = (
        f"{value:.{digits}f}" for value in (np.median(values), values.min(), values.max())
    )
    return f"{median} ({least} to {most})"


def images_a_second(result: Result, name: str) -> float:
    return 1e3 * result.batch_size / float(np.median(result.times[name]))


def conditions(options: argparse.Namespace, about: dict[str, Any], busy: float) -> str:
    n_rows, n_features = about[OURS]["shape"]["rows"]
    peers = sorted({told["versions"] for name, told in about.items() if name != OURS})
    beside = " beside ".join([about[OURS]["versions"], *([" and ".join(peers)] if peers else [])])
    timed = (
        " Of pythae one call of `BaseTrainer.train_step` a turn is timed: its own loop over "
        "batches, without its evaluation, its copies of the best model and its files."
    )
    return (
        f"{beside}; Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} "
        f"cores, {processor()}, load average at the start {busy:.1f}. Data: {options.data}, "
        f"{n_rows:,} rows of {n_features}. {options.rounds} rounds by turns."
        f"{timed if PYTHAE in about else ''}"
    )


def section(result: Result, options: argparse.Namespace) -> str:
    steps = steps_of(result.batch_size, options)
    return "\n\n".join(
        [
            f"## Batches of {result.batch_size:,}",
            f"{steps.timed} steps a turn, after {steps.warm_up} of warm-up.",
            timings(result),
            arithmetic(result),
            f"{result.limit.explained} latentmix's steps reach {middle(result.reached, 0)} % of "
            "that.",
        ]
    )


def timings(result: Result) -> str:
    lines = [
        "| ms a step | min | median | max | images a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, values in result.times.items():
        lines.append(f"| {name} | {spread(values)} | {images_a_second(result, name):,.0f} |")
    lines += [
        "",
        f"| times {OURS}'s, round by round | min | median | max |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name in result.times:
        if name != OURS:
            lines.append(f"| {name} | {spread(result.ratios(name))} |")
    return "\n".join(lines)


def arithmetic(result: Result) -> str:
    n_parameters = result.about[OURS]["n_parameters"]
    listed = "; ".join(f"{loss:.2f} ({name})" for name, loss in result.losses.items())
    return (
        f"The same arithmetic: {n_parameters:,} parameters each, started from the same weights; "
        f"mean loss of a row over the warm-up's last {COMPARED_STEPS} steps, in nats: {listed}."
    )


if __name__ == "__main__":
    main()
