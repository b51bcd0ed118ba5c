"""What a long computation tells whoever watches it: one record a kind of news."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A new part of the work begins."""

    message: str


@dataclass(frozen=True)
class Warned:
    """What was learned is of little use: how it shows, and what usually mends it."""

    message: str


@dataclass(frozen=True)
class Steps:
    """A compiled call of training steps has ended: `step` of `n_steps` in this epoch.

    `objective` is the epoch's mean so far, in nats; `seconds` is the time that its and all earlier
    steps took, waits for their rows among it, pauses between steps not.
    """

    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    objective: float
    seconds: float


@dataclass(frozen=True)
class Averages:
    """Means over rows, in nats: the KL term unweighted, the objective with its weight."""

    reconstruction: float
    kl: float
    objective: float


@dataclass(frozen=True)
class Components:
    """How a mixture trained with its network shares the rows, means over them.

    Attributes
    ----------
    shares : tuple of K floats
        p(k|z), [0, 1]: how much each component is used.
    entropy : float
        Of p(k|z), in nats: how much doubt a row leaves.
    """

    shares: tuple[float, ...]
    entropy: float

    @property
    def n_effective(self) -> float:
        """How many components of equal use would have shares of the same entropy, [1, K]."""
        return math.exp(-sum(share * math.log(share) for share in self.shares if share > 0))


@dataclass(frozen=True)
class EpochEnd:
    """An epoch has ended; epochs count from 1, `seconds` as for `Steps`."""

    epoch: int
    n_epochs: int
    train: Averages
    validation: Averages | None
    seconds: float
    components: Components | None = None


def epoch_end_of(record: dict[str, Any]) -> EpochEnd:
    """Return the event that `dataclasses.asdict` made this record of."""
    parts = {name: record[name] for name in ("train", "validation")}
    averages = {name: None if part is None else Averages(**part) for name, part in parts.items()}
    found = record.get("components")
    components = found and Components(tuple(found["shares"]), found["entropy"])
    return EpochEnd(**{**record, **averages, "components": components})


@dataclass(frozen=True)
class EmIteration:
    """An EM iteration has ended; `log_likelihood` is the mean per row, in nats.

    Several starts run together, each with a number of its own. `last` says that its start ends
    with it, `converged` how.
    """

    n_components: int
    iteration: int
    log_likelihood: float
    start: int = 0
    last: bool = False
    converged: bool = False


@dataclass(frozen=True)
class ClassifierSteps:
    """So many steps of `n_steps` have taught a second opinion, `seconds` since the first."""

    step: int
    n_steps: int
    seconds: float


class StopTraining(Exception):  # noqa: N818  # no error: the listener's wish
    """Raised by a listener: what is learned ends here, and counts as finished.

    A VAE's training, or a classifier's, ends after the steps just told of; EM keeps the iteration
    just told of.
    """


Event = Stage | Warned | Steps | EpochEnd | EmIteration | ClassifierSteps
Listener = Callable[[Event], None]


def all_of(*listeners: Listener) -> Listener:
    """Return a listener that tells several, in their order."""

    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def nobody(event: Event) -> None:
    """Listen to nothing."""
