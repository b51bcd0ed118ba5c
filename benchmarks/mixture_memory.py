"""Rows that stay on the disk: what `mixture.py --memory` measures.

A memory-mapped file of float32 rows is fitted in fresh processes, by its first 10, 30 and 100 %.
Their memory is sampled from outside: anonymous pages, not the file's own, which the system drops
when it needs room. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from memory import INTERVAL, Sampled
from mixture_data import Source
from reporting import processor, spread
from serving import Worker

N_FEATURES, N_COMPONENTS = 64, 64
SHARES = (0.1, 0.3, 1.0)
ITERATIONS = (1, 5)
TARGET = 1e9

# Rows drawn and written at a time.
BLOCK = 100_000


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rows on the disk")
    group.add_argument("--memory", action="store_true", help="measure these, and nothing else")
    group.add_argument("--folder", type=Path, help="where the file goes (default: a temporary one)")
    group.add_argument("--rows", type=int, default=10_000_000, help="rows of the whole file")
    group.add_argument("--keep", action="store_true", help="leave the file in --folder")


def report(options: argparse.Namespace) -> str:
    folder = Path(options.folder or tempfile.gettempdir())
    path = folder / f"latentmix-mixture-{options.rows}x{N_FEATURES}.npy"
    busy = os.getloadavg()[0]
    unfinished = path.with_suffix(".part")
    try:
        if not path.is_file():
            write(unfinished, options.rows)
            unfinished.rename(path)
        size = path.stat().st_size
        n_rows = [round(share * options.rows) for share in SHARES]
        watched = [Watched(path, n) for n in n_rows]
        for _ in range(options.pairs):
            for process in watched:
                process.take_turn()
        versions = watched[0].versions
        for process in watched:
            process.close()
    finally:
        unfinished.unlink(missing_ok=True)
        if not options.keep:
            path.unlink(missing_ok=True)
    short, long = ITERATIONS
    lines = [
        "# Rows that stay on the disk",
        "",
        f"{versions}; Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} "
        f"cores, {processor()}, load average at the start {busy:.1f}. `GaussianMixture.fit` of a "
        f"memory-mapped file of float32, {options.rows:,} x {N_FEATURES} ({size / 1e9:.2f} GB, as "
        f"far as it fits in the page cache), K = {N_COMPONENTS}, diag. A process's first fit has "
        "the default start and one iteration. Iterations are timed by "
        f"{options.pairs} rounds of turns, from given parameters: a fit with {long} less one with "
        f"{short}. Memory is the most anonymous memory (RssAnon) of the process in all its fits, "
        "beyond what it holds after its imports, sampled from outside every "
        f"{1e3 * INTERVAL:.0f} ms; the target is below {TARGET / 1e9:.0f} GB.",
        "",
        "| rows | min, s an iteration | median | max | ns a row | first fit, s | after imports, MB "
        "| most beyond, MB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for process in watched:
        seconds = np.array(process.seconds)
        lines.append(
            f"| {process.n_rows:,} | {spread(seconds)} | "
            f"{1e9 * np.median(seconds) / process.n_rows:.0f} | {process.first_fit:.1f} | "
            f"{process.imported / 1e6:.0f} | {(process.most - process.imported) / 1e6:.0f} |"
        )
    return "\n".join(lines) + "\n"


def write(path: Path, n_rows: int) -> None:
    """Draw the rows block by block into a .npy file."""
    source = Source(N_COMPONENTS, N_FEATURES, "diag", seed=0)
    random = np.random.default_rng(1)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_FEATURES))
    for first in range(0, n_rows, BLOCK):
        rows[first : first + BLOCK] = source.draw(min(BLOCK, n_rows - first), random)[0]
    rows.flush()


class Watched:
    """A fresh process that fits the first rows of the file, and its anonymous memory."""

    def __init__(self, path: Path, n_rows: int) -> None:
        self.n_rows = n_rows
        self.seconds: list[float] = []
        self._worker = Worker(sys.executable, "mixture_estimators.py", "latentmix")
        self.versions = self._worker.ask("about")
        self._memory = Sampled(self._worker.pid)
        self.imported = self._memory.most
        self._given = {"path": str(path), "n_rows": n_rows, "n_components": N_COMPONENTS}
        self.first_fit = self._fit(1, given_start=False)
        for n_iter in ITERATIONS:
            self._fit(n_iter)

    def take_turn(self) -> None:
        """Fit with few iterations and with more, and keep the seconds of one."""
        short, long = (self._fit(n_iter) for n_iter in ITERATIONS)
        self.seconds.append((long - short) / (ITERATIONS[1] - ITERATIONS[0]))

    @property
    def most(self) -> int:
        """The most anonymous memory in all fits, in bytes."""
        return self._memory.most

    def close(self) -> None:
        """Let the process end."""
        self._worker.close()

    def _fit(self, n_iter: int, *, given_start: bool = True) -> float:
        with self._memory:
            told: dict[str, Any] = self._worker.ask(
                "fit_mapped", n_iter=n_iter, given_start=given_start, **self._given
            )
        if told["n_iter"] != n_iter:
            raise SystemExit(f"{told['n_iter']} iterations for {n_iter}.")
        return float(told["seconds"])


if __name__ == "__main__":
    raise SystemExit("Run `python benchmarks/mixture.py --memory`.")
