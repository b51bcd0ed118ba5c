"""Downloads of the four IDX files from a public mirror, unpacked but not yet checked."""

from __future__ import annotations

import tempfile
from pathlib import Path

from latentmix.data.compression import unpack
from latentmix.data.idx_pack import FILES, Contents, IdxPack
from latentmix.data.limits import read_file
from latentmix.errors import MissingError

_SECONDS = (4, 30)  # to connect, and between two packets: a closed network is found out soon


def download(pack: IdxPack, mirror: str) -> Contents:
    """Return the contents of a set's files from one mirror.

    Raises
    ------
    MissingError
        If the mirror cannot be reached or does not have a file.
    FormatError
        If a file is damaged.
    """
    import pooch  # noqa: PLC0415 (needed once on a machine)

    fetch = pooch.HTTPDownloader(timeout=_SECONDS)
    contents = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            url, got = f"{mirror}{file}.gz", Path(folder) / file
            try:
                fetch(url, str(got), None)
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                raise MissingError(
                    f"{url} cannot be downloaded ({type(error).__name__})"
                ) from error
            contents[file] = unpack(read_file(got), pack.n_bytes(file) + 1, got)
    return contents
