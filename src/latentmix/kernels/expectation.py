"""The E step: expected sufficient statistics, summed over blocks of rows.

For each block logits = Theta phi(x) gives the responsibilities R, and phi(x) R' is added to the
statistics; `maximisation` then needs no row. Memory is O(block), any order of blocks gives the
same answer, weights multiply R, labels restrict it. Several mixtures share a pass over the rows,
and its two products. Dempster, Laird and Rubin 1977; Bishop, PRML, 2.4 and 9.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.families.family import Incomplete, Moments
from latentmix.kernels.incomplete import incomplete_blocks, load_incomplete, log_joint
from latentmix.kernels.rows import Block, PatternBlock, Patterns, Rows

# Above this mean_k' P_k mean_k the expanded quadratic x'Px - 2x'Pm + m'Pm has lost about six
# of float64's sixteen digits, and the component is taken in its centred form.
EXPANDED_FORM_LIMIT = 1e6

# A block's features and logits take about this much, so that both products find them in the
# cache; fewer and larger calls keep threads from waiting for the interpreter.
BYTES_PER_BLOCK = 5 << 20
MOST_ROWS_PER_BLOCK = 8184

# In place of minus infinity, for rows whose distance overflows.
LEAST_LOG_DENSITY = -1e300


class Model(NamedTuple):
    """A mixture in scaled units, and log p(y|k), (K, C), where there are classes.

    `centred` asks for the centred form of every component, whatever digits are at stake.
    """

    family: Family
    mixture: Mixture
    log_class_probs: Float[Floats, "K C"] | None = None
    centred: bool = False


class Statistics(NamedTuple):
    """What one pass over the rows leaves behind: all that the M step needs.

    `log_likelihood` is a sum over rows in nats, `total` the sum of their weights, `class_counts`
    (K, C) of labelled rows. `worst` are rows explained badly, worst first, with log p(x): where
    a dead component can be born again.
    """

    moments: Moments
    log_likelihood: float
    total: float
    class_counts: Float[Floats, "K C"]
    worst: list[tuple[float, Floats]]

    def plus(self, other: Statistics) -> Statistics:
        """Return the statistics of the rows of both, whose moments have the same centres."""
        return Statistics(
            self.moments.plus(other.moments),
            self.log_likelihood + other.log_likelihood,
            self.total + other.total,
            self.class_counts + other.class_counts,
            _worst(self.worst + other.worst, len(self.moments.counts)),
        )


def added(one: Sequence[Statistics], other: Sequence[Statistics]) -> list[Statistics]:
    """Return the statistics of the rows of both, model by model."""
    return [mine.plus(yours) for mine, yours in zip(one, other, strict=True)]


def _worst(rows: list[tuple[float, Floats]], most: int) -> list[tuple[float, Floats]]:
    return sorted(rows, key=lambda row: row[0])[:most]


def block_rows(n_rows: int, width: int, n_threads: int) -> int:
    """Return how many rows a block holds whose features and logits number `width` a row."""
    most = int(np.clip(BYTES_PER_BLOCK // (8 * width), 64, MOST_ROWS_PER_BLOCK))
    n_blocks = -(-n_rows // most)
    if n_blocks > 1:
        n_blocks = -(-n_blocks // n_threads) * n_threads  # nobody waits for the last one
    size = max(1, -(-n_rows // max(n_blocks, 1)))
    # Rows a power of two apart would fall into the same lines of the cache.
    return size + 1 if size % 64 == 0 else size


@dataclass
class Prepared:
    """A model made ready for a pass: theta, and which components are taken centred.

    `sound` says that every parameter is a number: log p(x, k) can then be NaN for a row that is
    too far away alone.
    """

    model: Model
    theta: Float[Floats, "K P"]
    centred: Int[np.ndarray, " _"]
    constants: Float[Floats, " K"]
    sound: bool

    @classmethod
    def of(cls, model: Model) -> Prepared:
        """Choose the components to take centred, and set out the rest as linear forms."""
        family, mixture = model.family, model.mixture
        with np.errstate(divide="ignore"):
            log_weights = np.log(mixture.weights)
        if model.centred and family.has_centred_form:
            centred = np.arange(len(mixture.means))
        else:
            # NaN means singular, and belongs with the lost, as does what overflows.
            with np.errstate(all="ignore"):
                lost_digits = family.lost_digits(mixture)
            centred = np.flatnonzero(~(lost_digits < EXPANDED_FORM_LIMIT))
        constants = np.zeros(0)
        if len(centred):
            constants = family.constants(mixture)
        with np.errstate(all="ignore"):
            theta = family.natural(mixture)
        theta[centred] = 0.0  # overwritten anyway, and possibly not finite
        sound = all(np.isfinite(part).all() for part in (theta, constants, mixture.factors))
        theta[:, -1] += log_weights
        constants = constants + log_weights if len(centred) else constants
        return cls(model, theta, centred, constants, sound)


class Work:
    """One thread's buffers and running sums over the blocks it is dealt."""

    def __init__(self, prepared: Sequence[Prepared], rows: Rows, size: int) -> None:
        self.prepared, self.rows = prepared, rows
        n_features = rows.x.shape[1]
        self.shift = rows.shift[:, None]
        # Scales are powers of two: multiplying by the inverse is exact.
        self.inverse_scale = 1 / rows.scale[:, None]
        self.family = prepared[0].model.family
        self.n_quadratic = self.family.n_quadratic(n_features)
        width = self.n_quadratic + n_features + 1
        self.theta = np.ascontiguousarray(np.concatenate([one.theta for one in prepared]))
        self._phi = np.empty(width * size)
        self._logits = np.empty(len(self.theta) * size)
        self.sums = np.zeros((width, len(self.theta)))
        self.totals = [_Total.of(one) for one in prepared]

    def load(self, block: Block) -> Floats:
        """Write phi of a block of rows; return it, (P, B).

        Rows without weight lie at 0: far away, 0 times their squares would not be 0.
        """
        x = np.asarray(self.rows.x[block])
        n_rows = len(x)
        start = self.n_quadratic
        phi = self._phi[: self.theta.shape[1] * n_rows].reshape(-1, n_rows)
        linear = phi[start:-1]
        np.subtract(x.T, self.shift, out=linear)
        np.multiply(linear, self.inverse_scale, out=linear)
        if self.rows.weights is not None:
            unused = self.rows.weights[block] == 0
            if unused.any():
                linear[:, unused] = 0.0
        self.family.quadratic(linear, phi[:start])
        phi[-1] = 1.0
        return phi

    def logits(self, phi: Floats) -> Floats:
        """Return log p(x, k) of all components of all models, (sum K, B)."""
        logits = self._logits[: len(self.theta) * phi.shape[1]].reshape(-1, phi.shape[1])
        np.dot(self.theta, phi, out=logits)
        x = phi[self.n_quadratic : -1]
        for one, part in zip(self.prepared, self.parts(logits), strict=True):
            model = one.model
            if len(one.centred) < len(part):
                model.family.adjust(part, x, model.mixture)
            for k in one.centred:
                deviation = x - model.mixture.means[k, :, None]
                distance = model.family.distance(deviation, model.mixture, k)
                np.subtract(one.constants[k], 0.5 * distance, out=part[k])
        return logits

    def parts(self, stacked: Floats) -> list[Floats]:
        """Return each model's own rows of an array whose first axis is all components."""
        stops = np.cumsum([len(one.theta) for one in self.prepared])
        return np.split(stacked, stops[:-1])

    def add(self, block: Block) -> None:
        """Add a block's statistics to the sums."""
        rows, phi = self.rows, self.load(block)
        logits = self.logits(phi)
        x = phi[self.n_quadratic : -1]
        weights = None if rows.weights is None else rows.weights[block]
        labels = None if rows.labels is None else rows.labels[block]
        for total, part in zip(self.totals, self.parts(logits), strict=True):
            total.weigh(part, x, weights, labels)
            total.add_moments(part, x)
        # The smaller first: BLAS copies the other one in larger pieces.
        if len(phi) <= len(logits):
            self.sums += np.dot(phi, logits.T)
        else:
            self.sums += np.dot(logits, phi.T).T

    def statistics(self) -> list[Statistics]:
        """Return what the blocks added up to, for each model."""
        return [
            total.statistics(total.moments(part.T, self.n_quadratic))
            for total, part in zip(self.totals, self.parts(self.sums.T), strict=True)
        ]


