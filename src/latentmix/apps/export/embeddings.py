"""Where a run's rows lie and what they were told to be, as a Parquet file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from latentmix.data import Rows
from latentmix.errors import needing
from latentmix.runs.opened import OpenRun, own_data
from latentmix.runs.parts import PARTS, Latents, read_latents
from latentmix.runs.predict import strangeness
from latentmix.runs.tables import map_of
from latentmix.storage.files import write_bytes

NAME: Final = "embeddings.parquet"


def write_embeddings(run: OpenRun, out: Path) -> None:
    """Write a line for each row: id, embedding, place on the map, cluster, label, and scores.

    Scores ask for the rows themselves; where these are no longer where the run read them, the
    column is null.
    """
    with needing("The format parquet", "pyarrow", "latentmix[parquet]"):
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    latents, split = read_latents(run.sealed)
    numbers = np.concatenate([getattr(split, part) for part in PARTS])
    means = np.concatenate([latents.means[part] for part in PARTS])[np.argsort(numbers)]
    places = _places(run, latents, means)
    lines = run.sealed.csv("rows.csv")
    told = {name: [line[name] for line in lines] for name in lines[0]}
    dataset = own_data(run)
    scores = None if dataset is None else _scores(run, dataset.rows, len(means))
    flat = pa.array(means.astype(np.float32).ravel())
    table = pa.table(
        {
            "id": told["id"],
            "part": told["part"],
            "embedding": pa.FixedSizeListArray.from_arrays(flat, means.shape[1]),
            "projection_x": places[:, 0].astype(np.float32),
            "projection_y": places[:, 1].astype(np.float32),
            "cluster": np.array(told["cluster"], np.int32),
            "label": _or_null(told["label"]),
            "probability": np.array(told["probability"], np.float32),
            "known_label": _or_null(told["known_label"]),
            "anomaly_score": pa.nulls(len(means), pa.float32())
            if scores is None
            else scores.astype(np.float32),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_bytes(out / NAME, sink.getvalue().to_pybytes())


def _places(run: OpenRun, latents: Latents, means: np.ndarray) -> np.ndarray:
    """Return where rows lie on the run's own map, (N, 2)."""
    projected: np.ndarray = map_of(latents.train(run.model.latents)).transform(means)
    missing = 2 - projected.shape[1]
    return np.pad(projected, [(0, 0), (0, missing)])


def _scores(run: OpenRun, rows: Rows, n_rows: int) -> np.ndarray | None:
    return strangeness(run.model, rows)[0] if len(rows) == n_rows else None


def _or_null(names: list[str]) -> list[Any]:
    return [name or None for name in names]
