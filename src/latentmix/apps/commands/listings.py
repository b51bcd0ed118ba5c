"""`latentmix recipes` and `latentmix datasets`: what is shipped."""

from __future__ import annotations

import click


@click.command()
def recipes() -> None:
    """List the shipped recipes."""
    from latentmix.runs.recipe import load_recipe, recipe_names  # noqa: PLC0415

    for name in recipe_names():
        click.echo(f"{name:<14}{load_recipe(name).description}")


@click.command()
def datasets() -> None:
    """List the named data sets."""
    from latentmix.data import dataset_names, describe_dataset  # noqa: PLC0415

    for name in dataset_names():
        click.echo(f"{name:<15}{describe_dataset(name)}")
