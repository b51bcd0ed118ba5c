"""Stepwise online EM: for rows that are seen once and gone (Cappe and Moulines 2009).

The expected statistics of each block, per row, are mixed into running ones by a step that falls
as (rows so far / rows of this block)^-0.6, and an M step follows. Both are taken about the current
means: what moved is moved along, and tight components keep their digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentmix.errors import InputError
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, Statistics, expectation
from latentmix.kernels.families.family import Moments
from latentmix.kernels.maximisation import maximise
from latentmix.kernels.rescaling import rescale
from latentmix.kernels.rows import refuse_infinite
from latentmix.training.em_checkpoint import EmKeeper
from latentmix.training.em_loop import EmFit, EmRule, Fitting, best
from latentmix.training.em_start import Units
from latentmix.training.events import nobody
from latentmix.training.sources import ROWS_A_TIME, ArraySource

# Between 1/2 and 1 the steps add up to infinity and their squares do not, so that the mixture
# converges and forgets its start (Cappe and Moulines, assumption 1).
STEP_EXPONENT = 0.6

# Iterations of plain EM on the first block, which has to give a start.
FIRST_ITERATIONS = 20


@dataclass
class OnlineMixture:
    """A mixture and the running statistics, per row, that the next block is mixed into.

    `weight` is the sum of the weights of all rows so far: a row of weight 2 moves the mixture as
    two rows do. `offset` is what a log-density in `units` has too much, a mean per row in nats.
    """

    rule: EmRule
    units: Units
    offset: float
    model: Model
    running: Statistics
    weight: float
    n_blocks: int = 1
    n_reborn: int = 0

    @classmethod
    def begin(cls, source: ArraySource, rule: EmRule, seed: int) -> OnlineMixture:
        """Start from the first block by plain EM.

        Raises
        ------
        InputError
            If it ends in a singular covariance, or the family's moments cannot be moved.
        """
        with Crew() as crew:
            fitting = Fitting(source, rule, seed, crew)
            ascents = fitting.ascents([fitting.start(seed)], FIRST_ITERATIONS)
            fitting.climb(ascents, source, nobody, EmKeeper())
            ascent = best(ascents, rule)
            model = ascent.model._replace(centred=True)
            statistics = fitting.look([model], source)[0]
        running = _recentred(_per_row(statistics), model)
        weight = fitting.summary.total
        return cls(
            rule, fitting.units, fitting.offset, model, running, weight, n_reborn=ascent.n_reborn
        )

    def add(self, source: ArraySource) -> None:
        """Take in a block.

        Raises
        ------
        InputError
            If a value is infinite, or squares leave float64's range.
        """
        for start in range(0, len(source.x), ROWS_A_TIME):
            refuse_infinite(source.x, slice(start, start + ROWS_A_TIME))
        with Crew() as crew:
            (rows,) = source.chunks(self.units.shift, self.units.scale)
            block = expectation([self.model], rows, crew)[0]
        if not block.total > 0:
            return  # rows without weight say nothing
        if not all(np.isfinite(part).all() for part in (block.log_likelihood, *block.moments)):
            raise InputError(
                "A row lies so far from the blocks before that its square is past float64's range "
                f"(the largest value is {np.nanmax(np.abs(source.x)):.3g}). Expected blocks alike; "
                "leave that row out, or rescale X."
            )
        step = (1 + self.weight / block.total) ** -STEP_EXPONENT
        self.running = _mixed(_recentred(self.running, self.model), _per_row(block), step)
        improved, reborn, _ = maximise(
            self.model, self.running, self.units.reg_covar, self.rule.smoothing
        )
        self.n_reborn += int(reborn.sum())
        if np.isfinite(improved.mixture.factors).all():
            self.model = improved._replace(centred=True)
        self.weight += block.total
        self.n_blocks += 1

    def fit(self) -> EmFit:
        """Return the mixture so far, in the rows' own units."""
        mixture = rescale(self.rule.family, self.model.mixture, self.units.shift, self.units.scale)
        bound = self.running.log_likelihood / self.running.total - self.offset
        return EmFit(
            mixture,
            class_probs=None,
            lower_bounds=[bound],
            n_iter=self.n_blocks,
            converged=False,
            n_reborn=self.n_reborn,
            n_falls=0,
        )


def _recentred(statistics: Statistics, model: Model) -> Statistics:
    """Return the statistics about the model's means."""
    moments = model.family.recentre(statistics.moments, model.mixture.means)
    return statistics._replace(moments=moments)


def _per_row(statistics: Statistics) -> Statistics:
    return _scaled(statistics, 1 / statistics.total)


def _scaled(statistics: Statistics, factor: float) -> Statistics:
    counts, first, second, centres = statistics.moments
    return statistics._replace(
        moments=Moments(counts * factor, first * factor, second * factor, centres),
        log_likelihood=statistics.log_likelihood * factor,
        total=statistics.total * factor,
        class_counts=statistics.class_counts * factor,
    )


def _mixed(running: Statistics, block: Statistics, step: float) -> Statistics:
    old, new = _scaled(running, 1 - step), _scaled(block, step)
    return new._replace(
        moments=new.moments.plus(old.moments),
        log_likelihood=old.log_likelihood + new.log_likelihood,
        total=old.total + new.total,
        class_counts=old.class_counts + new.class_counts,
    )
