"""What a density model uses of its latent space."""

from __future__ import annotations

import numpy as np

# A dimension whose posterior stays this close to the prior, in nats, carries nothing.
LEAST_KL = 0.01


# Nor does one whose posterior means stand still (Burda et al. 2016), whatever its KL says.
LEAST_VARIANCE = 0.01


def active_dimensions(
    kl_per_dimension: np.ndarray,
    variances_of_means: np.ndarray | None = None,
    *,
    threshold: float = LEAST_KL,
) -> int:
    """Return how many latent dimensions carry information.

    Parameters
    ----------
    kl_per_dimension : (L,)
        Mean KL(q(z|x) || p(z)) of each dimension, in nats.
    variances_of_means : (L,), optional
        Variance of the posterior mean of each dimension over rows. A dead ReLU unit has a KL and
        no variance.
    threshold : float
        The least mean KL of an active dimension.

    Examples
    --------
    >>> from latentmix.metrics import active_dimensions
    >>> active_dimensions([3.2, 1.5, 0.0])
    2
    >>> active_dimensions([3.2, 1.5, 0.0], variances_of_means=[0.9, 0.0, 0.0])
    1
    """
    active = np.asarray(kl_per_dimension) > threshold
    if variances_of_means is not None:
        active &= np.asarray(variances_of_means) > LEAST_VARIANCE
    return int(np.sum(active))
