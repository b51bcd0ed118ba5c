"""What several pictures share: points by name, heat maps, images, legends, axes of counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Petroff (2021), "Accessible color sequences for data visualization": told apart by people
# with colour-vision deficiencies.
TEN_COLOURS: Final = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
UNKNOWN_COLOUR: Final = "#dddddd"
# More names than this get no legend, and a matrix no numbers.
MOST_NAMES_SHOWN: Final = 12
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "figure.constrained_layout.use": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's style inside the block; matplotlib's settings come back after it."""
    with mpl.rc_context(_STYLE):
        yield


def colours(n_names: int) -> list[str]:
    """Return a colour for each of so many names: the ten, or a rainbow where there are more."""
    if n_names <= len(TEN_COLOURS):
        return list(TEN_COLOURS[:n_names])
    rainbow = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, n_names))
    return [mpl.colors.to_hex(colour) for colour in rainbow]


def palette(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each different name, in order; the blank name is unknown and grey."""
    known = sorted(set(names) - {""}, key=_in_order)
    found = dict(zip(known, colours(len(known)), strict=True))
    return {"": UNKNOWN_COLOUR, **found} if "" in names else found


def scatter_by_name(
    axes: Axes, points: np.ndarray, names: Sequence[str], colour_of: Mapping[str, str]
) -> None:
    """Draw points (N, 2) in the colours of their names, none of them always on top."""
    shown = [colour_of[name] for name in names]
    axes.scatter(points[:, 0], points[:, 1], c=shown, s=5, alpha=0.7, linewidths=0)
    axes.tick_params(length=2)


def legend_of_names(where: Axes | Figure, colour_of: Mapping[str, str]) -> None:
    """Put a legend of dots below the axes or the figure, unless there are too many names."""
    if len(colour_of) > MOST_NAMES_SHOWN:
        return
    dots = [
        Line2D([], [], color=colour, marker="o", ls="", markersize=6, label=name or "unknown")
        for name, colour in colour_of.items()
    ]
    legend_below(where, dots)


def legend_below(where: Axes | Figure, handles: Sequence[Line2D], title: str | None = None) -> None:
    """Put a legend below, where it hides nothing."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), 10 if longest <= 3 else 5)
    options: dict[str, Any] = {"handles": handles, "ncols": columns, "title": title}
    if isinstance(where, Figure):
        where.legend(loc="outside lower center", columnspacing=1.2, **options)
    else:
        where.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), columnspacing=1.2, **options)


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Show an array in [0, 1] without axes: 0 is black, 1 is white or full colour."""
    if image.ndim == 2:
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def heat_maps(
    figure: Figure,
    tables: Mapping[str, np.ndarray],
    feature_names: Sequence[str],
    row_names: Sequence[str] = (),
) -> None:
    """Show tables (n, D) one below the other, each feature scaled to its own range over all."""
    every = np.concatenate(list(tables.values()))
    low, high = every.min(axis=0), every.max(axis=0)
    axes = figure.subplots(len(tables), 1, squeeze=False, sharex=True)[:, 0]
    for one, (title, values) in zip(axes, tables.items(), strict=True):
        scaled = (values - low) / np.where(high > low, high - low, 1.0)
        image = one.imshow(scaled, aspect="auto", cmap="cividis", vmin=0, vmax=1)
        one.set_title(title)
        one.set_yticks(range(len(row_names)), row_names)
    many = len(feature_names) > 40
    if not many:
        axes[-1].set_xticks(range(len(feature_names)), feature_names, rotation=60, ha="right")
    axes[-1].set_xlabel("column" if many else "")
    bar = figure.colorbar(image, ax=list(axes), fraction=0.03)
    bar.set_ticks([0, 1], labels=["least", "most"])


def count_axis(axes: Axes, last: int) -> None:
    """Make x a logarithmic axis of whole numbers from 1 to `last`: beginnings are seen as well."""
    axes.set_xscale("log")
    steps = [base * 10**power for power in range(6) for base in (1, 2, 5)]
    shown = [step for step in steps if step <= last] or [1]
    axes.xaxis.set_major_locator(ticker.FixedLocator(shown))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%d"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)


def _in_order(name: str) -> tuple[bool, int, str]:
    """Order whole numbers by value, before all other names."""
    whole = name.isascii() and name.isdigit()
    return (not whole, int(name) if whole else 0, name)
