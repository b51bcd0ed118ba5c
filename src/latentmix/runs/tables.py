"""The tables behind the pictures: one CSV a figure, written before any figure is drawn."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentmix import metrics
from latentmix.data import Dataset
from latentmix.estimators import LatentMixture
from latentmix.estimators.cluster_selection import ClusterRow
from latentmix.runs.galleries import short, write_galleries, write_mistakes
from latentmix.runs.parts import Latents, Parts, answers_at, naming_evidence, write_rows
from latentmix.runs.recipe import Recipe
from latentmix.runs.trust import class_proba_over
from latentmix.storage.files import null_where_not_finite, write_bytes, write_csv, write_json
from latentmix.training.events import EpochEnd

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

MOST_POINTS = 5000
SAMPLES_PER_COMPONENT = 8
# Classes that draws are shown of.
MOST_CLASSES = 50
# Fewer rows have too few neighbours.
FEWEST_OF_UMAP = 50
# Lines of the table of the risk-coverage curve.
MOST_COVERAGES = 500
# So many show a component's spread to a hundredth.
DRAWS_OF_A_COMPONENT = 5000
# Draws of so many labels out of those that named the components.
DRAWS_OF_LABELS = 5


def write_history(models: Sequence[LatentMixture], out: Path) -> None:
    """Write history.jsonl, and the tables of the loss and of every mixture's EM iterations."""
    history: list[EpochEnd] = models[0].vae_.history_
    lines = []
    rows = []
    for record in history:
        entry = asdict(record)
        # Times differ from run to run; metrics.json has their sum.
        del entry["seconds"]
        lines.append(json.dumps(null_where_not_finite(entry), sort_keys=True))
        for part, means in (("train", record.train), ("validation", record.validation)):
            if means is not None:
                rows.append((record.epoch, part, means.reconstruction, means.kl, means.objective))
    write_bytes(out / "history.jsonl", "".join(f"{line}\n" for line in lines).encode())
    write_csv(
        out / "figures" / "loss.csv", ("epoch", "split", "reconstruction", "kl", "objective"), rows
    )
    write_csv(
        out / "figures" / "em.csv",
        ("n_components", "latents", "iteration", "log_likelihood"),
        (
            (model.mixture_.n_components_, model.latents, iteration, bound)
            for model in models
            for iteration, bound in enumerate(model.mixture_.lower_bounds_, start=1)
        ),
    )


def write_selection(model: LatentMixture, out: Path) -> None:
    """Write the table of the numbers of components that were tried, if one was chosen."""
    selection = model.selection_
    if selection is None or not selection.table:
        return
    write_csv(
        out / "figures" / "selection.csv",
        (*ClusterRow._fields, "chosen"),
        ((*row, int(row.n_components == selection.n_components)) for row in selection.table),
    )


def write_tables(
    model: LatentMixture,
    latents: Latents,
    parts: Parts,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
) -> None:
    """Write rows.csv and the tables of what the model shows: images, clusters, latent space."""
    figures = out / "figures"
    shown = parts.numbers("test")[: recipe.report.images]
    _write_reconstructions(model, dataset, shown, figures / "reconstructions.csv")
    names = dataset.feature_names
    write_json(
        figures / "figures.json",
        {
            "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
            "name": dataset.name,
            "recipe": recipe.name,
            "feature_names": None if names is None else list(names),
            "categories": [list(column.categories) for column in dataset.columns or ()],
            "n_components": model.mixture_.n_components_,
            "latents": model.latents,
            **explained_variance(latents.train(model.latents)),
        },
    )
    write_selection(model, out)
    _write_ellipses(model, latents, figures / "ellipses.csv")
    _write_umap(latents.means["test"], figures / "umap.csv")
    write_galleries(model, latents, parts, dataset, figures)
    write_named_tables(model, latents, parts, out)


def write_named_tables(model: LatentMixture, latents: Latents, parts: Parts, out: Path) -> None:
    """Write the tables that change when components get names."""
    figures = out / "figures"
    write_rows(model, latents, parts, out / "rows.csv")
    _write_latent_space(model, latents, parts, figures / "latent_space.csv")
    _write_samples(model, figures / "samples.csv")
    _write_class_samples(model, figures / "class_samples.csv")
    _write_clusters(model, latents, parts, figures / "clusters.csv")
    of_classes: dict[str, Callable[[LatentMixture, Latents, Parts, Path], None]] = {
        "confusion": _write_confusion,
        "reliability": _write_reliability,
        "risk_coverage": _write_risk_coverage,
        "labels_spent": _write_labels_spent,
        "mistakes": write_mistakes,
    }
    for name, write in of_classes.items():
        path = figures / f"{name}.csv"
        path.unlink(missing_ok=True)
        if hasattr(model, "classes_") and (parts.labels("test") >= 0).any():
            write(model, latents, parts, path)