def normalise(logits: Floats, *, sound: bool) -> Floats:
    """Turn log p(x, k), (K, B), into p(k|x) in place, and return log p(x), (B,), in nats.

    A row out of every component's reach has the least log-density; so has one whose distances
    overflow to NaN, if the model is `sound`.
    """
    peak = np.max(logits, axis=0)
    far = ~(peak > LEAST_LOG_DENSITY)
    if not sound:
        far &= ~np.isnan(peak)
    if far.any():
        near = np.fmax(logits[:, far], LEAST_LOG_DENSITY)
        logits[:, far], peak[far] = near, np.max(near, axis=0)
    logits -= peak
    np.exp(logits, out=logits)
    mass: Floats = np.sum(logits, axis=0)
    logits *= 1 / mass
    return np.asarray(peak + np.log(mass))


@dataclass
class _Total:
    """Running sums of one model that are no product of phi and the responsibilities."""

    prepared: Prepared
    extra: Floats | float = 0.0
    log_likelihood: float = 0.0
    weight: float = 0.0
    class_counts: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    # Of the components taken centred: first and second moments about the mean.
    centred: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)
    worst: list[tuple[float, Floats]] = field(default_factory=list)

    @classmethod
    def of(cls, prepared: Prepared) -> _Total:
        names = prepared.model.log_class_probs
        shape = (len(prepared.theta), 0) if names is None else names.shape
        return cls(prepared, class_counts=np.zeros(shape))

    def weigh(
        self,
        logits: Floats,
        x: Floats,
        weights: Floats | None,
        labels: Int[np.ndarray, " B"] | None,
    ) -> None:
        """Turn log p(x, k) into weighted responsibilities in place; add all but moments."""
        names = self.prepared.model.log_class_probs
        if names is not None and labels is not None:
            known = np.flatnonzero(labels >= 0)
            classes = labels[known]
            logits[:, known] += names[:, classes]
        log_density = normalise(logits, sound=self.prepared.sound)
        if weights is not None:
            logits *= weights
            self.log_likelihood += float(log_density @ weights)
            self.weight += float(np.sum(weights))
            log_density = np.where(weights > 0, log_density, np.inf)
        else:
            self.log_likelihood += float(np.sum(log_density))
            self.weight += len(log_density)
        if names is not None and labels is not None:
            np.add.at(self.class_counts.T, classes, logits[:, known].T)
        row = int(np.argmin(log_density))
        self.worst.append((float(log_density[row]), x[:, row].copy()))
        if len(self.worst) > 2 * len(logits) + 16:
            self.worst = _worst(self.worst, len(logits))

    def add_moments(self, responsibilities: Floats, x: Floats) -> None:
        """Add what a block gives to the moments beside phi and the responsibilities."""
        model = self.prepared.model
        if len(self.prepared.centred) < len(responsibilities):
            self.extra = self.extra + model.family.extra(x, responsibilities)
        for k in self.prepared.centred:
            deviation = x - model.mixture.means[k, :, None]
            first = deviation @ responsibilities[k]
            second = model.family.centred_second(deviation, responsibilities[k], model.mixture, k)
            if k in self.centred:
                first, second = self.centred[k][0] + first, self.centred[k][1] + second
            self.centred[k] = first, second

    def moments(self, sums: Floats, n_quadratic: int) -> Moments:
        """Return the sums as moments, those of the centred components about their means."""
        model, centred = self.prepared.model, self.prepared.centred
        means = model.mixture.means
        counts, first = sums[-1].copy(), sums[n_quadratic:-1].T.copy()
        centres = np.zeros_like(means)
        if len(centred) == len(means):
            second = model.family.gathered([self.centred[k][1] for k in centred])
        else:
            second = model.family.second(sums[:n_quadratic], self.extra)
            for k in centred:
                second[k] = self.centred[k][1]
        for k in centred:
            first[k], centres[k] = self.centred[k][0], means[k]
        return Moments(counts, first, second, centres)

    def statistics(self, moments: Moments) -> Statistics:
        """Return all that was added up, given the moments."""
        worst = _worst(self.worst, len(moments.counts))
        return Statistics(moments, self.log_likelihood, self.weight, self.class_counts, worst)


