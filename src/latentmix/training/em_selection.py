"""How many components? K grows by splits and shrinks by merges; each size is judged.

From a small start, the component that looks most like two is split, and EM goes on from there:
no size is fitted from scratch (split and merge EM, Ueda et al. 2000). Sizes are compared by BIC
= -2 log-likelihood + n_parameters log N, or by ICL, which adds twice the entropy of p(k|x)
(Biernacki, Celeux and Govaert 2000). Where rows are few for the parameters, the choice is made
over the covariance's simpler shapes too, as mclust does (Fraley and Raftery 2002): with 200
rows in 32 dimensions a full matrix costs more than telling two clusters apart gains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.answers import answers
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, expectation
from latentmix.kernels.families import GAUSSIAN, n_free_parameters
from latentmix.kernels.families.family import Moments
from latentmix.kernels.rescaling import rescale
from latentmix.kernels.rows import Rows, patterns_of
from latentmix.training.em_checkpoint import EmKeeper
from latentmix.training.em_loop import EmRule, Fitting
from latentmix.training.em_start import Start
from latentmix.training.events import nobody
from latentmix.training.sources import ArraySource, Source, summarise

# The shapes that are special cases of a family's.
NESTED = {
    "full": ("full", "tied", "diag", "spherical"),
    "tied": ("tied",),
    "diag": ("diag", "spherical"),
}

# Sizes are compared on so many rows at most, drawn evenly.
ROWS_FOR_SELECTION = 20_000

# Sizes beyond the best that are tried before growth ends, if every component looks like one.
PATIENCE = 5

# What halves gain a row on one Gaussian: a normal's half has the variance 1 - 2 / pi. On an even
# spread, as of many clusters, they gain 0.
GAIN_OF_ONE = float(-np.log(1 - 2 / np.pi) / 2 - np.log(2))


def suspicious_gain(n_rows: float, n_features: int) -> float:
    """Return what halves may gain a row, beyond one Gaussian's, before they look like two.

    An even spread of clusters gains 0.19, two clusters 6 sigma apart 0.64. One Gaussian gains by
    chance, more with few rows and many directions to choose from: measured, 0.15 at most for 226
    rows in 32 dimensions, 0.09 for 267 in 2.
    """
    return 0.06 + 1.2 / float(np.sqrt(n_rows)) + 0.3 * n_features / n_rows


# With fewer rows, halves gain by chance about what two clusters would.
FEWEST_ROWS_TO_JUDGE = 20

# Two rows for each half: one row alone has no variance to explain.
FEWEST_ROWS_TO_SPLIT = 4

# 2-means of one component's rows stands still within a few steps; rows that go on changing sides
# lie between the halves and tell nothing of where to split.
STEPS_OF_HALVES = 10

# An axis much longer than the others is found in a few powers; of axes about equally long, which
# takes many, any halves the rows as well.
POWERS = 30

# A half's variance along the line counts as this share of both halves' at least: a lone row, or
# equal rows, with no variance at all would look like the best half there is.
LEAST_SHARE_OF_VARIANCE = 0.01

# Sizes next best to the best on the path that are shrunk as well: it may have passed the best one
# with a worse mixture, one merge away.
RUNNERS_UP = 3

# In place of 0, by which nothing is divided and of which there is no logarithm.
LEAST = 1e-300

# Splits and merges that are followed by EM, of those that look best.
MOVES = 2

# Sizes on the way need not converge to the last digit.
MAX_ITER = 30
TOLERANCE = 1e-3


class Candidate(NamedTuple):
    """A mixture of one size: mean log-likelihood in nats, criteria in nats doubled.

    `covariance_type` is the shape with the lowest BIC, `by_shape` the BIC of each.
    """

    model: Model
    covariance_type: str
    log_likelihood: float
    bic: float
    icl: float
    by_shape: dict[str, float]

    @property
    def n_components(self) -> int:
        """The number of components, K."""
        return len(self.model.mixture.means)


class Split(NamedTuple):
    """How a component of so many rows falls into two, and the rows of the new one.

    The gain is in nats, beyond that of halving one Gaussian. A row of weight 2 is two rows.
    """

    gain: float
    component: int
    n_rows: float
    rows: Int[np.ndarray, " S"]


class Grower:
    """Mixtures of growing size for one set of rows.

    Parameters
    ----------
    x : (N, D)
    weights : (N,), optional
        How many rows each stands for. Where they sum to less than there are rows, as shares of
        one do, they are scaled to sum to as many: criteria compare gains with log N.
    rule : EmRule
        What EM follows; its number of components is where growth starts.
    seed : int
    crew : Crew
    shapes : sequence of str, optional
        Covariance types whose BIC is compared; by default the family's own and simpler ones.
    """

    def __init__(
        self,
        x: Floats,
        weights: Floats | None,
        rule: EmRule,
        seed: int,
        crew: Crew,
        shapes: Sequence[str] | None = None,
    ) -> None:
        self.rule = replace(rule, tol=TOLERANCE)
        self.crew = crew
        self.random = np.random.RandomState(seed)
        self.source = ArraySource(x, None if weights is None else _counts(weights))
        self.fitting = Fitting(self.source, self.rule, seed, crew)
        units = self.fitting.units
        self.rows: Rows = next(iter(self.source.chunks(units.shift, units.scale)))
        self.lengths = self.fitting.starter.lengths
        self.points = self.fitting.starter.points
        self.shapes = tuple(shapes or NESTED.get(rule.family.name, (rule.family.name,)))
        self.total = self.fitting.summary.total

    def score(self, candidate: Candidate, x: Floats) -> tuple[float, Floats]:
        """Return other rows' mean log-likelihood under a candidate in its shape, and components."""
        shaped, rows, offset = self._in_shape(candidate.model, candidate.covariance_type)
        found = answers(
            shaped, rows._replace(x=x, weights=None, patterns=patterns_of(x)), self.crew
        )
        mean = float(found.log_density.mean()) - offset
        return mean, found.responsibilities.argmax(axis=1)

    def begin(self) -> Candidate:
        """Return the smallest mixture, from k-means."""
        return self.best([self.fitting.start(int(self.random.randint(2**31 - 1)))])

    def best(self, models: Sequence[Model]) -> Candidate:
        """Run EM from each model, and return the most likely mixture, judged."""
        ascents = self.fitting.ascents(models, MAX_ITER)
        self.fitting.climb(ascents, self.source, nobody, EmKeeper())
        alive = [ascent for ascent in ascents if ascent.comparable]
        if not alive:
            return self._judged(models[0])
        return self._judged(max(alive, key=lambda ascent: ascent.lower_bounds[-1]).model)

    def grown(self, candidate: Candidate) -> Candidate | None:
        """Return a mixture with one component more, or None if no component can be split."""
        responsibilities = answers(candidate.model, self.rows, self.crew).responsibilities
        splits = self._splits(responsibilities)
        if not splits:
            return None
        return self.best(
            [self._split(responsibilities, split.component, split.rows) for split in splits[:MOVES]]
        )

    def shrunk(self, candidate: Candidate) -> Candidate | None:
        """Return a mixture with one component less: two that share their rows are merged."""
        if candidate.n_components < 2:
            return None
        responsibilities = answers(candidate.model, self.rows, self.crew).responsibilities
        weighted = responsibilities * self.fitting.starter.weights[:, None]
        # How far each pair explains the same rows (Ueda et al., equation 3.1).
        overlap = weighted.T @ responsibilities
        lengths = np.sqrt(np.diagonal(overlap))
        overlap = overlap / np.maximum(np.outer(lengths, lengths), LEAST)
        i, j = np.triu_indices(len(lengths), 1)
        order = np.argsort(-overlap[i, j])[:MOVES]
        return self.best([self._merged(candidate.model, weighted, i[n], j[n]) for n in order])

    def _merged(self, model: Model, responsibilities: Floats, i: int, j: int) -> Model:
        shares = np.delete(responsibilities, j, axis=1)
        shares[:, i] += responsibilities[:, j]
        return self.fitting.starter.from_shares(shares.T)

    def looks_finished(self, candidate: Candidate) -> bool:
        """Say whether every component looks like one Gaussian along its likeliest split."""
        responsibilities = answers(candidate.model, self.rows, self.crew).responsibilities
        return all(
            split.gain < split.n_rows * suspicious_gain(split.n_rows, self.points.shape[1])
            for split in self._splits(responsibilities)
            if split.n_rows >= FEWEST_ROWS_TO_JUDGE
        )

    def _splits(self, responsibilities: Floats) -> list[Split]:
        """Return how each component splits best, those first that look most like two."""
        nearest = responsibilities.argmax(axis=1)
        found = []
        for k in range(responsibilities.shape[1]):
            own = np.flatnonzero(nearest == k)
            weights = self.fitting.starter.weights[own]
            n_rows = float(weights.sum())
            if n_rows < FEWEST_ROWS_TO_SPLIT:
                continue
            second, gain = halves(self.points[own], weights)
            gain -= GAIN_OF_ONE * n_rows
            if 0 < second.sum() < len(second):
                found.append(Split(gain, k, n_rows, own[second]))
        return sorted(found, key=lambda split: -split.gain)

    def _split(self, responsibilities: Floats, k: int, rows: Int[np.ndarray, " S"]) -> Model:
        shares = np.column_stack([responsibilities, np.zeros(len(responsibilities))])
        shares[rows, -1], shares[rows, k] = shares[rows, k], 0.0
        return self.fitting.starter.from_shares((shares * self.fitting.starter.weights[:, None]).T)

    def _judged(self, model: Model) -> Candidate:
        judged = [self._judged_as(model, shape) for shape in self.shapes]
        by_shape = {candidate.covariance_type: candidate.bic for candidate in judged}
        return min(judged, key=_bic)._replace(by_shape=by_shape)

    def _judged_as(self, model: Model, shape: str) -> Candidate:
        """Return the model's criteria if its components had covariances of a given shape."""
        shaped, rows, offset = self._in_shape(model, shape)
        found = answers(shaped, rows, self.crew)
        w = self.fitting.starter.weights
        log_likelihood = float(w @ found.log_density) - offset * self.total
        n_parameters = n_free_parameters(shaped.family, *model.mixture.means.shape)
        bic = -2 * log_likelihood + n_parameters * float(np.log(self.total))
        r = found.responsibilities
        entropy = -float(w @ np.sum(r * np.log(np.maximum(r, LEAST)), axis=1))
        if not np.isfinite(bic):
            bic = np.inf  # a covariance has collapsed
        return Candidate(model, shape, log_likelihood / self.total, bic, bic + 2 * entropy, {})

    def _in_shape(self, model: Model, shape: str) -> tuple[Model, Rows, float]:
        """Return the model in a shape, the rows in its units, and what its densities have too much.

        The responsibilities are the model's own; one M step gives covariances of that shape.
        """
        if shape == model.family.name:
            return model, self.rows, self.fitting.offset
        units, family = self.fitting.units, GAUSSIAN[shape]
        moments = expectation([model], self.rows, self.crew)[0].moments
        # One unit for all features, which a spherical covariance needs.
        matrices = model.family.name == "full"
        moments = _reshaped(moments, self.lengths, shape, matrices=matrices)
        common = np.full_like(units.scale, units.scale.max())
        mixture = family.maximise(moments, None, units.reg_covar * self.lengths**2)
        offset = float(self.fitting.summary.seen @ np.log(common)) / self.total
        return Model(family, mixture), self.rows._replace(scale=common), offset


