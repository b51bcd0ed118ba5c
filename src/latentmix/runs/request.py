"""What a run was asked for, and its trace in the folder: `request.json`, written first.

A folder with a request and no manifest is a run that did not end. The same request goes on
there; and since the folder says where the rows were read, it is enough to name the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentmix.data import Dataset, dataset_names, load, read_labels
from latentmix.data.columns import Column
from latentmix.errors import InputError, IntegrityError, MissingError, WriteError
from latentmix.runs.recipe import Recipe, recipe_of
from latentmix.storage.files import claim_folder, remove_cut_off, write_json
from latentmix.storage.manifest import MANIFEST
from latentmix.storage.remote import is_remote

REQUEST = "request.json"


@dataclass(frozen=True)
class Source:
    """Where a run's rows are read, and a label file if one was given."""

    data: str
    labels: Path | None = None

    def read(self, recipe: Recipe) -> Dataset:
        """Read the rows, and the label file's labels in place of their own.

        Raises
        ------
        MissingError, FormatError, InputError, ParameterError
            As :func:`latentmix.data.load` and ``read_labels``.
        """
        section = recipe.data
        dataset = load(
            self.data,
            size=section.size,
            channels=section.channels,
            id_column=section.id_column,
            label_column=section.label_column,
            columns=section.columns,
        )
        return dataset if self.labels is None else read_labels(self.labels, dataset)

    def to_json(self) -> dict[str, str | None]:
        """Return names and absolute paths, which lead there from any folder."""
        as_it_is = self.data in dataset_names() or is_remote(self.data)
        return {
            "data": self.data if as_it_is else str(Path(self.data).expanduser().absolute()),
            "labels": None if self.labels is None else str(self.labels.expanduser().absolute()),
        }


@dataclass(frozen=True)
class Request:
    """What to run: a recipe on a data set with a seed, into a folder."""

    recipe: Recipe
    dataset: Dataset
    out: Path
    seed: int
    command: tuple[str, ...] = ()
    source: Source | None = None


def identity(request: Request) -> dict[str, Any]:
    """Return what makes two requests the same run."""
    dataset = request.dataset
    return {
        "recipe": request.recipe.to_json(),
        "seed": request.seed,
        "data": {
            "name": dataset.name,
            "shape": list(dataset.X.shape),
            "dtype": str(dataset.X.dtype),
            "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
            "feature_names": None if dataset.feature_names is None else list(dataset.feature_names),
            "columns": None if dataset.columns is None else columns_record(dataset.columns),
            "has_ids": dataset.row_ids is not None,
            "even_classes": dataset.even_classes,
            "sha256": sha256_of(dataset.X),
            "labels_sha256": None if dataset.labels is None else sha256_of(dataset.labels),
        },
    }


def columns_record(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return what columns hold as JSON has it."""
    return [{"kind": column.kind, "categories": list(column.categories)} for column in columns]


def sha256_of(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's values in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def claim(request: Request) -> bool:
    """Claim a new folder, or say True of one that holds the same run, not ended.

    Raises
    ------
    WriteError
        If it holds something else.
    """
    out, wanted = request.out, identity(request)
    begun = out / REQUEST
    going_on = begun.is_file() and not (out / MANIFEST).exists()
    if not going_on:
        claim_folder(out)
    elif _identity_in(begun) != wanted:
        raise WriteError(
            f"{out} holds another run that did not end (another recipe, data set or seed). Choose "
            "another folder with --out, or remove that one."
        )
    remove_cut_off(out)
    where = None if request.source is None else request.source.to_json()
    write_json(begun, {**wanted, "source": where})
    return going_on


def request_of(folder: Path, command: tuple[str, ...] = ()) -> Request:
    """Return the request of a run that did not end, its data read again.

    Raises
    ------
    MissingError
        If no run began in the folder, or its data are not there any more.
    WriteError
        If the run is finished.
    InputError
        If its data are not what they were.
    IntegrityError
        If ``request.json`` cannot be read.
    """
    record = begun_record(folder)
    if (folder / MANIFEST).exists():
        raise WriteError(
            f"{folder} is finished: there is nothing to go on with. Begin another run with "
            "`latentmix run DATA`."
        )
    try:
        recipe, seed, known = recipe_of(record["recipe"]), int(record["seed"]), record["data"]
        where = record["source"]
        source = None if where is None else _source_of(where)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{folder / REQUEST} is no request that this version reads ({error}). Repeat the "
            "run's command in another folder."
        ) from error
    if source is None:
        raise MissingError(
            f"{folder} does not say where its data are, as it was not begun by the command line. "
            f"Repeat what began it; with `latentmix run`, give the data and --out {folder}."
        )
    _check_there(source, folder)
    request = Request(recipe, source.read(recipe), folder, seed, command, source)
    _check_unchanged(identity(request)["data"], known, source, folder)
    return request


def begun_record(folder: Path) -> dict[str, Any]:
    """Return what request.json of a run holds, finished or not.

    Raises
    ------
    MissingError
        If no run began in the folder.
    IntegrityError
        If the file cannot be read.
    """
    if not (folder / REQUEST).is_file():
        what = f"holds no {REQUEST}: no run began there" if folder.is_dir() else "is no folder"
        raise MissingError(
            f"{folder} {what}. Give the folder of a run that was stopped, or begin one with "
            "`latentmix run DATA`."
        )
    try:
        record = json.loads((folder / REQUEST).read_text("utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"it holds a {type(record).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{folder / REQUEST} is no valid JSON record ({error}). Repeat the run's command in "
            "another folder."
        ) from error
    return record


def _source_of(where: dict[str, Any]) -> Source:
    data, labels = where["data"], where["labels"]
    if not isinstance(data, str) or not isinstance(labels, str | None):
        raise TypeError("source holds no paths")
    return Source(data, None if labels is None else Path(labels))


def _check_there(source: Source, folder: Path) -> None:
    elsewhere = source.data in dataset_names() or is_remote(source.data)
    data = None if elsewhere else Path(source.data)
    for path in (data, source.labels):
        if path is not None and not path.exists():
            raise MissingError(
                f"{folder} was reading {path}, which is not there any more. Put it back, or repeat "
                f"the run's command with the new path and --out {folder}."
            )


def _check_unchanged(
    found: dict[str, Any], known: dict[str, Any], source: Source, folder: Path
) -> None:
    differing = {name for name in found.keys() | known.keys() if found.get(name) != known.get(name)}
    if differing:
        what = "labels" if differing == {"labels_sha256"} else "rows"
        raise InputError(
            f"{source.data} changed since {folder} began: its {what} are others. Put back what it "
            "was, or begin a new run in another folder."
        )


def _identity_in(path: Path) -> Any:
    """Return the identity that a request.json holds, None where it cannot be read."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return {k: v for k, v in found.items() if k != "source"} if isinstance(found, dict) else None
