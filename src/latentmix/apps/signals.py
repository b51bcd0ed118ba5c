"""Ctrl-C and SIGTERM, on whatever line they fall: both are an interrupt that says which it is."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click


def terminate(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C, which says by its argument what it is."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal once more whose KeyboardInterrupt fell where nothing can be raised.

    JAX has the garbage collector call it back, some times a second.
    """
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    number = signal.SIGTERM if is_sigterm(lost.exc_value) else signal.SIGINT
    again = threading.Timer(0.05, signal.raise_signal, (number,))
    again.daemon = True
    again.start()


def is_sigterm(stop: BaseException) -> bool:
    """Tell SIGTERM from Ctrl-C; click turns both into an Abort, whose cause they are."""
    interrupt = stop.__cause__ if isinstance(stop, click.Abort) else stop
    return isinstance(interrupt, KeyboardInterrupt) and interrupt.args == ("SIGTERM",)


@contextmanager
def children_deaf_to_ctrl_c() -> Iterator[None]:
    """Have processes that begin now leave Ctrl-C, which a terminal sends to all, to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def left_by_ctrl_c() -> Iterator[None]:
    """Take Ctrl-C for the way one leaves; a run that was watched goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if is_sigterm(stop):
            raise
