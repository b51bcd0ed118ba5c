"""NumPy's .npy and .npz, without pickles and with sizes checked before memory is taken.

A large .npy is mapped, not read.
"""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from latentmix.data.limits import check_unpacked_size, unreadable
from latentmix.data.room import is_large, room_for
from latentmix.errors import FormatError, LatentmixError

_MOST_AXES = 8
_BYTES_PER_READ = 1 << 24
_DATA_NAMES = ("X", "x", "images", "data")
_LABEL_NAMES = ("y", "labels")
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Arrays(NamedTuple):
    """The data of a file and, where it has them, the labels."""

    data: np.ndarray
    labels: np.ndarray | None


def read_npy(path: Path) -> np.ndarray:
    """Return the array of a .npy file.

    Raises
    ------
    MissingError
        If it cannot be read.
    FormatError
        If it is empty, truncated, pickled, or no .npy file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = _checked_header(file, size, str(path))
            if not is_large(header.shape, header.dtype):
                return _read_values(file, header, str(path))
            mapped = np.memmap(path, header.dtype, "r", file.tell(), header.shape, header.order)
            return np.asarray(mapped)
    except OSError as error:
        raise unreadable(path, error) from error


def read_npz(path: Path) -> Arrays:
    """Return the data of a .npz file, and its labels if it has any.

    The data are called X, x, images or data, or are the only array but the labels; the
    labels are called y or labels.

    Raises
    ------
    MissingError
        If it cannot be read.
    FormatError
        If it is empty, truncated, a zip bomb, pickled, no .npz file, or names no array so.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
            data, labels = _choose(names, path)
            return Arrays(
                _read_member(archive, data, path),
                None if labels is None else _read_member(archive, labels, path),
            )
    except LatentmixError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    except Exception as error:  # a damaged archive fails in many ways
        size = path.stat().st_size
        raise FormatError(
            f"{path} ({size:,} bytes) cannot be read as .npz: {error}. Expected a zip archive of "
            "arrays, as numpy.savez writes it; fetch or write it again."
        ) from error


def _choose(names: Collection[str], path: Path) -> tuple[str, str | None]:
    """Return the names of the data and of the labels."""
    labels = next((name for name in _LABEL_NAMES if name in names), None)
    data = next((name for name in _DATA_NAMES if name in names), None)
    others = [name for name in names if name not in _LABEL_NAMES]
    if data is None and len(others) == 1:
        data = others[0]
    if data is None:
        raise FormatError(
            f"{path} holds the arrays {', '.join(sorted(names)) or '(none)'}. Expected the data "
            f"under one of the names {', '.join(_DATA_NAMES)}, and labels under y."
        )
    return data, labels


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    info = archive.getinfo(f"{name}.npy")
    # The archive's own size, not the member's packed one: that is a claim as well.
    check_unpacked_size(path, info.file_size, path.stat().st_size)
    with archive.open(info) as file:
        source = f"{path}, array {name!r}"
        return _read_values(file, _checked_header(file, info.file_size, source), source)


def _checked_header(file: IO[bytes], size: int, source: str) -> _Header:
    """Return the header of .npy data of `size` bytes, once it agrees with that size."""
    header = _read_header(file, size, source)
    n_bytes = math.prod(header.shape) * header.dtype.itemsize
    if n_bytes > size - file.tell():
        raise FormatError(
            f"{source} is truncated: its header claims an array of shape {header.shape} and "
            f"{n_bytes:,} bytes, and the file holds {size - file.tell():,}. Fetch it again."
        )
    return header


def _read_values(file: IO[bytes], header: _Header, source: str) -> np.ndarray:
    """Return the values that follow the header."""
    values = room_for((math.prod(header.shape),), header.dtype, source)
    missing = values.view(np.uint8).data
    while missing:
        n_read = file.readinto(missing[:_BYTES_PER_READ])  # type: ignore[attr-defined]
        if not n_read:
            n_bytes, held = values.nbytes, values.nbytes - len(missing)
            raise FormatError(
                f"{source} is truncated: {held:,} of {n_bytes:,} bytes. Fetch it again."
            )
        missing = missing[n_read:]
    return values.reshape(header.shape, order=header.order)


class _Header(NamedTuple):
    """What the first bytes of .npy data say."""

    shape: tuple[int, ...]
    in_fortran_order: bool
    dtype: np.dtype[np.generic]

    @property
    def order(self) -> Literal["C", "F"]:
        """How the values lie."""
        return "F" if self.in_fortran_order else "C"


def _read_header(file: IO[bytes], size: int, source: str) -> _Header:
    """Return the header, refusing one whose array could not be read safely."""
    if size == 0:
        raise FormatError(f"{source} is empty (0 bytes). Expected a .npy array; fetch it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers in Python 2's style, and bad syntax
            header = _Header(*_HEADER_READERS[npy.read_magic(file)](file))
    except (OSError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # NumPy parses it as Python, which fails in many ways
        raise FormatError(
            f"{source} is no .npy array: {_first_line(error)}. Expected one as numpy.save writes "
            "it."
        ) from error
    shape, _, dtype = header
    if dtype.hasobject:
        raise FormatError(
            f"{source} holds pickled Python objects, which are never loaded. Expected an array of "
            "numbers; save it with numpy.save(..., allow_pickle=False)."
        )
    if dtype.itemsize == 0 or len(shape) > _MOST_AXES or any(length < 0 for length in shape):
        raise FormatError(
            f"{source} claims shape {shape} and type {dtype}. Expected an array of numbers; write "
            "it again."
        )
    return header


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
