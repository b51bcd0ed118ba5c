"""A run followed from another terminal: what it is, how far it is, and how it ended.

On a terminal a few lines that are drawn anew, elsewhere each line once. Nothing is written and
nothing slow imported.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentmix.apps.progress import classifier_text, em_text
from latentmix.apps.summary import summary_of
from latentmix.errors import IntegrityError
from latentmix.runs.event_log import EVENTS, Followed, LogReader
from latentmix.runs.request import begun_record
from latentmix.storage.files import is_held
from latentmix.storage.manifest import MANIFEST, open_sealed
from latentmix.training.events import ClassifierSteps, Steps

SECONDS_BETWEEN_LOOKS = 0.5
# A run that was heard of so lately is not asked whether it lives.
SECONDS_OF_TRUST = 5.0
LINES_SHOWN = 10


def watch_run(folder: Path, *, once: bool) -> None:
    """Print the state of a run; unless `once`, until it ends.

    Raises
    ------
    MissingError
        If no run began in the folder.
    IntegrityError
        If its files cannot be read.
    """
    watched = _Watched(folder)
    screen = _Screen() if sys.stdout.isatty() else _Lines(whole=once)
    while True:
        ended = watched.look()
        screen.show(watched, status=once or ended is None)
        if once or ended is not None:
            break
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if ended is not None:
        print(ended, flush=True)


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a run."""
    return shlex.join(["latentmix", "run", "--resume", str(folder)])


class _Watched:
    """A run folder: what its log tells, and whether the run lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.title = _title(folder, begun_record(folder))
        self._log = LogReader(folder / EVENTS)
        self._heard_at = -SECONDS_OF_TRUST

    @property
    def followed(self) -> Followed:
        """What the log has told."""
        return self._log.followed

    def look(self) -> str | None:
        """Read what is new, and return how the run ended, None while it goes on."""
        # In this order: whoever let go of the folder has written all of its log and manifest.
        trusted = time.monotonic() - self._heard_at < SECONDS_OF_TRUST and not self.followed.ended
        alive = True if trusted else is_held(self.folder)
        if self._log.read():
            self._heard_at = time.monotonic()
        if (self.folder / MANIFEST).exists():
            return _finished(self.folder)
        if alive or (alive is None and not self.followed.ended):
            return None
        return self._cut_off()

    def status(self) -> str:
        """Return in one line how far the present part of the work is."""
        now = self.followed.now
        if isinstance(now, Steps):
            step = "" if now.step == now.n_steps else f", step {now.step}/{now.n_steps}"
            here = f"{_where(now)}{step}: objective {now.objective:.2f} nats"
            return "; ".join([here, *self._speed(now)])
        if isinstance(now, ClassifierSteps):
            return classifier_text(now)
        if now is not None:
            return em_text(now)
        seconds = max(0.0, time.time() - self.followed.heard_at) if self.followed.heard_at else 0.0
        return f"At work; last heard of {seconds:.0f} s ago"

    def bar(self, width: int) -> str:
        """Return the same for a terminal, of the training as a bar over all its rows."""
        now, speed = self.followed.now, self.followed.epochs_a_second
        if not isinstance(now, Steps) or not now.n_epochs:
            return self.status()
        n_rows = self.followed.n_rows
        meter: str = tqdm.format_meter(
            n=int(_epochs_done(now) * n_rows),
            total=now.n_epochs * n_rows,
            elapsed=now.seconds,
            ncols=width - 1,
            prefix=_where(now),
            unit=" rows",
            unit_scale=True,
            rate=None if speed is None else speed * n_rows,
            postfix=f"{now.objective:.2f} nats",
        )
        return meter

    def _speed(self, now: Steps) -> list[str]:
        speed = self.followed.epochs_a_second
        if speed is None:
            return []
        left = f"{(now.n_epochs - _epochs_done(now)) / speed:.0f} s of training left"
        return [f"{speed * self.followed.n_rows:,.0f} rows/s", *([left] if now.n_epochs else [])]

    def _cut_off(self) -> str:
        """Return what to know of a run that neither goes on nor is finished."""
        if not self.followed.ended:
            what = "Died: no process holds the folder, and it is not finished."
        elif self.followed.error is None:
            what = "Stopped."
        else:
            what = f"Ended by an error: {self.followed.error}"
        return f"{what}\nWhat was done is kept. To go on: {resume_command(self.folder)}"


class _Lines:
    """Prints each line once; of a run that goes on where one stopped, those that are new."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._n_shown = 0
        self._titled = False

    def show(self, watched: _Watched, *, status: bool) -> None:
        """Print what is new, and where only the present state is asked for, also how far it is."""
        if not self._titled:
            print(watched.title)
            self._titled = True
        told = watched.followed.told
        for _, line in told[self._n_shown :]:
            print(line)
        self._n_shown = len(told)
        if status and self._whole:
            print(watched.status())
        sys.stdout.flush()


class _Screen:
    """Draws the last lines and a bar over what it has drawn before."""

    def __init__(self) -> None:
        self._n_drawn = 0

    def show(self, watched: _Watched, *, status: bool) -> None:
        """Draw."""
        width = shutil.get_terminal_size().columns
        lines = [watched.title, *(line for _, line in watched.followed.told[-LINES_SHOWN:])]
        # A line that the terminal breaks would be two to go back over.
        lines = [line[: width - 1] for line in lines]
        if status:
            lines.append(watched.bar(width))
        back = f"\x1b[{self._n_drawn}F\x1b[J" if self._n_drawn else ""
        sys.stdout.write(back + "".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        self._n_drawn = len(lines)


def _title(folder: Path, record: dict[str, Any]) -> str:
    try:
        data, recipe, seed = record["data"], record["recipe"]["name"], record["seed"]
        n_rows, width = data["shape"]
        shape = data["image_shape"]
        what = f"{width} columns" if shape is None else f"images of {'x'.join(map(str, shape))}"
        return f"{folder}: {data['name']}, {n_rows:,} rows, {what}; recipe {recipe}, seed {seed}"
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{folder} holds no request that this version reads ({error}). Watch it with the "
            "version of latentmix that began it."
        ) from error


def _finished(folder: Path) -> str:
    metrics = open_sealed(folder, "run").json("metrics.json")
    return f"Finished after {metrics['wall_seconds']:.0f} s\n{summary_of(metrics, folder)}"


def _where(now: Steps) -> str:
    return f"epoch {now.epoch}/{now.n_epochs}" if now.n_epochs else f"epoch {now.epoch}"


def _epochs_done(now: Steps) -> float:
    return now.epoch - 1 + now.step / now.n_steps
