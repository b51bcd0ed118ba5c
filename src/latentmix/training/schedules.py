"""How the learning rate changes over a training: a linear rise, then one of `SCHEDULES`.

A schedule is one line of the registry: from the peak and the number of steps after the rise to
a function of the step, counted from the end of the rise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import optax

SCHEDULES: Final[dict[str, Callable[[float, int], optax.Schedule]]] = {
    "constant": lambda peak, n_steps: optax.constant_schedule(peak),
    # One cycle of Loshchilov and Hutter (2017).
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda peak, n_steps: optax.linear_schedule(peak, 0.0, n_steps),
}


def learning_rate(
    schedule: str, peak: float, warmup: float, n_steps: int
) -> float | optax.Schedule:
    """Return the learning rate of each step: a number if it never changes.

    Parameters
    ----------
    schedule : str
        A name in `SCHEDULES`.
    peak : float
        The learning rate at the end of the rise.
    warmup : float
        Share of the steps, [0, 1], over which it rises linearly; the first step has the first
        part of the rise, not 0.
    n_steps : int
        Steps of the whole training.
    """
    n_rising = round(warmup * n_steps)
    if n_rising == 0 and schedule == "constant":
        return peak
    after = SCHEDULES[schedule](peak, max(n_steps - n_rising, 1))
    if n_rising == 0:
        return after
    rise = optax.linear_schedule(peak / n_rising, peak, max(n_rising - 1, 1))
    return optax.join_schedules([rise, after], [n_rising])
