"""Gzip, unpacked no further than asked for."""

from __future__ import annotations

import zlib
from pathlib import Path

from latentmix.errors import FormatError

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_FRAMING = 31  # zlib's code for "a gzip header and checksum around the data"


def unpack(raw: bytes, limit: int, path: Path) -> bytes:
    """Return the first `limit` bytes of a file's content, gunzipped if `raw` is gzip.

    Raises
    ------
    FormatError
        If the gzip data are damaged, or end before `limit` bytes without their checksum.
    """
    if not is_gzip(raw):
        return raw[:limit] if limit < len(raw) else raw
    parts: list[bytes] = []
    room = limit
    # A gzip file may be several, one after another, and may end in zeros.
    while room > 0 and raw.startswith(_GZIP_MAGIC):
        stream = zlib.decompressobj(_GZIP_FRAMING)
        try:
            part = stream.decompress(raw, room)
        except zlib.error as error:
            raise FormatError(
                f"{path} is damaged gzip data ({error}). Expected a whole file; fetch it again."
            ) from error
        if len(part) < room and not stream.eof:
            raise FormatError(
                f"{path} is truncated: its gzip data end early. Expected a whole file; fetch it "
                "again."
            )
        parts.append(part)
        room -= len(part)
        raw = stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_gzip(raw: bytes) -> bool:
    """Tell gzip data by their first two bytes."""
    return raw.startswith(_GZIP_MAGIC)
