"""What a density model uses of its latent space."""

from __future__ import annotations

import numpy as np

# A dimension whose posterior stays this close to the prior, in nats, carries nothing.
LEAST_KL = 0.01


def active_dimensions(kl_per_dimension: np.ndarray, threshold: float = LEAST_KL) -> int:
    """Return how many latent dimensions carry information.

    Parameters
    ----------
    kl_per_dimension : (L,)
        Mean KL(q(z|x) || p(z)) of each dimension, in nats.
    threshold : float
        The least mean KL of an active dimension. Burda et al. 2016 threshold the variance of the
        posterior mean at 0.01 to the same end.
    """
    return int(np.sum(np.asarray(kl_per_dimension) > threshold))
