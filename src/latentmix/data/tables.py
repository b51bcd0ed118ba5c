"""CSV tables: a header, then numbers or text; two columns may instead be ids and labels."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from latentmix.data.coding import Coder, is_text, remedies
from latentmix.data.columns import Column, Said, reads_as_number
from latentmix.data.labels import Labels, encode_names
from latentmix.data.rows import check_finite
from latentmix.data.text import open_csv
from latentmix.errors import FormatError, InputError, ParameterError, did_you_mean


class Table(NamedTuple):
    """The numbers of a table's file, (N, D), and what its two special columns say.

    `columns` say what the others hold, where any is text or anything was said of them; in those
    that are categorical X has positions.
    """

    X: np.ndarray
    row_ids: tuple[str, ...] | None
    labels: Labels | None
    titles: tuple[str, ...]
    columns: tuple[Column, ...] | None = None


def read_csv(
    path: Path,
    *,
    id_column: str | None,
    label_column: str | None,
    columns: Mapping[str, Said] | None = None,
) -> Table:
    """Return the table of a CSV file with a header.

    Parameters
    ----------
    path : Path
    id_column, label_column : str or None
        Titles of the columns that hold row ids and labels; a blank label is unknown.
    columns : mapping, optional
        What other columns hold, by title: a kind, or a list of categories. Of those it leaves out,
        one whose first cell is no number holds text in every row, which has to repeat.

    Raises
    ------
    MissingError
        If it cannot be read.
    FormatError
        If it is no CSV, a title stands twice, or a line has too few or too many cells.
    InputError
        If a cell is no finite number, or in a column of text none; if an id stands twice, texts do
        not repeat, or there are no rows.
    ParameterError
        If there is no such column.
    """
    with open_csv(path) as lines:
        titles = _titles(next(lines, (0, []))[1], path)
        id_at = position(titles, "id_column", id_column, path)
        label_at = position(titles, "label_column", label_column, path)
        data = [column for column in range(len(titles)) if column not in (id_at, label_at)]
        shown = tuple(titles[column] for column in data)
        cells_of = _Cells(path, shown, columns)
        ids: list[str] = []
        names: list[str] = []
        values = array("d")
        n_rows = 0
        for line, cells in lines:
            place = f"{path}, row {n_rows} (line {line})"
            _check_complete(cells, titles, place)
            values.extend(cells_of.read([cells[column] for column in data], place))
            if id_at is not None:
                ids.append(cells[id_at])
            if label_at is not None:
                names.append(cells[label_at])
            n_rows += 1
    if not n_rows or not data:
        raise InputError(
            f"{path} has {n_rows} rows and {len(data)} columns of data. Expected at least one of "
            "each below a header of titles."
        )
    X = np.frombuffer(values, dtype=np.float64).reshape(n_rows, len(data))
    held = cells_of.settled(X)
    check_finite(X, str(path), shown)
    check_once(ids, f"{path}, column {id_column!r}", InputError)
    row_ids = tuple(ids) if id_at is not None else None
    labels = encode_names(names) if label_at is not None else None
    return Table(X, row_ids, labels, shown, held)


class _Cells:
    """A CSV's cells of data as numbers; those of text as positions among its categories.

    What a column holds that nothing is said of, its first cell tells.
    """

    def __init__(
        self, path: Path, titles: Sequence[str], columns: Mapping[str, Said] | None
    ) -> None:
        self.path, self.titles = path, titles
        self.said = said_of(titles, columns, path)
        self.readers: list[Callable[[str], float]] = []

    def read(self, cells: list[str], place: str) -> list[float]:
        """Return the numbers of one line; `place` says where it stands, for messages."""
        if not self.readers:
            self.readers = [
                self._reader(title, said, cell)
                for title, said, cell in zip(self.titles, self.said, cells, strict=True)
            ]
        try:
            return [read(cell) for read, cell in zip(self.readers, cells, strict=True)]
        except ValueError:
            self._refuse(cells, place)

    def settled(self, X: np.ndarray) -> tuple[Column, ...] | None:
        """Bring positions to the order of categories, and return what the columns hold."""
        found = [
            read.settled(X[:, number], len(X)) if isinstance(read, Coder) else None
            for number, read in enumerate(self.readers)
        ]
        return held_by(found, self.said)

    def _reader(self, title: str, said: Said | None, cell: str) -> Callable[[str], float]:
        undeclared_text = said is None and cell != "" and not reads_as_number(cell)
        return Coder(title, said, str(self.path)) if undeclared_text or is_text(said) else float

    def _refuse(self, cells: list[str], place: str) -> NoReturn:
        for title, read, cell in zip(self.titles, self.readers, cells, strict=True):
            try:
                read(cell)
            except ValueError as error:
                what = repr(cell) if cell else "a blank cell"
                expected = (
                    str(error)
                    if isinstance(read, Coder)
                    else f"Expected a number; correct it, or {remedies(title)}"
                )
                raise InputError(f"{place}, column {title!r}: {what}. {expected}.") from error
        raise AssertionError("no cell was refused")


def said_of(
    titles: Sequence[str], columns: Mapping[str, Said] | None, path: Path
) -> list[Said | None]:
    """Return what is said of each column of data; refuse a title that is not there."""
    columns = columns or {}
    for title in columns:
        position(titles, "columns", title, path)
    return [columns.get(title) for title in titles]


def held_by(
    found: Sequence[Column | None], said: Sequence[Said | None]
) -> tuple[Column, ...] | None:
    """Return what columns hold by what was found and said, None where all are plain numbers."""
    if not any(found) and not any(said):
        return None
    return tuple(
        column or Column(str(kind or "continuous"))
        for column, kind in zip(found, said, strict=True)
    )


def read_titles(path: Path) -> tuple[str, ...]:
    """Return the titles in the header of a CSV file; raises as `read_csv`."""
    with open_csv(path) as lines:
        return tuple(_titles(next(lines, (0, []))[1], path))


def _check_complete(cells: list[str], titles: list[str], place: str) -> None:
    if len(cells) != len(titles):
        raise FormatError(
            f"{place} has {len(cells)} cells. Expected {len(titles)}, one for each title; complete "
            "or remove that line."
        )


def _titles(cells: list[str], path: Path) -> list[str]:
    if not cells:
        raise FormatError(f"{path} is empty. Expected a header of titles, then rows of numbers.")
    if len(cells) == 1 and any(mark in cells[0] for mark in ";\t"):
        raise FormatError(
            f"{path} parts its cells by semicolons or tabs. Expected commas; save it as CSV with "
            "commas and decimal points."
        )
    if all(reads_as_number(cell) for cell in cells):
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
