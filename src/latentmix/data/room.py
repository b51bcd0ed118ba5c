"""Where rows that were read are put: in memory, or if they are many in a file that is mapped.

The file has no name: it goes when nothing needs it any more, however the process ends. It lies in
the user's cache folder, as the system's temporary folder is often in memory.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from latentmix.data.limits import physical_memory
from latentmix.errors import WriteError

# Arrays of so many bytes and more are mapped.
LARGE = 1 << 28


def is_large(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Say whether an array is better mapped than held in memory."""
    return math.prod(shape) * dtype.itemsize >= LARGE


def room_for(shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> np.ndarray:
    """Return an array to be filled with what is read; `source` is for messages.

    Raises
    ------
    WriteError
        If the disk has no room for it.
    """
    if not is_large(shape, dtype):
        return np.empty(shape, dtype)
    n_bytes = math.prod(shape) * dtype.itemsize
    folder = user_cache_path("latentmix", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            # All of it now: a page that finds no room later ends the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
            return np.asarray(np.memmap(file, dtype, "r+", shape=shape))
    except OSError as error:
        raise WriteError(
            f"{source} needs {n_bytes / 2**30:,.1f} GiB on disk while it is used, and {folder} "
            f"cannot hold it: {error.strerror or error}. Free some, set XDG_CACHE_HOME to a folder "
            "on a larger disk, or use fewer rows."
        ) from error


def as_type(array: np.ndarray, dtype: Any, source: str) -> np.ndarray:
    """Return the array with another type, itself if it has that, or else a copy in `room_for`."""
    dtype = np.dtype(dtype)
    if array.dtype == dtype:
        return array
    out = room_for(array.shape, dtype, source)
    np.copyto(out, array, casting="unsafe")
    return out


@contextmanager
def read_at_random(rows: Any) -> Iterator[None]:
    """Have no more read from the disk than is asked for, if the rows' map outgrows memory.

    The system reads ahead, which fills the page cache soon where that can hold the file. Where it
    cannot, nearly the whole file would be read for each shard.
    """
    mapped, memory = _map_of(rows), physical_memory()
    if mapped is None or memory is None or len(mapped) < memory / 2:
        yield
        return
    mapped.madvise(mmap.MADV_RANDOM)
    try:
        yield
    finally:
        mapped.madvise(mmap.MADV_NORMAL)


def _map_of(rows: Any) -> mmap.mmap | None:
    """Return the map that an array, or what reads from one, lies in."""
    while rows is not None and not isinstance(rows, mmap.mmap):
        rows = rows.base if isinstance(rows, np.ndarray) else getattr(rows, "source", None)
    return rows
