"""A run's pictures as matplotlib's Axes, to change, lay out and print in a paper.

A chart for a paper::

    from latentmix import plots

    ax, *_ = plots.latent_space("runs/mnist-default-seed0")
    ax.set_title("What a VAE sees in MNIST")
    ax.figure.savefig("figure-1.pdf")

There is a function for each picture of a run folder (`names()`), drawn from the CSV of its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latentmix.errors import MissingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def names() -> list[str]:
    """Return the names of all pictures.

    Examples
    --------
    >>> from latentmix import plots
    >>> plots.names()[:4]
    ['latent_space', 'umap', 'clusters', 'confusion']
    """
    from latentmix.apps.figures import FIGURES  # noqa: PLC0415  # matplotlib, when it is needed

    return list(FIGURES)


def draw(run: str | Path, name: str) -> list[Axes]:
    """Draw one picture of a run folder in a new figure, and return its Axes.

    Parameters
    ----------
    run : path
        A run folder, finished.
    name : str
        One of `names()`.

    Returns
    -------
    list of matplotlib.axes.Axes
        Panels first, colour bars last; ``axes[0].figure`` is the figure.

    Raises
    ------
    MissingError
        If there is no such run, or it has nothing to draw under that name.

    Examples
    --------
    >>> from latentmix import plots
    >>> first, *_ = plots.draw("runs/shapes", "loss")  # or plots.loss("runs/shapes")
    >>> _ = first.set_title("Loss of the training and the validation rows")
    >>> first.figure.savefig("figure-1.pdf")
    """
    from latentmix.apps import drawing  # noqa: PLC0415
    from latentmix.apps.figures import FIGURES  # noqa: PLC0415
    from latentmix.apps.figures.tables import Tables  # noqa: PLC0415

    figures = Path(run) / "figures"
    if not (figures / "figures.json").is_file():
        raise MissingError(
            f"{run} holds no pictures of a run. Expected a folder that `latentmix run` wrote; "
            "check its path."
        )
    if name not in FIGURES:
        raise MissingError(
            f"{name!r} is none of a run's pictures. Expected one of {', '.join(FIGURES)}."
        )
    with drawing.style():
        figure = FIGURES[name](Tables(figures))
    if figure is None:
        raise MissingError(
            f"{run} has nothing to draw as {name!r}. Expected lines in {figures / name}.csv; "
            "name the clusters first, where the picture is of classes."
        )
    return figure.axes


def __getattr__(name: str) -> Callable[[str | Path], list[Axes]]:
    """Return what draws one picture: ``plots.loss(run)`` is ``plots.draw(run, "loss")``."""
    if name.startswith("_") or name not in names():
        raise AttributeError(f"module 'latentmix.plots' has no attribute {name!r}")

    def plot(run: str | Path) -> list[Axes]:
        return draw(run, name)

    return plot


def __dir__() -> list[str]:
    return sorted([*globals(), *names()])
