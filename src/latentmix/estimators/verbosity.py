"""What `verbose` prints while EM runs: scikit-learn's lines, made from the loop's events."""

from __future__ import annotations

import time

from latentmix.training.em_loop import EmRule
from latentmix.training.events import EmIteration, Event, Listener


class EmPrinter:
    """A listener that prints each start and some of its iterations, and passes every event on.

    Starts run together, but are printed one after another: lines of a later start wait until
    those before it have ended.

    Parameters
    ----------
    rule : EmRule
        Of the fit that is listened to: it says when a start has ended.
    n_starts : int
    verbose : int
        Above 1, times and log-likelihoods (nats a row) are printed too.
    interval : int
        Iterations between two lines.
    listener : callable
        Who else is told.
    """

    def __init__(
        self, rule: EmRule, n_starts: int, verbose: int, interval: int, listener: Listener
    ) -> None:
        self._rule, self._interval, self._listener = rule, interval, listener
        self._detailed = verbose > 1
        self._bounds = [rule.start.lower_bound] * n_starts
        self._waiting: list[list[str]] = [[] for _ in range(n_starts)]
        self._ended = [False] * n_starts
        self._turn = 0
        self._began = self._line_made = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print what the event is worth."""
        if isinstance(event, EmIteration):
            self._waiting[event.start] += self._lines(event)
            self._print()
        self._listener(event)

    def close(self) -> None:
        """Print what waits for a start that was given up, of which no event told the end."""
        for start, lines in enumerate(self._waiting):
            begun = self._bounds[start] != self._rule.start.lower_bound
            if begun and not self._ended[start]:
                lines.append("Initialization did not converge.")
            self._ended[start] = True
        self._print()

    def _print(self) -> None:
        """Print the lines of the start whose turn it is, and go on to the next if it has ended."""
        while self._turn < len(self._waiting):
            for line in self._waiting[self._turn]:
                print(line)
            self._waiting[self._turn].clear()
            if not self._ended[self._turn]:
                return
            self._turn += 1

    def _lines(self, event: EmIteration) -> list[str]:
        lines = []
        start, bound = event.start, event.log_likelihood
        if event.iteration == 1:
            lines.append(f"Initialization {start}")
            self._bounds[start] = self._rule.start.lower_bound
        change, self._bounds[start] = bound - self._bounds[start], bound
        now = time.monotonic()
        if event.iteration % self._interval == 0:
            seconds, self._line_made = now - self._line_made, now
            details = f"\t time lapse {seconds:.5f}s\t ll change {change:.5f}"
            lines.append(f"  Iteration {event.iteration}{details if self._detailed else ''}")
        converged = abs(change) < self._rule.tol
        if converged or event.iteration >= self._rule.max_iter:
            details = f" time lapse {now - self._began:.5f}s\t lower bound {bound:.5f}."
            ending = "converged." if converged else "did not converge."
            lines.append(f"Initialization {ending}{details if self._detailed else ''}")
            self._ended[start] = True
        return lines
