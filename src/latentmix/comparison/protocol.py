"""Who sees what: a method gets training rows, the scorer alone has labels.

`separate` takes a data set apart, once. On one side are rows without labels, which go to a
method's process as files; on the other labels, which never leave this one. What a method says
of validation and test rows comes back as `Predictions`, hashed before any label is looked at,
and only the scorer takes these. Validation and test labels are of two types, so that code
which chooses by the first cannot be handed the second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentmix import metrics
from latentmix.data import Dataset, RowView, Split
from latentmix.errors import InputError
from latentmix.kernels.naming import name_components

PARTS = ("train", "validation", "test")

# Weight, in rows, of the prior on p(y|k), as the recipes have it.
SMOOTHING = 1.0

# Rows are shuffled by this, whatever the run's seed: a folder of images is read class by class,
# and the order of its rows would tell their labels.
_SEED_OF_ORDER = 0

_ROWS_PER_BLOCK = 1 << 12


@dataclass(frozen=True, eq=False)
class Training:
    """All that a method is given: training rows without labels, and what is known of the data.

    Attributes
    ----------
    X : (N, D)
        Bytes, or floats.
    n_components : int or None
        How many clusters are asked for, K; None where the method is to choose.
    seed : int
    image_shape : tuple of int or None
        (H, W) or (H, W, C); None for tables.
    unit_interval : bool
        Whether floats are declared to lie in [0, 1].
    """

    X: np.ndarray
    n_components: int | None
    seed: int
    image_shape: tuple[int, ...] | None = None
    unit_interval: bool = False

    @property
    def bounded(self) -> bool:
        """Whether values are intensities: bytes, or floats in [0, 1], of images or declared."""
        if self.X.dtype == np.uint8 or self.unit_interval:
            return True
        return self.image_shape is not None and self.X.min() >= 0 and self.X.max() <= 1


@dataclass(frozen=True, eq=False)
class Predictions:
    """The component of each validation and test row, in [0, K), hashed."""

    validation: np.ndarray
    test: np.ndarray
    n_components: int
    sha256: str


def sealed(validation: np.ndarray, test: np.ndarray, n_components: int) -> Predictions:
    """Return predictions with their SHA-256: from here on they are what is scored.

    Raises
    ------
    InputError
        If they are no whole numbers in [0, K).
    """
    for part, found in (("validation", validation), ("test", test)):
        whole = found.ndim == 1 and np.issubdtype(found.dtype, np.integer)
        if not whole or (len(found) and not 0 <= found.min() <= found.max() < n_components):
            raise InputError(
                f"The {part} predictions are of {found.dtype} and shape {found.shape}. Expected "
                f"one component a row, whole numbers from 0 to {n_components - 1}."
            )
    both = (np.ascontiguousarray(found, np.int64) for found in (validation, test))
    digest = hashlib.sha256(b"".join(found.tobytes() for found in both))
    return Predictions(validation, test, n_components, digest.hexdigest())


@dataclass(frozen=True, eq=False)
class ValidationLabels:
    """Class numbers of the validation rows, -1 where unknown: for names and for choices."""

    labels: np.ndarray
    n_classes: int

    @property
    def n_known(self) -> int:
        """How many rows have a label."""
        return int((self.labels >= 0).sum())


@dataclass(frozen=True, eq=False)
class ScoringLabels:
    """Class numbers of the test rows, -1 where unknown: for scores alone."""

    labels: np.ndarray
    n_classes: int


@dataclass(frozen=True)
class Scores:
    """How well predictions match the test labels, shares in [0, 1] (ARI in [-0.5, 1]).

    `named_accuracy` is that of the classes which `naming_labels` validation labels gave the
    components; None without any.
    """

    accuracy: float
    nmi: float
    ari: float
    named_accuracy: float | None
    naming_labels: int


class Scorer:
    """Holds the labels of a data set's split, and scores each run's predictions once."""

    def __init__(self, validation: ValidationLabels, test: ScoringLabels) -> None:
        self.validation = validation
        self._test = test
        self._scored: set[str] = set()

    def score(self, run: str, predictions: Predictions) -> Scores:
        """Score the test rows of a run.

        Raises
        ------
        RuntimeError
            If that run was scored before.
        """
        if run in self._scored:
            raise RuntimeError(f"{run} was scored before. Test rows are scored once a run.")
        self._scored.add(run)
        found, labels, n_classes = predictions.test, self._test.labels, self._test.n_classes
        table = metrics.contingency_table(found, labels, predictions.n_components, n_classes)
        named = None
        if self.validation.n_known:
            classes = class_of_components(
                predictions.validation, predictions.n_components, self.validation
            )
            named = metrics.accuracy(classes[found], labels)
        return Scores(
            metrics.hungarian_accuracy(table),
            metrics.normalized_mutual_info(table),
            metrics.adjusted_rand_index(table),
            named,
            self.validation.n_known,
        )


def class_of_components(
    validation: np.ndarray, n_components: int, labels: ValidationLabels
) -> np.ndarray:
    """Return the most probable class of each component, (K,), named by the validation rows.

    Every method is named by the components it predicts, whether it could say p(k|x) or not.
    """
    known = labels.labels >= 0
    one_hot = np.eye(labels.n_classes)[labels.labels[known]]
    naming = name_components(np.eye(n_components)[validation[known]], one_hot, SMOOTHING)
    return np.asarray(naming.class_probs.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class UnlabelledRows:
    """The rows of a split's parts, in a shuffled order, and what is known of them all."""

    name: str
    parts: dict[str, RowView]
    image_shape: tuple[int, ...] | None


