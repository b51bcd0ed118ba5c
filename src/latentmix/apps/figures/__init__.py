"""The pictures of a run folder, each drawn from the CSV of the same name beside it.

A picture is one function and one line in `FIGURES`: it gets the folder's tables and returns a
figure, or None where its table says there is nothing to draw.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from latentmix.apps import drawing
from latentmix.apps.figures import curves, maps, sheets
from latentmix.apps.figures.tables import Pixels, Tables
from latentmix.storage.files import write_bytes

DOTS_PER_INCH: Final = 150

FIGURES: Final[dict[str, Callable[[Tables], Figure | None]]] = {
    each.__name__: each
    for each in (
        *(maps.latent_space, maps.umap, maps.clusters, maps.confusion),
        *(
            sheets.samples,
            sheets.class_samples,
            sheets.gallery,
            sheets.reconstructions,
            sheets.mistakes,
            sheets.strange,
        ),
        *(sheets.traversals, sheets.interpolation),
        *(curves.reliability, curves.risk_coverage, curves.labels_spent, curves.selection),
        *(curves.loss, curves.kl, curves.em),
    )
}


def draw_figures(run: Path, pixels: Pixels | None = None) -> list[Path]:
    """Draw every picture of a run folder, and return their paths.

    Parameters
    ----------
    run : Path
        A run folder with its tables written: ``figures/*.csv`` and ``figures/figures.json``.
    pixels : callable, optional
        Images of the data set by their row numbers: tables that change with the names have none.

    Raises
    ------
    WriteError
        If a picture cannot be written.
    """
    tables = Tables(run / "figures", pixels)
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
