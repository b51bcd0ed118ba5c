"""One run from data to a sealed folder: train, fit, name, score, write the pictures' tables.

The run folder grows file by file and gets its manifest last, so a folder without one is a
run that did not end; with a checkpoint in it, the same command goes on from there.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from latentmix.data import RowView, split
from latentmix.errors import InputError, ParameterError, TrainingWarning
from latentmix.estimators import VAE, GaussianMixture, LatentMixture, Refinement
from latentmix.estimators.latent_mixture import LATENTS
from latentmix.estimators.mixture import AUTO
from latentmix.estimators.store import write_model
from latentmix.kernels.warp import Warps
from latentmix.runs.environment import DECIDING_BITS, environment, peak_memory
from latentmix.runs.event_log import EVENTS, EventLog
from latentmix.runs.parts import (
    Latents,
    Parts,
    encode,
    name_components,
    parts_of,
    write_latents,
)
from latentmix.runs.recipe import Recipe
from latentmix.runs.request import Request, claim
from latentmix.runs.scores import density_scores, naming_record, scores_of, selection_record
from latentmix.runs.tables import write_history, write_kl, write_tables
from latentmix.runs.trust import calibrate, trust_of
from latentmix.storage.files import alone_in, null_where_not_finite, write_json
from latentmix.storage.manifest import seal
from latentmix.training.checkpoint import Checkpoint
from latentmix.training.events import Listener, Stage, Warned, all_of, nobody

# Fewer rows leave no validation and test rows worth the name.
FEWEST_ROWS = 20


def execute(
    request: Request, *, listener: Listener, draw: Callable[[Path], object]
) -> dict[str, Any]:
    """Run a recipe to its end and return its metrics.

    Parameters
    ----------
    request : Request
    listener : callable
        Told of every event.
    draw : callable
        Draws the pictures of a run folder from the tables in it, before it is sealed.

    Returns
    -------
    dict
        What ``metrics.json`` holds.

    Raises
    ------
    InputError, ParameterError
        As the estimators do; nothing but the run's own folder was touched.
    WriteError
        If the folder is taken, in use by another run, or cannot be written.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, with a checkpoint in the folder.
    """
    parts = split_rows(request)
    with alone_in(request.out):
        return _execute(request, parts, listener, draw)


def attend(request: Request) -> None:
    """Take part in the training of a run that another process executes; write nothing.

    Raises
    ------
    InputError, ParameterError
        As `execute`.
    ClusterError
        If that process is gone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other one says it
        fit_model(request, split_rows(request), Checkpoint(request.out), nobody)


def _execute(
    request: Request, parts: Parts, listener: Listener, draw: Callable[[Path], object]
) -> dict[str, Any]:
    """Run the recipe in a folder that is held; as `execute`."""
    going_on = claim(request)
    with EventLog(request.out / EVENTS, len(parts.split.train)) as log:
        metrics = _carry_out(request, parts, all_of(log, listener), draw, going_on=going_on)
    log.remove()
    return metrics


def _carry_out(
    request: Request,
    parts: Parts,
    listener: Listener,
    draw: Callable[[Path], object],
    *,
    going_on: bool,
) -> dict[str, Any]:
    """Run the recipe in a folder that is claimed, and seal it; as `execute`."""
    began = time.perf_counter()
    opened = _opened(request, listener, going_on=going_on)
    with opened as checkpoint, _warnings_heard(listener) as said:
        models, latents = _models(request, parts, checkpoint, listener)
    for each in models:
        name_components(each, latents, parts)
    calibrate(models[0], latents, parts)
    listener(Stage("Scoring the test rows and writing the run folder"))
    metrics: dict[str, Any] = null_where_not_finite(
        {**_metrics(request, models, latents, parts), "warnings": said}
    )
    out = request.out
    write_model(models[0], out / "model")
    write_latents(latents, parts, out)
    write_history(models, out)
    write_kl(metrics["test"]["kl_per_dimension"], out)
    write_tables(models[0], latents, parts, request.dataset, request.recipe, out)
    draw(out)
    metrics["wall_seconds"] = round(time.perf_counter() - began, 2)
    metrics["peak_memory_bytes"] = peak_memory()
    write_json(out / "metrics.json", metrics)
    seal(out, "run", exclude=(EVENTS, *checkpoint.names()))
    checkpoint.remove()
    return metrics


