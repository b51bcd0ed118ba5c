"""`{shipped} recipes`: a table of what the code ships, made from the code and its measurements.

A recipe, data set, family, likelihood or metric that is added is in the site's next build.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from latentmix import metrics
from latentmix.comparison.table import Spread, read_rows, summarise
from latentmix.data import dataset_names, describe_dataset
from latentmix.kernels.families import FAMILIES
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.runs.recipe import load_recipe, recipe_names

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

# A title, and the rows' cells, in Markdown.
Table = tuple[Sequence[str], list[Sequence[str]]]


def recipes() -> Table:
    """Return what the committed benchmark says of each recipe on MNIST."""
    runs = summarise(read_rows(RESULTS / "clustering.csv"))
    of_mnist = {one.method: one for one in runs if one.data == "mnist"}
    rows = []
    for name in recipe_names():
        measured = ["not in this table", "", "", ""]
        if name in of_mnist:
            scores = of_mnist[name].scores
            measured = [
                _spread(scores["accuracy"]),
                str(of_mnist[name].seeds),
                f"{scores['fit_seconds'].best / 60:.1f}",
                f"{scores['peak_memory'].worst / 1e9:.1f}",
            ]
        rows.append([f"`{name}`", load_recipe(name).description, *measured])
    title = ("recipe", "what", "accuracy, MNIST", "seeds", "minutes", "memory, GB")
    return title, rows


def datasets() -> Table:
    """Return the data sets with a name."""
    return ("name", "what"), [[f"`{name}`", describe_dataset(name)] for name in dataset_names()]


def families() -> Table:
    """Return the families of components, and how many numbers a fit of each chooses."""
    title = ("family", "a component", "parameters of 10 components in 8 dimensions")
    return title, [
        [f"`{name}`", _first_line(type(family)), str(family.n_parameters(10, 8))]
        for name, family in FAMILIES.items()
    ]


def likelihoods() -> Table:
    """Return what a decoder can say of a row."""
    title = ("likelihood", "what", "its number is a")
    return title, [
        [f"`{name}`", _first_line(likelihood), likelihood.measure]
        for name, likelihood in LIKELIHOODS.items()
    ]


def scores() -> Table:
    """Return the metrics."""
    functions = [(name, getattr(metrics, name)) for name in metrics.__all__]
    return ("metric", "returns"), [
        [f"`{name}`", _first_line(function).removeprefix("Return ")]
        for name, function in functions
        if inspect.isfunction(function)
    ]


TABLES: dict[str, Callable[[], Table]] = {
    "recipes": recipes,
    "datasets": datasets,
    "families": families,
    "likelihoods": likelihoods,
    "metrics": scores,
}


def _first_line(documented: object) -> str:
    first = (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")
    return first.replace("|", r"\|")


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.4f}" if spread.sd is None else f"{spread.mean:.4f} ± {spread.sd:.4f}"


def _markdown(title: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---"] * len(title)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (title, ruler, *rows))


class Shipped(SphinxDirective):
    """A table, by its name in `TABLES`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table's nodes."""
        return self.parse_text_to_nodes(_markdown(*TABLES[self.arguments[0]]()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive."""
    app.add_directive("shipped", Shipped)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
