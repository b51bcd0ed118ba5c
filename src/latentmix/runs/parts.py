"""The three parts of a data set, and where their rows lie in latent space.

Training rows are used without labels; labelled validation rows name the components; test
rows are scored once. Where only some rows are labelled, every labelled row outside the test
part is used for naming: the fit never saw a label, so training rows name as well as others. A
recipe may have it otherwise: labels of so many training rows alone, or labels that teach the fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from latentmix.data import Dataset, Labels, Rows, RowView, Split
from latentmix.data.columns import part_of
from latentmix.errors import InputError
from latentmix.estimators import LatentMixture
from latentmix.estimators.naming import Evidence
from latentmix.models.blocks import blocks, pieces
from latentmix.storage.files import write_csv, write_tensors
from latentmix.storage.manifest import Sealed
from latentmix.training.elsewhere import cluster_in_use

PARTS: Final = ("train", "validation", "test")

# K numbers a row are more than its latents: not of all rows at once.
ROWS_PER_ANSWER: Final = 1 << 16


@dataclass(frozen=True)
class Parts:
    """Which row belongs to which part, what it is called, and its label as far as known.

    `shown`, (N,) of bool, are the rows whose labels may be used, if that is not left to the parts.
    """

    split: Split
    known: Labels
    row_ids: Sequence[str] | None
    shown: np.ndarray | None = None

    def numbers(self, part: str) -> np.ndarray:
        """Return the row numbers of a part."""
        numbers: np.ndarray = getattr(self.split, part)
        return numbers

    def labels(self, part: str) -> np.ndarray:
        """Return the class indices of a part, -1 where unknown, (n,)."""
        return np.asarray(self.known.labels[self.numbers(part)])

    def class_names(self, part: str) -> np.ndarray:
        """Return the known class names of a part, '' where unknown, (n,)."""
        names = np.array([*self.known.class_names, ""], dtype=str)
        return np.asarray(names[self.labels(part)])

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each part."""
        return {part: len(self.numbers(part)) for part in PARTS}

    def naming_parts(self) -> tuple[str, ...]:
        """Return the parts whose labelled rows name the components."""
        partly = bool((self.known.labels < 0).any()) or self.shown is not None
        return ("train", "validation") if partly else ("validation",)

    def shown_names(self, part: str) -> np.ndarray:
        """Return the class names of a part that may be used, '' elsewhere, (n,)."""
        names = self.class_names(part)
        return names if self.shown is None else np.where(self.shown[self.numbers(part)], names, "")

    def n_naming(self) -> int:
        """Return how many labelled rows name the components."""
        return sum(int((self.shown_names(part) != "").sum()) for part in self.naming_parts())

    def showing(self, n_rows: int | None, seed: int) -> Parts:
        """Return the parts with labels shown of so many training rows, or of all but test rows.

        Raises
        ------
        InputError
            If fewer training rows have a label.
        """
        outside = np.concatenate([self.numbers(part) for part in ("train", "validation")])
        if n_rows is not None:
            train = self.numbers("train")
            outside = train[self.known.labels[train] >= 0]
            if len(outside) < n_rows:
                raise InputError(
                    f"labels.n_rows={n_rows} but {len(outside)} training rows have a label. Ask "
                    "for fewer, or label more rows."
                )
            outside = np.random.RandomState(seed).permutation(outside)[:n_rows]
        shown = np.zeros(len(self.known.labels), bool)
        shown[outside] = True
        return replace(self, shown=shown)


def parts_of(dataset: Dataset, split: Split) -> Parts:
    """Return the parts of a data set."""
    labels = dataset.labels if dataset.labels is not None else np.full(len(dataset.X), -1)
    return Parts(split, Labels(labels, dataset.class_names), dataset.row_ids)


@dataclass(frozen=True)
class Latents:
    """Posterior means (n, L) of each part, and one draw z of each training row."""

    z: np.ndarray
    means: dict[str, np.ndarray]

    def train(self, kind: str) -> np.ndarray:
        """Return the training rows' latents of a kind: 'z' or 'mean'."""
        return self.z if kind == "z" else self.means["train"]


def evenly(n_rows: int, most: int) -> np.ndarray:
    """Return places among so many rows, evenly from the first to the last, `most` at most."""
    return np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(int)


def encode(model: LatentMixture, X: Rows, parts: Parts, seed: int) -> Latents:
    """Return the latents of every row of X."""
    rows = {part: RowView(X, parts.numbers(part)) for part in PARTS}
    z = model.latents_ if model.latents == "z" else model.vae_.sample_posterior(rows["train"], seed)
    nothing = np.zeros((0, z.shape[1]), z.dtype)
    means = {part: _means(model, x) if len(x) else nothing for part, x in rows.items()}
    return Latents(z, means)


