"""Ctrl-C and SIGTERM, held back until the work is between two compiled calls."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class PendingSignal:
    """Remembers a signal that arrived, until `deliver` hands it to its usual handler."""

    def __init__(self) -> None:
        self.number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal (this is the handler while interrupts are held back).

        Whoever insists, by a second one, is not kept waiting.
        """
        if self.number is not None:
            raise KeyboardInterrupt(signal.Signals(number).name)
        self.number = number


@contextmanager
def held_back() -> Iterator[PendingSignal]:
    """Hold SIGINT and SIGTERM back; the block asks `deliver` when it may be interrupted.

    Only the main thread can set handlers; elsewhere, and for signals without a Python
    handler, nothing is held back.
    """
    pending = PendingSignal()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                previous[number] = handler
                signal.signal(number, pending.note)
    try:
        yield pending
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def deliver(pending: PendingSignal) -> None:
    """Raise KeyboardInterrupt if a signal has arrived."""
    if pending.number is not None:
        raise KeyboardInterrupt(signal.Signals(pending.number).name)
