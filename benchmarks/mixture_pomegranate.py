"""The worker of `mixture.py` that fits with pomegranate, in an environment of its own.

Its rows, components and sums follow their own dtypes, and some PyTorch's default one: a fit is
float64 throughout only where that is the default. Its checks of values are switched off.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pomegranate.distributions import Normal
from pomegranate.gmm import GeneralMixtureModel

from serving import serve


class Counted(GeneralMixtureModel):
    """A mixture that counts its maximisation steps."""

    n_updates = 0

    def from_summaries(self) -> None:
        """Take a step, and count it."""
        self.n_updates += 1
        super().from_summaries()


class Pomegranate:
    """A mixture fitted again and again, for any number of iterations, from one start."""

    def __init__(self, dtype: str) -> None:
        torch.set_default_dtype(getattr(torch, dtype))
        self.dtype = torch.get_default_dtype()

    def about(self) -> str:
        """Return the versions that matter to the speed, and the threads."""
        below = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
        return f"pomegranate {version('pomegranate')} ({below})"

    def prepare(self, folder: str, family: str) -> None:
        """Read the rows and the first parameters."""
        self.rows = torch.from_numpy(np.load(Path(folder, "rows.npy"))).to(self.dtype)
        self.family = family
        with np.load(Path(folder, "first.npz")) as first:
            self.first = {
                name: torch.from_numpy(first[name]).to(self.dtype) for name in first.files
            }

    def fit(self, n_iter: int) -> dict[str, float]:
        """Fit with so many iterations; return the seconds, and the iterations it did."""
        # It updates its components in place: each fit has new ones.
        components = [
            Normal(mean.clone(), covariance.clone(), self.family, check_data=False)
            for mean, covariance in zip(self.first["means"], self.first["covariances"], strict=True)
        ]
        self.fitted = Counted(
            components,
            priors=self.first["weights"].clone(),
            max_iter=n_iter,
            tol=-float("inf"),
            check_data=False,
        )
        began = time.perf_counter()
        self.fitted.fit(self.rows)
        return {"seconds": time.perf_counter() - began, "n_iter": self.fitted.n_updates}

    def save(self, path: str) -> None:
        """Write the parameters of the last fit."""
        components = self.fitted.distributions
        np.savez(
            path,
            weights=self.fitted.priors.numpy(),
            means=np.stack([component.means.numpy() for component in components]),
            covariances=np.stack([component.covs.numpy() for component in components]),
        )


if __name__ == "__main__":
    serve(Pomegranate(sys.argv[1]))
