"""What leaves the explorer as a file, and comes back: labels, and rows with all that is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from latentmix.data.labels import label_lines
from latentmix.data.text import csv_lines
from latentmix.errors import InputError
from latentmix.runs.parts import PARTS
from latentmix.runs.sitting import Sitting

# A spreadsheet takes a cell that begins so for a formula.
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")

COLUMNS: Final = ("row", "id", "part", "cluster", "label", "probability", "given", "known_label")


def labels_csv(sitting: Sitting) -> bytes:
    """Return the labels of single rows as a label file."""
    ids, labels = sitting.rows.ids, sitting.state.said.labels
    called = {row: row if ids is None else ids[row] for row in sorted(labels)}
    cells = ((inert(name), inert(labels[row])) for row, name in called.items())
    return _csv(("row" if ids is None else "id", "label"), cells)


def rows_csv(sitting: Sitting, rows: Sequence[int]) -> bytes:
    """Return rows with what is known and said of them."""
    columns = _columns(sitting, rows)
    cells = zip(*(map(inert, columns[name]) for name in COLUMNS), strict=True)
    return _csv(COLUMNS, cells)


def rows_parquet(sitting: Sitting, rows: Sequence[int]) -> bytes:
    """Return the same as a Parquet file.

    Raises
    ------
    InputError
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
            lines = list(csv_lines(content.decode("utf-8-sig")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"The file is no CSV in UTF-8 ({error}). Save it as one.") from error
    numbered, ids = lines, sitting.rows.ids
    if lines and {"row", "given"} <= set(lines[0][1]):
        header = lines[0][1]
        row, given = header.index("row"), header.index("given")
        numbered = [(line, [cells[row], cells[given]]) for line, cells in lines[1:]]
        ids = None
    told = ((line, list(map(active, cells))) for line, cells in numbered)
    names = label_lines(told, "The file", ids, len(sitting.rows))
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
    try:
        import pyarrow.parquet  # noqa: PLC0415  # an extra, and slow to import
    except ImportError as error:
        raise InputError(
            "Parquet needs pyarrow, which is not installed. Install it (pip install "
            "'latentmix[parquet]'), or take CSV."
        ) from error
    return pyarrow


def inert(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text is quoted, numbers are not."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def active(cell: str) -> str:
    """Return what `inert` was given."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULAS) else cell


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
        "given": [said.labels.get(row, "") for row in numbers],
        "known_label": known[every.known.labels[chosen]].tolist(),
    }


def _csv(header: Sequence[str], rows: Any) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
