"""Products and inverses of covariances, with NaN in place of an error where there is none."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from latentmix.kernels.arrays import Floats

LOG_2_PI = float(np.log(2 * np.pi))


def cholesky(matrices: Floats) -> Floats:
    """Return lower factors of (..., D, D); NaN where a matrix is not positive definite."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(np.linalg.cholesky(matrices), np.float64)
        except np.linalg.LinAlgError:
            if matrices.ndim == 2:
                return np.full_like(matrices, np.nan)
            return np.stack([cholesky(matrix) for matrix in matrices])


def solve(matrices: Floats, right: Floats) -> Floats:
    """Return the solutions of (K, D, D) systems; NaN where one is singular."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(np.linalg.solve(matrices, right), np.float64)
        except np.linalg.LinAlgError:
            return np.full(right.shape, np.nan)


def factor_of_precision(covariances: Floats) -> Floats:
    """Return F, upper triangular, with F F' the inverse of each covariance matrix."""
    lower = cholesky(covariances)
    identity = np.eye(covariances.shape[-1])
    inverse = solve(lower, np.broadcast_to(identity, lower.shape))
    return np.swapaxes(np.tril(inverse), -1, -2)


def unwhitened(noise: Float[Floats, "S D"], factor: Float[Floats, "D D"]) -> Floats:
    """Return rows e with F' e = noise: of the covariance that a precision's factor belongs to.

    The factor is what was fitted; a covariance rounded to float32 need not be positive definite.
    """
    rows = solve_triangular(factor, noise.T, trans="T", check_finite=False)
    return np.asarray(rows.T)


def inverse_root(variances: Floats) -> Floats:
    """Return 1 / sigma; NaN where a variance is not positive."""
    with np.errstate(all="ignore"):
        return np.where(variances > 0, variances, np.nan) ** -0.5


def regression(matrices: Float[Floats, "K D D"], seen: np.ndarray) -> Float[Floats, "K D S"]:
    """Return A_k: E[x - mean | seen] = A (x - mean)[seen]; the identity on `seen`."""
    within = matrices[:, seen][:, :, seen]
    spread = np.swapaxes(solve(within, matrices[:, seen]), 1, 2)
    spread[:, seen] = np.eye(int(seen.sum()))
    return spread
