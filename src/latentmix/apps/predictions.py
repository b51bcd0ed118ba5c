"""`latentmix predict`: one file or many, here or by a cluster's workers, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from latentmix.runs.predict import (
    ALL,
    Deal,
    PartDone,
    PartsBegin,
    Shard,
    one_by_one,
    predict_parts,
    predict_run,
)
from latentmix.storage.remote import is_remote


def answer(run_folder: Path, data: str, out: str, shard: str | None, client: Any) -> str:
    """Answer for a file, or for all that a pattern finds, and return what to say of it."""
    there = not is_remote(data) and Path(data).exists()
    many = any(sign in data for sign in "*?[") and not there
    if shard is not None and not many:
        raise click.UsageError("--shard is a share of many files. Give DATA with * in quotes.")
    share = ALL if shard is None else _share(shard)
    deal = _deal_to(client)
    if not many:
        return f"Wrote {predict_run(run_folder, data, out, deal):,} rows to {out}"
    with _parts_shown() as listener:
        n_parts = predict_parts(run_folder, data, out, share, listener, deal or one_by_one)
    return f"{n_parts} parts in {out}"


def _share(text: str) -> Shard:
    """Return I and N of ``I/N``, 1 <= I <= N."""
    number, _, of = text.partition("/")
    if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return Shard(int(number), int(of))
    raise click.UsageError(f"--shard={text!r} is no share. Expected I/N, from 1/N to N/N.")


def _deal_to(client: Any) -> Deal | None:
    """Return who does tasks: the workers of a client, None without one."""
    if client is None:
        return None
    from latentmix.training.cluster import dealt_out  # noqa: PLC0415  # an extra

    return partial(dealt_out, client=client)


@contextmanager
def _parts_shown() -> Iterator[Callable[[PartsBegin | PartDone], None]]:
    """Yield a listener that shows how far many files are."""
    shown = _PartsShown()
    try:
        yield shown
    finally:
        shown.close()


class _PartsShown:
    """One bar over all parts with rows a second, or elsewhere than on a terminal their lines."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._n_rows, self._began = 0, time.monotonic()

    def __call__(self, event: PartsBegin | PartDone) -> None:
        if isinstance(event, PartsBegin):
            self._begin(event)
            return
        self._n_rows += event.n_rows
        speed = f"{self._n_rows / max(1e-9, time.monotonic() - self._began):,.0f} rows/s"
        if self._bar is not None:
            self._bar.set_postfix_str(speed, refresh=False)
            self._bar.update(event.n_done - self._bar.n)
            return
        where = f"{event.n_done}/{event.n_parts} {event.part}"
        click.echo(f"{where}: {event.n_rows:,} rows; {speed} in all")

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _begin(self, event: PartsBegin) -> None:
        if event.n_there:
            click.echo(f"{event.n_there} of {event.n_parts} parts are there already")
        if sys.stdout.isatty():
            total, there = event.n_parts, event.n_there
            self._bar = tqdm(total=total, initial=there, unit="part", dynamic_ncols=True)
