"""`latentmix demo`: the first run, of digits that scikit-learn brings."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Final

import click

OUT: Final = Path("runs") / "demo"

# Differences from the default recipe: a small network, three short rounds, no second opinion.
SETTINGS: Final = (
    "vae.hidden_dims=[256, 256]",
    "vae.max_epochs=10",
    "vae.min_steps=300",
    "refinement.n_rounds=3",
    "refinement.min_steps=200",
    "refinement.classifier_rounds=0",
    "report.n_components=[10]",
)


@click.command()
@click.option("-o", "--out", type=Path, default=OUT, show_default=True, metavar="DIR")
@click.option("--no-browser", is_flag=True, help="Print where the report is, and open nothing.")
@click.pass_context
def demo(context: click.Context, out: Path, *, no_browser: bool) -> None:
    """Cluster 1,797 small images of digits, name the clusters, and open the report.

    Nothing is fetched. Of a demo that is there already the report is opened.
    """
    if not (out / "manifest.json").is_file():
        group = context.find_root().command
        assert isinstance(group, click.Group)
        run = group.commands["run"]
        context.invoke(run, data="digits", settings=SETTINGS, out=out)
    page = out / "report.html"
    click.echo(f"The report is {page}. To name clusters yourself: latentmix explore {out}")
    if not no_browser:
        webbrowser.open(page.absolute().as_uri())
