"""Writing files so that a reader finds the old one or the new one, never half of either."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as tensors_to_bytes

from latentmix.errors import LatentmixError, WriteError

if sys.platform != "win32":
    import fcntl

# What a write leaves behind that was cut off, as by a kill: a temporary file's random ending.
_CUT_OFF = re.compile(r"\.probe|\.(\.probe|[^.].*\.(json|jsonl|csv|png|safetensors))\.[a-z0-9_]{8}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, flushed to disk and renamed.

    Raises
    ------
    WriteError
        If the folder cannot be written or the disk is full; an earlier file is left as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            # A disk that fails may refuse this as well: the first error is the one to tell.
            with suppress(OSError):
                temporary.unlink()
        raise _not_written(path, error) from error


def append_bytes(path: Path, content: bytes) -> None:
    """Append to a file, made if need be; not flushed to disk, and cut short where that fails.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(handle, "ab") as file:
            file.write(content)
            file.flush()
    except OSError as error:
        raise _not_written(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused, as JSON has none."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def null_where_not_finite(value: Any) -> Any:
    """Return what JSON can hold of a record: null in place of every NaN and infinity in it."""
    if isinstance(value, dict):
        return {key: null_where_not_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [null_where_not_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_bytes(header: Sequence[str] | None, rows: Iterable[Sequence[object]]) -> bytes:
    """Return a table with a header line, or without."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a header line."""
    write_bytes(path, csv_bytes(header, rows))


def tensor_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return named arrays as safetensors: the same arrays give the same bytes."""
    # `np.asarray(order="C")` keeps scalars scalar, which `ascontiguousarray` does not.
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    content: bytes = tensors_to_bytes(ordered)
    return content


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as safetensors: the same arrays give the same bytes."""
    write_bytes(path, tensor_bytes(tensors))


def claim_folder(path: Path) -> None:
    """Make a new or empty folder one's own, and prove that it can be written.

    What a write left behind that was cut off does not count.

    Raises
    ------
    WriteError
        If it holds anything, is a file, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = (entry for entry in path.iterdir() if not _CUT_OFF.fullmatch(entry.name))
        taken = next(others, None)
    except OSError as error:
        raise _no_folder(path, error) from error
    if taken is not None:
        raise WriteError(
            f"{path} is not empty: it holds {taken.name!r}. Expected a new or empty folder; choose "
            "another or empty it."
        )
    probe = path / ".probe"
    write_bytes(probe, b"")
    probe.unlink()


def remove_cut_off(folder: Path) -> None:
    """Delete what writes left behind that were cut off; nobody else may be writing there now."""
    for path in folder.rglob(".*"):
        if _CUT_OFF.fullmatch(path.name):
            # One that stays does no harm.
            with suppress(OSError):
                path.unlink()


def hold_folder(path: Path) -> int | None:
    """Lock a folder against others, and return the descriptor to close, which lets go of it.

    None where the system or its disk knows no such lock. A killed process lets go by itself.

    Raises
    ------
    BlockingIOError
        If another holds it, in this process or a different one.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    if not _is_still(path, descriptor):
        os.close(descriptor)
        raise BlockingIOError
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether a path leads to an open folder: its last holder may have put another there."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Hold a folder, made if need be, while the block runs: two writers would mix their files.

    Raises
    ------
    WriteError
        If another run holds it now, or it cannot be made; nothing in it was touched.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = hold_folder(path)
    except BlockingIOError as error:
        raise WriteError(
            f"{path} is in use: another run is writing there. Wait until it has ended, or choose "
            "another folder."
        ) from error
    except OSError as error:
        raise _no_folder(path, error) from error
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def replace_folder(old: Path, new: Path) -> None:
    """Put the folder `new` in the place of `old`, both on one disk; on failure `old` stays.

    Raises
    ------
    WriteError
        If either cannot be renamed.
    """
    aside = new.with_name(f"{new.name}.old")
    try:
        try:
            old.rename(aside)
            new.rename(old)
        except BaseException:
            # An interrupt as well must not leave the place empty.
            if not old.exists():
                aside.rename(old)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        _flush_folder(old.parent)
    except OSError as error:
        raise WriteError(
            f"{old} cannot be replaced: {error.strerror or error}. Expected a folder that can be "
            "renamed; check the rights of the one it stands in."
        ) from error


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Let the block fill a folder beside `path`, which takes its place once the block has ended.

    So a new folder is there as a whole or not at all.

    Raises
    ------
    WriteError
        If `path` holds anything, or cannot be written.
    """
    is_new = not path.exists()
    claim_folder(path)
    try:
        filled = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
        try:
            yield filled
            filled.chmod(0o755)
            remove_cut_off(path)
            path.rmdir()
            filled.rename(path)
        except BaseException:
            shutil.rmtree(filled, ignore_errors=True)
            raise
    except BaseException as error:
        if is_new:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError) and not isinstance(error, LatentmixError):
            raise _no_folder(path, error) from error
        raise


def is_held(path: Path) -> bool | None:
    """Tell whether a process holds a folder; None where nobody can tell."""
    try:
        held = hold_folder(path)
    except BlockingIOError:
        return True
    except OSError:
        return None
    if held is None:
        return None
    os.close(held)
    return False


def _not_written(path: Path, error: OSError) -> WriteError:
    return WriteError(
        f"{path} cannot be written: {error.strerror or error}. Expected a writable folder with "
        "room on its disk; choose another or free some."
    )


def _no_folder(path: Path, error: OSError) -> WriteError:
    return WriteError(
        f"{path} cannot be made or read as a folder: {error.strerror or error}. Choose another "
        "folder."
    )


def _flush_folder(folder: Path) -> None:
    """Flush the rename itself, where the system lets a folder be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
