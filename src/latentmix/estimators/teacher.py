"""What a round has for a teacher: groups of the latents, as targets of p(k|x)."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import clone

from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.refinement import Refinement
from latentmix.kernels.diffusion import diffusion_clusters
from latentmix.models.priors import MixturePrior

# The share of a row's target that is spread over all components: p(k|x) need not be certain.
DOUBT: Final = 0.01


def groups_of(
    latents: Float[np.ndarray, "N L"], how: Refinement, mixture: GaussianMixture, seed: int
) -> Float[np.ndarray, "N K"]:
    """Return what p(k|x) is to be, from as many groups as the mixture has components.

    Rows outside the graph have zeros.
    """
    n_components = int(mixture.n_components)
    if how.groups == "mixture":
        em = clone(mixture).set_params(random_state=seed)
        return targets_of(em.fit(latents).predict(latents), n_components)
    random = np.random.RandomState(seed)
    n_rows = len(latents)
    chosen = np.arange(n_rows)
    if n_rows > how.max_graph_rows:
        chosen = np.sort(random.permutation(n_rows)[: how.max_graph_rows])
    groups = diffusion_clusters(
        latents[chosen].astype(np.float64),
        n_components,
        int(random.randint(2**31 - 1)),
        int(how.n_neighbors),
        tuple(map(int, how.n_walk_steps)),
    )
    targets = np.zeros((n_rows, n_components), np.float32)
    targets[chosen] = targets_of(groups, n_components)
    return targets


def targets_of(groups: Int[np.ndarray, " N"], n_components: int) -> Float[np.ndarray, "N K"]:
    """Return what p(k|x) is to be: the row's group, certain but for a little doubt."""
    targets = np.full((len(groups), n_components), DOUBT / n_components, np.float32)
    targets[np.arange(len(groups)), groups] += 1 - DOUBT
    return targets


def mixture_of(
    latents: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N K"]
) -> MixturePrior:
    """Return the mixture whose components are the groups: EM's maximisation with these shares."""
    shares, z = targets.astype(np.float64), latents.astype(np.float64)
    counts = shares.sum(axis=0)
    means = shares.T @ z / counts[:, None]
    variances = shares.T @ z**2 / counts[:, None] - means**2
    return MixturePrior(counts / counts.sum(), means, np.maximum(variances, 0.0))
