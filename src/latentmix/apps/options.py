"""Options whose values are several words."""

from __future__ import annotations

import click


class Settings(click.Command):
    """A command whose ``--set`` takes several assignments: ``--set a.b=1 c.d=2``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102  # click's
        spread: list[str] = []
        in_set = False
        for arg in args:
            assignment = "." in arg.partition("=")[0] and "=" in arg and not arg.startswith("-")
            if in_set and assignment and spread[-1] != "--set":
                spread.append("--set")
            in_set = arg == "--set" or (in_set and assignment)
            spread.append(arg)
        return super().parse_args(ctx, spread)


class Benchmark(Settings):
    """A command whose ``--data`` takes several words, up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102  # click's
        spread: list[str] = []
        in_data = False
        for arg in args:
            if in_data and not arg.startswith("-") and spread[-1] != "--data":
                spread.append("--data")
            in_data = arg == "--data" or (in_data and not arg.startswith("-"))
            spread.append(arg)
        return super().parse_args(ctx, spread)
