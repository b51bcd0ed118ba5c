"""The loop around the EM step: start, iterate until the log-likelihood converges, restart.

Rows are centred and scaled first, so that float64 sums keep their digits; answers are given in
the rows' own units. Restarts run together: those not yet at their end share every pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, Statistics, added, expectation
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.maximisation import maximise
from latentmix.kernels.rescaling import rescale
from latentmix.training.em_ascent import ACCELERATIONS, RELATIVE_ROUNDING, Ascent, model_in
from latentmix.training.em_checkpoint import EmKeeper
from latentmix.training.em_start import Start, Starter, Units, pairing
from latentmix.training.events import EmIteration, Listener, StopTraining
from latentmix.training.sources import ArraySource, Source, draw, summarise

# Restarts are compared on so many rows, after so many iterations; the best are finished on all.
ROWS_FOR_RESTARTS = 20_000
ITERATIONS_FOR_RESTARTS = 50
FINALISTS = 2

# One row alone has no spread, and says nothing of how others lie.
FEWEST_ROWS = 2

GOLDEN_RATIO = (np.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class EmRule:
    """How to fit: scikit-learn's parameters of the same names, and our own.

    With `relative_reg_covar`, `reg_covar` is a share of each feature's variance. `acceleration`
    is a name in `ACCELERATIONS`; `smoothing` the weight, in rows, of the prior on p(y|k).
    """

    family: Family
    n_components: int
    init_params: str = "kmeans"
    tol: float = 1e-3
    reg_covar: float = 1e-6
    relative_reg_covar: bool = False
    max_iter: int = 100
    acceleration: str | None = None
    smoothing: float = 0.0
    start: Start = field(default=Start())


class EmFit(NamedTuple):
    """A fitted mixture in the rows' own units, and how it got there (see `Ascent`).

    `class_probs` is p(y|k), (K, C), where there were labels.
    """

    mixture: Mixture
    class_probs: Float[Floats, "K C"] | None
    lower_bounds: list[float]
    n_iter: int
    converged: bool
    n_reborn: int
    n_falls: int


class Fitting:
    """What all passes of a fit share: the rows, their units, the crew."""

    def __init__(self, source: Source, rule: EmRule, seed: int, crew: Crew) -> None:
        self.source, self.rule, self.crew = source, rule, crew
        self.summary = summarise(source, np.random.RandomState(seed))
        # Rows without weight are as good as left out.
        n_rows = len(self.summary.sample.x)
        if n_rows < rule.n_components:
            raise InputError(
                "Expected n_samples >= n_components but got n_components = "
                f"{rule.n_components}, n_samples = {n_rows}. Give more rows or ask for fewer "
                "components."
            )
        self.units = Units.of(
            rule.family, self.summary, rule.reg_covar, relative=rule.relative_reg_covar
        )
        # What a log-density per scaled unit has too much.
        self.offset = float(self.summary.seen @ np.log(self.units.scale)) / self.summary.total
        self.stopped = False  # by the listener
        self.starter = Starter(rule.family, self.units, self.summary, crew)

    def start(self, seed: int, number: int = 0) -> Model:
        """Return the starting model in scaled units: what is given, and the rest drawn.

        With labels every second start, by its number, does without them: classes need not be
        clusters.
        """
        given, family = self.rule.start, self.rule.family
        weights, covariances = given.weights, given.covariances
        if covariances is not None:
            covariances = family.rescale(covariances, 1 / self.units.scale)
        if given.means is not None:
            means = self.units.scaled(given.means)
            if given.weights is None or covariances is None:
                drawn = self.starter.around(means, self.source)
            else:
                mixture = Mixture(given.weights, means, covariances, family.factors(covariances))
                drawn = self.starter.named(Model(family, mixture))
        else:
            random = np.random.RandomState(seed)
            drawn = self.starter.draw(
                self.rule.n_components, self.rule.init_params, random, by_class=number % 2 == 0
            )
            means = drawn.mixture.means
            if covariances is not None and family.own_covariances:
                order = pairing(family, weights, covariances, drawn.mixture)
                covariances = covariances[order]
                weights = None if weights is None else weights[order]
        if weights is None:
            weights = drawn.mixture.weights
        if covariances is None:
            covariances = drawn.mixture.covariances
        mixture = Mixture(weights, means, covariances, family.factors(covariances))
        names = drawn.log_class_probs
        if given.class_probs is not None and names is not None:
            names = np.log(np.maximum(given.class_probs, np.finfo(np.float64).tiny))
        return Model(family, mixture, names)

    def ascents(self, models: Sequence[Model], max_iter: int) -> list[Ascent]:
        """Return EM runs from the given models, not begun yet."""
        rule = self.rule
        improve = partial(maximise, reg_covar=self.units.reg_covar, smoothing=rule.smoothing)
        kind = ACCELERATIONS[rule.acceleration]
        return [
            kind(
                model,
                tol=rule.tol,
                max_iter=max_iter,
                improve=improve,
                offset=self.offset,
                previous=rule.start.lower_bound,
                smoothing=rule.smoothing,
            )
            for model in models
        ]

    def climb(
        self, ascents: Sequence[Ascent], source: Source, listener: Listener, keeper: EmKeeper
    ) -> None:
        """Run each ascent to its end; they share the passes over the rows."""
        while running := [ascent for ascent in ascents if not ascent.finished]:
            try:
                passes = self.look([ascent.model for ascent in running], source)
            except KeyboardInterrupt:
                # No run has moved on yet: nothing but the pass is lost.
                keeper.save(ascents, at_once=True)
                raise
            for ascent, statistics in zip(running, passes, strict=True):
                n_bounds = len(ascent.lower_bounds)
                ascent.step(statistics)
                if len(ascent.lower_bounds) > n_bounds:
                    event = EmIteration(
                        self.rule.n_components,
                        ascent.n_iter,
                        ascent.lower_bounds[-1],
                        start=ascents.index(ascent),
                        last=ascent.finished,
                        converged=ascent.converged,
                    )
                    try:
                        listener(event)
                    except StopTraining:
                        self.stopped = True
            if self.stopped:
                for ascent in ascents:
                    ascent.stop()
            keeper.save(ascents)

    def look(self, models: Sequence[Model], source: Source) -> list[Statistics]:
        """Return the statistics of all rows under each model: one pass."""
        # `summarise` refuses a source without rows: there is a first chunk.
        work, units = partial(expectation, models), (self.units.shift, self.units.scale)
        return source.added_up(work, added, units, self.crew)

    def sample_source(self) -> ArraySource | None:
        """Return the rows on which restarts are compared, or None if that is all of them."""
        sample = self.summary.sample
        n_rows = len(sample.x)
        if self.summary.n_rows <= ROWS_FOR_RESTARTS:
            return None
        # Multiples of the golden ratio are spread as evenly as the rows.
        keys = np.arange(n_rows) * GOLDEN_RATIO % 1
        labels, n_classes = sample.labels, self.source.n_classes
        rows, factors = draw(keys, labels, n_classes, ROWS_FOR_RESTARTS, n_rows)
        labels = None if labels is None else labels[rows]
        return ArraySource(sample.x[rows], sample.weights[rows] * factors, labels)

    def fit(self, ascent: Ascent) -> EmFit:
        """Return an ascent's model in the rows' own units."""
        mixture = rescale(
            self.rule.family, ascent.model.mixture, self.units.shift, self.units.scale
        )
        names = ascent.model.log_class_probs
        return EmFit(
            mixture,
            class_probs=None if names is None else np.exp(names),
            lower_bounds=ascent.lower_bounds,
            n_iter=ascent.n_iter,
            converged=ascent.converged,
            n_reborn=ascent.n_reborn,
            n_falls=ascent.n_falls,
        )


def fit_em(
    source: Source, rule: EmRule, seeds: Sequence[int], listener: Listener, keeper: EmKeeper
) -> EmFit:
    """Fit from several starts, and return the one with the highest final log-likelihood.

    With more than 20,000 rows the starts are compared on so many of them, all together, and the
    best two go on to all rows.

    Parameters
    ----------
    source : Source
    rule : EmRule
    seeds : sequence of int
        Of the starts' random numbers, as `keeper` has them; the first also draws the sample.
    listener : callable
        Told of every `EmIteration`.
    keeper : EmKeeper
        Keeps the fit on disk.

    Raises
    ------
    InputError
        For a single row, fewer rows than components, or if every start ends in a singular
        covariance.
    """
    with Crew() as crew:
        fitting = Fitting(source, rule, seeds[0], crew)
        _refuse_one_row(fitting)
        kept = keeper.restore(source, fitting.summary, rule)
        if kept is None:
            models = [fitting.start(seed, i) for i, seed in enumerate(seeds)]
            models = _finalists(fitting, models, listener)
            ascents = fitting.ascents(models, rule.max_iter)
        else:
            models = [model_in(state, rule.family) for state in kept]
            ascents = fitting.ascents(models, rule.max_iter)
            for ascent, state in zip(ascents, kept, strict=True):
                ascent.go_on_from(state)
        fitting.climb(ascents, source, listener, keeper)
        return fitting.fit(best(ascents, rule))


def _refuse_one_row(fitting: Fitting) -> None:
    n_rows = len(fitting.summary.sample.x)
    if n_rows < FEWEST_ROWS:
        raise InputError(
            f"X has {n_rows} sample with any weight, but a mixture is fitted to at least "
            f"{FEWEST_ROWS}. Give more rows."
        )


def _finalists(fitting: Fitting, models: list[Model], listener: Listener) -> list[Model]:
    """Return the best few models of many, judged on a part of the rows."""
    part = fitting.sample_source()
    if part is None or len(models) <= FINALISTS:
        return models
    ascents = fitting.ascents(models, min(fitting.rule.max_iter, ITERATIONS_FOR_RESTARTS))
    fitting.climb(ascents, part, listener, EmKeeper())
    alive = [ascent for ascent in ascents if ascent.comparable]
    alive.sort(key=lambda ascent: -ascent.lower_bounds[-1])
    return [ascent.model for ascent in alive[:FINALISTS]] or models


def best(ascents: Sequence[Ascent], rule: EmRule) -> Ascent:
    """Return the ascent with the highest log-likelihood, the first of equals up to rounding.

    Starts that meet at one optimum number its components differently: rounding is not to choose.

    One whose components collapsed time and again is taken where there is no other.

    Raises
    ------
    InputError
        If all have failed.
    """
    alive = [ascent for ascent in ascents if not ascent.failed]
    if alive:
        runs = [ascent for ascent in alive if not ascent.given_up] or alive
        bounds = [(run.lower_bounds or [-np.inf])[-1] for run in runs]
        highest = max(bounds)
        least = highest - RELATIVE_ROUNDING * max(1.0, abs(highest))
        return next(run for run, bound in zip(runs, bounds, strict=True) if bound >= least)
    if rule.family.scaling == "none":
        raise InputError(
            "Fitting the mixture model failed because the parameters of no start stayed finite. "
            "Try to decrease the number of components, or scale the input data. Here "
            f"n_components={rule.n_components}."
        )
    raise InputError(
        "Fitting the mixture model failed because some components have ill-defined empirical "
        "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
        "number of components, increase reg_covar, or scale the input data. Here "
        f"n_components={rule.n_components} and reg_covar={rule.reg_covar}."
    )
