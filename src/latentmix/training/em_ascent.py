"""One run of EM as a state that passes over the rows move on: plain, or accelerated.

A pass gives the log-likelihood of `model` and what the M step needs. With labels and a prior on
p(y|k), the prior's log-density counts as log-likelihood: their sum is what EM climbs. Plain EM
goes on with the M step's answer. SQUAREM (Varadhan and Roland 2008) takes two such steps,
extrapolates along them, and keeps the leap only if the log-likelihood did not fall: each cycle
ends higher than it began.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from latentmix.kernels.arrays import Floats
from latentmix.kernels.expectation import Model, Statistics
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.maximisation import Maximised, log_prior

log = logging.getLogger(__name__)

# What passes change, beside models and log-likelihoods.
_NUMBERS: Final = (
    "previous",
    "n_iter",
    "n_reborn",
    "n_falls",
    "converged",
    "failed",
    "repaired",
    "given_up",
)

# A fall of the log-likelihood by less, relative to its size, is rounding.
RELATIVE_ROUNDING = 1e-9

# Components may be started again so many times K; then the run ends, not converged, if one
# collapses once more, and no longer waits for those that are empty.
MOST_REPAIRS = 3

# Named arrays that hold all of a run between two passes.
State = Mapping[str, np.ndarray]


def model_in(state: State, family: Family, name: str = "model") -> Model:
    """Return a model that a run's state holds."""
    mixture = Mixture(*(state[f"{name}.{part}"] for part in Mixture._fields))
    centred = bool(state[f"{name}.centred"])
    return Model(family, mixture, state.get(f"{name}.log_class_probs"), centred)


def _named(name: str, model: Model) -> State:
    parts = {f"{name}.{part}": array for part, array in model.mixture._asdict().items()}
    parts[f"{name}.centred"] = np.asarray(model.centred)
    if model.log_class_probs is not None:
        parts[f"{name}.log_class_probs"] = model.log_class_probs
    return parts


@dataclass(eq=False)
class Ascent:
    """Plain EM. Log-likelihoods are means per row in nats, in the rows' own units.

    The prior on p(y|k), of weight `smoothing`, counts in them. `improve` is the M step, `offset`
    what a log-density in scaled units has too much, a mean per row; `previous` is the last
    log-likelihood, of an earlier fit where a run begins with its mixture.

    `n_iter` counts passes over the rows; `n_reborn` components that lost their rows or
    collapsed, and were started again; `n_falls` iterations after which the log-likelihood had
    fallen. A run has `failed` without a component left to go on with, and is `given_up` where some
    collapse time and again.
    """

    model: Model
    tol: float
    max_iter: int
    improve: Callable[[Model, Statistics], Maximised]
    offset: float = 0.0
    previous: float = -np.inf
    smoothing: float = 0.0
    lower_bounds: list[float] = field(default_factory=list)
    n_iter: int = 0
    n_reborn: int = 0
    n_falls: int = 0
    converged: bool = False
    failed: bool = False
    repaired: bool = False
    given_up: bool = False

    @property
    def finished(self) -> bool:
        """Whether no further pass is wanted."""
        ended = self.converged or self.failed or self.given_up
        return ended or self.n_iter >= self.max_iter

    @property
    def comparable(self) -> bool:
        """Whether its log-likelihood tells how good it is, and not how far a component shrank."""
        return bool(self.lower_bounds) and not (self.failed or self.given_up)

    def state(self) -> State:
        """Return all that passes have changed."""
        return {
            **_named("model", self.model),
            **{name: np.asarray(getattr(self, name)) for name in _NUMBERS},
            "lower_bounds": np.asarray(self.lower_bounds, np.float64),
        }

    def go_on_from(self, state: State) -> None:
        """Go on where a run was that was as this one at its start."""
        self.model = model_in(state, self.model.family)
        for name in _NUMBERS:
            setattr(self, name, state[name].item())
        self.lower_bounds = state["lower_bounds"].tolist()

    def stop(self) -> None:
        """Want no further pass, after the first."""
        self.max_iter = min(self.max_iter, max(self.n_iter, 1))

    def step(self, statistics: Statistics) -> None:
        """Take in a pass over the rows under `model`, and move on."""
        bound = self.bound(statistics)
        improved = self._improved(bound, statistics)
        if improved is None:
            return
        self.n_iter += 1
        self.record(bound)
        self.model = improved

    def bound(self, statistics: Statistics) -> float:
        """Return the log-likelihood of `model`, under which a pass was made."""
        prior = log_prior(self.model, statistics, self.smoothing)
        return (statistics.log_likelihood + prior) / statistics.total - self.offset

    def record(self, bound: float) -> None:
        """Note a log-likelihood, and whether it has converged or fallen."""
        if self.lower_bounds and not self.repaired:
            fall = self.lower_bounds[-1] - bound
            if fall > RELATIVE_ROUNDING * max(1.0, abs(bound)):
                self.n_falls += 1
                log.info("iteration %d: the log-likelihood fell by %.3g nats", self.n_iter, fall)
        self.converged = abs(bound - self.previous) < self.tol and not self.repaired
        self.lower_bounds.append(bound)
        self.previous = bound

    def _improved(self, bound: float, statistics: Statistics) -> Model | None:
        """Return the model after the M step; None if the pass has to be made again, or failed."""
        if not np.isfinite(bound):
            if self._could_be_rounding:
                self._look_closer()
            else:
                self.failed = True
            return None
        improved, reborn, collapsed = self.improve(self.model, statistics)
        valid = np.isfinite(improved.mixture.factors).all()
        if self._could_be_rounding and (not valid or reborn.any()):
            # Before a component is given up: its covariance may have been lost to rounding.
            self._look_closer()
            return None
        n_reborn = int(reborn.sum())
        if n_reborn:
            self.n_reborn += n_reborn
            log.info("iteration %d: %d components were started again", self.n_iter, n_reborn)
        if not valid:
            self.failed = True
            return None
        exhausted = self.n_reborn > MOST_REPAIRS * len(reborn)
        self.given_up = exhausted and bool(collapsed.any())
        # Components that still find no row, as where rows are fewer than they, may stay empty.
        self.repaired = n_reborn > 0 and (self.given_up or not exhausted)
        return improved

    @property
    def _could_be_rounding(self) -> bool:
        """Whether the pass could be made more exactly, in the centred form."""
        return self.model.family.has_centred_form and not self.model.centred

    def _look_closer(self) -> None:
        """Ask for the same pass in the centred form."""
        self.model = self.model._replace(centred=True)


