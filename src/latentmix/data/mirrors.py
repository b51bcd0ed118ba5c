"""Downloads of the four IDX files from a public mirror, unpacked but not yet checked."""

from __future__ import annotations

import shutil
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from latentmix.data.compression import unpack
from latentmix.data.idx_pack import FILES, Contents, IdxPack
from latentmix.data.limits import read_file
from latentmix.errors import MissingError

_SECONDS = 10  # to connect, and between two packets: a closed network is found out soon


def download(pack: IdxPack, mirror: str) -> Contents:
    """Return the contents of a set's files from one mirror.

    Raises
    ------
    MissingError
        If the mirror cannot be reached or does not have a file.
    FormatError
        If a file is damaged.
    """
    contents = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            url, got = f"{mirror}{file}.gz", Path(folder) / file
            try:
                with urlopen(url, timeout=_SECONDS) as sent, got.open("wb") as kept:
                    shutil.copyfileobj(sent, kept)
            except (OSError, ValueError, HTTPException) as error:
                raise MissingError(
                    f"{url} cannot be downloaded ({type(error).__name__})"
                ) from error
            contents[file] = unpack(read_file(got), pack.n_bytes(file) + 1, got)
    return contents
