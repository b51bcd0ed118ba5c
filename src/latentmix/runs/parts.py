"""The three parts of a data set, and where their rows lie in latent space.

Training rows are used without labels; labelled validation rows name the components; test
rows are scored once. Where only some rows are labelled, every labelled row outside the test
part is used for naming: the fit never saw a label, so training rows name as well as others.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from latentmix.data import Dataset, Split
from latentmix.estimators import LatentMixture
from latentmix.storage.files import write_csv, write_tensors

PARTS: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Parts:
    """A data set and its split."""

    dataset: Dataset
    split: Split

    def numbers(self, part: str) -> np.ndarray:
        """Return the row numbers of a part."""
        numbers: np.ndarray = getattr(self.split, part)
        return numbers

    def rows(self, part: str) -> np.ndarray:
        """Return the rows of a part, (n, D)."""
        return self.dataset.X[self.numbers(part)]

    def labels(self, part: str) -> np.ndarray:
        """Return the class indices of a part, -1 where unknown, (n,)."""
        if self.dataset.labels is None:
            return np.full(len(self.numbers(part)), -1)
        return self.dataset.labels[self.numbers(part)]

    def sizes(self) -> dict[str, int]:
        """Return the number of rows of each part."""
        return {part: len(self.numbers(part)) for part in PARTS}

    def naming_parts(self) -> tuple[str, ...]:
        """Return the parts whose labelled rows name the components."""
        labels = self.dataset.labels
        partly = labels is not None and bool((labels < 0).any())
        return ("train", "validation") if partly else ("validation",)


@dataclass(frozen=True)
class Latents:
    """Posterior means (n, L) of each part, and one draw z of each training row."""

    z: np.ndarray
    means: dict[str, np.ndarray]

    def train(self, kind: str) -> np.ndarray:
        """Return the training rows' latents of a kind: 'z' or 'mean'."""
        return self.z if kind == "z" else self.means["train"]


def encode(model: LatentMixture, parts: Parts, seed: int) -> Latents:
    """Return the latents of every row."""
    train = parts.rows("train")
    z = model.latents_ if model.latents == "z" else model.vae_.sample_posterior(train, seed)
    return Latents(
        z,
        {
            part: model.transform(parts.rows(part))
            if len(parts.numbers(part))
            else np.zeros((0, z.shape[1]), z.dtype)
            for part in PARTS
        },
    )


def name_components(model: LatentMixture, latents: Latents, parts: Parts) -> None:
    """Name a model's components by the labelled rows that are for naming, if there are any."""
    labels = np.concatenate([parts.labels(part) for part in parts.naming_parts()])
    means = np.concatenate([latents.means[part] for part in parts.naming_parts()])
    if (labels >= 0).any():
        names = np.array([*parts.dataset.class_names, ""], dtype=str)
        with warnings.catch_warnings():
            # Components that no labelled row reached stand in the table of clusters.
            warnings.simplefilter("ignore", UserWarning)
            model.label_latents(means, names[labels])


def write_latents(latents: Latents, parts: Parts, out: Path) -> None:
    """Write the latents with their row numbers, so that rows can be named later without data."""
    tensors = {"train_z": latents.z}
    for part in PARTS:
        tensors[f"{part}_mean"] = latents.means[part]
        tensors[f"{part}_rows"] = parts.numbers(part)
    write_tensors(out / "latents.safetensors", tensors)


def write_rows(model: LatentMixture, latents: Latents, parts: Parts, path: Path) -> None:
    """Write what was found for every row of the data set, in its order."""
    dataset = parts.dataset
    found: list[tuple[object, ...]] = []
    for part in PARTS:
        numbers = parts.numbers(part)
        if not len(numbers):
            continue
        responsibilities = model.mixture_.predict_proba(latents.means[part])
        components = responsibilities.argmax(axis=1)
        classes, shares = np.full(len(numbers), ""), np.full(len(numbers), "")
        if hasattr(model, "classes_"):
            probabilities = responsibilities @ model.class_probabilities_
            classes = model.classes_of(probabilities)
            shares = np.array([f"{p:.4f}" for p in probabilities.max(axis=1)])
        ids = numbers if dataset.row_ids is None else [dataset.row_ids[i] for i in numbers]
        found += list(
            zip(numbers, ids, [part] * len(numbers), components, classes, shares, strict=True)
        )
    found.sort(key=lambda row: int(row[0]))  # type: ignore[call-overload]
    write_csv(path, ("row", "id", "part", "component", "class", "probability"), found)
