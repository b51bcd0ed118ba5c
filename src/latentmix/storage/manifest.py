"""A folder sealed by a manifest of sizes and SHA-256, and read back with nothing taken on trust.

Safetensors carry no checksum, and a flipped bit loads silently; so every file is hashed before
it is parsed. Names are plain and stay inside the folder, links are refused, sizes are compared
before memory is taken, and a file the manifest does not name is never read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import struct
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes

from latentmix.errors import IntegrityError, MissingError
from latentmix.storage.files import write_json

FORMAT = 1
MANIFEST = "manifest.json"
KINDS = ("model", "run")

# A manifest names some dozens of files; one of megabytes is not ours.
LARGEST_MANIFEST = 4 << 20
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """A file's size in bytes and its SHA-256, in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Sealed:
    """A folder whose files were all found as the manifest has them."""

    path: Path
    kind: str
    entries: dict[str, Entry]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its files, sorted."""
        return tuple(sorted(self.entries))

    def read(self, name: str) -> bytes:
        """Return a file's bytes, checked again as they are read."""
        if name not in self.entries:
            raise IntegrityError(
                f"{self.path} has no {name} in its manifest. Expected a complete "
                f"{self.kind} folder; copy it again or repeat what made it."
            )
        return _read_checked(self.path, name, self.entries[name])

    def json(self, name: str) -> Any:
        """Return a JSON file's value."""
        return _parse_json(self.read(name), self.path / name)

    def csv(self, name: str) -> list[dict[str, str]]:
        """Return a CSV file's rows, each by column name."""
        return list(csv.DictReader(io.StringIO(self.read(name).decode(), newline="")))

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """Return a safetensors file's arrays."""
        content = self.read(name)
        try:
            # The header's offsets are checked against the content before arrays are made.
            return dict(tensors_from_bytes(content))
        except (SafetensorError, ValueError, KeyError, TypeError, struct.error) as error:
            raise IntegrityError(
                f"{self.path / name} is no valid safetensors file ({error}). Save it again."
            ) from error


def seal(folder: Path, kind: str, *, exclude: Collection[str] = ()) -> None:
    """Write the manifest of all files in a folder: the last thing a writer does.

    Hidden files, as a write cut off by a power failure or a file manager leaves them, and the
    names in `exclude` are no part of what is sealed.
    """
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and _is_plain(name) and name != MANIFEST and name not in exclude:
            content = path.read_bytes()
            files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record = {"format": FORMAT, "kind": kind, "latentmix": _version(), "files": files}
    write_json(folder / MANIFEST, record)


def open_sealed(folder: Path, kind: str | Collection[str]) -> Sealed:
    """Check a sealed folder, every file of it, and return its reader.

    Raises
    ------
    MissingError
        If there is no such folder, or it holds no manifest.
    IntegrityError
        If the manifest is unsafe, or a file is not as it says.
    """
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        what = "holds no manifest.json: it is no finished" if folder.is_dir() else "is no"
        raise MissingError(
            f"{folder} {what} {' or '.join(kinds)} folder. Give the folder that `latentmix run` or "
            "`save` wrote."
        )
    _refuse_links(folder, MANIFEST)
    if manifest.stat().st_size > LARGEST_MANIFEST:
        raise IntegrityError(
            f"{manifest} has {manifest.stat().st_size:,} bytes. Expected at most "
            f"{LARGEST_MANIFEST:,}; it was not written by latentmix."
        )
    record = _parse_json(manifest.read_bytes(), manifest)
    found = _checked_header(record, manifest, kinds)
    entries = {name: _checked_entry(name, entry, manifest) for name, entry in found.items()}
    for name, entry in entries.items():
        _read_checked(folder, name, entry)
    return Sealed(folder, record["kind"], entries)


def _checked_header(record: Any, manifest: Path, kinds: Collection[str]) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        number = record.get("format") if isinstance(record, dict) else None
        raise IntegrityError(
            f"{manifest} has format {number!r}. Expected {FORMAT}; read it with the version of "
            "latentmix that wrote it."
        )
    if record.get("kind") not in kinds:
        raise IntegrityError(
            f"{manifest} is of kind {record.get('kind')!r}. Expected {' or '.join(kinds)}; give "
            "another folder."
        )
    files = record.get("files")
    if not isinstance(files, dict):
        raise IntegrityError(f"{manifest} lists no files. Expected a name for each; save it again.")
    return files


def _checked_entry(name: str, entry: Any, manifest: Path) -> Entry:
    if not _is_plain(name):
        raise IntegrityError(
            f"{manifest} names {name!r}. Expected plain names inside the folder (no '..', no "
            "absolute path); it was not written by latentmix."
        )
    size, sha256 = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (0, 0)
    if (
        not isinstance(size, int)
        or isinstance(size, bool)
        or size < 0
        or not isinstance(sha256, str)
        or not _SHA256.fullmatch(sha256)
    ):
        raise IntegrityError(
            f"{manifest} gives no size and SHA-256 for {name}. Expected both; save it again."
        )
    return Entry(size, sha256)


def _is_plain(name: str) -> bool:
    """Tell a name that stays inside its folder, and is no hidden file's."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and all(map(_PART.fullmatch, parts))


def _read_checked(folder: Path, name: str, entry: Entry) -> bytes:
    path = folder / name
    _refuse_links(folder, name)
    if not path.is_file():
        raise IntegrityError(
            f"{path} is missing, but the manifest names it. Copy the folder again, whole."
        )
    size = path.stat().st_size
    if size != entry.size:
        raise IntegrityError(
            f"{path} has {size:,} bytes, but the manifest says {entry.size:,}: it was changed. "
            "Copy the folder again or repeat what made it."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise IntegrityError(
            f"{path} was changed: its SHA-256 is not the manifest's. Copy the folder again or "
            "repeat what made it."
        )
    return content


def _refuse_links(folder: Path, name: str) -> None:
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise IntegrityError(
                f"{path} is a link. Expected a plain file in the folder; copy what it points to."
            )


def _parse_json(content: bytes, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(keys) != len(set(keys)):
            raise ValueError("a key stands twice")
        return dict(pairs)

    try:
        return json.loads(content, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{path} is no valid JSON ({error}). Copy the folder again or repeat what made it."
        ) from error


def _version() -> str:
    try:
        return version("latentmix")
    except PackageNotFoundError:
        return "unknown"
