"""Several VAEs fitted side by side (`fit_together(vmap=True)`) and one after another, by turns.

python benchmarks/together.py --out benchmarks/results/together.md
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from latentmix import VAE, fit_together
from latentmix.errors import TrainingWarning
from reporting import deliver, processor, spread


class Case(NamedTuple):
    """A shape of network and data; `n_steps` in all, so that a fit takes a second or so."""

    n_rows: int
    n_features: int
    hidden_dims: tuple[int, ...]
    latent_dim: int
    batch_size: int
    n_steps: int
    images: bool = True


SEED_WIDTHS = (784, 392, 196, 98)
CASES = {
    "table of 16 features": Case(2_000, 16, (16, 16, 16, 16), 12, 128, 480, images=False),
    "8x8 digits": Case(1_500, 64, (64, 32, 16, 16), 12, 128, 240),
    "table of 64 features, wide": Case(2_000, 64, (256, 128), 12, 128, 96, images=False),
    "16x16 images": Case(2_000, 256, (256, 128, 64, 32), 12, 128, 64),
    "MNIST, the `seed` recipe's": Case(640, 784, SEED_WIDTHS, 8, 32, 20),
    "MNIST, the `quick` recipe's": Case(2_560, 784, SEED_WIDTHS, 12, 128, 20),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    # Trainings this short may leave a layer dead; no answer of theirs is used.
    warnings.simplefilter("ignore", TrainingWarning)
    lines = [
        "# Several VAEs at once",
        "",
        f"JAX {jax.__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{processor()}, load average at the start {busy:.1f}. Whole fits of `fit_together`, other "
        f"seeds, compiled before; {options.rounds} rounds by turns.",
        "",
        "| network | parameters | models | ms a model and step, in turn (median) | times as fast "
        "side by side: min | median | max |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, case in CASES.items():
        for n_models in options.models:
            told = warm(case, n_models, options.rounds)
            lines.append(f"| {name} | {told.n_parameters:,} | {n_models} | {told.cells} |")
            print(lines[-1], flush=True)
    lines += [
        "",
        "The same with compilation, each of 8 models at another learning rate: side by side they "
        "are compiled once, in turn each anew. Seconds of the whole, 3 rounds:",
        "",
        "| network | in turn (median) | times as fast side by side: min | median | max |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(cold(name, case) for name, case in list(CASES.items())[:2]),
    ]
    report = "\n".join(lines)
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def rows_of(case: Case) -> np.ndarray:
    random = np.random.RandomState(0)
    if case.images:
        return random.randint(0, 256, (case.n_rows, case.n_features)).astype(np.uint8)
    return random.standard_normal((case.n_rows, case.n_features))


def vaes_of(case: Case, n_models: int, **changes: Sequence[float]) -> list[VAE]:
    """Return models of other seeds, and what else changes from one to the next."""
    each = [{name: values[n] for name, values in changes.items()} for n in range(n_models)]
    return [
        VAE(
            hidden_dims=case.hidden_dims,
            latent_dim=case.latent_dim,
            batch_size=case.batch_size,
            max_epochs=1,
            min_steps=case.n_steps,
            random_state=seed,
            **own,
        )
        for seed, own in enumerate(each)
    ]


class Told(NamedTuple):
    """A line's figures: the size of a network, and the cells behind it."""

    n_parameters: int
    cells: str


def warm(case: Case, n_models: int, rounds: int) -> Told:
    """Time fits whose steps are compiled already."""
    X = rows_of(case)

    def fit(vmap: bool) -> list[VAE]:
        return fit_together(vaes_of(case, n_models), X, vmap=vmap)

    vaes = fit(True)
    compared(vaes, fit(False))
    in_turn, side_by_side = by_turns(fit, rounds)
    size = sum(leaf.size for leaf in jax.tree.leaves(vaes[0].network_))
    n_steps = len(vaes[0].history_) * -(-case.n_rows // case.batch_size)
    each = 1e3 * np.median(in_turn) / n_models / n_steps
    return Told(size, f"{each:.3f} | {spread(in_turn / side_by_side)}")


def cold(name: str, case: Case) -> str:
    """Time fits of a process that has compiled nothing of them."""
    X, rates = rows_of(case), np.geomspace(3e-4, 3e-3, 8)

    def fit(vmap: bool) -> None:
        jax.clear_caches()
        fit_together(vaes_of(case, 8, learning_rate=rates), X, vmap=vmap)

    in_turn, side_by_side = by_turns(fit, 3)
    return f"| {name} | {np.median(in_turn):.1f} | {spread(in_turn / side_by_side)} |"


def by_turns(fit: Callable[[bool], object], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds of each fit, in turn and side by side."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for vmap, told in seconds.items():
            began = time.perf_counter()
            fit(vmap)
            told.append(time.perf_counter() - began)
    return np.array(seconds[False]), np.array(seconds[True])


def compared(ours: Sequence[VAE], theirs: Sequence[VAE]) -> None:
    """Refuse to time trainings that differ by more than rounding."""
    for one, other in zip(ours, theirs, strict=True):
        losses = [vae.history_[-1].train.objective for vae in (one, other)]
        if not abs(losses[0] / losses[1] - 1) < 1e-2:
            raise SystemExit(f"Side by side and in turn end at other losses: {losses}.")


if __name__ == "__main__":
    main()
