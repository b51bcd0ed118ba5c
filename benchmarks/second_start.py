"""Seconds from the command `latentmix run` to the first news of its training's steps.

    python benchmarks/second_start.py mnist --out benchmarks/results/second_start.md

The first start of a shape compiles its programs and keeps them, later ones load them; `--no-cache`
does without. Cache and run folders are temporary.
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
from importlib.metadata import version
from pathlib import Path

import numpy as np

from reporting import deliver, processor, spread

# The target, in seconds.
TARGET = 4.0

# The command, which ends at the first news of steps and says what processor time it took.
COMMAND = """
import json, os, resource, sys
from contextlib import contextmanager
from latentmix.apps import cli, progress
from latentmix.training.events import Steps

def ended(event):
    if isinstance(event, Steps):
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps(used.ru_utime + used.ru_stime), flush=True)
        os._exit(0)

@contextmanager
def told():
    yield ended

progress.progress = told
cli.main()
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(folder, "cache"))}

        def start(number: int, *more: str) -> tuple[float, float]:
            out = Path(folder, f"run{number}")
            words = ["run", options.data, "--recipe", options.recipe, "--out", str(out), *more]
            return seconds_of(words, environment)

        first = start(0)
        turns = [
            (start(2 * turn), start(2 * turn + 1, "--no-cache"))
            for turn in range(1, options.rounds + 1)
        ]
    times = np.array(turns)
    lines = [
        "# From the command to the first training step",
        "",
        f"latentmix {version('latentmix')} (JAX {version('jax')}); Python "
        f"{platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, {processor()}, "
        f"load average at the start {busy:.1f}. `latentmix run {options.data} --recipe "
        f"{options.recipe}`, {options.rounds} rounds by turns after the first start; the target is "
        f"{TARGET:.0f} s.",
        "",
        "| | seconds, min | median | max | processor seconds, min | median | max |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| the first start | {' | '.join([f'{first[0]:.2f}'] * 3 + [f'{first[1]:.2f}'] * 3)} |",
    ]
    for name, column in (("later starts", 0), ("`--no-cache`", 1)):
        wall, used = times[:, column].T
        lines.append(f"| {name} | {spread(wall)} | {spread(used)} |")
    report = "\n".join(lines)
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="what `latentmix run` takes")
    parser.add_argument("--recipe", default="seed")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7 or more to report)")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def seconds_of(words: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of one start by the clock, and of the processors."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    )
    return time.perf_counter() - began, float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
