"""The pictures of a run folder, each drawn from the CSV of the same name beside it.

A picture is one function and one line in `FIGURES`: it gets the folder's tables and returns a
figure, or None where its table says there is nothing to draw.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentmix.apps import drawing
from latentmix.apps.images import in_unit_interval, mosaic
from latentmix.storage.files import write_bytes

DOTS_PER_INCH: Final = 150
# Lines of draws in one column of their picture.
MOST_LINES: Final = 14
# Of the rows, most confident first: what answering so many costs is written out.
SHARES_SHOWN: Final = (0.5, 0.8, 0.9, 0.95, 1.0)
Row = dict[str, str]


def draw_figures(run: Path) -> list[Path]:
    """Draw every picture of a run folder, and return their paths.

    Parameters
    ----------
    run : Path
        A run folder with its tables written: ``figures/*.csv`` and ``figures/figures.json``.

    Raises
    ------
    WriteError
        If a picture cannot be written.
    """
    tables = Tables(run / "figures")
    drawn = []
    for name, draw in FIGURES.items():
        path = tables.folder / f"{name}.png"
        path.unlink(missing_ok=True)
        with drawing.style():
            figure = draw(tables)
            if figure is None:
                continue
            content = io.BytesIO()
            figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
        write_bytes(path, content.getvalue())
        drawn.append(path)
    return drawn


class Tables:
    """The CSV files behind a run's pictures, and what ``figures.json`` says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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


def latent_space(tables: Tables) -> Figure | None:
    """Test rows on the training latents' first two principal components, by class."""
    rows = tables.rows("latent_space")
    if not rows:
        return None
    named = any(row["predicted"] for row in rows)
    panels = {"predicted": "Predicted class"} if named else {"cluster": "Cluster"}
    if any(row["true"] for row in rows):
        panels["true"] = "True class"
    figure = Figure(figsize=(4.8 * len(panels), 5.4))
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    points = np.array([[float(row["pc1"]), float(row["pc2"])] for row in rows])
    shares = [*tables.about["explained_variance_ratio"], 0.0]
    # Classes have the same colours in both panels, clusters have their own.
    classes = drawing.palette([row[column] for row in rows for column in ("predicted", "true")])
    for one, (column, title) in zip(axes, panels.items(), strict=True):
        names = [row[column] for row in rows]
        colour_of = drawing.palette(names) if column == "cluster" else classes
        drawing.scatter_by_name(one, points, names, colour_of)
        one.set(title=title, xlabel=f"PC 1 ({shares[0]:.0%} of the variance)")
        if not named:
            drawing.legend_of_names(one, colour_of)
    axes[0].set_ylabel(f"PC 2 ({shares[1]:.0%})")
    if named:
        drawing.legend_of_names(figure, classes)
    return figure


def loss(tables: Tables) -> Figure | None:
    """The objective and its two terms by epoch, on training and validation rows."""
    rows = tables.rows("loss")
    figure = Figure(figsize=(9, 3.3))
    axes = figure.subplots(1, 3)
    terms = {
        "reconstruction": "Reconstruction",
        "kl": "KL, unweighted",
        "objective": "Objective, KL weighted",
    }
    last = max(int(row["epoch"]) for row in rows)
    parts = {"train": drawing.TEN_COLOURS[0], "validation": drawing.TEN_COLOURS[6]}
    for one, (term, title) in zip(axes, terms.items(), strict=True):
        for part, colour in parts.items():
            chosen = [row for row in rows if row["split"] == part]
            curve = [float(row[term]) for row in chosen]
            epochs = [int(row["epoch"]) for row in chosen]
            one.plot(epochs, curve, color=colour, marker="o" if last == 1 else "")
        one.set(title=title, xlabel="epoch")
        drawing.count_axis(one, last)
    axes[0].set_ylabel("nats a row")
    drawn = [part for part in parts if any(row["split"] == part for row in rows)]
    drawing.legend_below(figure, [Line2D([], [], color=parts[p], label=p) for p in drawn])
    return figure


def em(tables: Tables) -> Figure | None:
    """The mixtures' log-likelihood by EM iteration: one panel for z, one for the means."""
    rows = tables.rows("em")
    kinds = sorted({row["latents"] for row in rows}, reverse=True)
    counts = sorted({int(row["n_components"]) for row in rows})
    colour_of = dict(zip(counts, drawing.colours(len(counts)), strict=True))
    own = (tables.about["n_components"], tables.about["latents"])
    figure = Figure(figsize=(1.0 + 4.0 * len(kinds), 3.5))
    axes = figure.subplots(1, len(kinds), squeeze=False)[0]
    for one, kind in zip(axes, kinds, strict=True):
        curves: dict[int, list[float]] = {}
        for row in rows:
            if row["latents"] == kind:
                number = int(row["n_components"])
                curves.setdefault(number, []).append(float(row["log_likelihood"]))
        for number, curve in curves.items():
            width = 2.6 if (number, kind) == own else 1.2
            one.plot(range(1, len(curve) + 1), curve, color=colour_of[number], linewidth=width)
        what = "draws z" if kind == "z" else "posterior means"
        one.set(title=f"Mixtures of the {what}", xlabel="EM iteration")
        drawing.count_axis(one, max(map(len, curves.values())))
    axes[0].set_ylabel("log-likelihood, nats a row")
    lines = [
        Line2D([], [], color=colour, label=f"{number} components")
        for number, colour in colour_of.items()
    ]
    # A mixture that was trained with its network took no iteration of EM.
    drawn = any((int(row["n_components"]), row["latents"]) == own for row in rows)
    drawing.legend_below(figure, lines, title="thick: the run's own mixture" if drawn else None)
    return figure


def selection(tables: Tables) -> Figure | None:
    """What halves of the rows say of each number of components that was tried, and the choice."""
    rows = tables.rows("selection")
    if not rows:
        return None
    numbers = [int(row["n_components"]) for row in rows]
    # One component is none of those tried: halves agree on nothing.
    chosen = next((int(row["n_components"]) for row in rows if row["chosen"] == "1"), 1)
    figure = Figure(figsize=(5.6, 4.6))
    above, below = figure.subplots(2, 1, sharex=True)
    stability, deviation, modularity = (
        np.array([float(row[name]) for row in rows])
        for name in ("stability", "stability_sd", "modularity")
    )
    ink, mark = drawing.TEN_COLOURS[0], drawing.TEN_COLOURS[2]
    above.fill_between(
        numbers, stability - deviation, stability + deviation, color=ink, alpha=0.2, linewidth=0
    )
    for one, curve in ((above, stability), (below, modularity)):
        one.plot(numbers, curve, color=ink, marker="o", markersize=3)
        one.axvline(chosen, color=mark, linewidth=1.2, zorder=0)
        one.grid(axis="y", color="#e4e4e4", linewidth=0.8)
        one.set_axisbelow(True)
    above.set_ylabel("stability")
    below.set(ylabel="modularity", xlabel="components")
    below.xaxis.set_major_locator(ticker.MaxNLocator(nbins=12, integer=True))
    title = f"{chosen} components: halves of the rows agree, and bear them out"
    above.set_title(title if chosen > 1 else "1 component: halves of the rows agree on no more")
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
    names = [_component_title(group[0]) for group in groups]
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


def clusters(tables: Tables) -> Figure | None:
    """How many training rows each cluster holds, and how pure its labelled test rows are."""
    rows = sorted(tables.rows("clusters"), key=lambda row: int(row["train_rows"]))
    sizes = [int(row["train_rows"]) for row in rows]
    figure = Figure(figsize=(7.5, 1.3 + 0.17 * max(6, len(rows))))
    one = figure.subplots()
    shades = mpl.colormaps["cividis"]
    bars = [shades(float(row["purity"])) if row["purity"] else "#c8c8c8" for row in rows]
    one.barh(range(len(rows)), sizes, color=bars, height=0.8)
    one.set_yticks(range(len(rows)), [_component_title(row) for row in rows], fontsize=7.5)
    for place, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        pure = f" {float(row['purity']):.0%}" if row["purity"] else ""
        one.text(size, place, pure, va="center", fontsize=7)
    named = any(row["class"] for row in rows)
    one.set(xlabel="training rows", ylim=(-0.7, len(rows) - 0.3), title="Clusters by size")
    one.set_ylabel("component · class" if named else "component")
    one.tick_params(axis="y", length=0)
    if any(row["purity"] for row in rows):
        scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), shades)
        bar = figure.colorbar(scale, ax=one, fraction=0.04, aspect=30)
        bar.set_label("purity of the labelled test rows")
        bar.formatter = ticker.PercentFormatter(1)
    return figure


def confusion(tables: Tables) -> Figure | None:
    """True against predicted classes of the labelled test rows."""
    rows = tables.rows("confusion")
    if not rows:
        return None
    names = list(dict.fromkeys(row["true"] for row in rows))
    counts = np.array([int(row["count"]) for row in rows]).reshape(len(names), -1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.4 * min(len(names), 24)
    figure = Figure(figsize=(side + 1.0, side))
    one = figure.subplots()
    image = one.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    turned: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, names)) > 3 else {}
    one.set_xticks(range(len(names)), names, **turned)
    one.set_yticks(range(len(names)), names)
    if len(names) <= drawing.MOST_NAMES_SHOWN:
        for (i, j), count in np.ndenumerate(counts):
            ink = "white" if shares[i, j] > 0.5 else "#222222"
            one.text(j, i, str(count or ""), ha="center", va="center", fontsize=7, color=ink)
    right = np.trace(counts) / max(1, counts.sum())
    one.set(title=f"{right:.1%} of the test rows right", xlabel="predicted", ylabel="true")
    bar = figure.colorbar(image, ax=one, fraction=0.045)
    bar.set_label("share of the true class")
    bar.formatter = ticker.PercentFormatter(1)
    return figure


def risk_coverage(tables: Tables) -> Figure | None:
    """The error among the most confident test rows, by how many of them are answered."""
    rows = tables.rows("risk_coverage")
    if not rows:
        return None
    coverage, error, confidence = (
        np.array([float(row[name]) for row in rows]) for name in ("coverage", "error", "confidence")
    )
    figure = Figure(figsize=(7.2, 3.8))
    one = figure.subplots()
    one.plot(coverage, error, color=drawing.TEN_COLOURS[0], linewidth=1.8)
    # Points that lie close together: what they say stands beside the picture.
    shown = [int(np.argmin(np.abs(coverage - share))) for share in SHARES_SHOWN]
    dots = [
        one.plot(
            *(coverage[at], error[at]),
            color=colour,
            marker="o",
            ls="",
            markersize=6,
            clip_on=False,
            zorder=3,
            label=f"{coverage[at]:.0%}: {error[at]:.2%} wrong, p ≥ {confidence[at]:.3f}",
        )[0]
        for at, colour in zip(dict.fromkeys(shown), drawing.TEN_COLOURS[1:], strict=False)
    ]
    figure.legend(handles=dots, loc="outside right center", title="answered")
    one.set(
        xlim=(0, 1.02),
        ylim=(0, max(1.25 * float(error.max()), 0.01)),
        title="Error where the model answers",
        xlabel="share of the test rows answered, most confident first",
        ylabel="share of the answers wrong",
    )
    one.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    one.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    one.grid(color="#e4e4e4", linewidth=0.8)
    one.set_axisbelow(True)
    return figure


def _class_then_weight(group: list[Row]) -> tuple[bool, str, float]:
    """Order components by their class, those without one last, and then by weight."""
    return (not group[0]["class"], group[0]["class"], -float(group[0]["weight"]))


def _component_title(row: Row) -> str:
    """Return ``7 · boot``: the component's number and the class it stands for."""
    return f"{row['component']} · {row['class']}" if row["class"] else row["component"]


FIGURES: Final[dict[str, Callable[[Tables], Figure | None]]] = {
    "reconstructions": reconstructions,
    "latent_space": latent_space,
    "loss": loss,
    "selection": selection,
    "samples": samples,
    "confusion": confusion,
    "risk_coverage": risk_coverage,
    "clusters": clusters,
    "em": em,
}
