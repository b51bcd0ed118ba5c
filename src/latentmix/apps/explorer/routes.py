"""The explorer's paths: the page and its modules, and what they ask for.

Arrays go out as bytes in little-endian order, everything else as JSON. A request that cannot be
answered is refused with status 422 and a sentence.
"""

from __future__ import annotations

import threading
from importlib.resources import files
from typing import Annotated, Any, Final

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from latentmix.apps.explorer.files import label_action, labels_csv, rows_csv, rows_parquet
from latentmix.apps.explorer.views import Views
from latentmix.apps.web.api import refused, said_of
from latentmix.errors import InputError, LatentmixError
from latentmix.runs.said import State

KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
BYTES: Final = "application/octet-stream"

# Rows whose looks are sent at once.
MOST_LOOKS: Final = 2000


RowNumber = Annotated[int, Field(ge=0, lt=2**31)]


class Numbers(BaseModel):
    """Row numbers."""

    rows: Annotated[list[RowNumber], Field(min_length=1, max_length=MOST_LOOKS)]


class Places(BaseModel):
    """Points in latent space, to be decoded."""

    z: Annotated[list[list[float]], Field(min_length=1, max_length=MOST_LOOKS)]


class Draws(BaseModel):
    """What to draw."""

    n: Annotated[int, Field(ge=1, le=MOST_LOOKS)] = 12
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    cluster: int | None = None
    label: str | None = None


class Asked(BaseModel):
    """How many rows to label."""

    n: Annotated[int, Field(ge=1, le=MOST_LOOKS)] = 20


class Export(BaseModel):
    """Which rows, all unless said, and as what."""

    rows: list[RowNumber] | None = None
    format: str = "csv"


async def _not_understood(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": f"{said_of(error)}."}, 422)


async def _body(request: Request) -> bytes:
    return await request.body()


def explorer_of(views: Views) -> FastAPI:
    """Return the application: one request is answered after the other."""
    sitting, turn = views.sitting, threading.Lock()
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={LatentmixError: refused, RequestValidationError: _not_understood},
    )
    pages = {path.name: path for path in (files("latentmix.apps.explorer") / "page").iterdir()}

    def shipped(name: str) -> Response:
        kind = KINDS[name[name.rindex(".") :]]
        return Response(pages[name].read_bytes(), media_type=kind)

    def state_of(state: State) -> dict[str, Any]:
        return {
            **state.record,
            "n_done": sitting.n_done,
            "can_undo": sitting.can_undo,
            "can_redo": sitting.can_redo,
            "curve": sitting.curve,
        }

    def numbered(content: bytes) -> Response:
        """Return columns with the number of the state that they are of: another tab may act."""
        return Response(content, media_type=BYTES, headers={"X-State": str(sitting.n_done)})

    def looks_of(values: np.ndarray) -> Any:
        """Return images as bytes, a table's rows as cells."""
        if views.image_shape is None:
            return {"rows": views.as_cells(values)}
        return Response(views.as_bytes(values).tobytes(), media_type=BYTES)

    @app.get("/")
    def page() -> Response:
        return shipped("index.html")

    @app.get("/page/{name}")
    def module(name: str) -> Response:
        if name not in pages:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        return shipped(name)

    @app.get("/about")
    def about() -> dict[str, Any]:
        return views.about()

    @app.get("/state")
    def state() -> dict[str, Any]:
        with turn:
            return state_of(sitting.state)

    @app.post("/act")
    def act(action: dict[str, Any]) -> dict[str, Any]:
        with turn:
            return state_of(sitting.act(action))

    @app.get("/fixed")
    def fixed() -> Response:
        return Response(views.fixed(), media_type=BYTES)

    @app.get("/clusters")
    def clusters() -> Response:
        with turn:
            return numbered(views.clusters())

    @app.get("/classes")
    def classes() -> Response:
        with turn:
            return numbered(views.classes())

    @app.get("/points")
    def points(axes: str = "pca") -> Response:
        with turn:
            found = views.points(axes)
        # 202: it is being worked out, ask again.
        return Response(found or b"", 200 if found else 202, media_type=BYTES)

    @app.get("/row/{number}")
    def row(number: RowNumber) -> dict[str, Any]:
        with turn:
            return views.row(number)

    @app.get("/gallery/{cluster}")
    def gallery(cluster: int) -> dict[str, list[int]]:
        with turn:
            return views.gallery(cluster)._asdict()

    @app.post("/looks")
    def looks(asked: Numbers) -> Any:
        with turn:
            return looks_of(views.looks(asked.rows))

    @app.post("/reconstructions")
    def reconstructions(asked: Numbers) -> Any:
        with turn:
            return looks_of(views.reconstructions(asked.rows))

    @app.post("/decode")
    def decode(asked: Places) -> Any:
        latent_dim = views.rows.means.shape[1]
        if {len(point) for point in asked.z} != {latent_dim}:
            raise InputError(
                f"z holds points of other lengths. Expected {latent_dim} numbers each."
            )
        z = np.asarray(asked.z, np.float32)
        if not np.isfinite(z).all():
            raise InputError("z holds numbers that are not finite. Expected finite ones.")
        with turn:
            return looks_of(views.decoded(z))

    @app.post("/draws")
    def draws(asked: Draws) -> Any:
        with turn:
            return looks_of(views.draws(asked.n, asked.seed, asked.cluster, asked.label))

    @app.post("/query")
    def query(asked: Asked) -> dict[str, list[int]]:
        with turn:
            return {"rows": views.query(asked.n)}

    @app.post("/drop")
    def drop(
        content: Annotated[bytes, Depends(_body)],
        name: str = "image.png",
        axes: str = "pca",
        inverted: bool = False,
    ) -> dict[str, Any]:
        with turn:
            return views.dropped(content, name, axes, inverted=inverted)

    @app.get("/labels.csv")
    def labels() -> Response:
        with turn:
            return Response(labels_csv(sitting), media_type="text/csv")

    @app.post("/labels")
    def read_labels(content: Annotated[bytes, Depends(_body)]) -> dict[str, Any]:
        with turn:
            return state_of(sitting.act(label_action(sitting, content)))

    @app.post("/export")
    def export(asked: Export) -> Response:
        rows = range(len(views.rows)) if asked.rows is None else asked.rows
        kinds = {"csv": rows_csv, "parquet": rows_parquet}
        if asked.format not in kinds:
            raise InputError(f"format={asked.format!r} is unknown. Choose csv or parquet.")
        with turn:
            return Response(kinds[asked.format](sitting, rows), media_type=BYTES)

    return app
