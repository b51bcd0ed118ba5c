"""`latentmix doctor`: whether this installation works, line by line."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

import click

PACKAGES: Final = ("jax", "equinox", "numpy", "scipy", "scikit-learn")
EXTRAS: Final = {
    "parquet": "pyarrow",
    "umap": "umap-learn",
    "explore": "fastapi",
    "onnx": "onnx",
    "hub": "huggingface-hub",
    "dask": "distributed",
    "storage": "s3fs",
}


class Finding(NamedTuple):
    """What was looked at, what was found, and whether one can work with that."""

    name: str
    found: str
    is_well: bool = True


@click.command()
def doctor() -> int:
    """Say what this installation is, write a file, and fit a small model; exit code 1 if in vain.

    A report of a problem should have these lines in it.
    """
    all_well = True
    for look in LOOKS:
        for finding in _looked(look):
            mark = "" if finding.is_well else "  <- to be mended"
            click.echo(f"{finding.name:<14}{finding.found}{mark}")
            all_well = all_well and finding.is_well
    click.echo(
        "All is well." if all_well else "Something is to be mended: docs/errors.md says how."
    )
    return 0 if all_well else 1


def _looked(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield what a look finds; that it fails is a finding, too."""
    try:
        yield from look()
    except Exception as error:  # whatever is broken, the other lines are to be seen
        name = look.__name__.strip("_").replace("_", " ")
        yield Finding(name, f"{type(error).__name__}: {' '.join(str(error).split())}", False)


def _versions() -> Iterator[Finding]:
    yield Finding("latentmix", version("latentmix"))
    yield Finding("python", f"{platform.python_version()}, {sys.platform}, {platform.machine()}")
    for package in PACKAGES:
        yield Finding(package, version(package))
    yield Finding("extras", ", ".join(filter(_is_there, EXTRAS)) or "none")


def _is_there(extra: str) -> bool:
    try:
        version(EXTRAS[extra])
    except PackageNotFoundError:
        return False
    return True


def _machine() -> Iterator[Finding]:
    import joblib  # noqa: PLC0415

    yield Finding("cores", str(joblib.cpu_count()))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield Finding("memory", f"{memory / 1e9:.1f} GB")
    free = shutil.disk_usage(Path.cwd()).free
    yield Finding("disk", f"{free / 1e9:.1f} GB free", free > 1e8)


def _device() -> Iterator[Finding]:
    import jax  # noqa: PLC0415

    devices = jax.devices()
    yield Finding("device", f"{len(devices)} x {devices[0].platform} ({devices[0].device_kind})")


def _data() -> Iterator[Finding]:
    named = os.environ.get("LATENTMIX_DATA")
    is_well = named is None or Path(named).is_dir()
    yield Finding("data", "LATENTMIX_DATA is not set" if named is None else named, is_well)


def _write() -> Iterator[Finding]:
    from latentmix.storage.files import write_bytes  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".latentmix-", dir=Path.cwd()) as folder:
        write_bytes(Path(folder) / "probe", bytes(1 << 20))
    yield Finding("write", f"1 MB written and removed in {Path.cwd()}")


def _self_check() -> Iterator[Finding]:
    """Fit three heaps of images, which have to be found."""
    from latentmix.apps.commands.self_check import found_heaps  # noqa: PLC0415
    from latentmix.apps.compiled import programs_kept  # noqa: PLC0415

    start = time.monotonic()
    with programs_kept():
        found = found_heaps()
    seconds = time.monotonic() - start
    yield Finding("self-check", f"{found} in {seconds:.1f} s", found.is_well)


LOOKS: Final = (_versions, _machine, _device, _data, _write, _self_check)
