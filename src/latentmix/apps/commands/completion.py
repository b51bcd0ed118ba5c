"""`latentmix completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes latentmix's commands: source <(latentmix completion bash).

    To have it in every shell, put that line into ~/.bashrc or ~/.zshrc; with fish write
    the script to ~/.config/fish/completions/latentmix.fish.
    """
    group = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not completed by this click. Install click>=8.1.")
    click.echo(kind(group, {}, "latentmix", "_LATENTMIX_COMPLETE").source())
