"""What the bits of a run depend on besides recipe and data: versions, machine, cores, seed."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import jax

_PACKAGES = ("latentmix", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "scikit-learn")


# What an answer's last bits depend on besides recipe, data and seed.
DECIDING_BITS = ("versions", "processor", "cores", "device")


def environment(seed: int, command: list[str]) -> dict[str, Any]:
    """Return the record that goes into a run's ``environment.json``."""
    device = jax.devices()[0]
    return {
        "command": command,
        "seed": seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        # XLA's products differ in their last bits with the number of threads.
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "device": {"platform": device.platform, "kind": device.device_kind},
        "versions": {name: version(name) for name in _PACKAGES},
    }
