"""The rows that `mixture.py` fits: draws from a mixture whose components overlap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

# How far two components' means are apart, in standard deviations: the root mean square.
DISTANCE = 4.0

# The least and the greatest standard deviation along a component's axes.
DEVIATIONS = (0.7, 1.4)

DESCRIPTION = (
    f"Rows are draws from a mixture: means {DISTANCE:.0f} standard deviations apart (root mean "
    f"square, whatever the number of features), standard deviations from {DEVIATIONS[0]} to "
    f"{DEVIATIONS[1]} along axes turned at random (along the features where the fit is diagonal), "
    "unequal weights. Every engine starts from the same K rows as means, unit covariances and "
    "equal weights, with `reg_covar=0` and `tol=0`."
)


@dataclass(frozen=True)
class Parameters:
    """A mixture of K components over D features; covariances (K, D, D), or (K, D) if diagonal."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def save(self, path: Path) -> None:
        """Write the three arrays to an .npz file."""
        np.savez(path, weights=self.weights, means=self.means, covariances=self.covariances)

    @classmethod
    def load(cls, path: Path) -> Parameters:
        """Read what `save` wrote, or a worker with the same names; float64 from here on."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name].astype(np.float64) for name in arrays.files})

    def log_joint(self, rows: np.ndarray) -> np.ndarray:
        """Return log p(x, k), (N, K), in nats: SciPy's densities, one component at a time."""
        columns = [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(rows)
            for weight, mean, covariance in zip(
                self.weights, self.means, self.covariances, strict=True
            )
        ]
        return np.stack(columns, axis=1)

    def mean_log_likelihood(self, rows: np.ndarray) -> float:
        """Return the mean of log p(x), in nats."""
        return float(np.mean(logsumexp(self.log_joint(rows), axis=1)))


class Source:
    """A mixture to draw rows from."""

    def __init__(self, n_components: int, n_features: int, family: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.weights = random.dirichlet(np.full(n_components, 5.0))
        per_feature = DISTANCE / np.sqrt(2 * n_features)
        self.means = per_feature * random.standard_normal((n_components, n_features))
        self.deviations = np.exp(random.uniform(*np.log(DEVIATIONS), self.means.shape))
        shape = (n_components, n_features, n_features)
        self.axes = np.linalg.qr(random.standard_normal(shape))[0] if family == "full" else None

    def draw(self, n_rows: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return rows, (N, D), and the component of each."""
        components = random.choice(len(self.weights), n_rows, p=self.weights)
        rows = random.standard_normal((n_rows, self.means.shape[1])) * self.deviations[components]
        if self.axes is not None:
            for k, axes in enumerate(self.axes):
                rows[components == k] = rows[components == k] @ axes.T
        return rows + self.means[components], components

    def parameters(self) -> Parameters:
        """Return the mixture itself."""
        variances = self.deviations**2
        if self.axes is None:
            return Parameters(self.weights, self.means, variances)
        covariances = np.einsum("kij,kj,klj->kil", self.axes, variances, self.axes)
        return Parameters(self.weights, self.means, covariances)


def first_parameters(rows: np.ndarray, n_components: int, family: str, seed: int) -> Parameters:
    """Return where every engine starts."""
    n_rows, n_features = rows.shape
    chosen = np.random.default_rng(seed).choice(n_rows, n_components, replace=False)
    unit = np.eye(n_features) if family == "full" else np.ones(n_features)
    return Parameters(
        np.full(n_components, 1 / n_components),
        rows[chosen],
        np.broadcast_to(unit, (n_components, *unit.shape)).copy(),
    )
