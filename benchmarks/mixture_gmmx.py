"""The worker of `mixture.py` that fits with gmmx, in an environment of its own.

gmmx refuses anything but float32, so it is given the same rows in float32.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from gmmx import EMFitter, GaussianMixtureModelJax

from serving import serve


class Gmmx:
    """A mixture fitted again and again, for any number of iterations, from one start."""

    def about(self) -> str:
        """Return the versions that matter to the speed."""
        return f"gmmx {version('gmmx')} (JAX {version('jax')})"

    def prepare(self, folder: str, family: str) -> None:
        """Read the rows and the first parameters, and turn them to float32."""
        self.rows = jnp.asarray(np.load(Path(folder, "rows.npy")), jnp.float32)
        with np.load(Path(folder, "first.npz")) as first:
            self.first = GaussianMixtureModelJax.from_squeezed(
                covariance_type=family,
                **{name: jnp.asarray(first[name], jnp.float32) for name in first.files},
            )

    def fit(self, n_iter: int) -> dict[str, float]:
        """Fit with so many iterations; return the seconds, and the iterations it says it did."""
        fitter = EMFitter(max_iter=n_iter, tol=0.0, reg_covar=0.0)
        began = time.perf_counter()
        result = fitter.fit(self.rows, self.first)
        n_done = int(result.n_iter)
        seconds = time.perf_counter() - began
        self.fitted = result.gmm
        return {"seconds": seconds, "n_iter": n_done}

    def save(self, path: str) -> None:
        """Write the parameters of the last fit."""
        fitted = self.fitted
        np.savez(
            path,
            weights=fitted.weights_numpy,
            means=fitted.means_numpy,
            covariances=fitted.covariances.values_numpy,
        )


if __name__ == "__main__":
    serve(Gmmx())
