"""The CSV files behind a run's pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, str]

# Images of the data set by their row numbers, (n, D).
Pixels = Callable[[np.ndarray], np.ndarray]


class Tables:
    """A run's tables by name, and what ``figures.json`` says of them."""

    def __init__(self, folder: Path, pixels: Pixels | None = None) -> None:
        """Read a folder of tables; `pixels` gives images of the data set by their row numbers."""
        self.folder, self.pixels = folder, pixels
        self.about: dict[str, Any] = json.loads((folder / "figures.json").read_text())
        shape = self.about["image_shape"]
        self.image_shape = None if shape is None else tuple(shape)

    def rows(self, name: str) -> list[Row]:
        """Return the rows of a table by column name; none if there is no such table."""
        path = self.folder / f"{name}.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def values(self, rows: Sequence[Row]) -> np.ndarray:
        """Return the columns v0, v1, ... of a table's rows, (n, F): a category is 1 of several."""
        names = [name for name in rows[0] if name[0] == "v" and name[1:].isdigit()]
        parts = []
        for name, categories in zip(names, self._categories(len(names)), strict=True):
            cells = [row[name] for row in rows]
            if categories:
                parts.append(
                    np.array([[float(cell == one) for one in categories] for cell in cells])
                )
            else:
                parts.append(np.array(cells, float)[:, None])
        return np.concatenate(parts, axis=1)

    def feature_names(self, n_features: int) -> list[str]:
        """Return what the columns of `values` are called: a table's titles, and categories."""
        titles = self.about["feature_names"] or [str(number) for number in range(n_features)]
        names = []
        for title, categories in zip(titles, self._categories(len(titles)), strict=True):
            names += [f"{title}: {one}" for one in categories] or [title]
        return names

    def _categories(self, n_columns: int) -> list[list[str]]:
        """Return the categories of each column, none of numbers; earlier versions knew numbers."""
        return self.about.get("categories") or [[]] * n_columns


def component_title(row: Row) -> str:
    """Return ``7 · boot``: the component's number and the class it stands for."""
    return f"{row['component']} · {row['class']}" if row["class"] else row["component"]
