"""Where rows lie and which clusters they are in: the latent map, clusters by size, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import Normal, Stroke

from latentmix.apps import drawing
from latentmix.apps.figures.tables import Row, Tables, component_title

# More rings than these would hide the points.
MOST_RINGS: Final = 20


def latent_space(tables: Tables) -> Figure | None:
    """Test rows on the training latents' first two principal components, by cluster and class."""
    rows = tables.rows("latent_space")
    if not rows:
        return None
    points = np.array([[float(row["pc1"]), float(row["pc2"])] for row in rows])
    figure = _by_name(points, rows)
    shares = [*tables.about["explained_variance_ratio"], 0.0]
    for one in figure.axes:
        one.set_xlabel(f"PC 1 ({shares[0]:.0%} of the variance)")
        _draw_ellipses(one, tables)
    figure.axes[0].set_ylabel(f"PC 2 ({shares[1]:.0%})")
    return figure


def umap(tables: Tables) -> Figure | None:
    """The same rows where UMAP puts them, by class; where its extra was installed."""
    places = tables.rows("umap")
    if not places:
        return None
    points = np.array([[float(row["x"]), float(row["y"])] for row in places])
    figure = _by_name(points, tables.rows("latent_space"))
    for one in figure.axes:
        one.set(xlabel="UMAP 1", xticks=[], yticks=[])
    figure.axes[0].set_ylabel("UMAP 2")
    return figure


def _by_name(points: np.ndarray, rows: Sequence[Row]) -> Figure:
    """Return points (n, 2) in panels: by cluster, by predicted and by true class.

    Clusters have none where each is a class.
    """
    named = any(row["predicted"] for row in rows)
    pairs = {(row["cluster"], row["predicted"]) for row in rows}
    panels = {"cluster": "Cluster", "predicted": "Predicted class", "true": "True class"}
    if not named:
        del panels["predicted"]
    elif len(pairs) == len({name for _, name in pairs}):
        del panels["cluster"]
    if not any(row["true"] for row in rows):
        del panels["true"]
    figure = Figure(figsize=(4.8 * len(panels), 5.4))
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    # Classes have the same colours in both panels, clusters have their own.
    classes = drawing.palette([row[column] for row in rows for column in ("predicted", "true")])
    for one, (column, title) in zip(axes, panels.items(), strict=True):
        names = [row[column] for row in rows]
        colour_of = drawing.palette(names) if column == "cluster" else classes
        drawing.scatter_by_name(one, points, names, colour_of)
        one.set_title(title)
        if column == "cluster" and not named:
            drawing.legend_of_names(one, colour_of)
    if named:
        drawing.legend_of_names(figure, classes)
    return figure


def _draw_ellipses(axes: Axes, tables: Tables) -> None:
    """Draw two standard deviations of each component around its mean, with its number."""
    rows = tables.rows("ellipses")
    for row in rows if len(rows) <= MOST_RINGS else ():
        x, y, one, other, both = (
            float(row[name]) for name in ("pc1", "pc2", "variance1", "variance2", "covariance")
        )
        lengths, directions = np.linalg.eigh([[one, both], [both, other]])
        turned = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
        width, height = 4 * np.sqrt(np.maximum(lengths[::-1], 0))
        look = {"facecolor": "none", "edgecolor": "#222222", "linewidth": 0.9}
        axes.add_patch(Ellipse((x, y), width, height, angle=turned, **look))
        text = axes.text(x, y, row["component"], ha="center", va="center", fontsize=7.5)
        text.set_path_effects([Stroke(linewidth=2, foreground="white"), Normal()])


def clusters(tables: Tables) -> Figure | None:
    """How many training rows each cluster holds, and how pure its labelled test rows are."""
    rows = sorted(tables.rows("clusters"), key=lambda row: int(row["train_rows"]))
    sizes = [int(row["train_rows"]) for row in rows]
    figure = Figure(figsize=(7.5, 1.3 + 0.17 * max(6, len(rows))))
    one = figure.subplots()
    shades = mpl.colormaps["cividis"]
    bars = [shades(float(row["purity"])) if row["purity"] else "#c8c8c8" for row in rows]
    one.barh(range(len(rows)), sizes, color=bars, height=0.8)
    one.set_yticks(range(len(rows)), [component_title(row) for row in rows], fontsize=7.5)
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
