"""scikit-learn style objects: validate, seed, fit, and answer questions."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentmix.estimators.cluster_selection import ClusterSelection, select_n_clusters
    from latentmix.estimators.discrete_mixtures import BernoulliMixture, PoissonMixture
    from latentmix.estimators.gaussian_mixture import GaussianMixture
    from latentmix.estimators.latent_mixture import LatentMixture
    from latentmix.estimators.refinement import Refinement
    from latentmix.estimators.selection import Selection, select_n_components
    from latentmix.estimators.store import load
    from latentmix.estimators.together import fit_together
    from latentmix.estimators.vae import VAE

__all__ = [
    "VAE",
    "BernoulliMixture",
    "ClusterSelection",
    "GaussianMixture",
    "LatentMixture",
    "PoissonMixture",
    "Refinement",
    "Selection",
    "fit_together",
    "load",
    "select_n_clusters",
    "select_n_components",
]

# Loaded on first use: a mixture needs no JAX, and a command no estimator before it must.
_HOMES = {
    "BernoulliMixture": "discrete_mixtures",
    "ClusterSelection": "cluster_selection",
    "GaussianMixture": "gaussian_mixture",
    "LatentMixture": "latent_mixture",
    "PoissonMixture": "discrete_mixtures",
    "Refinement": "refinement",
    "Selection": "selection",
    "VAE": "vae",
    "fit_together": "together",
    "load": "store",
    "select_n_clusters": "cluster_selection",
    "select_n_components": "selection",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
