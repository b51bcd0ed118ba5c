"""What the folders of an exported model hold: the pages with their numbers, or the graphs."""

from __future__ import annotations

import io
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from latentmix.apps.export.description import Description, describe
from latentmix.errors import needing
from latentmix.runs.opened import OpenRun
from latentmix.storage.files import write_bytes, write_json

PAGES: Final = ("reader.py", "anomaly.py")


def write_pages(run: OpenRun, out: Path) -> None:
    """Write the run's model as `write_description` does, with what it was made from."""
    about, tensors = describe(run.model)
    write_description(Description({**about, **origin_of(run)}, tensors), out)


def write_description(description: Description, out: Path) -> None:
    """Write a model's numbers, and the pages that answer from them with NumPy alone."""
    numbers = io.BytesIO()
    np.savez(numbers, allow_pickle=False, **description.tensors)
    write_bytes(out / "weights.npz", numbers.getvalue())
    write_json(out / "model.json", description.about)
    for page in PAGES:
        write_bytes(out / page, files(__package__).joinpath(page).read_bytes())


def write_graphs(run: OpenRun, out: Path) -> None:
    """Write the model as ONNX: model.onnx from rows to answers, decoder.onnx from z to rows."""
    with needing("The format onnx", "onnx", "latentmix[onnx]"):
        from latentmix.apps.export.graphs import decoder_graph, model_graph  # noqa: PLC0415
    with tempfile.TemporaryDirectory() as name:
        pages = Path(name)
        write_pages(run, pages)
        for graph, made in (("model", model_graph), ("decoder", decoder_graph)):
            write_bytes(out / f"{graph}.onnx", made(pages).SerializeToString(deterministic=True))


def origin_of(run: OpenRun) -> dict[str, Any]:
    """Return what an exported model was made from: versions, data, columns and digests."""
    data = run.request["data"]
    return {
        "format": 1,
        "latentmix": version("latentmix"),
        "data": data["name"],
        "image_shape": data["image_shape"],
        "feature_names": run.feature_names or [],
        "recipe": run.recipe.name,
        "seed": run.request["seed"],
        "sha256": {
            "data": data["sha256"],
            **{
                name: entry.sha256
                for name, entry in run.sealed.entries.items()
                if name.startswith("model/")
            },
        },
    }
