"""The whole training of the `seed` recipe on an accelerator: seconds, memory, time of launches.

    python benchmarks/accelerator.py --out benchmarks/results/accelerator.md

The machine needs `pip install "latentmix[cuda]"`. That the script itself works is tried anywhere by
`--platform cpu --data synthetic --epochs 1`.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from latentmix import VAE
from latentmix.runs.recipe import load_recipe
from latentmix.training.events import EpochEnd, Steps
from reporting import deliver
from training_step_ours import training_rows

# The target on an H200, in seconds.
TARGET = 15.0


class Clock:
    """A listener that keeps when each piece of news came, and what the compiled calls took."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first = 0.0
        self.first_call = 0.0
        self.in_calls = 0.0
        self.n_calls = 0
        self.last: EpochEnd | None = None

    def __call__(self, event: Steps | EpochEnd) -> None:
        """Take one piece of news."""
        if isinstance(event, Steps):
            self.n_calls += 1
        if not self.first:
            self.first, self.first_call = time.perf_counter() - self.began, event.seconds
        if isinstance(event, EpochEnd):
            self.in_calls, self.last = event.seconds, event


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    device = device_of(options.platform)
    rows = training_rows(options.data)
    vae = recipes_vae(options.epochs)
    clock = Clock()
    with jax.default_device(device):
        vae.fit(rows, listener=clock)
    seconds = time.perf_counter() - clock.began
    report = "\n".join(lines_of(options, device, vae, rows, clock, seconds)) + "\n"
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default="gpu", help="what JAX calls the device")
    parser.add_argument("--data", default="mnist", help="a named set, or 'synthetic' (random)")
    parser.add_argument("--epochs", type=int, help="fewer than the recipe's, for a short try")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def device_of(kind: str) -> jax.Device:
    """Return JAX's first device of a kind."""
    try:
        return jax.devices(kind)[0]
    except RuntimeError:
        sys.exit(
            f"JAX finds no {kind} here. Install latentmix[cuda] on a machine that has one, or try "
            "the script itself with --platform cpu."
        )


def recipes_vae(epochs: int | None) -> VAE:
    """Return the `seed` recipe's network, untrained."""
    settings = load_recipe("seed").vae.parameters()
    if epochs is not None:
        settings |= {"max_epochs": epochs, "min_steps": 0}
    return VAE(**settings, random_state=0)


def lines_of(
    options: argparse.Namespace,
    device: jax.Device,
    vae: VAE,
    rows: np.ndarray,
    clock: Clock,
    seconds: float,
) -> list[str]:
    assert clock.last is not None
    n_epochs = clock.last.epoch
    n_steps = n_epochs * -(-len(rows) // vae.batch_size)
    # The first call holds the compilation, of which neither device nor host are to blame.
    in_calls = clock.in_calls - clock.first_call
    after_first = seconds - clock.first
    outside = after_first - in_calls
    n_calls = clock.n_calls - 1
    told = device.memory_stats() or {}
    peak = told.get("peak_bytes_in_use")
    memory = "not told by this device" if peak is None else f"{peak / 1e6:,.0f} MB"
    return [
        "# The `seed` recipe's training on an accelerator",
        "",
        f"latentmix {version('latentmix')} (JAX {jax.__version__}); Python "
        f"{platform.python_version()}, {platform.system()}, {device.device_kind}. Data: "
        f"{options.data}, {len(rows):,} rows; batches of {vae.batch_size}, {n_epochs} epochs, "
        f"{n_steps:,} steps. The target is {TARGET:.0f} s on an H200, for 171,900 steps.",
        "",
        "| | |",
        "| --- | ---: |",
        f"| the whole fit | {seconds:.2f} s |",
        f"| until the first steps, with compilation | {clock.first:.2f} s |",
        f"| then, in {n_calls:,} compiled calls | {in_calls:.2f} s |",
        f"| then, outside them: launches, shards, checks, news | {outside:.2f} s "
        f"({outside / after_first:.1%}) |",
        f"| outside, for each call | {1e3 * outside / max(1, n_calls):.2f} ms |",
        f"| a step | {1e6 * after_first / n_steps:.1f} us |",
        f"| peak device memory | {memory} |",
        f"| reconstruction + KL at the end, nats | "
        f"{clock.last.train.reconstruction + clock.last.train.kl:.2f} |",
    ]


if __name__ == "__main__":
    main()
