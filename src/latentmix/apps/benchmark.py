"""A benchmark's page: its tables and two pictures of them, one file that needs no other.

The pictures lie beside it as well: accuracy by method with a point a seed, and accuracy against
the time it took. Everything is drawn from ``rows.csv``.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latentmix.apps import drawing
from latentmix.apps.figures import DOTS_PER_INCH
from latentmix.comparison.table import (
    MIXED,
    TUNED,
    UNSUPERVISED,
    Row,
    Summary,
    cells_of,
    read_rows,
    summarise,
    write_summary,
)
from latentmix.storage.files import write_bytes

PAGE: Final = "index.html"
# Data sets beside each other in one line of panels.
MOST_COLUMNS: Final = 3
# Beyond ten methods a colour comes again with another marker.
_MARKERS: Final = ("o", "s", "^", "v")
# Whether a group is tuned: its colour and marker.
_LOOK_OF_GROUP: Final = {
    False: (drawing.TEN_COLOURS[0], "o"),
    True: (drawing.TEN_COLOURS[1], "D"),
}

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #555; } img { max-width: 100%; } .wide { overflow-x: auto; }
p { max-width: 46rem; }
"""

_PROTOCOL: Final = (
    "Each method was fitted to the training rows without labels, in a process of its own; recipes "
    "are told where a set’s authors say that classes have equally many rows (Fashion-MNIST). Its "
    "predictions of the test rows were hashed, and then scored once. Accuracy is that after the "
    "best one-to-one match of components and classes; “named” that of the classes which the "
    "validation labels give the components. NLL is in nats a test row, of what the column "
    "“density” of summary.csv says. Cells are mean ± standard deviation over seeds, and in "
    "brackets the worst and the best. Seconds are those of fitting; MB the highest memory of the "
    "process, the libraries it loads included."
)


