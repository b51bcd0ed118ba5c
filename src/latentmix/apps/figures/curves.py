"""Curves: how training went, which number of components was chosen, and what answers cost."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentmix.apps import drawing
from latentmix.apps.figures.tables import Tables

# Of the rows, most confident first: what answering so many costs is written out.
SHARES_SHOWN: Final = (0.5, 0.8, 0.9, 0.95, 1.0)


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
