"""What a run found, in a few lines of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TITLES = {
    "accuracy_named": "accuracy of p(y|x), named by labelled rows",
    "accuracy_hungarian": "accuracy after Hungarian match",
    "nmi": "normalised mutual information",
    "ari": "adjusted Rand index",
    "purity": "purity",
}


def summary_of(metrics: dict[str, Any], folder: Path) -> str:
    """Return the summary of a run from its metrics: scores, density, and where to look."""
    lines = [
        "",
        *_score_lines(metrics),
        *_trust_lines(metrics.get("trust", {})),
        "",
        *_density_lines(metrics["test"]),
        *_selection_lines(metrics.get("selection")),
        _fit_line(metrics["scores"][0]),
        *(f"Warning: {message}" for message in metrics.get("warnings", ())),
    ]
    if not metrics["naming"]["rows"]:
        lines.append(
            "No labelled row named the clusters. To name them: "
            f"latentmix label {folder} FILE.csv (row number or file name, label)"
        )
    return "\n".join([*lines, f"Pictures: {folder / 'figures'}  Every row: {folder / 'rows.csv'}"])


def scores_text(scores: dict[str, Any]) -> str:
    """Return the scores of `evaluate_run` as lines of name and value."""
    part = "test rows" if scores["part"] == "test" else "rows"
    lines = [f"{scores['rows']:,} {part}, {scores['labelled_rows']:,} of them labelled"]
    lines += [f"{title:<44}{scores[key]:.4f}" for key, title in _TITLES.items() if key in scores]
    lines += _lines_on_rows(scores["trust"], "these rows")
    return "\n".join([*lines, *_density_lines(scores["density"])])


def _score_lines(metrics: dict[str, Any]) -> list[str]:
    """Return the table of test scores, a line for each mixture; none without labelled test rows."""
    scored = [entry for entry in metrics["scores"] if "accuracy_hungarian" in entry]
    naming = metrics["naming"]
    by = f"Clusters named by {naming['rows']:,} labelled rows" if naming["rows"] else ""
    if not scored:
        return [by or f"{metrics['scores'][0]['n_components']} clusters found"]
    lines = [
        *([by] if by else []),
        f"Accuracy on {scored[0]['labelled_rows']:,} labelled test rows",
        "components  fitted to  named  Hungarian    NMI    ARI",
    ]
    for entry in scored:
        named = f"{entry['accuracy_named']:.3f}" if "accuracy_named" in entry else "-"
        lines.append(
            f"{entry['n_components']:>10}  {entry['latents']:<9}  {named:>5}  "
            f"{entry['accuracy_hungarian']:>9.3f}  {entry['nmi']:>5.3f}  {entry['ari']:>5.3f}"
        )
    return lines


def _selection_lines(selection: dict[str, Any] | None) -> list[str]:
    """Return how the number of components was chosen, in a line; none where it was given."""
    return [] if selection is None else [selection["sentence"]]


def _fit_line(own: dict[str, Any]) -> str:
    """Return how the run's own mixture was fitted; runs of earlier versions knew EM alone."""
    if own.get("n_rounds"):
        rounds = "1 round" if own["n_rounds"] == 1 else f"{own['n_rounds']} rounds"
        return f"Network and {own['n_components']} components trained together in {rounds}"
    how = "converged" if own["converged"] else "stopped without converging"
    return (
        f"EM of the run's own {own['n_components']} components {how} after {own['n_iter']} "
        "iterations"
    )


def _trust_lines(trust: dict[str, Any]) -> list[str]:
    """Return what labels say of the classes: those that named them, then those of test rows."""
    naming = trust.get("naming", {})
    lines = []
    if "accuracy" in naming:
        lines = [f"Accuracy by the labels that named the clusters: {_share(naming)}"]
    return [*lines, *_lines_on_rows(trust.get("test", {}), "the test rows")]


def _lines_on_rows(found: dict[str, Any], which: str) -> list[str]:
    if not found:
        return []
    return [
        f"Accuracy on {which}: {_share(found)}; of the surest 90 % {found['error_at_90']:.2%} "
        "are wrong",
        f"Confidence is {found['ece']:.3f} from accuracy on average (ECE; "
        f"{found['ece_uncalibrated']:.3f} before calibration)",
    ]


def _share(found: dict[str, Any]) -> str:
    return f"{found['accuracy']:.3f} (95 %: {found['low']:.3f} to {found['high']:.3f})"


def _density_lines(test: dict[str, Any]) -> list[str]:
    return [_bound_line(test), *_weighted_lines(test)]


def _weighted_lines(test: dict[str, Any]) -> list[str]:
    """Return the line of the importance-weighted figure, under its own name, if there is one."""
    titles = {
        "log_likelihood": "Log-likelihood",
        "cross_entropy": "Cross entropy of grey pixels, no likelihood,",
    }
    return [
        f"{title} {_number(test[name]['mean'])} nats a row by importance weighting "
        f"(± {_number(test[name]['standard_error'])} of {test[name]['draws']} draws, "
        f"± {_number(test[name]['standard_error_of_rows'])} of {test[name]['rows']:,} rows)"
        for name, title in titles.items()
        if name in test
    ]


def _bound_line(test: dict[str, Any]) -> str:
    said = {name: _number(test[name]) for name in ("elbo", "reconstruction", "kl")}
    return (
        f"ELBO {said['elbo']} nats a row (reconstruction {said['reconstruction']}, "
        f"KL {said['kl']}); {_number(test['elbo_mixture_prior'])} with the mixture as prior; "
        f"{test['active_dimensions']} of {len(test['kl_per_dimension'])} dimensions active"
    )


def _number(value: float | None) -> str:
    """Return two decimals; JSON has null for what was infinite or NaN."""
    return "not finite" if value is None else f"{value:.2f}"
