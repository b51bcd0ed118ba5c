"""One run from data to a sealed folder: train, fit, name, score, write the pictures' tables.

The run folder grows file by file and gets its manifest last, so a folder without one is a
run that did not end; with a checkpoint in it, the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from latentmix.data import Dataset, split
from latentmix.errors import InputError, WriteError
from latentmix.estimators import VAE, GaussianMixture, LatentMixture
from latentmix.estimators.latent_mixture import LATENTS
from latentmix.estimators.store import write_model
from latentmix.runs.environment import environment
from latentmix.runs.parts import Latents, Parts, encode, name_components, write_latents
from latentmix.runs.recipe import Recipe
from latentmix.runs.scores import density_scores, scores_of
from latentmix.runs.tables import write_history, write_tables
from latentmix.storage.files import claim_folder, write_json
from latentmix.storage.manifest import seal
from latentmix.training.checkpoint import Checkpoint
from latentmix.training.events import Listener, Stage

# Fewer rows leave no validation and test rows worth the name.
FEWEST_ROWS = 20


@dataclass(frozen=True)
class Request:
    """What to run: a recipe on a data set with a seed, into a folder."""

    recipe: Recipe
    dataset: Dataset
    out: Path
    seed: int
    command: tuple[str, ...] = ()


def default_out(recipe: Recipe, dataset: Dataset, seed: int, parent: Path = Path("runs")) -> Path:
    """Return a folder that is not taken: ``runs/mnist-default-seed0``, then ``...-2``, ``-3``."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{dataset.name}-{recipe.name}-seed{seed}")
    out, number = parent / stem, 1
    while out.exists():
        number += 1
        out = parent / f"{stem}-{number}"
    return out


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
        If the folder is taken or cannot be written.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, with a checkpoint in the folder.
    """
    began = time.perf_counter()
    recipe, out = request.recipe, request.out
    parts = split_rows(request)
    open_folder(request)
    write_json(out / "environment.json", environment(request.seed, list(request.command)))
    checkpoint = Checkpoint(out)
    with _quiet_about_convergence():
        model = _fit(request, parts, checkpoint, listener)
        latents = encode(model, parts, request.seed)
        models = [model, *_siblings(model, latents, recipe, listener)]
    for each in models:
        name_components(each, latents, parts)
    listener(Stage("Scoring the test rows and writing the run folder"))
    metrics: dict[str, Any] = {
        "format": 1,
        "data": {"name": request.dataset.name, "rows": parts.sizes()},
        "scores": [scores_of(each, latents, parts, "test") for each in models],
        "validation_scores": [scores_of(each, latents, parts, "validation") for each in models],
        "test": density_scores(model, parts.rows("test"), recipe.report.draws),
    }
    write_model(model, out / "model")
    write_latents(latents, parts, out)
    write_history(models, out)
    write_tables(model, latents, parts, recipe, out)
    draw(out)
    metrics["training_seconds"] = round(model.vae_.history_[-1].seconds, 2)
    metrics["wall_seconds"] = round(time.perf_counter() - began, 2)
    write_json(out / "metrics.json", metrics)
    checkpoint.remove()
    seal(out, "run")
    return metrics


def split_rows(request: Request) -> Parts:
    """Split the rows, and refuse too few of them before anything is written."""
    dataset, recipe = request.dataset, request.recipe
    if len(dataset.X) < FEWEST_ROWS:
        raise InputError(
            f"{dataset.source} holds {len(dataset.X)} rows. Expected at least {FEWEST_ROWS}, to "
            "split them into training, validation and test rows; give more."
        )
    parts = Parts(dataset, split(dataset, seed=request.seed))
    most = max(recipe.mixture.n_components, *recipe.report.n_components)
    if len(parts.split.train) < most:
        raise InputError(
            f"n_components={most} is above the {len(parts.split.train)} training rows of "
            f"{dataset.source}. Give more rows, or ask for fewer components with "
            "`--set mixture.n_components=5 --set report.n_components=[5]`."
        )
    return parts


def open_folder(request: Request) -> None:
    """Claim a new folder, or go on in one that holds the same run, not ended.

    Raises
    ------
    WriteError
        If it holds something else.
    """
    out, wanted = request.out, _identity(request)
    begun = out / "request.json"
    if begun.is_file() and not (out / "manifest.json").exists():
        try:
            found = json.loads(begun.read_text())
        except (OSError, ValueError):
            found = None
        if found == wanted:
            return
        raise WriteError(
            f"{out} holds another run that did not end (another recipe, data set or seed). Choose "
            "another folder with --out, or remove that one."
        )
    claim_folder(out)
    write_json(begun, wanted)
    write_json(out / "recipe.json", request.recipe.to_json())


def _identity(request: Request) -> dict[str, Any]:
    """Return what makes two requests the same run."""
    X = np.ascontiguousarray(request.dataset.X)
    return {
        "recipe": request.recipe.to_json(),
        "seed": request.seed,
        "data": {
            "name": request.dataset.name,
            "shape": list(X.shape),
            "dtype": str(X.dtype),
            "sha256": hashlib.sha256(X.data).hexdigest(),
        },
    }


def _fit(
    request: Request, parts: Parts, checkpoint: Checkpoint, listener: Listener
) -> LatentMixture:
    """Train the VAE and fit the recipe's mixture; no label is seen."""
    recipe = request.recipe
    model = LatentMixture(
        vae=VAE(**asdict(recipe.vae)),
        mixture=GaussianMixture(**asdict(recipe.mixture)),
        latents=recipe.latent_mixture.latents,
        smoothing=recipe.latent_mixture.smoothing,
        random_state=request.seed,
    )
    listener(Stage(f"Training on {len(parts.split.train):,} rows"))
    validation = parts.rows("validation")
    model.fit(
        parts.rows("train"),
        validation_data=validation if len(validation) else None,
        listener=listener,
        keeper=checkpoint,
    )
    return model


def _siblings(
    model: LatentMixture, latents: Latents, recipe: Recipe, listener: Listener
) -> Iterator[LatentMixture]:
    """Yield the models of the table of scores: other numbers of components, other latents."""
    own = (model.mixture_.n_components, model.latents)
    for n_components in sorted({own[0], *recipe.report.n_components}):
        for kind in LATENTS:
            if (n_components, kind) != own:
                listener(Stage(f"Fitting {n_components} components to the latents ({kind})"))
                mixture = clone(model.mixture_).set_params(n_components=n_components)
                sibling = model.with_mixture(mixture, latents.train(kind), listener)
                sibling.latents = kind
                yield sibling


@contextmanager
def _quiet_about_convergence() -> Iterator[None]:
    """Leave it to metrics.json to say whether EM converged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
