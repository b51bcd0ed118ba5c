"""Sheets of rows: images side by side, or heat maps where rows are no images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from latentmix.apps import drawing
from latentmix.apps.figures.tables import Row, Tables, component_title
from latentmix.apps.images import in_unit_interval, mosaic

# Lines of draws in one column of their picture.
MOST_LINES: Final = 14
# Images with a caption each, side by side.
IMAGES_A_LINE: Final = 8


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


def gallery(tables: Tables) -> Figure | None:
    """Of every cluster the most typical training rows, the least certain, and some at random."""
    rows = tables.rows("gallery")
    if not rows:
        return None
    titles = {row["component"]: component_title(row) for row in tables.rows("clusters")}
    kinds = {"typical": "most typical", "borderline": "least certain", "random": "at random"}
    components = list(dict.fromkeys(row["component"] for row in rows))
    names = [titles[component] for component in components]
    of_kind: dict[str, list[np.ndarray]] = {
        kind: [
            tables.values([r for r in rows if (r["component"], r["kind"]) == (component, kind)])
            for component in components
        ]
        for kind in kinds
    }
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.24 * len(components)))
        typical = {
            "Most typical row of every cluster": np.stack([e[0] for e in of_kind["typical"]])
        }
        n_features = of_kind["typical"][0].shape[1]
        drawing.heat_maps(figure, typical, tables.feature_names(n_features), names)
        return figure
    every = in_unit_interval(*(each for values in of_kind.values() for each in values))
    longest = max(map(len, every))
    height, width = tables.image_shape[:2]
    line = 3.0 / longest * height / width
    figure = Figure(figsize=(9.6, 0.6 + line * len(components)))
    for number, (one, title) in enumerate(
        zip(figure.subplots(1, len(kinds)), kinds.values(), strict=True)
    ):
        own = every[number * len(components) : (number + 1) * len(components)]
        sheet = mosaic(own, tables.image_shape)
        drawing.show_image(one, sheet)
        high = sheet.shape[0] / len(components)
        shown = names if number == 0 else []
        one.set_yticks([(k + 0.5) * high for k in range(len(shown))], shown)
        one.set_title(title)
    return figure


def strange(tables: Tables) -> Figure | None:
    """The test rows that are least like what the model knows, the strangest first."""
    rows = tables.rows("strange")
    if not rows:
        return None
    captions = [f"row {row['row']}" for row in rows]
    return _captioned(tables, tables.values(rows), captions, "Least usual test rows")


def mistakes(tables: Tables) -> Figure | None:
    """The wrong test rows that the model is surest of: true class, predicted class, probability."""
    rows = tables.rows("mistakes")
    if tables.pixels is None or not rows:
        return None
    captions = [
        f"row {row['row']}\n{row['true']} as {row['predicted']}, {float(row['probability']):.2f}"
        for row in rows
    ]
    images = tables.pixels(np.array([int(row["row"]) for row in rows])).astype(float)
    return _captioned(tables, images, captions, "Surest mistakes among the test rows")


def traversals(tables: Tables) -> Figure | None:
    """What moving one latent dimension makes of the most typical row of the largest cluster."""
    rows = tables.rows("traversals")
    names = [f"z{number}" for number in dict.fromkeys(row["dimension"] for row in rows)]
    lines = np.split(tables.values(rows), len(names))
    steps = [float(row["deviations"]) for row in rows[: len(lines[0])]]
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.24 * len(names)))
        by = steps[-1] - steps[0]
        changed = np.stack([line[-1] - line[0] for line in lines])
        changes = {f"What {by:g} standard deviations of a dimension change": changed}
        drawing.heat_maps(figure, changes, tables.feature_names(lines[0].shape[1]), names)
        return figure
    title = "One latent dimension moved, the others held"
    figure = _lines_of_images(tables, lines, names, title)
    sheet = figure.axes[0].get_images()[0].get_size()
    wide = sheet[1] / len(steps)
    figure.axes[0].set_xticks(
        [(k + 0.5) * wide for k in range(len(steps))], [f"{s:+.3g}" for s in steps]
    )
    figure.axes[0].set_xlabel("standard deviations")
    return figure


def interpolation(tables: Tables) -> Figure | None:
    """What lies between typical rows of two clusters, on a straight line through latent space."""
    rows = tables.rows("interpolation")
    if not rows:
        return None
    pairs = dict.fromkeys((row["from_row"], row["to_row"]) for row in rows)
    lines = np.split(tables.values(rows), len(pairs))
    names = [f"{one} to {other}" for one, other in pairs]
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.36 * len(lines[0])))
        path = {f"From row {names[0]}": lines[0]}
        drawing.heat_maps(figure, path, tables.feature_names(lines[0].shape[1]))
        return figure
    return _lines_of_images(tables, lines, names, "From one training row to another")


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


def class_samples(tables: Tables) -> Figure | None:
    """Draws of every class, of whatever components it is made up of."""
    rows = tables.rows("class_samples")
    if not rows:
        return None
    names = list(dict.fromkeys(row["class"] for row in rows))
    lines = [tables.values([row for row in rows if row["class"] == name]) for name in names]
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.24 * len(names)))
        means = {"Mean draw of every class": np.stack([line.mean(axis=0) for line in lines])}
        drawing.heat_maps(figure, means, tables.feature_names(lines[0].shape[1]), names)
        return figure
    return _lines_of_images(tables, lines, names, "Draws of every class")


def _class_then_weight(group: list[Row]) -> tuple[bool, str, float]:
    """Order components by their class, those without one last, and then by weight."""
    return (not group[0]["class"], group[0]["class"], -float(group[0]["weight"]))


def _lines_of_images(
    tables: Tables, lines: Sequence[np.ndarray], names: Sequence[str], title: str
) -> Figure:
    """Return a picture of lines of as many images each, with a name before each line."""
    assert tables.image_shape is not None
    height, width = tables.image_shape[:2]
    figure = Figure(figsize=(6.4, 0.7 + 5.4 / len(lines[0]) * height / width * len(lines)))
    one = figure.subplots()
    sheet = mosaic(in_unit_interval(*lines), tables.image_shape)
    drawing.show_image(one, sheet)
    high = sheet.shape[0] / len(lines)
    one.set_yticks([(k + 0.5) * high for k in range(len(lines))], names)
    one.set_title(title)
    return figure


def _captioned(tables: Tables, values: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Return a picture of rows (n, D), each with a caption: below an image, before its numbers."""
    if tables.image_shape is None:
        figure = Figure(figsize=(8, 1.8 + 0.24 * len(values)))
        drawing.heat_maps(figure, {title: values}, tables.feature_names(values.shape[1]), captions)
        return figure
    n_lines = -(-len(values) // IMAGES_A_LINE)
    height, width = tables.image_shape[:2]
    caption_lines = max(caption.count("\n") + 1 for caption in captions)
    line = 1.1 * height / width + 0.14 * caption_lines + 0.1
    figure = Figure(figsize=(1.16 * IMAGES_A_LINE, 0.4 + line * n_lines))
    places = figure.subplots(n_lines, IMAGES_A_LINE, squeeze=False).ravel()
    (values,) = in_unit_interval(values)
    for place in places:
        place.axis("off")
    for place, image, caption in zip(places, values, captions, strict=False):
        place.axis("on")
        drawing.show_image(place, image.reshape(tables.image_shape))
        place.set_xlabel(caption, fontsize=7, labelpad=3)
    figure.suptitle(title, weight="bold", fontsize=10)
    return figure
