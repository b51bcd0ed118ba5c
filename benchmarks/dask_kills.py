"""Whether a fit on Dask comes to the same bits when a worker is killed in the midst of it.

    python benchmarks/dask_kills.py --kills 20

Each fit has a cluster of two processes of its own, one of which, drawn at random, is killed
(SIGKILL) after an iteration that is drawn too. Needs the extra `dask`.
"""

from __future__ import annotations

import argparse
import os
import signal
import warnings

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from latentmix import GaussianMixture

N_ROWS, N_FEATURES, N_ITERATIONS = 200_000, 8, 12


def fitted(X: object, listener: object = None) -> np.ndarray:
    mixture = GaussianMixture(8, tol=0, max_iter=N_ITERATIONS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few iterations do not converge
        mixture.fit(X, **({} if listener is None else {"listener": listener}))
    return np.concatenate([mixture.means_.ravel(), mixture.covariances_.ravel()])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    random = np.random.RandomState(0)
    rows = random.normal(size=(N_ROWS, N_FEATURES)) + 5 * np.eye(8)[random.randint(8, size=N_ROWS)]
    X = da.from_array(rows, chunks=(10_000, N_FEATURES))
    expected, n_same = fitted(X), 0
    for number in range(options.kills):
        victim, instant = random.randint(2), random.randint(1, N_ITERATIONS - 1)
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):

            def kill(event: object, victim: int = victim, instant: int = instant) -> None:
                if event.iteration == instant:
                    pids = list(client.run(os.getpid).values())  # within its turn
                    os.kill(pids[victim], signal.SIGKILL)

            same = np.array_equal(fitted(X.persist(), kill), expected)
        n_same += same
        print(f"{number + 1}: killed after iteration {instant}, {'same' if same else 'OTHER'}")
    print(f"{n_same} of {options.kills} fits came to the same bits.")


if __name__ == "__main__":
    main()