def separate(dataset: Dataset, split: Split) -> tuple[UnlabelledRows, Scorer]:
    """Take a data set apart: rows without labels for methods, labels for the scorer.

    Raises
    ------
    InputError
        If no test row has a label.
    """
    if dataset.columns is not None:
        raise InputError(
            f"{dataset.source} has columns of several kinds, and methods are compared on numbers "
            "alone. Expected columns of numbers; leave the others out, or run a recipe by itself."
        )
    random = np.random.default_rng(_SEED_OF_ORDER)
    numbers = {part: random.permutation(getattr(split, part)) for part in PARTS}
    rows = {part: RowView(dataset.X, numbers[part]) for part in PARTS}
    labels = dataset.labels
    if labels is None or not (labels[numbers["test"]] >= 0).any():
        raise InputError(
            f"{dataset.source} has no labelled test rows. Expected labels, to score methods by; "
            "`latentmix run` needs none."
        )
    n_classes = len(dataset.class_names)
    scorer = Scorer(
        ValidationLabels(labels[numbers["validation"]], n_classes),
        ScoringLabels(labels[numbers["test"]], n_classes),
    )
    return UnlabelledRows(dataset.name, rows, dataset.image_shape), scorer


@dataclass(frozen=True)
class RowFiles:
    """Where the rows of each part lie, as .npy files without labels, and their SHA-256."""

    name: str
    paths: dict[str, Path]
    sha256: dict[str, str]
    n_rows: dict[str, int]
    image_shape: tuple[int, ...] | None


def write_rows(rows: UnlabelledRows, folder: Path) -> RowFiles:
    """Write the rows of each part into a folder, for a method's process to read."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {part: folder / f"{part}.npy" for part in PARTS}
    hashes = {part: _write_part(rows.parts[part], paths[part]) for part in PARTS}
    n_rows = {part: len(rows.parts[part]) for part in PARTS}
    return RowFiles(rows.name, paths, hashes, n_rows, rows.image_shape)


def _write_part(rows: RowView, path: Path) -> str:
    """Write rows block by block, as they may be more than memory holds, and return their hash."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), _ROWS_PER_BLOCK):
            content = rows[start : start + _ROWS_PER_BLOCK].tobytes()
            file.write(content)
            digest.update(content)
    return digest.hexdigest()