def expectation(models: Sequence[Model], rows: Rows, crew: Crew) -> list[Statistics]:
    """Return each model's expected statistics of all rows (the E step).

    Parameters
    ----------
    models : sequence of Model
        Of one family; they share the pass over the rows.
    rows : Rows
    crew : Crew
        The threads that share the blocks.
    """
    prepared = [Prepared.of(model) for model in models]
    if rows.patterns is None:
        return _pass(prepared, rows, None, crew)
    incomplete = _incomplete_pass(prepared, rows, rows.patterns, crew)
    complete = rows.patterns.complete()
    if not len(complete):
        return incomplete
    return added(_pass(prepared, rows, complete, crew), incomplete)


def _centred_alike(prepared: Prepared, moments: Moments) -> Moments:
    """Return the moments about the centres that those of complete rows have."""
    means = prepared.model.mixture.means
    centred = np.isin(np.arange(len(means)), prepared.centred)
    centres = np.where(centred[:, None], means, 0.0)
    if np.array_equal(moments.centres, centres, equal_nan=True):
        return moments
    return prepared.model.family.recentre(moments, centres)


def _pass(
    prepared: Sequence[Prepared], rows: Rows, numbers: np.ndarray | None, crew: Crew
) -> list[Statistics]:
    """Deal the blocks of all rows, or of those numbered, to the crew, and add up."""
    n_rows = len(rows.x) if numbers is None else len(numbers)
    width = sum(len(one.theta) for one in prepared) + prepared[0].theta.shape[1]
    size = block_rows(n_rows, width, crew.size)

    def share(mine: Sequence[Block]) -> list[Statistics]:
        with np.errstate(all="ignore"):
            work = Work(prepared, rows, size)
            for block in mine:
                work.add(block)
            return work.statistics()

    return reduce(added, crew.run(share, cut(n_rows, numbers, size)))


