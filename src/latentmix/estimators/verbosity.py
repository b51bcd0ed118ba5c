"""What `verbose` prints while EM runs: scikit-learn's lines, made from the loop's events."""

from __future__ import annotations

import time

from latentmix.training.em_loop import EmRule
from latentmix.training.events import EmIteration, Event, Listener


class EmPrinter:
    """A listener that prints each start and some of its iterations, and passes every event on.

    Parameters
    ----------
    rule : EmRule
        Of the fit that is listened to: it says when a start has ended.
    verbose : int
        Above 1, times and log-likelihoods (nats a row) are printed too.
    interval : int
        Iterations between two lines.
    listener : callable
        Who else is told.
    """

    def __init__(self, rule: EmRule, verbose: int, interval: int, listener: Listener) -> None:
        self._rule = rule
        self._detailed = verbose > 1
        self._interval = interval
        self._listener = listener
        self._starts = 0
        self._bound = rule.start.lower_bound
        self._start_began = self._line_printed = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Print what the event is worth."""
        if isinstance(event, EmIteration):
            self._print(event.iteration, event.log_likelihood)
        self._listener(event)

    def _print(self, iteration: int, bound: float) -> None:
        if iteration == 1:
            print(f"Initialization {self._starts}")
            self._starts += 1
            self._bound = self._rule.start.lower_bound
        change, self._bound = bound - self._bound, bound
        if iteration % self._interval == 0:
            now = time.monotonic()
            seconds, self._line_printed = now - self._line_printed, now
            details = f"\t time lapse {seconds:.5f}s\t ll change {change:.5f}"
            print(f"  Iteration {iteration}{details if self._detailed else ''}")
        converged = abs(change) < self._rule.tol
        if converged or iteration == self._rule.max_iter:
            now = time.monotonic()
            details = f" time lapse {now - self._start_began:.5f}s\t lower bound {bound:.5f}."
            ending = "converged." if converged else "did not converge."
            print(f"Initialization {ending}{details if self._detailed else ''}")
            self._start_began = self._line_printed = now