def split_rows(request: Request) -> Parts:
    """Split the rows, and refuse too few of them before anything is written."""
    dataset, recipe = request.dataset, request.recipe
    if len(dataset.X) < FEWEST_ROWS:
        raise InputError(
            f"{dataset.source} holds {len(dataset.X)} rows. Expected at least {FEWEST_ROWS}, to "
            "split them into training, validation and test rows; give more."
        )
    parts = parts_of(dataset, split(dataset, seed=request.seed))
    if recipe.labels.teach or recipe.labels.n_rows is not None:
        parts = parts.showing(recipe.labels.n_rows, request.seed)
    if not len(parts.split.test):
        raise InputError(
            f"{dataset.source} has no test rows in its split. Expected at least one, to be scored."
        )
    asked = n_components_of(request)
    most = max([1 if asked == AUTO else asked, *recipe.report.n_components])
    if len(parts.split.train) < most:
        raise InputError(
            f"n_components={most} is above the {len(parts.split.train)} training rows of "
            f"{dataset.source}. Give more rows, or ask for fewer components with "
            "`--set mixture.n_components=5 --set report.n_components=[5]`."
        )
    return parts


@contextmanager
def _opened(request: Request, listener: Listener, *, going_on: bool) -> Iterator[Checkpoint]:
    """Begin the run's folder and yield its checkpoint; bad input leaves no new folder behind."""
    checkpoint = Checkpoint(request.out, listener)
    try:
        _write_environment(request, listener)
        write_json(request.out / "recipe.json", request.recipe.to_json())
        yield checkpoint
    except (InputError, ParameterError):
        if not going_on and not checkpoint.names():
            shutil.rmtree(request.out, ignore_errors=True)
        raise


def _write_environment(request: Request, listener: Listener) -> None:
    """Write environment.json; say so if a run goes on elsewhere than where it began."""
    path, now = request.out / "environment.json", environment(request.seed, [*request.command])
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = now
    changed = [name for name in DECIDING_BITS if before.get(name) != now[name]]
    if changed:
        what = " and ".join(changed)
        listener(Stage(f"This run began with other {what}: it goes on, to other last digits"))
    write_json(path, now)


def _models(
    request: Request, parts: Parts, checkpoint: Checkpoint, listener: Listener
) -> tuple[list[LatentMixture], Latents]:
    """Return the recipe's model and then its siblings, fitted without labels; and the latents."""
    model = fit_model(request, parts, checkpoint, listener)
    latents = encode(model, request.dataset.rows, parts, request.seed)
    return [model, *_siblings(model, latents, request.recipe, listener)], latents


def _metrics(
    request: Request, models: Sequence[LatentMixture], latents: Latents, parts: Parts
) -> dict[str, Any]:
    """Return what metrics.json holds, but for warnings and the wall time."""
    test = RowView(request.dataset.rows, parts.numbers("test"))
    return {
        "format": 1,
        "data": {"name": request.dataset.name, "rows": parts.sizes()},
        "naming": naming_record(parts),
        "selection": selection_record(models[0]),
        "scores": [scores_of(each, latents, parts, "test") for each in models],
        "validation_scores": [scores_of(each, latents, parts, "validation") for each in models],
        "trust": trust_of(models[0], latents, parts, taught=request.recipe.labels.teach),
        "test": density_scores(models[0], test, latents.means["test"], request.recipe.report.draws),
        "training_steps": _n_steps(models[0], parts),
        "training_seconds": round(models[0].vae_.history_[-1].seconds, 2),
    }


def _n_steps(model: LatentMixture, parts: Parts) -> int:
    """Return how many training steps were taken, those of rounds among them."""
    n_rows = len(parts.split.train)
    batch_size = int(model.vae_.get_params()["batch_size"])
    return len(model.vae_.history_) * math.ceil(n_rows / min(batch_size, n_rows))


def fit_model(
    request: Request, parts: Parts, checkpoint: Checkpoint | None, listener: Listener
) -> LatentMixture:
    """Train the VAE and fit the recipe's mixture; no label is seen unless labels teach."""
    X = request.dataset.rows
    names = parts.shown_names("train")
    teach = request.recipe.labels.teach and bool((names != "").any())
    model = model_of(request)
    listener(Stage(f"Training on {len(parts.split.train):,} rows"))
    if model.refinement is not None and model.refinement.evenness:
        listener(Stage("Classes are taken to have about equally many rows, and so are groups"))
    validation = RowView(X, parts.numbers("validation"))
    model.fit(
        RowView(X, parts.numbers("train")),
        labels=names if teach else None,
        validation_data=validation if len(validation) else None,
        listener=listener,
        keeper=checkpoint,
    )
    return model