def cut(n_rows: int, numbers: np.ndarray | None, size: int) -> list[Block]:
    """Cut all rows, or those numbered, into blocks."""
    cuts = [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]
    return list(cuts) if numbers is None else [numbers[cut] for cut in cuts]


def _incomplete_pass(
    prepared: Sequence[Prepared], rows: Rows, patterns: Patterns, crew: Crew
) -> list[Statistics]:
    """Deal the blocks of rows with missing entries to the crew, and add up."""

    def share(mine: Sequence[PatternBlock]) -> list[Statistics]:
        work = [_IncompleteWork(one, rows) for one in prepared]
        with np.errstate(all="ignore"):
            for block in mine:
                x = load_incomplete(rows, block)
                for one in work:
                    one.add(x, block)
            return [one.statistics() for one in work]

    blocks = incomplete_blocks(patterns, prepared[0].model.mixture)
    return reduce(added, crew.run(share, blocks))


class _IncompleteWork:
    """One thread's running sums of a model over the blocks that it is dealt."""

    def __init__(self, prepared: Prepared, rows: Rows) -> None:
        self.prepared, self.rows = prepared, rows
        self.total = _Total.of(prepared)
        self.moments: Moments | None = None

    def add(self, incomplete: Incomplete, block: PatternBlock) -> None:
        """Add a block's statistics to the sums."""
        rows, model, numbers = self.rows, self.prepared.model, block.rows.ravel()
        logits, completed = log_joint(model.family, model.mixture, incomplete)
        weights = None if rows.weights is None else rows.weights[numbers]
        labels = None if rows.labels is None else rows.labels[numbers]
        self.total.weigh(logits, incomplete.x, weights, labels)
        moments = completed.moments(logits)
        self.moments = moments if self.moments is None else self.moments.plus(moments)

    def statistics(self) -> Statistics:
        """Return what the blocks added up to, about the centres of complete rows."""
        assert self.moments is not None  # nobody is dealt no block
        return self.total.statistics(_centred_alike(self.prepared, self.moments))
