"""What leaves the explorer as a file, and comes back: labels, and rows with all that is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from latentmix.data.labels import label_lines
from latentmix.data.text import active, csv_lines, inert
from latentmix.errors import InputError, needing
from latentmix.runs.parts import PARTS
from latentmix.runs.sitting import Sitting
from latentmix.storage.files import csv_bytes

COLUMNS: Final = ("row", "id", "part", "cluster", "label", "probability", "given", "known_label")


def labels_csv(sitting: Sitting) -> bytes:
    """Return all that names components as a label file, for `latentmix label`.

    A row has its own label, or else the name that was given to its cluster, or else the label that
    named the run, unless that was forgotten. Test rows have what the data call them, so that they
    are scored, and never a cluster's name.
    """
    rows, said, found = sitting.rows, sitting.state.said, sitting.state.found
    names: dict[int, str] = {}
    is_test = rows.part == PARTS.index("test")
    if said.own:
        known = is_test & (rows.known.labels >= 0)
        known[rows.naming] = True
        names = {
            row: rows.known.class_names[rows.known.labels[row]]
            for row in np.flatnonzero(known).tolist()
        }
    for cluster, name in said.names.items():
        own = np.flatnonzero((found.clusters == cluster) & ~is_test)
        names.update(dict.fromkeys(own.tolist(), name))
    for row in np.flatnonzero(said.labels >= 0).tolist():
        names[row] = said.label_names[said.labels[row]]
    called = {row: row if rows.ids is None else rows.ids[row] for row in sorted(names)}
    cells = ((inert(shown), inert(names[row])) for row, shown in called.items())
    return csv_bytes(("row" if rows.ids is None else "id", "label"), cells)


def rows_csv(sitting: Sitting, rows: Sequence[int]) -> bytes:
    """Return rows with what is known and said of them."""
    columns = _columns(sitting, rows)
    cells = zip(*(map(inert, columns[name]) for name in COLUMNS), strict=True)
    return csv_bytes(COLUMNS, cells)


def rows_parquet(sitting: Sitting, rows: Sequence[int]) -> bytes:
    """Return the same as a Parquet file.

    Raises
    ------
    ParameterError
        If the extra `parquet` is not installed.
    """
    pyarrow, content = _pyarrow(), io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(_columns(sitting, rows)), content)
    return content.getvalue()


def label_action(sitting: Sitting, content: bytes) -> dict[str, Any]:
    """Return the action that gives rows the labels of a file.

    It is a label file, or rows as they were taken out, CSV or Parquet: their column `given` counts.

    Raises
    ------
    InputError
        If it is neither, names an unknown row, or holds no label.
    """
    if content[:4] == b"PAR1":
        lines = _parquet_lines(content)
    else:
        try:
            decoded = csv_lines(content.decode("utf-8-sig"))
            lines = [(line, [*map(active, cells)]) for line, cells in decoded]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"The file is no CSV in UTF-8 ({error}). Save it as one.") from error
    numbered, ids = lines, sitting.rows.ids
    if lines and {"row", "given"} <= set(lines[0][1]):
        header = lines[0][1]
        row, given = header.index("row"), header.index("given")
        short = [line for line, cells in lines[1:] if len(cells) <= max(row, given)]
        if short:
            raise InputError(f"The file, line {short[0]}: cells are missing. Take it out anew.")
        numbered = [(line, [cells[row], cells[given]]) for line, cells in lines[1:]]
        ids = None
    names = label_lines(numbered, "The file", ids, len(sitting.rows))
    return {"do": "label", "rows": list(names), "names": list(names.values())}


def _parquet_lines(content: bytes) -> list[tuple[int, list[str]]]:
    parquet = _pyarrow().parquet
    try:
        table = parquet.read_table(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise InputError(f"The file is no whole Parquet file ({error}). Take another.") from error
    columns = [map(str, column.to_pylist()) for column in table.columns]
    rows = zip(*columns, strict=True)
    return list(enumerate([table.column_names, *map(list, rows)], start=1))


def _pyarrow() -> Any:
    with needing("Parquet", "pyarrow", "latentmix[parquet]"):
        import pyarrow.parquet  # noqa: PLC0415  # an extra, and slow to import
    return pyarrow


def _columns(sitting: Sitting, rows: Sequence[int]) -> dict[str, list[Any]]:
    """Return the columns of rows."""
    every, found, said = sitting.rows, sitting.state.found, sitting.state.said
    chosen = np.asarray(rows, np.int64)
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(every)):
        raise InputError(f"There is no such row. Expected numbers from 0 to {len(every) - 1:,}.")
    names = np.array([*found.names, ""], dtype=str)
    known = np.array([*every.known.class_names, ""], dtype=str)
    numbers = chosen.tolist()
    return {
        "row": numbers,
        "id": [str(row) if every.ids is None else every.ids[row] for row in numbers],
        "part": [PARTS[part] for part in every.part[chosen]],
        "cluster": found.clusters[chosen].tolist(),
        "label": names[found.classes[chosen]].tolist(),
        "probability": [round(p, 4) for p in found.probabilities[chosen].tolist()],
        "given": [said.label_of(row) or "" for row in numbers],
        "known_label": known[every.known.labels[chosen]].tolist(),
    }
