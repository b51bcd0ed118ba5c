"""XLA's compiled programs, kept in the user's cache folder: the next start begins sooner.

A program holds instructions of the processor that it was compiled on, shared out among its cores.
A home folder may be shared by machines of several kinds, so each kind has a folder of its own. What
cannot be read or written there never stops a command.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from platformdirs import user_cache_path

# A network's programs take 1 MB; those used longest ago go first.
MOST_BYTES: Final = 64 * 2**20

_UNUSABLE: Final = re.compile("Error (reading|writing) persistent compilation cache")


def programs_folder() -> Path:
    """Return the folder of this kind of machine and these versions."""
    return _root() / kind_of_machine()


def kind_of_machine() -> str:
    """Return a short name for what decides whether a program runs here, and to which bits."""
    deciding = (
        platform.system(),
        platform.machine(),
        _instructions(),
        str(_n_cores()),
        version("jax"),
        version("jaxlib"),
    )
    return hashlib.sha256("\n".join(deciding).encode()).hexdigest()[:12]


@contextmanager
def programs_kept() -> Iterator[None]:
    """Let JAX look for compiled programs in the cache folder, and keep new ones there.

    All of them: loading one takes a tenth of compiling it, be it ever so small.
    """
    folder = programs_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        yield
        return
    _drop_the_oldest(_root())
    import jax  # noqa: PLC0415  # slow, and not needed to name the folder

    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]  # JAX leaves it untyped
    with _damage_mended(folder):
        yield


def _root() -> Path:
    return user_cache_path("latentmix", appauthor=False) / "compiled"


def _instructions() -> str:
    """Return what the processor says it can do; where it does not say, what it is."""
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", told, re.MULTILINE)
    return " ".join(sorted(found[1].split())) if found else platform.processor()


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _drop_the_oldest(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what was used longest ago, of any machine, until no more than so much is left."""
    programs = []
    for path in root.rglob("*"):
        try:
            about = path.stat()
        except OSError:  # removed by another process
            continue
        if path.is_file():
            programs.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    left = sum(size for _, size, _ in programs)
    for _, size, path in sorted(programs):
        if left <= most_bytes:
            return
        _remove(path)
        left -= size


@contextmanager
def _damage_mended(folder: Path) -> Iterator[None]:
    """Take JAX's warnings of a program it could not read or write as they are meant: no news.

    It compiles such a program anew, but never writes over a file that is there. So the folder is
    emptied of what it could not read.
    """
    shown = warnings.showwarning

    def heed(message: Warning | str, *about: Any, **more: Any) -> None:
        found = _UNUSABLE.match(str(message))
        if found is None:
            shown(message, *about, **more)
        elif found[1] == "reading":
            for path in folder.iterdir():
                _remove(path)

    warnings.showwarning = heed
    try:
        yield
    finally:
        warnings.showwarning = shown


def _remove(path: Path) -> None:
    """Remove a file, if it is there and may be removed."""
    try:
        path.unlink()
    except OSError:
        return
