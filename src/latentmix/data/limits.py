"""How much a file may unpack to, decided before any memory is taken.

A few kilobytes of gzip, zip or PNG can claim terabytes. Two rules stop that: a large file
may not be hundreds of times its packed size, and nothing may exceed this machine's memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from latentmix.errors import FormatError, InputError, MissingError

_LARGEST_RATIO = 200  # blank images reach 100 or so; deflate itself ends near 1,030
_ALWAYS_ALLOWED = 256 * 2**20


def check_unpacked_size(path: Path, unpacked: int, packed: int) -> None:
    """Refuse a file of `packed` bytes whose content claims `unpacked` bytes too many.

    Raises
    ------
    FormatError
        If the ratio is one that only a decompression bomb has.
    InputError
        If the content does not fit into this machine's memory.
    """
    check_ratio(path, unpacked, packed)
    check_memory(str(path), unpacked, "Use fewer rows or smaller images.")


def check_ratio(path: Path, unpacked: int, packed: int) -> None:
    """Refuse a claim that only a decompression bomb makes."""
    if unpacked > max(_ALWAYS_ALLOWED, _LARGEST_RATIO * packed):
        raise FormatError(
            f"{path} has {packed:,} bytes and claims to unpack to {unpacked:,}, as a decompression "
            f"bomb does. Expected at most {_LARGEST_RATIO} times its size; if it is genuine, "
            "unpack it first."
        )


def check_memory(what: str, needed: int, remedy: str) -> None:
    """Refuse an array of `needed` bytes that this machine cannot hold."""
    present = physical_memory()
    if present is not None and needed > present:
        raise InputError(
            f"{what} needs {needed / 2**30:,.1f} GiB of memory and this machine has "
            f"{present / 2**30:,.1f}. {remedy}"
        )


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, refusing one that cannot be read or is empty.

    Raises
    ------
    MissingError
        If there is no such file, or it may not be read.
    FormatError
        If it is empty.
    """
    try:
        check_memory(str(path), path.stat().st_size, "Use fewer rows.")
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    if not content:
        raise FormatError(f"{path} is empty (0 bytes). Expected a data file; fetch it again.")
    return content


def unreadable(path: Path, error: OSError) -> MissingError:
    """Return the error for a path the operating system does not let us read."""
    reason = error.strerror or type(error).__name__
    return MissingError(f"{path} cannot be read: {reason}. Check the path and its permissions.")


def physical_memory() -> int | None:
    """Return this machine's memory in bytes, or None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
