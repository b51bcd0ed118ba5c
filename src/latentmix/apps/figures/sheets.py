"""Sheets of rows: images side by side, or heat maps where rows are no images."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.figure import Figure

from latentmix.apps import drawing
from latentmix.apps.figures.tables import Row, Tables, component_title
from latentmix.apps.images import in_unit_interval, mosaic

# Lines of draws in one column of their picture.
MOST_LINES: Final = 14


def reconstructions(tables: Tables) -> Figure | None:
    """Test rows above, what decoding their posterior means gives below."""
    rows = tables.rows("reconstructions")
    if not rows:
        return None
    inputs, outputs = (
        tables.values([row for row in rows if row["kind"] == kind]) for kind in ("input", "output")
    )
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.36 * len(inputs)))
        both = {"Test rows": inputs, "Their reconstructions": outputs}
        drawing.heat_maps(figure, both, tables.feature_names(inputs.shape[1]))
        return figure
    height, width = tables.image_shape[:2]
    across = max(4.0, 0.75 * len(inputs))
    side = (across - 0.9) / len(inputs)
    figure = Figure(figsize=(across, 0.5 + 2 * side * height / width))
    one = figure.subplots()
    sheet = mosaic(in_unit_interval(inputs, outputs), tables.image_shape)
    drawing.show_image(one, sheet)
    one.set_yticks([sheet.shape[0] * 0.25, sheet.shape[0] * 0.75], ["input", "output"])
    one.set_title("Test rows and their reconstructions")
    return figure


def samples(tables: Tables) -> Figure | None:
    """Draws from every component, grouped by the class it stands for."""
    rows = tables.rows("samples")
    if not rows:
        return None
    by_component: dict[str, list[Row]] = {}
    for row in rows:
        by_component.setdefault(row["component"], []).append(row)
    groups = sorted(by_component.values(), key=_class_then_weight)
    names = [component_title(group[0]) for group in groups]
    values = [tables.values(group) for group in groups]
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.24 * len(groups)))
        means = {"Mean draw of every component": np.stack([each.mean(axis=0) for each in values])}
        drawing.heat_maps(figure, means, tables.feature_names(values[0].shape[1]), names)
        return figure
    values = list(in_unit_interval(*values))
    n_columns = -(-len(groups) // MOST_LINES)
    n_lines = -(-len(groups) // n_columns)
    height, width = tables.image_shape[:2]
    line = 3.0 / len(values[0]) * height / width
    figure = Figure(figsize=(3.9 * n_columns, 0.6 + line * n_lines))
    for number, one in enumerate(figure.subplots(1, n_columns, squeeze=False)[0]):
        part = slice(number * n_lines, (number + 1) * n_lines)
        sheet = mosaic(values[part], tables.image_shape, least_lines=n_lines)
        drawing.show_image(one, sheet)
        high = sheet.shape[0] / n_lines
        one.set_yticks([(k + 0.5) * high for k in range(len(names[part]))], names[part])
    # One column of components is narrower than a title in one line.
    gap = "\n" if n_columns == 1 else " "
    named = f"{gap}(component · class)" if any(group[0]["class"] for group in groups) else ""
    figure.suptitle(f"Draws from every component{named}", weight="bold", fontsize=10)
    return figure


def _class_then_weight(group: list[Row]) -> tuple[bool, str, float]:
    """Order components by their class, those without one last, and then by weight."""
    return (not group[0]["class"], group[0]["class"], -float(group[0]["weight"]))
