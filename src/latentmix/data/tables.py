"""CSV tables: a header, then numbers; two columns may instead be ids and labels."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix.data.labels import Labels, encode_names
from latentmix.data.rows import check_finite
from latentmix.data.text import open_csv
from latentmix.errors import FormatError, InputError, ParameterError, did_you_mean


class Table(NamedTuple):
    """The numbers of a CSV, float64 of shape (N, D), and what its two special columns say."""

    X: np.ndarray
    row_ids: tuple[str, ...] | None
    labels: Labels | None
    titles: tuple[str, ...]


def read_csv(path: Path, *, id_column: str | None, label_column: str | None) -> Table:
    """Return the table of a CSV file with a header.

    Parameters
    ----------
    path : Path
    id_column, label_column : str or None
        Titles of the columns that hold row ids and labels; a blank label is unknown. Every
        other column must be numeric.

    Raises
    ------
    MissingError
        If it cannot be read.
    FormatError
        If it is no CSV, a title stands twice, or a line has too few or too many cells.
    InputError
        If a cell is no finite number, an id stands twice, or there are no rows.
    ParameterError
        If there is no such column.
    """
    with open_csv(path) as lines:
        titles = _titles(next(lines, (0, []))[1], path)
        id_at = position(titles, "id_column", id_column, path)
        label_at = position(titles, "label_column", label_column, path)
        numeric = [column for column in range(len(titles)) if column not in (id_at, label_at)]
        ids: list[str] = []
        names: list[str] = []
        values = array("d")
        n_rows = 0
        for line, cells in lines:
            place = f"{path}, row {n_rows} (line {line})"
            values.extend(_numbers(cells, titles, numeric, place))
            if id_at is not None:
                ids.append(cells[id_at])
            if label_at is not None:
                names.append(cells[label_at])
            n_rows += 1
    if not n_rows or not numeric:
        raise InputError(
            f"{path} has {n_rows} rows and {len(numeric)} numeric columns. Expected at least one "
            "of each below a header of titles."
        )
    X = np.frombuffer(values, dtype=np.float64).reshape(n_rows, len(numeric))
    shown = tuple(titles[column] for column in numeric)
    check_finite(X, str(path), shown)
    check_once(ids, f"{path}, column {id_column!r}", InputError)
    row_ids = tuple(ids) if id_at is not None else None
    return Table(X, row_ids, encode_names(names) if label_at is not None else None, shown)


def read_titles(path: Path) -> tuple[str, ...]:
    """Return the titles in the header of a CSV file; raises as `read_csv`."""
    with open_csv(path) as lines:
        return tuple(_titles(next(lines, (0, []))[1], path))


def _numbers(cells: list[str], titles: list[str], numeric: list[int], place: str) -> list[float]:
    """Return the numbers of one line; `place` says where it stands, for messages."""
    if len(cells) != len(titles):
        raise FormatError(
            f"{place} has {len(cells)} cells. Expected {len(titles)}, one for each title; complete "
            "or remove that line."
        )
    try:
        return [float(cells[column]) for column in numeric]
    except ValueError:
        column = next(column for column in numeric if not _is_number(cells[column]))
    what = repr(cells[column]) if cells[column] else "a blank cell"
    title = titles[column]
    raise InputError(
        f"{place}, column {title!r}: {what}. Expected a number; correct it, or if these are ids or "
        f"labels say so: --set data.id_column={title} or --set data.label_column={title}."
    )


def _titles(cells: list[str], path: Path) -> list[str]:
    if not cells:
        raise FormatError(f"{path} is empty. Expected a header of titles, then rows of numbers.")
    if len(cells) == 1 and any(mark in cells[0] for mark in ";\t"):
        raise FormatError(
            f"{path} parts its cells by semicolons or tabs. Expected commas; save it as CSV with "
            "commas and decimal points."
        )
    if all(_is_number(cell) for cell in cells):
        raise FormatError(
            f"{path} begins with a line of numbers. Expected a header of titles; add one, such as "
            "a,b,c."
        )
    check_once(cells, f"{path}, header", FormatError)
    return cells


def position(titles: Sequence[str], option: str, title: str | None, path: Path) -> int | None:
    """Return where a column stands, None for none; refuse a title that is not there."""
    if title is None:
        return None
    if title not in titles:
        shown = ", ".join(titles[:8]) + (", ..." if len(titles) > 8 else "")
        raise ParameterError(
            f"{option}={title!r} is no column of {path}. Choose one of: {shown}."
            f"{did_you_mean(title, titles)}"
        )
    return titles.index(title)


def check_once(names: Sequence[str], where: str, error: type[InputError]) -> None:
    """Refuse a name that stands twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise error(f"{where}: {twice[0]!r} stands more than once. Expected each name once.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
