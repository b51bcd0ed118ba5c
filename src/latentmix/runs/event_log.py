"""A run's events in its folder, for whoever follows it: `events.jsonl`, a line an event.

It is there while the run is: lines are appended, a run that goes on appends to what is there, and
a finished run has its history and metrics instead. Nothing of a run depends on it.
"""

from __future__ import annotations

import errno
import json
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from latentmix.errors import WriteError
from latentmix.estimators.verbosity import epoch_text
from latentmix.storage.files import append_bytes
from latentmix.training.events import (
    ClassifierSteps,
    EmIteration,
    EpochEnd,
    Event,
    Stage,
    Steps,
    Warned,
    epoch_end_of,
)

EVENTS = "events.jsonl"
SECONDS_BETWEEN_WRITES = 2.0

# A disk that is full or broken ends a run before it finds that out with its results.
_DISK_FAILS = {errno.ENOSPC, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}

# A speed is that of the last so many lines.
_PLACES = 30


class EventLog:
    """A listener that appends events to a file every 2 seconds; of passing ones the last alone.

    As a context it writes how the run ended, unless it is finished.

    Parameters
    ----------
    path : Path
    n_rows : int
        Rows of an epoch.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self._path: Path | None = path
        self._n_rows = n_rows
        self._lines: list[str] = []
        self._passing: str | None = None
        self._written_at = -SECONDS_BETWEEN_WRITES

    def __enter__(self) -> Self:
        self._lines.append(_line("Begun", {"n_rows": self._n_rows}))
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is not None:
            why = None if isinstance(error, KeyboardInterrupt) else str(error) or repr(error)
            self._lines.append(_line("Ended", {"error": why}))
            # The error is the one to tell.
            with suppress(WriteError):
                self._write()

    def __call__(self, event: Event) -> None:
        """Write the event, or keep it until the next is due.

        Raises
        ------
        WriteError
            If the disk is full or fails; a file that cannot be written otherwise is given up.
        """
        line = _line(type(event).__name__, asdict(event))
        if isinstance(event, Steps | EmIteration | ClassifierSteps):
            self._passing = line
        else:
            self._lines.append(line)
            self._passing = None
        due = time.monotonic() - self._written_at >= SECONDS_BETWEEN_WRITES
        if due or isinstance(event, Stage | Warned):
            self._write()

    def remove(self) -> None:
        """Delete the file: the run is finished."""
        if self._path is not None:
            # One that stays does no harm.
            with suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        lines = self._lines if self._passing is None else [*self._lines, self._passing]
        self._lines, self._passing = [], None
        self._written_at = time.monotonic()
        if self._path is None:
            return
        try:
            # A line that a kill has cut short is ended by the first line break.
            append_bytes(self._path, "".join(f"\n{line}" for line in lines).encode() + b"\n")
        except WriteError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _DISK_FAILS:
                raise
            self._path = None


@dataclass
class Followed:
    """What the lines of a log have told so far.

    Attributes
    ----------
    told : list of (int or None, str)
        Lines to read, in order: stages, warnings and epochs, these with their number.
    now : Steps, EmIteration, ClassifierSteps or None
        Where a training or EM was at the last event, if that is of one.
    ended, error : bool, str or None
        Whether the run said that it ends, and the error that ended it, None for a stop.
    begun_at, heard_at : float
        Times of day, of the last sitting's first line and of the last line.
    n_rows : int
        Rows of an epoch.
    """

    told: list[tuple[int | None, str]] = field(default_factory=list)
    now: Steps | EmIteration | ClassifierSteps | None = None
    ended: bool = False
    error: str | None = None
    begun_at: float = 0.0
    heard_at: float = 0.0
    n_rows: int = 0
    _places: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_PLACES))

    def hear(self, line: bytes) -> None:
        """Take in a line; one that is none of the log's, as a kill leaves them, is left out."""
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(line)
            at, name = float(record.pop("at")), record.pop("event")
            self._take(name, record, at)
            self.heard_at = at

    @property
    def epochs_a_second(self) -> float | None:
        """The training's speed of late; None while it is not known."""
        if len(self._places) < 2:
            return None
        (began, first), (ended, last) = self._places[0], self._places[-1]
        return (last - first) / (ended - began) if ended > began and last > first else None

    def _take(self, name: str, record: dict[str, Any], at: float) -> None:
        self.now = None
        if name == "Begun":
            self.begun_at, self.n_rows = at, int(record["n_rows"])
            self.ended, self.error = False, None
            self._places.clear()
            # All but the epochs is done anew.
            self.told = [(epoch, text) for epoch, text in self.told if epoch is not None]
        elif name == "Ended":
            self.ended, self.error = True, record["error"]
        elif name == "Stage":
            self.told.append((None, Stage(**record).message))
            # Of a time in which no epoch passes there is no speed.
            self._places.clear()
        elif name == "Warned":
            self.told.append((None, f"Warning: {Warned(**record).message}"))
        elif name == "EpochEnd":
            self._take_epoch(epoch_end_of(record), at)
        elif name == "Steps":
            self.now = steps = Steps(**record)
            # What a sitting before had done after its last checkpoint is done again.
            self._forget_from(steps.epoch)
            self._places.append((at, steps.epoch - 1 + steps.step / steps.n_steps))
        elif name == "EmIteration":
            self.now = EmIteration(**record)
        elif name == "ClassifierSteps":
            self.now = ClassifierSteps(**record)
            self._places.clear()

    def _take_epoch(self, event: EpochEnd, at: float) -> None:
        self._forget_from(event.epoch)
        self.told.append(
            (event.epoch, f"epoch {event.epoch}/{event.n_epochs}: {epoch_text(event)}")
        )
        self._places.append((at, event.epoch))
        # As after an epoch's last step, whose number is of no interest any more.
        done = event.epoch, event.n_epochs, 1, 1
        self.now = Steps(*done, event.train.objective, event.seconds)

    def _forget_from(self, epoch: int) -> None:
        self.told = [(n, text) for n, text in self.told if n is None or n < epoch]


class LogReader:
    """Reads what was appended to a log since it was last asked."""

    def __init__(self, path: Path) -> None:
        self.followed = Followed()
        self._path, self._offset = path, 0

    def read(self) -> bool:
        """Take in the new lines, and tell whether there were any."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return False
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.split(b"\n"):
            if line:
                self.followed.hear(line)
        return bool(whole)


def _line(name: str, record: dict[str, Any]) -> str:
    return json.dumps({"event": name, "at": round(time.time(), 3), **record})