@dataclass(eq=False)
class SquaredAscent(Ascent):
    """EM accelerated by SQUAREM."""

    trail: list[Floats] = field(default_factory=list)
    fallback: Model | None = None

    def state(self) -> State:
        """Return all that passes have changed, wherever in its cycle the run is."""
        trail = {f"trail.{i}": point for i, point in enumerate(self.trail)}
        fallback = {} if self.fallback is None else _named("fallback", self.fallback)
        return {**super().state(), **trail, **fallback}

    def go_on_from(self, state: State) -> None:
        """Go on where a run was that was as this one at its start."""
        super().go_on_from(state)
        names = [name for name in sorted(state) if name.startswith("trail.")]
        self.trail = [state[name] for name in names]
        there = "fallback.centred" in state
        self.fallback = model_in(state, self.model.family, "fallback") if there else None

    def stop(self) -> None:
        """Want no further pass, after the first; a leap that was not looked at is not taken."""
        super().stop()
        if self.fallback is not None and self.finished:
            self.model, self.fallback = self.fallback, None

    def step(self, statistics: Statistics) -> None:
        """Take in a pass under a point of the cycle: its first, its second, or the leap."""
        bound = self.bound(statistics)
        if self.fallback is not None and not bound >= self.previous:
            # The leap went down, or nowhere: go on from where two plain steps had led.
            self.n_iter += 1
            self.model, self.fallback = self.fallback, None
            return
        here = self.model
        improved = self._improved(bound, statistics)
        if improved is None:
            return
        self.n_iter += 1
        leapt, self.fallback = self.fallback is not None, None
        before = self.previous
        self.record(bound)
        if leapt:
            # A leap's gain says nothing of how far EM still has to go.
            self.converged = False
        self.model = improved
        if leapt or self.repaired or not np.isfinite(before):
            self.trail = []
            return
        self.trail.append(here.family.unconstrained(here.mixture))
        # A leap has to be looked at, so that none is taken at the end.
        if len(self.trail) == 2 and not self.finished:
            self._leap(improved)

    def _leap(self, improved: Model) -> None:
        zero, one = self.trail
        self.trail = []
        two = improved.family.unconstrained(improved.mixture)
        r, v = one - zero, two - 2 * one + zero
        length = float(np.linalg.norm(v))
        if length == 0 or not np.isfinite(length):
            return
        alpha = -max(1.0, float(np.linalg.norm(r)) / length)
        if alpha == -1.0:
            return  # the leap would end where two plain steps have led
        vector = zero - 2 * alpha * r + alpha**2 * v
        with np.errstate(all="ignore"):
            mixture = improved.family.from_unconstrained(vector, improved.mixture)
        if not all(np.isfinite(array).all() for array in mixture):
            return  # it would end past all numbers
        self.fallback = improved
        self.model = improved._replace(mixture=mixture)


ACCELERATIONS: Final[dict[str | None, type[Ascent]]] = {None: Ascent, "squarem": SquaredAscent}