def model_of(request: Request) -> LatentMixture:
    """Return the recipe's model for the data, not fitted."""
    recipe = request.recipe.knowing(even_classes=request.dataset.even_classes)
    image_shape = request.dataset.image_shape
    mixture, refinement = asdict(recipe.mixture), asdict(recipe.refinement)
    warps = Warps(**asdict(recipe.warps))
    n_components = n_components_of(request)
    return LatentMixture(
        AUTO if n_components == AUTO else None,
        vae=VAE(**{**recipe.vae.parameters(), **_of_data(request)}),
        mixture=GaussianMixture(**{**mixture, "n_components": n_components}),
        refinement=Refinement(**refinement, warps=warps, image_shape=image_shape)
        if recipe.refinement.n_rounds
        else None,
        latents=recipe.latent_mixture.latents,
        smoothing=recipe.latent_mixture.smoothing,
        random_state=request.seed,
    )


def n_components_of(request: Request) -> int | Literal["auto"]:
    """Return the number of components, or 'auto' where it is to be chosen.

    It is the recipe's, or that of the classes that have a name; without any it is chosen.
    """
    asked = request.recipe.mixture.n_components
    if asked != "classes":
        return asked
    return len(request.dataset.class_names) or AUTO


def _of_data(request: Request) -> dict[str, Any]:
    """Return the VAE's parameters that the data decide: of likelihood, columns and image."""
    dataset, channels = request.dataset, request.recipe.vae.channels
    if channels and dataset.image_shape is None:
        raise InputError(
            f"vae.channels={channels} asks for convolutions, but {dataset.source} holds a table. "
            "Give images, or leave vae.channels out."
        )
    columns = dataset.columns
    return {
        "likelihood": _likelihood(request),
        "columns": None if columns is None else [list(c.categories) or c.kind for c in columns],
        "image_shape": dataset.image_shape if channels else None,
    }


def _likelihood(request: Request) -> str:
    """Return the recipe's likelihood; 'auto' is Bernoulli for data declared in [0, 1].

    Images of floats within [0, 1] are intensities by convention, and count as declared.

    Raises
    ------
    ParameterError
        If a table is declared to be in [0, 1] whose columns differ.
    """
    recipe, dataset = request.recipe, request.dataset
    if dataset.columns is not None:
        if recipe.data.unit_interval:
            raise ParameterError(
                f"data.unit_interval=true declares all of {dataset.source} in [0, 1], and its "
                "columns are of several kinds. Expected one or the other; leave it out."
            )
        return recipe.vae.likelihood
    if recipe.vae.likelihood != "auto" or dataset.X.dtype == np.uint8:
        return recipe.vae.likelihood
    inside = bool(dataset.X.min() >= 0 and dataset.X.max() <= 1)
    declared = recipe.data.unit_interval or (dataset.image_shape is not None and inside)
    return "bernoulli" if declared else "auto"


def _siblings(
    model: LatentMixture, latents: Latents, recipe: Recipe, listener: Listener
) -> Iterator[LatentMixture]:
    """Yield the models of the table of scores: other numbers of components, other latents."""
    own = (model.mixture_.n_components_, model.latents)
    for n_components in sorted({own[0], *recipe.report.n_components}):
        for kind in LATENTS:
            if (n_components, kind) != own:
                listener(Stage(f"Fitting {n_components} components to the latents ({kind})"))
                mixture = clone(model.mixture_).set_params(n_components=n_components)
                yield model.with_mixture(mixture, latents.train(kind), kind, listener)


@contextmanager
def _warnings_heard(listener: Listener) -> Iterator[list[str]]:
    """Tell the listener of what was learned badly, and yield the list of it, which grows.

    Whether EM converged stands in metrics.json with each mixture, components that no label reached
    in the table of clusters.
    """
    said: list[str] = []

    def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if not issubclass(category, TrainingWarning):
            shown(message, category, *where)
            return
        said.append(str(message))
        listener(Warned(str(message)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="No labelled row reached")
        warnings.simplefilter("always", TrainingWarning)
        shown = warnings.showwarning
        warnings.showwarning = show  # type: ignore[assignment]  # its places are passed on
        yield said
