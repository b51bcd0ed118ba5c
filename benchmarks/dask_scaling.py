"""What EM on Dask's blocks costs beside EM in one process, and what goes over the wire.

    python benchmarks/dask_scaling.py --csv benchmarks/results/dask_scaling.csv

Rows of 16 columns in float64, 64 diagonal components, eight iterations from the same start. One
worker is compared with a process held to one core, two with one of two, in turns; a worker works
on one thread. Bytes are those of the loopback device (Linux), in both directions, over the
iterations. Memory is a worker's largest. Needs the extra `dask`.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

from latentmix import GaussianMixture
from latentmix.runs.environment import peak_memory
from reporting import add_row, processor

COLUMNS = [
    *("rows", "workers", "seconds", "seconds_one_process", "overhead"),
    *("bytes_an_iteration", "worker_memory", "processor"),
]
N_FEATURES, N_COMPONENTS, N_ITERATIONS, TURNS = 16, 64, 8, 2
ROWS_A_BLOCK = 500_000


def fitted(X: object) -> tuple[float, int]:
    """Return the median seconds of an iteration, and the bytes of each on the loopback device."""
    times, sent = [], []

    def listen(event: object) -> None:
        times.append(time.perf_counter())
        sent.append(loopback())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few iterations do not converge
        GaussianMixture(
            N_COMPONENTS,
            covariance_type="diag",
            tol=0,
            max_iter=N_ITERATIONS,
            random_state=0,
        ).fit(X, listener=listen)
    return float(np.median(np.diff(times))), (sent[-1] - sent[0]) // (len(sent) - 1)


def loopback() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    (line,) = [line for line in lines if line.strip().startswith("lo:")]
    return int(line.split()[1])


def measured(n_rows: int, n_workers: int) -> dict[str, object]:
    """Return a row of the table: both ways by turns, the quickest of each."""
    cores = sorted(os.sched_getaffinity(0))
    shape, chunks = (n_rows, N_FEATURES), (min(ROWS_A_BLOCK, n_rows // n_workers), N_FEATURES)
    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        X = da.random.RandomState(0).normal(size=shape, chunks=chunks).persist()
        wait(X)
        client.rebalance(X)
        here = brought(X)
        found = {"there": [], "here": []}
        n_bytes = 0
        for _ in range(TURNS):
            seconds, n_bytes = fitted(X)
            found["there"].append(seconds)
            found["here"].append(on_cores(cores[:n_workers], lambda: fitted(here)[0]))
        memory = max(client.run(peak_memory).values())
    there, alone = min(found["there"]), min(found["here"])
    return {
        "rows": n_rows,
        "workers": n_workers,
        "seconds": round(there, 4),
        "seconds_one_process": round(alone, 4),
        "overhead": round(there / alone - 1, 3),
        "bytes_an_iteration": n_bytes,
        "worker_memory": memory,
        "processor": processor(),
    }


def brought(X: da.Array) -> np.ndarray:
    """Return a collection's rows, block by block: never twice in memory here."""
    rows, begin = np.empty(X.shape), 0
    for block in X.blocks:
        end = begin + len(block)
        rows[begin:end] = block.compute()
        begin = end
    return rows


def on_cores(cores: list[int], work: Callable[[], float]) -> float:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return work()
    finally:
        os.sched_setaffinity(0, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--csv", type=Path, required=True, help="the table, which is added to")
    options = parser.parse_args()
    for n_rows in options.rows:
        for n_workers in options.workers:
            row = measured(n_rows, n_workers)
            print(row, flush=True)
            add_row(options.csv, COLUMNS, row)


if __name__ == "__main__":
    main()
