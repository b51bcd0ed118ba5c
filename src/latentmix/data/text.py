"""Lines of a CSV file, as UTF-8, with one clear error for whatever else the file may be."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from latentmix.data.limits import unreadable
from latentmix.errors import FormatError

# A spreadsheet takes a cell that begins so for a formula.
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
QUOTE: Final = "'"


def inert(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text is quoted, numbers are not."""
    is_quoted = isinstance(value, str) and value.startswith((*FORMULAS, QUOTE))
    return f"{QUOTE}{value}" if is_quoted else value


def active(cell: str) -> str:
    """Return what `inert` was given."""
    is_quoted = cell.startswith(QUOTE) and cell[1:].startswith((*FORMULAS, QUOTE))
    return cell[1:] if is_quoted else cell


@contextmanager
def open_csv(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Yield an iterator of (line number from 1, stripped cells), blank lines left out.

    Raises
    ------
    MissingError
        If the file cannot be read.
    FormatError
        If it is not UTF-8 text or no CSV.
    """
    try:
        # utf-8-sig: spreadsheets begin their files with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield _lines(csv.reader(file, strict=True))
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path} is no UTF-8 text (byte {error.start}). Expected a CSV file; save it as UTF-8."
        ) from error
    except csv.Error as error:
        raise FormatError(f"{path} is no CSV: {error}. Expected cells parted by commas.") from error
    except OSError as error:
        raise unreadable(path, error) from error


def csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield what `open_csv` does, of text that is in memory."""
    return _lines(csv.reader(io.StringIO(text, newline=""), strict=True))


def _lines(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped  # type: ignore[attr-defined]
