"""How far a run is: a bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from latentmix.estimators.verbosity import epoch_text
from latentmix.training.events import (
    ClassifierSteps,
    EmIteration,
    EpochEnd,
    Event,
    Listener,
    Stage,
    Steps,
    Warned,
)

# Elsewhere than on a terminal: at most one line of EM, or of a classifier, in so many seconds.
SECONDS_PER_LINE = 10.0


@contextmanager
def progress() -> Iterator[Listener]:
    """Yield a listener that shows events on standard output."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.close()


class _Lines:
    """A line for each stage and epoch, and now and then one for EM and classifiers."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()
        self._first: EpochEnd | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._said_at = time.monotonic()
            print(event.message, flush=True)
        elif isinstance(event, Warned):
            print(f"Warning: {event.message}", flush=True)
        elif isinstance(event, EpochEnd):
            text = f"epoch {event.epoch}/{event.n_epochs}: {epoch_text(event)}"
            print(f"{text}; {self._left(event):.0f} s of training left", flush=True)
        elif isinstance(event, EmIteration) and self._is_due():
            print(em_text(event), flush=True)
        elif isinstance(event, ClassifierSteps) and self._is_due():
            print(classifier_text(event), flush=True)

    def _is_due(self) -> bool:
        now = time.monotonic()
        due = now - self._said_at > SECONDS_PER_LINE
        self._said_at = now if due else self._said_at
        return due

    def _left(self, event: EpochEnd) -> float:
        """Return the seconds that the epochs to come will take if they take what those here did."""
        seconds, epochs = event.seconds, event.epoch
        if self._first is None or event.epoch <= self._first.epoch:
            self._first = event
        else:
            # A training that goes on where it stopped may have begun on a slower machine.
            seconds, epochs = seconds - self._first.seconds, epochs - self._first.epoch
        return seconds / epochs * (event.n_epochs - event.epoch)


class _Bar:
    """A bar over all training steps, one over a classifier's, one that counts EM iterations."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stage):
            self.close()
            tqdm.write(event.message)
        elif isinstance(event, Warned):
            tqdm.write(f"Warning: {event.message}")
        elif isinstance(event, Steps):
            self._advance(event)
        elif isinstance(event, EpochEnd):
            if self._bar is not None:
                self._bar.set_postfix_str(epoch_text(event))
        elif isinstance(event, EmIteration):
            self._count(event)
        elif isinstance(event, ClassifierSteps):
            self._teach(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _advance(self, event: Steps) -> None:
        done = (event.epoch - 1) * event.n_steps + event.step
        if self._bar is None:
            # A training that goes on where it stopped begins in the middle.
            total = event.n_epochs * event.n_steps
            self._bar = tqdm(total=total, initial=done, unit="step", dynamic_ncols=True)
        self._bar.set_description(f"epoch {event.epoch}/{event.n_epochs}", refresh=False)
        self._bar.update(done - self._bar.n)

    def _count(self, event: EmIteration) -> None:
        if event.iteration == 1:
            self.close()
        if self._bar is None:
            self._bar = tqdm(unit="iteration", dynamic_ncols=True)
            self._bar.set_description(f"EM, {event.n_components} components", refresh=False)
        self._bar.set_postfix_str(f"{event.log_likelihood:.4f} nats a row", refresh=False)
        self._bar.update(event.iteration - self._bar.n)

    def _teach(self, event: ClassifierSteps) -> None:
        if self._bar is None:
            what = "second opinion"
            self._bar = tqdm(desc=what, total=event.n_steps, unit="step", dynamic_ncols=True)
        self._bar.update(event.step - self._bar.n)
        if event.step == event.n_steps:
            self.close()


def classifier_text(event: ClassifierSteps) -> str:
    """Return how far a second opinion is, in one line."""
    left = event.seconds / event.step * (event.n_steps - event.step)
    return f"second opinion, step {event.step:,} of {event.n_steps:,}; {left:.0f} s left of it"


def em_text(event: EmIteration) -> str:
    """Return where EM is, in one line."""
    return (
        f"EM with {event.n_components} components, iteration {event.iteration}: "
        f"{event.log_likelihood:.4f} nats a row"
    )
