"""`latentmix serve`: a run's model as a JSON API; ``/openapi.json`` describes it."""

from __future__ import annotations

import copy
import threading
from typing import Annotated, Any, Final

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from latentmix import __version__
from latentmix.errors import InputError, LatentmixError
from latentmix.runs.opened import OpenRun
from latentmix.runs.parts import answers_at
from latentmix.runs.predict import strangeness
from latentmix.storage.files import null_where_not_finite

MOST_DRAWS: Final = 10_000

Cell = float | str


class Rows(BaseModel):
    """Rows as the run was trained on: an image's pixels in C order, or a table's columns."""

    rows: Annotated[list[list[Cell]], Field(min_length=1)]


class Answers(BaseModel):
    """Of each row its cluster, p(k|x) of all clusters, and once they are named class and p(y|x)."""

    cluster: list[int]
    cluster_probabilities: list[list[float]]
    label: list[str] | None
    label_probabilities: list[list[float]] | None
    labels: list[str] | None


class Scores(BaseModel):
    """Of each row a lower bound on log p(x) in nats, and how strange it is: larger is stranger."""

    score: list[float | None]
    anomaly_score: list[float] | None
    p_value: list[float] | None


class Draw(BaseModel):
    """How many rows to draw, of which class or cluster; the same seed draws the same rows."""

    n: Annotated[int, Field(ge=1, le=MOST_DRAWS)] = 1
    label: str | None = None
    component: int | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Values(BaseModel):
    """Rows in the units that the model tells them in: intensities in [0, 1], a table's own."""

    rows: list[list[Cell]]


class About(BaseModel):
    """What the model is."""

    latentmix: str
    data: str
    recipe: str
    n_components: int
    n_features: int
    latent_dim: int
    image_shape: list[int] | None
    feature_names: list[str] | None
    labels: list[str] | None


class _Answering:
    """What the application answers of a run, one request after the other.

    Answers take all cores: one at a time is as quick, and never too large for memory.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run, self.model = run, run.model
        named = hasattr(self.model, "classes_")
        self.names = [str(name) for name in self.model.classes_] if named else None
        self.turn = threading.Lock()

    def about(self) -> About:
        """Return what the model is."""
        run, model = self.run, self.model
        return About(
            latentmix=__version__,
            data=run.request["data"]["name"],
            recipe=run.recipe.name,
            n_components=model.mixture_.n_components_,
            n_features=model.n_features_in_,
            latent_dim=model.vae_.architecture_.latent_dim,
            image_shape=None if run.image_shape is None else list(run.image_shape),
            feature_names=run.feature_names,
            labels=self.names,
        )

    def predict(self, given: Rows) -> Answers:
        """Return the cluster of each row, and its class once clusters are named."""
        X, model, named = _rows_of(self.run, given), self.model, self.names is not None
        with self.turn:
            means = model.transform(X)
            proba = model.mixture_.predict_proba(means)
            found = answers_at(model, means)
        return Answers(
            cluster=found.components.tolist(),
            cluster_probabilities=proba.tolist(),
            label=found.classes.tolist() if named else None,
            label_probabilities=model.class_proba_of(proba).tolist() if named else None,
            labels=self.names,
        )

    def scores(self, given: Rows) -> Scores:
        """Return how likely each row is, and how strange."""
        X = _rows_of(self.run, given)
        with self.turn, np.errstate(over="ignore", invalid="ignore"):
            bound = null_where_not_finite(self.model.score_samples(X).tolist())
            strange, p_values = strangeness(self.model, X)
        return Scores(
            score=bound,
            anomaly_score=None if strange is None else strange.tolist(),
            p_value=None if p_values is None else p_values.tolist(),
        )

    def sample(self, asked: Draw) -> Values:
        """Draw new rows."""
        drawing = copy.copy(self.model).set_params(random_state=asked.seed)
        with self.turn:
            drawn = drawing.sample(asked.n, label=asked.label, component=asked.component)
        return Values(rows=drawn.tolist())

    def reconstruct(self, given: Rows) -> Values:
        """Return what is left of each row after latent space."""
        X = _rows_of(self.run, given)
        with self.turn:
            return Values(rows=self.model.reconstruct(X).tolist())


def api_of(run: OpenRun) -> FastAPI:
    """Return the application of a run."""
    app = FastAPI(
        title=f"latentmix: {run.request['data']['name']}, {run.recipe.name}",
        version=__version__,
        docs_url=None,  # they are fetched from elsewhere
        redoc_url=None,
        exception_handlers={LatentmixError: refused, RequestValidationError: _not_understood},
    )
    answering = _Answering(run)
    app.get("/")(answering.about)
    app.post("/predict")(answering.predict)
    app.post("/scores")(answering.scores)
    app.post("/sample")(answering.sample)
    app.post("/reconstruct")(answering.reconstruct)
    return app


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Answer with the sentence of an error."""
    return JSONResponse({"error": str(error)}, 422)


def said_of(error: RequestValidationError) -> str:
    """Return what is wrong with a request first, and where."""
    first: dict[str, Any] = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


async def _not_understood(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = f"{said_of(error)}. What is expected stands in /openapi.json."
    return JSONResponse({"error": said}, 422)


def _rows_of(run: OpenRun, given: Rows) -> np.ndarray:
    """Return rows as the model takes them.

    Raises
    ------
    InputError
        If they are of several lengths, or no numbers where numbers are expected.
    """
    lengths = sorted({len(row) for row in given.rows})
    if len(lengths) > 1:
        raise InputError(
            f"rows are of {lengths[0]} to {lengths[-1]} values. Expected all of "
            f"{run.model.n_features_in_}, as {run.path.name} was trained on."
        )
    if run.has_text:
        return np.array(given.rows, dtype=object)
    try:
        X = np.array(given.rows, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"rows hold what is no number ({error}). Send numbers.") from error
    if run.request["data"]["dtype"] != "uint8":
        return X.astype(run.request["data"]["dtype"])
    if not ((X >= 0) & (X <= 255) & (np.floor(X) == X)).all():
        raise InputError(
            f"rows hold values from {X.min():g} to {X.max():g}. Expected bytes, whole numbers from "
            f"0 to 255, as {run.path.name} was trained on."
        )
    return X.astype(np.uint8)