def write_page(folder: Path) -> list[Summary]:
    """Write the summary, the pictures and the page of a benchmark's folder.

    Parameters
    ----------
    folder : Path
        With ``rows.csv`` in it.

    Returns
    -------
    list of Summary

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    rows = read_rows(folder / "rows.csv")
    summaries = write_summary(rows, folder)
    if not rows:
        return summaries
    pictures = {}
    for name, draw in PICTURES.items():
        with drawing.style():
            content = io.BytesIO()
            draw(rows).savefig(content, format="png", dpi=DOTS_PER_INCH)
        pictures[name] = content.getvalue()
        write_bytes(folder / f"{name}.png", pictures[name])
    write_bytes(folder / PAGE, _page(rows, summaries, pictures).encode())
    return summaries


# As many digits as tell the ticks apart.
_PERCENT: Final = ticker.FuncFormatter(lambda value, _: f"{100 * value:.4g}%")


def accuracy(rows: Sequence[Row]) -> Figure:
    """Accuracy of each method, a point a seed, a bar at the mean; a panel a data set."""
    panels = _by_data(rows)
    looks = _looks(rows)
    names = [_title(method) for method in looks]
    longest = max(len(line) for name in names for line in name.splitlines())
    figure, axes = _panels(len(panels), 3.4, 1.0 + 0.34 * len(names), wider=0.075 * longest)
    for one, (data, methods) in zip(axes, panels.items(), strict=True):
        for place, method in enumerate(looks):
            found = np.array([run.accuracy for run in methods.get(method, ())])
            if not len(found):
                continue
            tuned = method[0] == TUNED
            # Seeds that agree are told apart by their height.
            heights = place + (np.linspace(-0.16, 0.16, len(found)) if len(found) > 1 else 0.0)
            colour, marker = _LOOK_OF_GROUP[tuned]
            one.plot(found, heights, ls="", marker=marker, color=colour, ms=4, alpha=0.75)
            one.plot([found.mean()] * 2, [place - 0.32, place + 0.32], color="#222222", lw=1.4)
        one.set_yticks(range(len(names)), names)
        one.set(ylim=(len(names) - 0.4, -0.6), title=data, xlabel="accuracy, test rows")
        one.tick_params(axis="y", length=0)
        one.xaxis.set_major_locator(ticker.MaxNLocator(5))
        one.xaxis.set_major_formatter(_PERCENT)
        one.grid(color="#e4e4e4", linewidth=0.8, axis="x")
        one.set_axisbelow(True)
        one.label_outer(remove_inner_ticks=True)
        one.xaxis.set_tick_params(labelbottom=True)
    if any(row.group == TUNED for row in rows):
        dots = [_dot(group, *_LOOK_OF_GROUP[group == TUNED]) for group in (UNSUPERVISED, TUNED)]
        drawing.legend_below(figure, dots)
    return figure


def time(rows: Sequence[Row]) -> Figure:
    """Accuracy against the seconds that fitting took, a point a seed; a panel a data set."""
    panels = _by_data(rows)
    looks = _looks(rows)
    key = 0.35 + 0.22 * -(-len(looks) // 3)
    figure, axes = _panels(len(panels), 4.2, 3.4, higher=key)
    for one, (data, found) in zip(axes, panels.items(), strict=True):
        for method, runs in found.items():
            colour, marker = looks[method]
            seconds = [max(run.fit_seconds, 1e-3) for run in runs]
            accuracies = [run.accuracy for run in runs]
            one.plot(seconds, accuracies, ls="", marker=marker, color=colour, ms=5, alpha=0.8)
        seconds = [run.fit_seconds for runs in found.values() for run in runs]
        if max(seconds) > 10 * min(seconds):
            one.set_xscale("log")
            one.xaxis.set_minor_formatter(ticker.NullFormatter())
        one.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        one.yaxis.set_major_formatter(_PERCENT)
        one.set(title=data, xlabel="seconds to fit", ylabel="accuracy, test rows")
        one.grid(color="#e4e4e4", linewidth=0.8)
        one.set_axisbelow(True)
    dots = [_dot(_title(method), *look) for method, look in looks.items()]
    figure.legend(handles=dots, loc="outside lower center", ncols=min(3, len(dots)))
    return figure


def summary_text(summaries: Sequence[Summary]) -> str:
    """Return the summary as lines of text, a table a data set and group."""
    lines: list[str] = []
    for data, group in dict.fromkeys((one.data, one.group) for one in summaries):
        chosen = [one for one in summaries if (one.data, one.group) == (data, group)]
        cells = cells_of(chosen, ends=False)
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines += ["", f"{data}, {group}"]
        for line in cells:
            first, *others = (
                cell.ljust(width) if not place else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            lines.append("  ".join([first, *others]).rstrip())
        lines += [MIXED] if any(one.mixed for one in chosen) else []
    return "\n".join(lines)


def _page(rows: Sequence[Row], summaries: Sequence[Summary], pictures: dict[str, bytes]) -> str:
    data = ", ".join(dict.fromkeys(row.data for row in rows))
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>Benchmark on {html.escape(data)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Clustering methods on {html.escape(data)}</h1><p>{_PROTOCOL}</p>",
    ]
    for name, group in dict.fromkeys((one.data, one.group) for one in summaries):
        chosen = [one for one in summaries if (one.data, one.group) == (name, group)]
        parts.append(f"<h2>{html.escape(name)}, {group}</h2>{_labels_used(group, chosen)}")
        parts.append(f"<div class='wide'>{_html_table(cells_of(chosen))}</div>")
        parts += [f"<p>{MIXED}</p>"] if any(one.mixed for one in chosen) else []
    for name, content in pictures.items():
        alt = (PICTURES[name].__doc__ or "").splitlines()[0]
        encoded = base64.b64encode(content).decode()
        source = f"data:image/png;base64,{encoded}"
        parts.append(f"<div><img alt='{html.escape(alt)}' src='{source}'></div>")
    machines = "; ".join(dict.fromkeys(row.machine for row in rows))
    versions = "; ".join(dict.fromkeys(row.versions for row in rows))
    parts.append(f"<p>{html.escape(machines)}.<br>{html.escape(versions)}.</p></body></html>")
    return "\n".join(parts) + "\n"


def _labels_used(group: str, summaries: Sequence[Summary]) -> str:
    naming = max(one.naming_labels for one in summaries)
    by = f"Named by {naming:,} validation labels." if naming else "No validation row has a label."
    if group != TUNED:
        return f"<p>No label had a say in a fit, or in a choice made here. {by}</p>"
    tuning = max(one.tuning_labels for one in summaries)
    return f"<p>Chosen for each seed by {tuning:,} validation labels. {by}</p>"


def _html_table(cells: Sequence[Sequence[str]]) -> str:
    header, *body = (
        "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in line)
        for tag, line in zip(["th", *["td"] * len(cells)], cells, strict=False)
    )
    return f"<table><tr>{header}</tr>{''.join(f'<tr>{line}</tr>' for line in body)}</table>"


_Method = tuple[str, str]


def _by_data(rows: Sequence[Row]) -> dict[str, dict[_Method, list[Row]]]:
    """Return the runs of each method, (group, name), of each data set, as the summary has them."""
    panels: dict[str, dict[_Method, list[Row]]] = {}
    for one in summarise(rows):
        runs = [row for row in rows if (row.data, row.group, row.method) == _place(one)]
        panels.setdefault(one.data, {})[one.group, one.method] = runs
    return panels


def _place(one: Summary) -> tuple[str, str, str]:
    return (one.data, one.group, one.method)


def _title(method: _Method) -> str:
    """Return a method's name, its settings on a line of their own."""
    return method[1].replace(":", "\n", 1)


def _looks(rows: Iterable[Row]) -> dict[_Method, tuple[str, str]]:
    """Return colour and marker of each method, unsupervised ones first, the same in all panels."""
    methods = dict.fromkeys((one.group, one.method) for one in summarise(rows))
    ordered = sorted(methods, key=lambda method: method[0] == TUNED)
    colours = drawing.TEN_COLOURS
    return {
        method: (
            colours[number % len(colours)],
            _LOOK_OF_GROUP[True][1] if method[0] == TUNED else _MARKERS[number // len(colours) % 4],
        )
        for number, method in enumerate(ordered)
    }


def _panels(
    number: int, width: float, height: float, *, wider: float = 0.0, higher: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels, each so large in inches, and more for all of them."""
    n_columns = min(number, MOST_COLUMNS)
    n_lines = -(-number // n_columns)
    figure = Figure(figsize=(max(5.6, width * n_columns + wider), height * n_lines + higher))
    axes = list(figure.subplots(n_lines, n_columns, squeeze=False).ravel())
    for one in axes[number:]:
        one.set_visible(False)
    return figure, axes[:number]


def _dot(label: str, colour: str, marker: str) -> Line2D:
    return Line2D([], [], ls="", marker=marker, color=colour, markersize=5, label=label)


PICTURES: Final[dict[str, Callable[[Sequence[Row]], Figure]]] = {"accuracy": accuracy, "time": time}
