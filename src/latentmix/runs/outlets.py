"""Where the answers to many files go: a folder, or a prefix of a bucket, and what is done of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from latentmix.storage.journal import append_entry, read_journal
from latentmix.storage.remote import (
    find_remote,
    is_remote,
    is_there,
    joined,
    read_remote,
    write_anywhere,
)

# What is done of a folder of parts; of a bucket a small object for each, under that name.
DONE = "done.jsonl"
MARKS = "done"

Mark = dict[str, Any]


class Outlet(Protocol):
    """Parts, each written whole, and a mark for each that is done."""

    where: str

    def done(self) -> dict[str, Mark]:
        """Return the marks of the parts that are there, by name."""

    def has(self, name: str) -> bool:
        """Say whether a part is there."""

    def mark(self, mark: Mark) -> None:
        """Keep what a part is of, which it is called ``mark["part"]``."""


class Folder:
    """A folder, whose marks are lines of a journal."""

    def __init__(self, where: str) -> None:
        self.where, self._path = where, Path(where)

    def done(self) -> dict[str, Mark]:
        """Return the marks of the parts that are there, by name."""
        marks = {str(mark.get("part")): mark for mark in read_journal(self._path / DONE).entries}
        return {name: mark for name, mark in marks.items() if self.has(name)}

    def has(self, name: str) -> bool:
        """Say whether a part is there."""
        return (self._path / name).is_file()

    def mark(self, mark: Mark) -> None:
        """Append to the journal."""
        append_entry(self._path / DONE, mark)


class Bucket:
    """A prefix of a bucket, whose marks are objects: none can be appended to."""

    def __init__(self, where: str) -> None:
        self.where = where

    def done(self) -> dict[str, Mark]:
        """Return the marks of the parts that are there, by name."""
        there = {file.address for file in find_remote(joined(self.where, "*.csv"))}
        kept = read_remote(joined(self.where, f"{MARKS}/*.json"))
        marks = [mark for mark in map(_mark_in, kept.values()) if mark]
        return {mark["part"]: mark for mark in marks if joined(self.where, mark["part"]) in there}

    def has(self, name: str) -> bool:
        """Say whether a part is there."""
        return is_there(joined(self.where, name))

    def mark(self, mark: Mark) -> None:
        """Put an object beside the parts."""
        name = joined(self.where, f"{MARKS}/{mark['part']}.json")
        write_anywhere(name, json.dumps(mark, allow_nan=False).encode())


def outlet_at(where: str) -> Outlet:
    """Return a folder or a bucket, by its address."""
    return Bucket(where) if is_remote(where) else Folder(where)


def _mark_in(content: bytes) -> Mark | None:
    """Return the mark that an object holds, None if it is none of ours."""
    try:
        mark = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return mark if isinstance(mark, dict) and isinstance(mark.get("part"), str) else None
