"""The worker of `mixture.py` that fits with latentmix or scikit-learn: one interface, one file.

The one with scikit-learn also says how fast NumPy multiplies matrices.
"""

from __future__ import annotations

import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mixture_data import Parameters
from serving import serve

if sys.argv[1] == "latentmix":
    from latentmix import GaussianMixture
else:
    from sklearn.mixture import GaussianMixture

# Fits are cut short on purpose.
warnings.filterwarnings("ignore", message=".*(onverge|max_iter)")


class Estimator:
    """A mixture fitted again and again, for any number of iterations, from one start."""

    def about(self) -> str:
        """Return the versions that matter to the speed."""
        below = {"latentmix": ("JAX", "NumPy"), "scikit-learn": ("NumPy",)}[sys.argv[1]]
        listed = ", ".join(f"{name} {version(name)}" for name in below)
        return f"{sys.argv[1]} {version(sys.argv[1])} ({listed})"

    def prepare(self, folder: str, family: str) -> None:
        """Read the rows and the first parameters, float64."""
        self.rows = np.load(Path(folder, "rows.npy"))
        self.family = family
        self.first = Parameters.load(Path(folder, "first.npz"))
        covariances = self.first.covariances
        self.precisions = np.linalg.inv(covariances) if family == "full" else 1 / covariances

    def fit(self, n_iter: int) -> dict[str, float]:
        """Fit with so many iterations; return the seconds, and the iterations it says it did."""
        self.mixture = GaussianMixture(
            len(self.first.weights),
            covariance_type=self.family,
            tol=0.0,
            reg_covar=0.0,
            max_iter=n_iter,
            weights_init=self.first.weights,
            means_init=self.first.means,
            precisions_init=self.precisions,
        )
        began = time.perf_counter()
        self.mixture.fit(self.rows)
        return {"seconds": time.perf_counter() - began, "n_iter": self.mixture.n_iter_}

    def save(self, path: str) -> None:
        """Write the parameters of the last fit."""
        mixture = self.mixture
        Parameters(mixture.weights_, mixture.means_, mixture.covariances_).save(Path(path))

    def fit_mapped(
        self, path: str, n_rows: int, n_components: int, n_iter: int, given_start: bool
    ) -> dict[str, Any]:
        """Fit a diagonal mixture to the first rows of a file that stays on the disk."""
        rows = np.load(path, mmap_mode="r")[:n_rows]
        mixture = GaussianMixture(
            n_components, covariance_type="diag", tol=0.0, max_iter=n_iter, random_state=0
        )
        if given_start:
            means = np.array(rows[:n_components], np.float64)
            mixture.set_params(
                weights_init=np.full(n_components, 1 / n_components),
                means_init=means,
                precisions_init=np.ones_like(means),
            )
        began = time.perf_counter()
        mixture.fit(rows)
        return {"seconds": time.perf_counter() - began, "n_iter": mixture.n_iter_}

    def limits(self) -> dict[str, Any]:
        """Return the best rate of NumPy's matrix products, in flop/s, and its threads."""
        from threadpoolctl import threadpool_info  # noqa: PLC0415  # scikit-learn brings it

        rates = {dtype: _product_rate(np.dtype(dtype)) for dtype in ("float64", "float32")}
        threads = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        return {**rates, "threads": max(threads)}


def _product_rate(dtype: np.dtype, size: int = 2000, repeats: int = 8) -> float:
    square = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    out = np.empty_like(square)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        np.matmul(square, square, out=out)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])


if __name__ == "__main__":
    serve(Estimator())