def _write_latent_space(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Project test rows on the first two principal components of the training latents."""
    pca = map_of(latents.train(model.latents))
    means = latents.means["test"][:MOST_POINTS]
    points = np.zeros((len(means), 2))
    if len(means):
        points[:, : pca.n_components_] = pca.transform(means)
    answers = answers_at(model, means)
    true = parts.class_names("test")[:MOST_POINTS]
    write_csv(
        path,
        ("pc1", "pc2", "cluster", "predicted", "true"),
        (
            (f"{a:.5f}", f"{b:.5f}", component, predicted, name)
            for (a, b), component, predicted, name in zip(
                points, answers.components, answers.classes, true, strict=True
            )
        ),
    )


def _write_ellipses(model: LatentMixture, latents: Latents, path: Path) -> None:
    """Write where each component lies on those axes: mean and covariance of its draws there."""
    pca, random = map_of(latents.train(model.latents)), np.random.RandomState(0)
    rows = []
    for component in range(model.mixture_.n_components_):
        z = model.mixture_.draw(np.full(DRAWS_OF_A_COMPONENT, component), random)
        seen = np.zeros((len(z), 2))
        seen[:, : pca.n_components_] = pca.transform(z)
        (one, both), (_, other) = np.cov(seen.T)
        rows.append((component, *short([*seen.mean(axis=0), one, other, both])))
    write_csv(path, ("component", "pc1", "pc2", "variance1", "variance2", "covariance"), rows)


def write_kl(kl_per_dimension: Sequence[float | None], out: Path) -> None:
    """Write the table of the KL term of each latent dimension, in nats; None was not finite."""
    write_csv(
        out / "figures" / "kl.csv",
        ("dimension", "kl"),
        ((n, "" if kl is None else f"{kl:.6g}") for n, kl in enumerate(kl_per_dimension)),
    )


def explained_variance(train: np.ndarray) -> dict[str, list[float]]:
    """Return the share of the training latents' variance along both axes of the projection."""
    return {"explained_variance_ratio": map_of(train).explained_variance_ratio_.tolist()}


def map_of(train: np.ndarray) -> PCA:
    """Return the projection of the latent map: two principal components of training latents."""
    from sklearn.decomposition import PCA  # noqa: PLC0415  # slow, and needed after training

    pca = PCA(n_components=min(2, train.shape[1]), svd_solver="covariance_eigh")
    return pca.fit(train)


def _write_reconstructions(
    model: LatentMixture, dataset: Dataset, numbers: np.ndarray, path: Path
) -> None:
    rows = dataset.rows[numbers]
    inputs = model.vae_.in_output_units(rows)
    outputs = model.reconstruct(rows)
    pairs = [
        (number, kind, *short(values))
        for number, before, after in zip(numbers, inputs, outputs, strict=True)
        for kind, values in (("input", before), ("output", after))
    ]
    write_csv(path, ("row", "kind", *_value_columns(rows.shape[1])), pairs)


def _write_samples(model: LatentMixture, path: Path) -> None:
    """Draw from every component: the same draws at every call, other ones for each component."""
    weights, names = model.mixture_.weights_, _component_names(model)
    rows = []
    for component, weight in enumerate(weights):
        drawing = copy.copy(model).set_params(random_state=component)
        for values in drawing.sample(SAMPLES_PER_COMPONENT, component=component):
            rows.append((component, f"{weight:.6f}", names[component].name, *short(values)))
    n_features = model.vae_.architecture_.n_features
    write_csv(path, ("component", "weight", "class", *_value_columns(n_features)), rows)


def _write_class_samples(model: LatentMixture, path: Path) -> None:
    """Draw from every class, if there are names: other draws for each class."""
    path.unlink(missing_ok=True)
    if not hasattr(model, "classes_"):
        return
    rows = []
    for number, name in enumerate(model.classes_[:MOST_CLASSES]):
        drawing = copy.copy(model).set_params(random_state=number)
        drawn = drawing.sample(SAMPLES_PER_COMPONENT, label=name)
        rows += [(name, *short(values)) for values in drawn]
    write_csv(path, ("class", *_value_columns(model.vae_.architecture_.n_features)), rows)


def _write_umap(means: np.ndarray, path: Path) -> None:
    """Place the rows of the latent map by UMAP, where the extra is installed."""
    if find_spec("umap") is None or len(means) < FEWEST_OF_UMAP:
        return
    with warnings.catch_warnings():
        # It asks for Tensorflow, which is of no use here.
        warnings.simplefilter("ignore", ImportWarning)
        # That a seed leaves one thread is what a run asks for: the same bits again.
        warnings.simplefilter("ignore", UserWarning)
        import umap  # noqa: PLC0415  # an extra, and slow to import

        places = umap.UMAP(random_state=0).fit_transform(means[:MOST_POINTS])
    write_csv(path, ("x", "y"), ((f"{x:.4f}", f"{y:.4f}") for x, y in places))


def _write_confusion(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    names = parts.known.class_names
    index = {name: number for number, name in enumerate(names)}
    labels = parts.labels("test")
    known = labels >= 0
    answers = answers_at(model, latents.means["test"][known])
    predicted = np.array([index[name] for name in answers.classes])
    matrix = metrics.confusion_matrix(labels[known], predicted, len(names))
    write_csv(
        path,
        ("true", "predicted", "count"),
        ((names[i], names[j], matrix[i, j]) for i in range(len(names)) for j in range(len(names))),
    )


def _write_reliability(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write how often answers are right beside how probable they are said, calibrated and not."""
    responsibilities = model.mixture_.predict_proba(latents.means["test"])
    names, labels = parts.known.class_names, parts.labels("test")
    of_classes = {
        "calibrated": model.class_proba_of(responsibilities),
        "uncalibrated": responsibilities @ model.class_probs_,
    }
    rows = []
    for kind, proba in of_classes.items():
        table = metrics.reliability_table(class_proba_over(model, proba, names), labels)
        rows += [
            (kind, *short([low, high]), n_rows, *short([confidence, accuracy]))
            for low, high, n_rows, confidence, accuracy in zip(*table, strict=True)
            if n_rows
        ]
    write_csv(path, ("kind", "low", "high", "rows", "confidence", "accuracy"), rows)


def _write_labels_spent(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write how right the classes of the test rows are, had fewer labels named the components."""
    evidence = naming_evidence(model, latents, parts)
    if evidence is None:
        return
    n_rows, labels = len(evidence.indices), parts.labels("test")
    spent = [n for power in range(1, 8) for n in (10**power, 2 * 10**power, 5 * 10**power)]
    responsibilities = model.mixture_.predict_proba(latents.means["test"])
    true = np.asarray(parts.known.class_names)[labels]
    named, rows = copy.copy(model), []
    for n_labels in [*(n for n in spent if n < n_rows), n_rows]:
        for draw in range(DRAWS_OF_LABELS if n_labels < n_rows else 1):
            chosen = np.random.RandomState(draw).permutation(n_rows)[:n_labels]
            with warnings.catch_warnings():
                # That few labels do not reach every component is what the table shows.
                warnings.simplefilter("ignore", UserWarning)
                named.name_by(evidence.of(chosen))
            right = named.classes_of(named.class_proba_of(responsibilities)).astype(str) == true
            rows.append((n_labels, draw, f"{np.mean(right[labels >= 0]):.6f}"))
    write_csv(path, ("labels", "draw", "accuracy"), rows)


def _write_risk_coverage(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write what share of the most confident test rows is wrong, for some hundred coverages."""
    proba = model.class_proba_of(model.mixture_.predict_proba(latents.means["test"]))
    names = parts.known.class_names
    curve = metrics.risk_coverage(class_proba_over(model, proba, names), parts.labels("test"))
    last = len(curve.risk) - 1
    chosen = np.unique(np.linspace(0, last, MOST_COVERAGES).round().astype(int))
    write_csv(
        path,
        ("coverage", "error", "confidence"),
        ((f"{c:.6f}", f"{r:.6f}", f"{p:.6f}") for c, r, p in np.stack(curve, axis=1)[chosen]),
    )


def _write_clusters(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    n_components = model.mixture_.n_components_
    train = answers_at(model, latents.means["train"]).components
    sizes = np.bincount(train, minlength=n_components)
    test = answers_at(model, latents.means["test"]).components
    known = parts.labels("test") >= 0
    table = metrics.contingency_table(
        test, parts.labels("test"), n_components, max(1, len(parts.known.class_names))
    )
    purity = metrics.purity_per_component(table)
    names = _component_names(model)
    write_csv(
        path,
        (
            "component",
            "weight",
            "train_rows",
            "class",
            "class_probability",
            "labelled_rows",
            "purity",
        ),
        (
            (
                k,
                f"{model.mixture_.weights_[k]:.6f}",
                sizes[k],
                names[k].name,
                names[k].probability,
                int(table[k].sum()),
                f"{purity[k]:.4f}" if known.any() and table[k].sum() else "",
            )
            for k in range(n_components)
        ),
    )


class _Name:
    """A component's name and the probability it stands for; blank where it has none."""

    def __init__(self, name: str, probability: str) -> None:
        self.name, self.probability = name, probability


def _component_names(model: LatentMixture) -> list[_Name]:
    if not hasattr(model, "classes_"):
        return [_Name("", "")] * model.mixture_.n_components_
    best = model.class_probs_.argmax(axis=1)
    shares = model.class_probs_.max(axis=1)
    unnamed = set(model.unnamed_components_.tolist())
    return [
        _Name("", "") if k in unnamed else _Name(str(model.classes_[c]), f"{share:.4f}")
        for k, (c, share) in enumerate(zip(best, shares, strict=True))
    ]


def _value_columns(n_features: int) -> list[str]:
    return [f"v{i}" for i in range(n_features)]