def _counts(weights: Floats) -> Floats:
    """Return weights that sum to the number of rows with weight at least."""
    n_rows, total = np.count_nonzero(weights), float(weights.sum())
    return weights * (n_rows / total) if 0 < total < n_rows else weights


def halves(points: Float[Floats, "M D"], weights: Float[Floats, " M"]) -> tuple[np.ndarray, float]:
    """Return which points fall into the second of two halves, and how much that explains.

    2-means from both ends of the longest axis; the gain is that in log-likelihood, in nats, of
    two Gaussians over one along the line between the halves' means.
    """
    centred = points - np.average(points, axis=0, weights=weights)
    axis = _longest_axis(centred, weights)
    second = centred @ axis > 0
    for _ in range(STEPS_OF_HALVES):
        if not 0 < second.sum() < len(second):
            return second, -np.inf
        one = np.average(centred[~second], axis=0, weights=weights[~second])
        other = np.average(centred[second], axis=0, weights=weights[second])
        along = other - one
        moved = centred @ along > along @ (one + other) / 2
        if np.array_equal(moved, second):
            break
        second = moved
    if not 0 < second.sum() < len(second):
        return second, -np.inf
    line = centred @ along
    total, variance = weights.sum(), _variance(line, weights)
    gain = total * np.log(variance) / 2
    least = LEAST_SHARE_OF_VARIANCE * variance
    for half in (second, ~second):
        part = weights[half].sum()
        own = max(_variance(line[half], weights[half]), least)
        gain -= part * (np.log(own) / 2 - np.log(part / total))
    return second, float(gain)


