"""The tables behind a run's galleries: single rows worth a look, and paths through latent space.

    gallery         of each cluster the most typical rows, the least certain, and some at random
    strange         test rows of the largest anomaly scores
    mistakes        test rows that are wrong about their class, the most confident first
    traversals      one latent dimension moved, the others held: what the decoder makes of it
    interpolation   straight lines between the most typical rows of two clusters

Rows are written with their values, in the units the model tells them in, so that whoever draws
them needs the run folder alone; mistakes, which change with the names, by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from latentmix.data import Dataset, RowView
from latentmix.estimators import LatentMixture
from latentmix.models.blocks import blocks
from latentmix.runs.parts import ROWS_PER_ANSWER, Latents, Parts, answers_at, evenly
from latentmix.storage.files import write_csv

KINDS: Final = ("typical", "borderline", "random")

# Numbers in all of a gallery's images: large images, or many clusters, have fewer of each kind.
MOST_VALUES: Final = 400_000
IMAGES_OF_A_KIND: Final = (2, 8)

# Rows of the tables of strange rows and of mistakes, and test rows looked at for strange ones.
MOST_SHOWN: Final = 24
MOST_SCORED: Final = 5000

# Dimensions moved, those of largest variance; places along a path; and how far a dimension goes.
MOST_DIMENSIONS: Final = 12
STEPS: Final = 9
DEVIATIONS: Final = 2.5
MOST_PATHS: Final = 5


def write_galleries(
    model: LatentMixture, latents: Latents, parts: Parts, dataset: Dataset, figures: Path
) -> None:
    """Write the tables that stay as they are when components get other names."""
    members = _members(model, latents.means["train"])
    rows = parts.numbers("train")
    shown = [
        (component, kind, rows[place], f"{members.probabilities[place]:.4f}")
        for component in range(model.mixture_.n_components_)
        for kind, places in zip(KINDS, members.chosen(component, _of_a_kind(model)), strict=True)
        for place in places
    ]
    _write_rows(
        figures / "gallery.csv",
        ("component", "kind", "row", "probability"),
        2,
        shown,
        model,
        dataset,
    )
    test = parts.numbers("test")
    scored = test[evenly(len(test), MOST_SCORED)]
    scores = model.anomaly_scores(RowView(dataset.rows, scored))
    strangest = np.argsort(-scores, kind="stable")[:MOST_SHOWN]
    _write_rows(
        figures / "strange.csv",
        ("row", "anomaly_score"),
        0,
        [(scored[place], f"{scores[place]:.6g}") for place in strangest],
        model,
        dataset,
    )
    means, typical = latents.means["train"], members.most_typical()
    _write_traversals(model, means, typical[0], figures / "traversals.csv")
    _write_interpolation(model, means, typical, rows, figures / "interpolation.csv")


def write_mistakes(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write the wrong test rows that the model is surest of, by number."""
    answers = answers_at(model, latents.means["test"])
    true, numbers = parts.class_names("test"), parts.numbers("test")
    wrong = np.flatnonzero((true != "") & (true != answers.classes))
    surest = wrong[np.argsort(-answers.probabilities[wrong], kind="stable")][:MOST_SHOWN]
    write_csv(
        path,
        ("row", "true", "predicted", "probability"),
        (
            (numbers[at], true[at], answers.classes[at], f"{answers.probabilities[at]:.4f}")
            for at in surest
        ),
    )


