"""What the bits of a run depend on besides recipe and data, and the memory it took."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from latentmix.training.elsewhere import cluster_record

_PACKAGES = ("latentmix", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy", "scikit-learn")


# What an answer's last bits depend on besides recipe, data and seed.
DECIDING_BITS = ("versions", "processor", "cores", "device")


def environment(seed: int, command: list[str]) -> dict[str, Any]:
    """Return the record that goes into a run's ``environment.json``."""
    import jax  # noqa: PLC0415  # a peer's process, which asks for its memory, has none

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
        # Those that train together: sums are added in another order by more of them.
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "cluster": cluster_record(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def peak_memory() -> int | None:
    """Return the most memory that this process has held, in bytes; None where nobody can tell.

    Linux's own mark comes first: what `getrusage` says there includes the process that began
    this one.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource  # noqa: PLC0415  # Windows has none

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
