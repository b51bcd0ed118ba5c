"""Training on a memory map beside the same rows in memory, by turns: throughput and memory.

MNIST, warped at random into 5 million images (3.9 GB), is written to a file once. Each turn is a
`VAE.fit` of the `seed` recipe in a process of its own kind, ended after some shards. Anonymous
memory is sampled from outside: pages of the file are not counted, which the system drops when it
needs room. Linux only.

    python benchmarks/larger_than_memory.py --out benchmarks/results/larger_than_memory.md
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memory import Sampled
from reporting import deliver, processor, spread
from serving import Worker

MAPPED, HELD = "memory map", "in memory"
TARGET = 1.5e9


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    path = options.folder / f"latentmix-warped-{options.rows}.npy"
    if not path.is_file():
        write(path, options.rows)
    try:
        report = measured(path, busy, options)
    finally:
        if not options.keep:
            path.unlink(missing_ok=True)
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--steps", type=int, default=6000, help="training steps in a turn")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--keep", action="store_true", help="leave the file in --folder")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def write(path: Path, n_rows: int) -> None:
    """Write so many warped images of MNIST, in a process that is not measured."""
    maker = Worker(sys.executable, "larger_than_memory_fit.py")
    unfinished = path.with_suffix(".part")
    maker.ask("write", path=str(unfinished), n_rows=n_rows)
    maker.close()
    unfinished.rename(path)


def measured(path: Path, busy: float, options: argparse.Namespace) -> str:
    workers = {name: Worker(sys.executable, "larger_than_memory_fit.py") for name in (MAPPED, HELD)}
    memory = {name: Sampled(worker.pid) for name, worker in workers.items()}
    rates: dict[str, list[float]] = {name: [] for name in workers}
    told: dict[str, Any] = {}
    for turn in range(options.rounds + 1):
        for name, worker in workers.items():
            time.sleep(0.2)
            with memory[name]:
                told = worker.ask(
                    "fit", path=str(path), mapped=name == MAPPED, n_steps=options.steps
                )
            if turn:  # the first one compiles
                rates[name].append(told["images"] / told["seconds"])
    for worker in workers.values():
        worker.close()
    values = {name: np.array(rate) for name, rate in rates.items()}
    lines = [
        "# Training on rows that stay on the disk",
        "",
        f"{told['versions']}; Python {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, {processor()}, load average at the start {busy:.1f}. "
        f"{options.rows:,} images of 28x28, MNIST warped, {told['bytes'] / 1e9:.1f} GB, in the "
        f"page cache. `VAE.fit` of the `seed` recipe (batches of 32), {options.rounds} rounds "
        f"by turns of {options.steps:,} steps, {told['shards']:.1f} shards each; waiting for "
        "shards counts. Memory is the most anonymous memory (RssAnon) of the process in all its "
        f"fits, sampled from outside; the target is below {TARGET / 1e9} GB.",
        "",
        "| | min, images a second | median | max | most memory, GB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, rate in values.items():
        most = memory[name].most / 1e9
        lines.append(f"| {name} | {spread(rate)} | {most:.2f} |")
    ratio = spread(values[MAPPED] / values[HELD])
    lines += [
        "",
        "| the map's throughput, times the array's, round by round | min | median | max |",
        "| --- | ---: | ---: | ---: |",
        f"| at least 0.9 is wanted | {ratio} |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
