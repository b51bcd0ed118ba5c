"""`latentmix launch`: a run in several processes of this machine."""

from __future__ import annotations

import click

from latentmix.apps import launch as processes_of


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--processes", type=click.IntRange(1, 1024), required=True, metavar="N")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="run DATA ...")
def launch(processes: int, command: tuple[str, ...]) -> int:
    """Start `latentmix run DATA ...` in N processes of this machine that train as one."""
    if command[:1] != ("run",):
        wrong = " ".join(command[:1]) or "nothing"
        raise click.UsageError(f"launch starts no {wrong!r}. Expected run, with its options.")
    return processes_of.launch(command, processes)
