"""The figures of a run: how well clusters match classes, and how well the model fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentmix import metrics
from latentmix.data import Rows, RowView
from latentmix.estimators import GaussianMixture, LatentMixture
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.runs.parts import Latents, Parts, evenly

# Enough for a run's page, in some seconds; the usual number of reported figures is 5,000 draws.
WEIGHTED_ROWS = 1000
WEIGHTED_DRAWS = 100

SCORES_OF_LABELS = (
    "labelled_rows",
    "accuracy_hungarian",
    "nmi",
    "ari",
    "purity",
    "accuracy_named",
)


def scores_of(model: LatentMixture, latents: Latents, parts: Parts, part: str) -> dict[str, Any]:
    """Return how a model's mixture was fitted, and its clustering scores on one part's rows."""
    mixture = model.mixture_
    labels = parts.labels(part)
    return {
        "n_components": mixture.n_components_,
        "latents": model.latents,
        "log_likelihood": mixture.lower_bound_,
        "n_iter": mixture.n_iter_,
        "converged": mixture.converged_,
        "n_rounds": 0 if model.refinement is None else int(model.refinement.n_rounds),
        "labelled_rows": int((labels >= 0).sum()),
        **clustering_scores(model, latents.means[part], labels, parts.known.class_names),
    }


def naming_record(parts: Parts) -> dict[str, Any]:
    """Return which rows named the components: how many, of which parts, of which classes."""
    n_rows = parts.n_naming()
    return {
        "rows": n_rows,
        "parts": list(parts.naming_parts()) if n_rows else [],
        "classes": list(parts.known.class_names),
    }


def selection_record(model: LatentMixture) -> dict[str, Any] | None:
    """Return how the number of components was chosen; None where it was given."""
    return None if model.selection_ is None else model.selection_.to_json()


def clustering_scores(
    model: LatentMixture, means: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]
) -> dict[str, float]:
    """Score a model's clusters, and its classes if they have names, on labelled rows.

    Parameters
    ----------
    model : LatentMixture
    means : (N, L)
        Posterior means of the rows.
    labels : (N,) int
        Indices into `class_names`; -1 is unknown and left out.
    class_names : tuple of str

    Returns
    -------
    dict
        Shares in [0, 1] (ARI in [-1, 1]); empty without labelled rows.
    """
    known = labels >= 0
    if not known.any():
        return {}
    responsibilities = model.mixture_.predict_proba(means[known])
    table = metrics.contingency_table(
        responsibilities.argmax(axis=1), labels[known], responsibilities.shape[1], len(class_names)
    )
    scores = {
        "accuracy_hungarian": metrics.hungarian_accuracy(table),
        "nmi": metrics.normalized_mutual_info(table),
        "ari": metrics.adjusted_rand_index(table),
        "purity": metrics.purity(table),
    }
    if hasattr(model, "classes_"):
        names = model.classes_of(model.class_proba_of(responsibilities))
        true = np.asarray(class_names, dtype=str)[labels[known]]
        scores["accuracy_named"] = float(np.mean(names == true))
    return scores


def density_scores(
    model: LatentMixture, X: Rows, means: np.ndarray, n_draws: int
) -> dict[str, Any]:
    """Return the ELBO and its terms on rows, in nats, at KL weight 1 whatever the recipe's.

    `means` are the rows' posterior means, (N, L), which every caller has.

    `reconstruction` is -E_q[log p(x|z)], the cross entropy for grey images. The ELBO stands under
    N(0, I) and again with the fitted mixture as prior; `objective`, what training minimised,
    carries the recipe's KL weight and is no ELBO where that is not 1.
    """
    vae = model.vae_
    bound = vae.draws(X, n_draws)
    # A row far outside what was trained on may have an infinite bound: that is its score.
    with np.errstate(over="ignore", invalid="ignore"):
        reconstruction = float(bound.reconstruction.mean()) - vae.log_jacobian_
        kl = bound.kl.mean(axis=0, dtype=np.float64)
        gap = bound.log_posterior - _log_prior(model.mixture_, bound.z)
        variances = means.var(axis=0)
    return {
        "rows": len(X),
        "draws": n_draws,
        "reconstruction": reconstruction,
        "kl": float(kl.sum()),
        "kl_per_dimension": kl.tolist(),
        "active_dimensions": metrics.active_dimensions(kl, variances),
        "elbo": -reconstruction - float(kl.sum()),
        "kl_mixture_prior": float(gap.mean()),
        "elbo_mixture_prior": -reconstruction - float(gap.mean()),
        "objective": reconstruction + vae.kl_weight_ * float(kl.sum()),
        **weighted_scores(model, X),
    }


def weighted_scores(model: LatentMixture, X: Rows) -> dict[str, Any]:
    """Return mean log p(x) of rows by importance weighting, in nats: of at most `WEIGHTED_ROWS`.

    Under its own name: ``log_likelihood``, or ``cross_entropy`` where the likelihood is that of
    bits and some rows are none: then minus the mean. `standard_error` is that of the draws,
    `standard_error_of_rows` that of having scored no more rows.
    """
    rows = RowView(X, evenly(len(X), WEIGHTED_ROWS))
    # As above, a row may be infinitely far away.
    with np.errstate(over="ignore", invalid="ignore"):
        found = model.log_likelihood(rows, WEIGHTED_DRAWS)
        mean, n_rows = float(found.log_likelihood.mean()), len(rows)
        scores = {
            "rows": n_rows,
            "draws": WEIGHTED_DRAWS,
            "standard_error": float(np.sqrt(np.mean(found.standard_error**2) / n_rows)),
            "standard_error_of_rows": float(found.log_likelihood.std() / np.sqrt(n_rows)),
        }
    measure = LIKELIHOODS[model.vae_.likelihood_].measure
    if measure == "cross entropy" and not _are_bits(model.vae_.in_output_units(rows[:])):
        return {"cross_entropy": {"mean": -mean, **scores}}
    return {"log_likelihood": {"mean": mean, **scores}}


def _are_bits(X: np.ndarray) -> bool:
    return bool(np.all((X == 0) | (X == 1)))


def _log_prior(mixture: GaussianMixture, z: np.ndarray) -> np.ndarray:
    n_rows, n_draws, latent_dim = z.shape
    return mixture.score_samples(z.reshape(-1, latent_dim)).reshape(n_rows, n_draws)
