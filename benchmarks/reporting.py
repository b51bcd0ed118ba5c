"""What every benchmark's report has in common: its spreads, the processor, where it goes."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np


def spread(values: np.ndarray) -> str:
    """Return the least, the median and the greatest value, as three cells of a table."""
    return " | ".join(f"{value:.2f}" for value in (values.min(), np.median(values), values.max()))


def processor() -> str:
    """Return the processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def deliver(report: str, path: Path | None) -> None:
    """Print a report, and write it to a file if one is given."""
    report = report.rstrip("\n")
    print(report)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{report}\n")