def _longest_axis(x: Floats, weights: Floats) -> Floats:
    """Return the first principal axis of centred rows, by powers of x'x from the row farthest out.

    Where all axes are about equally long they end in some other place from another row, which
    weights therefore do not choose.
    """
    axis: Floats = x[np.argmax(np.einsum("nd,nd->n", x, x))].copy()
    for _ in range(POWERS):
        longer = x.T @ (weights * (x @ axis))
        length = np.linalg.norm(longer)
        if not length > 0:
            break
        axis = longer / length
    return axis


def _variance(values: Floats, weights: Floats) -> float:
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights)) + np.finfo(float).tiny


def _reshaped(moments: Moments, lengths: Floats, shape: str, *, matrices: bool) -> Moments:
    """Return moments in another shape, in one unit for all features."""
    counts, first, second, centres = moments
    if not matrices:  # variances, of which a spherical covariance keeps the sum
        second = np.sum(second * lengths**2, axis=1)
    else:
        second = second * np.outer(lengths, lengths)
        if shape == "tied":
            second = np.sum(second, axis=0)
        elif shape == "diag":
            second = np.diagonal(second, axis1=1, axis2=2)
        else:
            second = np.trace(second, axis1=1, axis2=2)
    return Moments(counts, first * lengths, second, centres * lengths)


