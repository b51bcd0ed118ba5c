"""The explorer's paths: the page and its modules, and what they ask for.

Arrays go out as bytes in little-endian order, everything else as JSON. A request that cannot be
answered is refused with status 422 and a sentence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from importlib.resources import files
from typing import Annotated, Any, Final, TypeVar

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


Answer = TypeVar("Answer", bound=Callable[..., Any])

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


def _in_turn(answer: Answer) -> Answer:
    """Let a method answer when no other does: answers take all cores, and act on one state."""

    @wraps(answer)
    def alone(self: Any, *args: Any, **asked: Any) -> Any:
        with self.turn:
            return answer(self, *args, **asked)

    return alone  # type: ignore[return-value]


class _Pages:
    """The page and its modules, as they lie in the package."""

    def __init__(self) -> None:
        folder = files("latentmix.apps.explorer") / "page"
        self._paths = {path.name: path for path in folder.iterdir()}

    def page(self) -> Response:
        """Return the page itself."""
        return self.module("index.html")

    def module(self, name: str) -> Response:
        """Return what the page is made of."""
        if name not in self._paths:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        kind = KINDS[name[name.rindex(".") :]]
        return Response(self._paths[name].read_bytes(), media_type=kind)


class _Answering:
    """What the page asks for, one request after the other."""

    def __init__(self, views: Views) -> None:
        self.views, self.sitting, self.turn = views, views.sitting, threading.Lock()

    @_in_turn
    def about(self) -> dict[str, Any]:
        """Return what stays as it is while one looks."""
        return self.views.about()

    @_in_turn
    def fixed(self) -> Response:
        """Return the columns that no name changes."""
        return Response(self.views.fixed(), media_type=BYTES)

    @_in_turn
    def state(self) -> dict[str, Any]:
        """Return the figures, and what can be done."""
        return self._state_of(self.sitting.state)

    @_in_turn
    def act(self, action: dict[str, Any]) -> dict[str, Any]:
        """Do something."""
        return self._state_of(self.sitting.act(action))

    @_in_turn
    def read_labels(self, content: Annotated[bytes, Depends(_body)]) -> dict[str, Any]:
        """Take labels from a file."""
        return self._state_of(self.sitting.act(label_action(self.sitting, content)))

    @_in_turn
    def clusters(self) -> Response:
        """Return each row's cluster and density."""
        return self._numbered(self.views.clusters())

    @_in_turn
    def classes(self) -> Response:
        """Return each row's class and its probability."""
        return self._numbered(self.views.classes())

    @_in_turn
    def points(self, axes: str = "pca") -> Response:
        """Return where rows lie; 202 while it is being worked out: ask again."""
        found = self.views.points(axes)
        return Response(found or b"", 200 if found else 202, media_type=BYTES)

    @_in_turn
    def row(self, number: RowNumber) -> dict[str, Any]:
        """Return what is known of a row."""
        return self.views.row(number)

    @_in_turn
    def gallery(self, cluster: int) -> dict[str, list[int]]:
        """Return rows of a cluster."""
        return self.views.gallery(cluster)

    @_in_turn
    def looks(self, asked: Numbers) -> Any:
        """Return rows as they look."""
        return self._looks_of(self.views.looks(asked.rows))

    @_in_turn
    def reconstructions(self, asked: Numbers) -> Any:
        """Return what is left of rows after latent space."""
        return self._looks_of(self.views.reconstructions(asked.rows))

    @_in_turn
    def decode(self, asked: Places) -> Any:
        """Return what the decoder makes of points."""
        latent_dim = self.views.rows.means.shape[1]
        if {len(point) for point in asked.z} != {latent_dim}:
            raise InputError(
                f"z holds points of other lengths. Expected {latent_dim} numbers each."
            )
        z = np.asarray(asked.z, np.float32)
        if not np.isfinite(z).all():
            raise InputError("z holds numbers that are not finite. Expected finite ones.")
        return self._looks_of(self.views.decoded(z))

    @_in_turn
    def draws(self, asked: Draws) -> Any:
        """Return new rows."""
        return self._looks_of(self.views.draws(asked.n, asked.seed, asked.cluster, asked.label))

    @_in_turn
    def query(self, asked: Asked) -> dict[str, list[int]]:
        """Return rows to label."""
        return {"rows": self.views.query(asked.n)}

    @_in_turn
    def drop(
        self,
        content: Annotated[bytes, Depends(_body)],
        name: str = "image.png",
        axes: str = "pca",
        inverted: bool = False,
    ) -> dict[str, Any]:
        """Return what an image is."""
        return self.views.dropped(content, name, axes, inverted=inverted)

    @_in_turn
    def labels(self) -> Response:
        """Return all that names components, as a label file."""
        return Response(labels_csv(self.sitting), media_type="text/csv")

    @_in_turn
    def export(self, asked: Export) -> Response:
        """Return rows as a file."""
        rows = range(len(self.views.rows)) if asked.rows is None else asked.rows
        kinds = {"csv": rows_csv, "parquet": rows_parquet}
        if asked.format not in kinds:
            raise InputError(f"format={asked.format!r} is unknown. Choose csv or parquet.")
        return Response(kinds[asked.format](self.sitting, rows), media_type=BYTES)

    def _state_of(self, state: State) -> dict[str, Any]:
        return {
            **state.record,
            "n_done": self.sitting.n_done,
            "can_undo": self.sitting.can_undo,
            "can_redo": self.sitting.can_redo,
            "curve": self.sitting.curve,
        }

    def _numbered(self, content: bytes) -> Response:
        """Return columns with the number of the state that they are of: another tab may act."""
        headers = {"X-State": str(self.sitting.n_done)}
        return Response(content, media_type=BYTES, headers=headers)

    def _looks_of(self, values: np.ndarray) -> Any:
        """Return images as bytes, a table's rows as cells."""
        if self.views.image_shape is None:
            return {"rows": self.views.as_cells(values)}
        return Response(self.views.as_bytes(values).tobytes(), media_type=BYTES)


def explorer_of(views: Views) -> FastAPI:
    """Return the application."""
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={LatentmixError: refused, RequestValidationError: _not_understood},
    )
    pages, its = _Pages(), _Answering(views)
    read: dict[str, Callable[..., Any]] = {
        "/": pages.page,
        "/page/{name}": pages.module,
        "/about": its.about,
        "/fixed": its.fixed,
        "/state": its.state,
        "/clusters": its.clusters,
        "/classes": its.classes,
        "/points": its.points,
        "/row/{number}": its.row,
        "/gallery/{cluster}": its.gallery,
        "/labels.csv": its.labels,
    }
    asked: dict[str, Callable[..., Any]] = {
        "/act": its.act,
        "/labels": its.read_labels,
        "/looks": its.looks,
        "/reconstructions": its.reconstructions,
        "/decode": its.decode,
        "/draws": its.draws,
        "/query": its.query,
        "/drop": its.drop,
        "/export": its.export,
    }
    for path, answer in read.items():
        app.get(path)(answer)
    for path, answer in asked.items():
        app.post(path)(answer)
    return app
