"""latentmix: unlabelled data in; a representation, clusters, a classifier, a generator out.

Names are loaded on first use (PEP 562): ``import latentmix`` takes milliseconds and
leaves JAX, scikit-learn and plotting alone until they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentmix.estimators import (
        VAE,
        BernoulliMixture,
        ClusterSelection,
        GaussianMixture,
        LatentMixture,
        PoissonMixture,
        Refinement,
        Selection,
        fit_together,
        load,
        select_n_clusters,
        select_n_components,
    )

__version__ = "0.1.0"
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


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("latentmix.estimators"), name)
    raise AttributeError(f"module 'latentmix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
