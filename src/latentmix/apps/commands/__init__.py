"""Commands that stand in a module each; `register` puts them beside those of `apps.cli`."""

from __future__ import annotations

import click

from latentmix.apps.commands import completion, demo, doctor, export, launch, listings

COMMANDS = (
    demo.demo,
    doctor.doctor,
    completion.completion,
    export.export,
    launch.launch,
    listings.recipes,
    listings.datasets,
)


def register(cli: click.Group) -> None:
    """Add the commands to the group."""
    for command in COMMANDS:
        cli.add_command(command)