class Members(NamedTuple):
    """Rows' components (or clusters), p(k|x) of these, and log p(k) + log p(z|k) of them."""

    components: np.ndarray
    probabilities: np.ndarray
    log_joint: np.ndarray

    def chosen(self, component: int, n_of_a_kind: int) -> list[np.ndarray]:
        """Return places among the rows, of each of `KINDS`."""
        own = np.flatnonzero(self.components == component)
        by_density = own[np.argsort(-self.log_joint[own], kind="stable")]
        by_doubt = own[np.argsort(self.probabilities[own], kind="stable")]
        drawn = np.random.RandomState(component).permutation(own)
        return [places[:n_of_a_kind] for places in (by_density, by_doubt, drawn)]

    def most_typical(self) -> list[int]:
        """Return the densest row of each component that has any, the largest component first."""
        sizes = np.bincount(self.components)
        by_size = np.argsort(-sizes, kind="stable")
        groups = [np.flatnonzero(self.components == k) for k in by_size if sizes[k]]
        return [int(own[self.log_joint[own].argmax()]) for own in groups]


def _members(model: LatentMixture, means: np.ndarray) -> Members:
    """Return what the components say of rows at posterior means (N, L)."""
    found = []
    for block in blocks(len(means), ROWS_PER_ANSWER):
        responsibilities = model.mixture_.predict_proba(means[block])
        largest = responsibilities.max(axis=1)
        log_joint = np.log(largest) + model.mixture_.score_samples(means[block])
        found.append(Members(responsibilities.argmax(axis=1), largest, log_joint))
    return Members(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _of_a_kind(model: LatentMixture) -> int:
    """Return how many rows of a kind a cluster shows."""
    n_values = model.vae_.architecture_.n_features * model.mixture_.n_components_ * len(KINDS)
    least, most = IMAGES_OF_A_KIND
    return int(np.clip(MOST_VALUES // n_values, least, most))


def _write_traversals(model: LatentMixture, means: np.ndarray, typical: int, path: Path) -> None:
    """Write what comes of moving each dimension by some standard deviations, from a typical row."""
    base, deviations = means[typical], means.std(axis=0)
    dimensions = np.argsort(-deviations, kind="stable")[:MOST_DIMENSIONS]
    steps = np.linspace(-DEVIATIONS, DEVIATIONS, STEPS)
    z = np.repeat(base[None], len(dimensions) * STEPS, axis=0)
    moved = np.repeat(dimensions, STEPS)
    by = np.tile(steps, len(dimensions))
    z[np.arange(len(z)), moved] += by * deviations[moved]
    told = [(dimension, f"{step:.4g}") for dimension, step in zip(moved, by, strict=True)]
    _write_values(path, ("dimension", "deviations"), told, model.inverse_transform(z))


def _write_interpolation(
    model: LatentMixture, means: np.ndarray, typical: list[int], rows: np.ndarray, path: Path
) -> None:
    """Write what lies between typical rows of components, each and the next smaller one."""
    pairs = list(pairwise(typical))[:MOST_PATHS]
    shares = np.linspace(0, 1, STEPS, dtype=means.dtype)
    z = [means[a] + share * (means[b] - means[a]) for a, b in pairs for share in shares]
    told = [(rows[a], rows[b], f"{share:.4g}") for a, b in pairs for share in shares]
    path.unlink(missing_ok=True)
    if pairs:
        _write_values(path, ("from_row", "to_row", "share"), told, model.inverse_transform(z))


def _write_rows(
    path: Path,
    header: Sequence[str],
    row_at: int,
    told: Sequence[tuple[object, ...]],
    model: LatentMixture,
    dataset: Dataset,
) -> None:
    """Write rows of the data, whose numbers stand at a place of what is told, with their values."""
    numbers = np.array([each[row_at] for each in told], np.int64)
    _write_values(path, header, told, model.vae_.in_output_units(dataset.rows[numbers]))


def _write_values(
    path: Path, header: Sequence[str], told: Iterable[tuple[object, ...]], values: np.ndarray
) -> None:
    n_features = values.shape[1]
    write_csv(
        path,
        (*header, *(f"v{i}" for i in range(n_features))),
        ((*each, *short(own)) for each, own in zip(told, values, strict=True)),
    )


def short(values: Iterable[float | str]) -> list[str]:
    """Return values as cells: four digits of a number, and text as it is."""
    return [value if isinstance(value, str) else f"{value:.4g}" for value in values]
