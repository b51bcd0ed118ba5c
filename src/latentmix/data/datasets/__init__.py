"""The named data sets: every module of this folder that defines a `SPEC` is one."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from latentmix.data.spec import DatasetSpec

_SPECS: Final[list[DatasetSpec]] = [
    import_module(f"{__name__}.{module.name}").SPEC for module in iter_modules(__path__)
]
DATASETS: Final[dict[str, DatasetSpec]] = {spec.name: spec for spec in _SPECS}
