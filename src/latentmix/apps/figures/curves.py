"""Curves: how training went, which number of components was chosen, how far to believe answers."""

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


def reliability(tables: Tables) -> Figure | None:
    """How often answers are right beside how probable they are said to be."""
    rows = tables.rows("reliability")
    if not rows:
        return None
    figure = Figure(figsize=(6.2, 4.8))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="#999999", linewidth=1, linestyle="--")
    looks = {
        "uncalibrated": (drawing.TEN_COLOURS[6], "s"),
        "calibrated": (drawing.TEN_COLOURS[0], "o"),
    }
    for kind, (colour, marker) in looks.items():
        own = [row for row in rows if row["kind"] == kind]
        confidence, accuracy, n_rows = (
            np.array([float(row[name]) for row in own])
            for name in ("confidence", "accuracy", "rows")
        )
        error = float(np.average(np.abs(confidence - accuracy), weights=n_rows))
        label = f"{kind}: off by {error:.3f} on average (ECE)"
        above.plot(confidence, accuracy, color=colour, marker=marker, markersize=4.5, label=label)
        edges = [*(float(row["low"]) for row in own), float(own[-1]["high"])]
        below.step([*edges, edges[-1]], [0, *n_rows, 0], color=colour, where="pre")
    above.set(
        ylim=(0, 1.02), ylabel="share that is right", title="Are probabilities what they say?"
    )
    above.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    below.set(xlim=(0, 1), yscale="log", xlabel="probability of the answer", ylabel="test rows")
    below.xaxis.set_major_formatter(ticker.PercentFormatter(1))
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def labels_spent(tables: Tables) -> Figure | None:
    """How right the classes of the test rows are by how many labels named the components."""
    rows = tables.rows("labels_spent")
    if not rows:
        return None
    by_number: dict[int, list[float]] = {}
    for row in rows:
        by_number.setdefault(int(row["labels"]), []).append(float(row["accuracy"]))
    numbers, means = list(by_number), [float(np.mean(each)) for each in by_number.values()]
    figure = Figure(figsize=(6.6, 3.4))
    one = figure.subplots()
    colour = drawing.TEN_COLOURS[0]
    low, high = ([edge(each) for each in by_number.values()] for edge in (min, max))
    one.fill_between(numbers, low, high, color=colour, alpha=0.2, linewidth=0)
    one.plot(numbers, means, color=colour, marker="o", markersize=4.5)
    one.set(xscale="log", xlabel="labels that name the clusters", ylabel="test rows right")
    one.set_title("What labels buy: mean, least and most of the draws")
    one.set_xticks(numbers, [f"{number:,}" for number in numbers])
    one.xaxis.set_minor_locator(ticker.NullLocator())
    one.yaxis.set_major_formatter(ticker.PercentFormatter(1))
    one.grid(color="#e4e4e4", linewidth=0.8)
    return figure


def kl(tables: Tables) -> Figure | None:
    """The KL term of each latent dimension, the largest first: what each tells of a row."""
    finite = [row for row in tables.rows("kl") if row["kl"]]
    rows = sorted(finite, key=lambda row: -float(row["kl"]))
    if not rows:
        return None
    figure = Figure(figsize=(max(3.6, 1.2 + 0.3 * len(rows)), 2.8))
    one = figure.subplots()
    one.bar(range(len(rows)), [float(row["kl"]) for row in rows], color=drawing.TEN_COLOURS[0])
    one.set_xticks(range(len(rows)), [row["dimension"] for row in rows], fontsize=7.5)
    one.set(xlabel="latent dimension", ylabel="KL, nats a row", title="What each dimension tells")
    return figure
