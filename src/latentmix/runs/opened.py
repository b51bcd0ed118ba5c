"""A finished run, opened: its model, its recipe, and data read the way it read its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from latentmix.data import Dataset, Rows, load
from latentmix.data.loading import titles_in
from latentmix.errors import (
    ClusterError,
    FormatError,
    InputError,
    IntegrityError,
    MissingError,
    RecipeError,
)
from latentmix.estimators import LatentMixture
from latentmix.estimators.store import read_model
from latentmix.runs.recipe import Recipe, recipe_of
from latentmix.runs.request import sha256_of
from latentmix.storage.manifest import Sealed, open_sealed
from latentmix.storage.remote import at_hand, is_remote


@dataclass(frozen=True)
class OpenRun:
    """A run folder whose every file was checked."""

    sealed: Sealed
    model: LatentMixture
    recipe: Recipe
    request: dict[str, Any]

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.sealed.path

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(H, W) or (H, W, C) of the images it was trained on; None for tables."""
        shape = self.request["data"]["image_shape"]
        return None if shape is None else tuple(shape)

    @property
    def feature_names(self) -> list[str] | None:
        """The titles of the table's columns, if it had any."""
        names: list[str] | None = self.request["data"]["feature_names"]
        return names

    @property
    def columns(self) -> dict[str, str | list[str]]:
        """What the table's columns hold, by title: a kind, or a list of categories.

        Runs of earlier versions knew numbers alone.
        """
        names = self.feature_names or ()
        held = self.request["data"].get("columns")
        if held is None:
            return dict.fromkeys(names, "continuous")
        said = [column["categories"] or column["kind"] for column in held]
        return dict(zip(names, said, strict=True))

    @property
    def has_text(self) -> bool:
        """Whether rows, and what is drawn, have text in them."""
        return any(isinstance(said, list) for said in self.columns.values())


def open_run(folder: Path) -> OpenRun:
    """Check and open a run folder.

    Raises
    ------
    MissingError
        If there is no finished run.
    IntegrityError
        If a file was changed.
    """
    sealed = open_sealed(folder, "run")
    try:
        recipe = recipe_of(sealed.json("recipe.json"))
    except RecipeError as error:
        raise IntegrityError(
            f"{folder} holds a recipe that this version does not know ({error}) Read it with the "
            "version of latentmix that wrote it."
        ) from error
    return OpenRun(sealed, read_model(sealed, "model/"), recipe, sealed.json("request.json"))


def read_data(run: OpenRun, name_or_path: str) -> Dataset:
    """Read data as the run's recipe reads them; columns the data do not have are not asked for."""
    if is_remote(name_or_path):
        with at_hand(name_or_path) as copy:
            return replace(read_data(run, str(copy)), source=name_or_path)
    options = asdict(run.recipe.data)
    del options["unit_interval"]
    titles = titles_in(name_or_path)
    for name in ("id_column", "label_column"):
        if options[name] not in titles:
            options[name] = None
    held = {title: said for title, said in run.columns.items() if title in titles}
    return load(name_or_path, **{**options, "columns": held or None})


def own_data(run: OpenRun) -> Dataset | None:
    """Return the data the run was trained on, None if they are no longer where they were."""
    source = run.request.get("source") or {}
    try:
        dataset = read_data(run, source["data"])
    except (KeyError, ClusterError, InputError, MissingError, FormatError):
        return None
    as_they_were = sha256_of(dataset.X) == run.request["data"]["sha256"]
    return dataset if as_they_were else None


def rows_for(run: OpenRun, dataset: Dataset) -> Rows:
    """Return the data set's rows in the run's order of columns, (N, D).

    Raises
    ------
    InputError
        If images have another shape, columns are missing or there are others.
    """
    names, titles = run.feature_names, dataset.feature_names
    n_features = run.model.n_features_in_
    if names is not None and titles is not None:
        missing = [name for name in names if name not in titles]
        if missing or len(names) != len(titles):
            others = [title for title in titles if title not in names]
            wrong = f"lacks {missing[0]!r}" if missing else f"has {others[0]!r} besides"
            raise InputError(
                f"{dataset.source} {wrong}. Expected the {len(names)} columns that {run.path} was "
                "trained on; add or drop columns."
            )
        return dataset.of_columns([titles.index(name) for name in names])
    if dataset.image_shape != run.image_shape or dataset.X.shape[1] != n_features:
        raise InputError(
            f"{dataset.source} holds {_kind(dataset.image_shape, dataset.X.shape[1])}. Expected "
            f"{_kind(run.image_shape, n_features)}, as {run.path} was trained on."
        )
    return dataset.rows


def _kind(image_shape: tuple[int, ...] | None, n_features: int) -> str:
    if image_shape is None:
        return f"rows of {n_features} columns"
    return f"images of {'x'.join(map(str, image_shape))}"
