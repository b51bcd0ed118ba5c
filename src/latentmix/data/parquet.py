"""Parquet tables, read block by block by pyarrow (the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from latentmix.data.coding import Coder, is_text
from latentmix.data.columns import Column, Said
from latentmix.data.labels import encode_names
from latentmix.data.room import room_for
from latentmix.data.rows import check_finite
from latentmix.data.tables import Table, check_once, held_by, position, said_of
from latentmix.errors import InputError, MissingError, needing

ROWS_PER_BLOCK = 65_536


class ParquetFile:
    """A Parquet file whose columns are numbers, or read as text.

    Raises
    ------
    MissingError
        If it is not there.
    InputError
        If it cannot be read.
    ParameterError
        If the extra `parquet` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise MissingError(f"{path} is not there. Expected a Parquet file; check the path.")
        with needing(str(path), "pyarrow", "latentmix[parquet]"):
            import pyarrow.parquet  # noqa: PLC0415  # an extra, and slow to import
        self._open = pyarrow.parquet.ParquetFile
        with self._opened() as file:
            self.titles: tuple[str, ...] = tuple(file.schema_arrow.names)
            self.n_rows: int = file.metadata.num_rows
            self._types = dict(zip(self.titles, file.schema_arrow.types, strict=True))

    def blocks(self, titles: Sequence[str], dtype: Any = np.float64) -> Iterator[np.ndarray]:
        """Yield the numbers of some columns, (B, D); a null is NaN."""
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_BLOCK, columns=list(titles)):
                block = np.empty((batch.num_rows, len(titles)), dtype)
                for number, title in enumerate(titles):
                    block[:, number] = batch.column(title).to_numpy(zero_copy_only=False)
                yield block

    def texts(self, title: str) -> list[str]:
        """Return a column as text, a null as none."""
        with self._opened() as file:
            column = file.read(columns=[title]).column(title).to_pylist()
        return ["" if value is None else str(value) for value in column]

    def holds_text(self, title: str) -> bool:
        """Say whether a column holds text, or numbers for such."""
        kind = str(self._types[title])
        return kind.startswith(("string", "large_string", "dictionary"))

    def holds_truth(self, title: str) -> bool:
        """Say whether a column holds true and false."""
        return str(self._types[title]) == "bool"

    def dtype_of(self, titles: Sequence[str]) -> np.dtype[Any]:
        """Return float32 where that holds the columns' digits, else float64."""
        kinds = {np.dtype(self._types[title].to_pandas_dtype()) for title in titles}
        exact = all(np.can_cast(kind, np.float32) for kind in kinds)
        return np.dtype(np.float32 if exact else np.float64)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with self._open(self.path) as file:
                yield file
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.path} cannot be read as a Parquet file of numbers ({error}). Expected "
                "numeric columns; convert or drop the others."
            ) from error


def read_parquet(
    path: Path,
    *,
    id_column: str | None,
    label_column: str | None,
    columns: Mapping[str, Said] | None = None,
) -> Table:
    """Return the table of a Parquet file; parameters and errors are those of `read_csv`.

    Its own types say which columns are text, and which hold truth values.
    """
    file = ParquetFile(path)
    for option, title in (("id_column", id_column), ("label_column", label_column)):
        position(file.titles, option, title, path)
    titles = tuple(title for title in file.titles if title not in (id_column, label_column))
    said = said_of(titles, columns, path)
    if not file.n_rows or not titles:
        raise InputError(
            f"{path} has {file.n_rows} rows and {len(titles)} columns of data. Expected at least "
            "one of each."
        )
    text = [
        is_text(one) or (one is None and file.holds_text(title))
        for title, one in zip(titles, said, strict=True)
    ]
    numeric = [title for title, is_one in zip(titles, text, strict=True) if not is_one]
    X = room_for((file.n_rows, len(titles)), file.dtype_of(numeric), str(path))
    _read_numbers(file, X, np.flatnonzero(~np.array(text)), numeric)
    found = [
        _read_texts(file, X[:, number], Coder(title, one, str(path))) if is_one else None
        for number, (title, one, is_one) in enumerate(zip(titles, said, text, strict=True))
    ]
    check_finite(X, str(path), titles)
    if any(found):
        pairs = zip(said, titles, strict=True)
        said = [one or ("binary" if file.holds_truth(title) else None) for one, title in pairs]
    ids = None if id_column is None else tuple(file.texts(id_column))
    check_once(ids or (), f"{path}, column {id_column!r}", InputError)
    labels = None if label_column is None else encode_names(file.texts(label_column))
    return Table(X, ids, labels, titles, held_by(found, said))


def _read_numbers(file: ParquetFile, X: np.ndarray, at: np.ndarray, titles: list[str]) -> None:
    """Fill in the columns of numbers, block by block."""
    row = 0
    for block in file.blocks(titles, X.dtype) if titles else ():
        X[row : row + len(block), at] = block
        row += len(block)


def _read_texts(file: ParquetFile, positions: np.ndarray, code: Coder) -> Column:
    """Fill in the positions of a column of text, and return what it holds."""
    for row, text in enumerate(file.texts(code.title)):
        try:
            positions[row] = code(text)
        except ValueError as error:
            what = repr(text) if text else "no value"
            raise InputError(
                f"{file.path}, row {row}, column {code.title!r}: {what}. {error}."
            ) from error
    return code.settled(positions, file.n_rows)