def grow(grower: Grower, most: int) -> dict[int, Candidate]:
    """Return a mixture of every size from the grower's first to `most`.

    Once up by splits and once down by merges: of each size the one with the lower BIC is kept.
    """
    found = {}
    candidate: Candidate | None = grower.begin()
    while candidate is not None:
        found[candidate.n_components] = candidate
        candidate = None if candidate.n_components >= most else grower.grown(candidate)
    sizes = sorted(found)
    for larger, smaller in zip(sizes[:0:-1], sizes[-2::-1], strict=True):
        merged = grower.shrunk(found[larger])
        if merged is not None and merged.bic < found[smaller].bic:
            found[smaller] = merged
    return found


def _path(grower: Grower, most: int) -> list[Candidate]:
    """Return mixtures of growing size until no shape's BIC has improved for some sizes.

    A simple shape goes on gaining with every cluster found while a rich one already pays more for
    a component than it gains.
    """
    candidate: Candidate | None = grower.begin()
    tried: list[Candidate] = []
    best: dict[str, float] = {}
    improved_at = 0
    while candidate is not None:
        tried.append(candidate)
        size = candidate.n_components
        for shape, bic in candidate.by_shape.items():
            if bic < best.get(shape, np.inf):
                best[shape], improved_at = bic, size
        beyond = size - improved_at
        if size >= most or beyond >= max(PATIENCE, improved_at):
            break
        if beyond >= PATIENCE and grower.looks_finished(candidate):
            break
        candidate = grower.grown(candidate)
    return tried


def choose(grower: Grower, most: int) -> Candidate:
    """Return the mixture with the lowest BIC: grow, then split and merge while that helps."""
    path = sorted(_path(grower, most), key=_bic)
    ends = [_improved(path[0], (grower.shrunk, grower.grown), most)]
    ends += [_improved(other, (grower.shrunk,), most) for other in path[1 : 1 + RUNNERS_UP]]
    return min(ends, key=_bic)


def _bic(candidate: Candidate) -> float:
    return candidate.bic


def _improved(
    candidate: Candidate, moves: Sequence[Callable[[Candidate], Candidate | None]], most: int
) -> Candidate:
    """Make moves as long as one of them lowers the BIC."""
    for move in moves:
        moved = move(candidate)
        if moved is not None and moved.n_components <= most and moved.bic < candidate.bic:
            return _improved(moved, moves, most)
    return candidate


def grown_start(source: Source, rule: EmRule, seed: int) -> Start:
    """Return a start of as many components as the rows call for, in the rows' own units.

    Judged on a sample of the rows, and of the rule's family and those nested in it.
    """
    random = np.random.RandomState(seed)
    sample = summarise(source, random).sample
    chosen = np.sort(random.permutation(len(sample.x))[:ROWS_FOR_SELECTION])
    with Crew() as crew:
        grower = Grower(
            sample.x[chosen], sample.weights[chosen], replace(rule, n_components=1), seed, crew
        )
        best = choose(grower, max(1, len(chosen) // 2))
        units = grower.fitting.units
        mixture = rescale(rule.family, best.model.mixture, units.shift, units.scale)
    return Start(mixture.weights, mixture.means, mixture.covariances)