def _means(model: LatentMixture, rows: Rows) -> np.ndarray:
    """Return posterior means (N, L): worked out here, or by the cluster in use."""
    if cluster_in_use() is None:
        return model.transform(rows)
    from latentmix.training.cluster import dealt_out  # noqa: PLC0415  # an extra

    dealt = ((cut.start, part_of(rows, cut)) for cut in pieces(rows))
    found = {first: means for (first, _), means in dealt_out(_means_of, model, dealt)}
    return np.concatenate([found[first] for first in sorted(found)])


def _means_of(model: LatentMixture, piece: tuple[int, Rows]) -> np.ndarray:
    return model.transform(piece[1])


def naming_evidence(model: LatentMixture, latents: Latents, parts: Parts) -> Evidence | None:
    """Return the labelled rows that are for naming as a model sees them; None without any."""
    if not parts.n_naming():
        return None
    names = np.concatenate([parts.shown_names(part) for part in parts.naming_parts()])
    means = np.concatenate([latents.means[part] for part in parts.naming_parts()])
    return model.evidence_at(means, names)


def name_components(model: LatentMixture, latents: Latents, parts: Parts) -> None:
    """Name a model's components by the labelled rows that are for naming, if there are any."""
    evidence = naming_evidence(model, latents, parts)
    if evidence is None:
        return
    with warnings.catch_warnings():
        # Components that no labelled row reached stand in the table of clusters.
        warnings.simplefilter("ignore", UserWarning)
        model.name_by(evidence)


def write_latents(latents: Latents, parts: Parts, out: Path) -> None:
    """Write the latents with their row numbers, so that rows can be named later without data."""
    tensors = {"train_z": latents.z}
    for part in PARTS:
        tensors[f"{part}_mean"] = latents.means[part]
        tensors[f"{part}_rows"] = parts.numbers(part)
    write_tensors(out / "latents.safetensors", tensors)


def read_latents(sealed: Sealed) -> tuple[Latents, Split]:
    """Return what `write_latents` wrote."""
    tensors = sealed.tensors("latents.safetensors")
    means = {part: tensors[f"{part}_mean"] for part in PARTS}
    split = Split(*(tensors[f"{part}_rows"] for part in PARTS))
    return Latents(tensors["train_z"], means), split


def write_rows(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write what was found for every row of the data set, in its order."""
    numbers = np.concatenate([parts.numbers(part) for part in PARTS])
    part_of = np.repeat(PARTS, [len(parts.numbers(part)) for part in PARTS])
    known = np.concatenate([parts.class_names(part) for part in PARTS])
    answers = answers_at(model, np.concatenate([latents.means[part] for part in PARTS]))
    ids = numbers if parts.row_ids is None else [parts.row_ids[number] for number in numbers]
    header = ("row", "id", "part", "cluster", "label", "probability", "known_label")
    rows = (
        (
            numbers[at],
            ids[at],
            part_of[at],
            answers.components[at],
            answers.classes[at],
            f"{answers.probabilities[at]:.4f}",
            known[at],
        )
        for at in np.argsort(numbers)
    )
    write_csv(path, header, rows)


@dataclass(frozen=True)
class Answers:
    """The component and the class name of rows, ('' without names), and how probable it is.

    `probabilities` are those of the class, p(y|x), or without names of the component, p(k|x).
    """

    components: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


def answers_at(model: LatentMixture, means: np.ndarray) -> Answers:
    """Return the answers at posterior means (N, L)."""
    found = [_answers_at(model, means[block]) for block in blocks(len(means), ROWS_PER_ANSWER)]
    if not found:
        return Answers(np.zeros(0, int), np.zeros(0, str), np.zeros(0))
    return Answers(
        np.concatenate([some.components for some in found]),
        np.concatenate([some.classes for some in found]),
        np.concatenate([some.probabilities for some in found]),
    )


def _answers_at(model: LatentMixture, means: np.ndarray) -> Answers:
    responsibilities = model.mixture_.predict_proba(means)
    components = responsibilities.argmax(axis=1)
    if not hasattr(model, "classes_"):
        return Answers(components, np.full(len(means), ""), responsibilities.max(axis=1))
    of_classes = model.class_proba_of(responsibilities)
    return Answers(components, model.classes_of(of_classes).astype(str), of_classes.max(axis=1))
