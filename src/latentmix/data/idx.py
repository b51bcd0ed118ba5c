"""IDX, the format of MNIST: a magic number, the sizes, then the values, all big-endian.

The magic number is 0, 0, a type code and the number of axes; each size is 4 bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from latentmix.data.compression import is_gzip, unpack
from latentmix.data.limits import check_ratio, check_unpacked_size, read_file, unreadable
from latentmix.data.room import is_large, room_for
from latentmix.errors import FormatError, LatentmixError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 8
_LONGEST_HEADER = 4 + 4 * _MOST_AXES
_BYTES_PER_READ = 1 << 24


def read_idx(path: Path) -> np.ndarray:
    """Return the array of one IDX file, gzipped or not; a large one is mapped.

    Raises
    ------
    MissingError
        If it cannot be read.
    FormatError
        If it is empty, truncated, longer than its header says, or no IDX file.
    """
    large = _read_large(path)
    if large is not None:
        return large
    raw = read_file(path)
    header = _Header.parse(unpack(raw, _LONGEST_HEADER, path), path)
    if is_gzip(raw):
        check_unpacked_size(path, header.n_bytes, len(raw))
    # One byte more than claimed, so that a longer file is noticed.
    return parse_idx(unpack(raw, header.n_bytes + 1, path), path)


def _read_large(path: Path) -> np.ndarray | None:
    """Return the array of a large file, mapped; unpacked before, if it is packed. Else None."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            size = path.stat().st_size
            header = _Header.parse(unpack(start, _LONGEST_HEADER, path), path)
            if not is_large(header.shape, header.dtype):
                return None
            if not is_gzip(start):
                _check_length(size, header, path)
                mapped = np.memmap(path, header.dtype, "r", header.length, header.shape)
                return np.asarray(mapped)
        check_ratio(path, header.n_bytes, size)
        return _unpacked(header, path)
    except LatentmixError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        raise FormatError(
            f"{path} is damaged or truncated gzip data ({error}). Expected a whole file; fetch it "
            "again."
        ) from error


def _unpacked(header: _Header, path: Path) -> np.ndarray:
    values = room_for(header.shape, header.dtype, str(path))
    missing = values.reshape(-1).view(np.uint8).data
    with gzip.open(path) as file:
        file.read(header.length)
        while missing:
            n_read = file.readinto(missing[:_BYTES_PER_READ])
            if not n_read:
                break
            missing = missing[n_read:]
        _check_length(header.n_bytes - len(missing) + len(file.read(1)), header, path)
    return values


def _check_length(n_bytes: int, header: _Header, path: Path) -> None:
    """Refuse a file that holds less, or more, than its header says."""
    if n_bytes != header.n_bytes:
        what = "truncated" if n_bytes < header.n_bytes else "longer than its header says"
        raise FormatError(
            f"{path} is {what}: it holds {n_bytes:,} bytes or more. Expected "
            f"{header.n_bytes:,} for IDX data of shape {header.shape}; fetch it again."
        )


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """Return the array of unpacked IDX data; `path` is for messages.

    Returns
    -------
    ndarray
        In native byte order; one-byte values share (read-only) memory with `content`.
    """
    header = _Header.parse(content, path)
    _check_length(len(content), header, path)
    values = np.frombuffer(content, dtype=header.dtype, offset=header.length)
    return values.astype(header.dtype.newbyteorder("="), copy=False).reshape(header.shape)


def is_idx(path: Path) -> bool:
    """Tell an IDX file, gzipped or not, by its first bytes; an unreadable one is none."""
    try:
        with path.open("rb") as file:
            start = unpack(file.read(4096), 4, path)
    except (OSError, FormatError):
        return False
    return _is_magic(start)


def _is_magic(start: bytes) -> bool:
    if len(start) < 4 or start[:2] != b"\0\0":
        return False
    return start[2] in _TYPES and 0 < start[3] <= _MOST_AXES


class _Header:
    """What the first bytes say: the type, the sizes, and so the length of the file."""

    def __init__(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
        self.dtype = dtype
        self.shape = shape
        self.length = 4 + 4 * len(shape)
        self.n_bytes = self.length + math.prod(shape) * dtype.itemsize

    @classmethod
    def parse(cls, content: bytes, path: Path) -> _Header:
        """Read it, refusing what is no IDX header."""
        magic = content[:4]
        if not _is_magic(magic):
            raise FormatError(
                f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}. Expected 00 "
                "00, a type (08 for bytes) and the number of axes; check what the file is."
            )
        n_axes = magic[3]
        if len(content) < 4 + 4 * n_axes:
            raise FormatError(
                f"{path} is truncated: it ends within its IDX header. Fetch it again."
            )
        sizes = struct.unpack_from(f">{n_axes}I", content, 4)
        return cls(np.dtype(_TYPES[magic[2]]), sizes)
