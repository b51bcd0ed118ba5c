"""What benchmarks' reports have in common: spreads, the processor, tables that grow, where to."""

from __future__ import annotations

import csv
import platform
from collections.abc import Sequence
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


def table_rows(path: Path) -> list[dict[str, str]]:
    """Return the table's rows, none where there is no table yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, columns: Sequence[str], row: dict[str, object]) -> None:
    """Write a row below the others of a table, which begins with its titles."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def deliver(report: str, path: Path | None) -> None:
    """Print a report, and write it to a file if one is given."""
    report = report.rstrip("\n")
    print(report)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{report}\n")
