"""What a table's columns hold, and its rows: numbers, and for text positions of categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from latentmix.data.views import Rows, RowView
from latentmix.errors import InputError

KINDS: Final = ("continuous", "count", "binary", "categorical")

# What people may say of a column: its kind, or the categories of a categorical one.
Said = str | Sequence[str] | Sequence[int]

# Undeclared text of more values than this, or than half of the rows, is no choice of categories:
# these are ids, names or sentences.
MOST_UNDECLARED: Final = 1000


class Column(NamedTuple):
    """What a column holds.

    Attributes
    ----------
    kind : str
        A name in `KINDS`.
    categories : tuple of str or tuple of int
        Of a categorical column: what its rows hold, in the order of their positions.
    """

    kind: str
    categories: tuple[str, ...] | tuple[int, ...] = ()


class TableRows:
    """Rows of a table with what is known of its columns; as `latentmix.data.views.Rows`.

    Rows that are read are in the table's own terms: of columns of text an array of objects, with
    text in them. `source` has numbers alone.

    Parameters
    ----------
    source : (N, D)
        Numbers; in a categorical column positions among its categories.
    columns : sequence of Column or None, optional
        What is known of each column, (D,); None is that it holds numbers.
    titles : sequence of str, optional
        What the columns are called, (D,).
    """

    def __init__(
        self,
        source: np.ndarray,
        columns: Sequence[Column | None] | None = None,
        titles: Sequence[str] | None = None,
    ) -> None:
        self.source, self.shape = source, source.shape
        self.columns = tuple(columns or (None,) * source.shape[1])
        self.titles = None if titles is None else tuple(titles)
        self.has_categories = any(c is not None and c.kind == "categorical" for c in self.columns)
        self.has_text = any(column is not None and _is_text(column) for column in self.columns)
        self.dtype: np.dtype[Any] = np.dtype(object) if self.has_text else source.dtype

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, which: Any) -> np.ndarray:
        return in_words(self.source[which], self.columns)

    def of_columns(self, numbers: Sequence[int]) -> TableRows:
        """Return the rows of some columns alone, in their order."""
        titles = None if self.titles is None else [self.titles[number] for number in numbers]
        columns = [self.columns[number] for number in numbers]
        return TableRows(self.source[:, list(numbers)], columns, titles)


def in_words(positions: np.ndarray, columns: Sequence[Column | None]) -> np.ndarray:
    """Return rows (..., D) with categories in place of positions: objects where any is text."""
    coded = [
        (number, column)
        for number, column in enumerate(columns)
        if column is not None and column.kind == "categorical"
    ]
    if not coded:
        return positions
    words = positions.astype(object if any(_is_text(c) for _, c in coded) else positions.dtype)
    for number, column in coded:
        categories = np.array(column.categories, dtype=object)
        words[..., number] = categories[positions[..., number].astype(int)]
    return words


def table_of(rows: Any) -> TableRows | None:
    """Return the table that rows are those of, None for rows of numbers without titles."""
    while isinstance(rows, RowView):
        rows = rows.source
    return rows if isinstance(rows, TableRows) else None


def codes_of(rows: Rows) -> Rows:
    """Return the same rows as numbers: positions where a table has categories."""
    if isinstance(rows, RowView):
        return RowView(codes_of(rows.source), rows.numbers)
    return rows.source if isinstance(rows, TableRows) else rows


def part_of(rows: Rows, which: Any) -> Rows:
    """Return some of the rows, read now, in the same terms: what is sent elsewhere."""
    if isinstance(rows, RowView):
        return part_of(rows.source, rows.numbers[which])
    if isinstance(rows, TableRows):
        return TableRows(np.asarray(rows.source[which]), rows.columns, rows.titles)
    return np.asarray(rows[which])


def has_text(rows: Rows) -> bool:
    """Say whether rows are those of a table with text in it."""
    table = table_of(rows)
    return table is not None and table.has_text


def has_categories(rows: Rows) -> bool:
    """Say whether rows are those of a table that itself says a column is categorical."""
    table = table_of(rows)
    return table is not None and table.has_categories


def reads_as_number(text: str) -> bool:
    """Say whether a text is one that a number is written as."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_repeats(where: str, n_categories: int, n_rows: int, remedy: str) -> None:
    """Refuse undeclared text whose values do not repeat, as categories do.

    Raises
    ------
    InputError
    """
    if n_categories > min(MOST_UNDECLARED, n_rows / 2):
        raise InputError(
            f"{where} holds {n_categories:,} different texts in {n_rows:,} rows. Expected "
            f"categories, which repeat; leave the column out, or {remedy}."
        )


def _is_text(column: Column) -> bool:
    return any(isinstance(category, str) for category in column.categories)
