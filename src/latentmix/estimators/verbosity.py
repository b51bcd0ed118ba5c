"""What `verbose` prints, made from events: a line an epoch, scikit-learn's lines of EM."""

from __future__ import annotations

import time
from dataclasses import dataclass

from latentmix.training.events import EmIteration, EpochEnd, Event, Listener


def epoch_text(event: EpochEnd) -> str:
    """Return the averages of an epoch in one line, in nats a row."""
    train, held_out = event.train, event.validation
    validation = "" if held_out is None else f", validation {held_out.objective:.2f}"
    used = event.components
    components = (
        ""
        if used is None
        else f", {used.n_effective:.1f} of {len(used.shares)} components in use, entropy "
        f"{used.entropy:.2f}"
    )
    return (
        f"objective {train.objective:.2f} nats (reconstruction {train.reconstruction:.2f}, "
        f"KL {train.kl:.2f}){validation}{components}"
    )


def print_epoch(event: Event) -> None:
    """Print an epoch's averages; blocks of `partial_fit` are epochs of no known number."""
    if isinstance(event, EpochEnd):
        of_all = f"/{event.n_epochs}" if event.n_epochs else ""
        print(f"Epoch {event.epoch}{of_all}: {epoch_text(event)}, {event.seconds:.1f} s")


@dataclass
class _Start:
    """A start that was heard of: its last iteration, and the lines that wait for their turn."""

    bound: float
    lines: list[str]
    iteration: int = 0
    ended: bool = False


class EmPrinter:
    """A listener that prints each start and some of its iterations, and passes every event on.

    Starts run together, but are printed one after another: lines of a later start wait until
    those before it have ended. Many starts run in two rounds: all of them on some of the rows,
    and the best on all.

    Parameters
    ----------
    bound : float
        The log-likelihood before the first iteration.
    verbose : int
        Above 1, times and log-likelihoods (nats a row) are printed too.
    interval : int
        Iterations between two lines.
    listener : callable
        Who else is told.
    """

    def __init__(self, bound: float, verbose: int, interval: int, listener: Listener) -> None:
        self._bound, self._interval, self._listener = bound, interval, listener
        self._detailed = verbose > 1
        self._starts: dict[int, _Start] = {}
        self._turn = 0
        self._began = self._line_made = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print what the event is worth."""
        if isinstance(event, EmIteration):
            self._hear(event)
            self._print()
        self._listener(event)

    def end_round(self) -> None:
        """Print what still waits. Starts whose end no iteration told of did not converge."""
        for number, start in sorted(self._starts.items()):
            if not start.ended:
                self._end(start, converged=False)
            self._turn = max(self._turn, number)
            self._print()
        self._starts, self._turn = {}, 0
        self._began = time.monotonic()

    def _hear(self, event: EmIteration) -> None:
        start = self._starts.get(event.start)
        if start is not None and event.iteration <= start.iteration:
            self.end_round()
            print("The best of these go on with all rows")
            start = None
        if start is None:
            start = _Start(self._bound, [f"Initialization {event.start}"])
            self._starts[event.start] = start
        change = event.log_likelihood - start.bound
        # Iterations that a leap has lost are told of by none: the next one makes up for them.
        due = event.iteration // self._interval > start.iteration // self._interval
        start.bound, start.iteration = event.log_likelihood, event.iteration
        if due:
            now = time.monotonic()
            seconds, self._line_made = now - self._line_made, now
            details = f"\t time lapse {seconds:.5f}s\t ll change {change:.5f}"
            start.lines.append(f"  Iteration {event.iteration}{details if self._detailed else ''}")
        if event.last:
            self._end(start, converged=event.converged)

    def _end(self, start: _Start, *, converged: bool) -> None:
        seconds = time.monotonic() - self._began
        details = f" time lapse {seconds:.5f}s\t lower bound {start.bound:.5f}."
        ending = "converged." if converged else "did not converge."
        start.lines.append(f"Initialization {ending}{details if self._detailed else ''}")
        start.ended = True

    def _print(self) -> None:
        """Print the lines of the start whose turn it is, and go on to the next if it has ended."""
        while start := self._starts.get(self._turn):
            for line in start.lines:
                print(line)
            start.lines.clear()
            if not start.ended:
                return
            self._turn += 1
