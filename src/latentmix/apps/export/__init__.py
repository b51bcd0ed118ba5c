"""A run carried away: as ONNX graphs, as a folder that NumPy reads, for a hub, as a table.

    description  a fitted model as named arrays and JSON     reader, anomaly  what NumPy makes of it
    traced       NumPy's functions as nodes of a graph       graphs           the pages as graphs
    files        what each format's folder holds             hub              the card, and the push
    embeddings   where the rows lie, as Parquet

A format is a function of `files` or its own module, and a line of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from latentmix.apps.export.embeddings import write_embeddings
from latentmix.apps.export.files import write_graphs, write_pages
from latentmix.apps.export.hub import push_folder, write_repository
from latentmix.errors import ParameterError, unknown_name
from latentmix.runs.opened import OpenRun, open_run
from latentmix.storage.files import whole_folder

FORMATS: Final[dict[str, Callable[[OpenRun, Path], None]]] = {
    "onnx": write_graphs,
    "numpy": write_pages,
    "hub": write_repository,
    "parquet": write_embeddings,
}


def export_run(folder: Path, kind: str, out: Path, push: str | None = None) -> list[str]:
    """Write a finished run in another format into a new folder, and return its files' names.

    Parameters
    ----------
    folder : Path
        A finished run.
    kind : str
        A name in `FORMATS`.
    out : Path
        New or empty; it is written as a whole or not at all.
    push : str, optional
        OWNER/NAME of a repository on the hub that the folder is sent to.

    Raises
    ------
    ParameterError
        For an unknown format, a model that it does not hold, or a package that is not installed.
    MissingError, IntegrityError
        As `open_run`.
    WriteError
        If the folder holds anything or cannot be written.
    """
    if kind not in FORMATS:
        raise ParameterError(unknown_name("format", kind, FORMATS))
    if push is not None and kind != "hub":
        raise ParameterError(f"push={push!r} was given with format={kind!r}. Expected 'hub' there.")
    run = open_run(folder)
    with whole_folder(out) as filled:
        FORMATS[kind](run, filled)
    if push is not None:
        push_folder(out, push)
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
