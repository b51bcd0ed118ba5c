"""A journal: a file of JSON lines that is only appended to, and survives what cuts it off.

A line is flushed to disk before it counts. One that was cut short, as by a power failure or a full
disk, is ended by the line break that the next line begins with, and is left out when read.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from latentmix.errors import IntegrityError, WriteError


class Entries(NamedTuple):
    """What a journal holds, in order, and the numbers of its lines that were cut short."""

    entries: list[dict[str, Any]]
    cut_short: list[int]


def read_journal(path: Path) -> Entries:
    """Return what a journal holds; nothing if there is none.

    Raises
    ------
    IntegrityError
        If it cannot be read.
    """
    try:
        # A link, or a pipe, of a folder that somebody sent is followed nowhere.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError("it is no plain file")
        content = path.read_bytes()
    except FileNotFoundError:
        return Entries([], [])
    except OSError as error:
        raise IntegrityError(
            f"{path} cannot be read: {error.strerror or error}. Expected a journal of JSON lines; "
            "change its rights, or move it away to begin anew."
        ) from error
    entries, cut_short = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            entries.append(entry)
        else:
            cut_short.append(number)
    return Entries(entries, cut_short)


def append_entry(path: Path, entry: dict[str, Any]) -> None:
    """Append one entry, and return once it is on disk.

    Raises
    ------
    WriteError
        If it cannot be written: it then does not count, whatever there is of it.
    """
    line = json.dumps(entry, separators=(",", ":"), allow_nan=False)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(path, flags, 0o644), "ab") as file:
            size = os.fstat(file.fileno()).st_size
            try:
                file.write(b"\n" + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # Whatever there is of it would count when it is read.
                file.truncate(size)
                raise
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}. Nothing was lost; free some "
            "space or change its rights, and do it again."
        ) from error
