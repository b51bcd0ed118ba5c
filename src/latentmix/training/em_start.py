"""Where EM starts: centres chosen among a sample of the rows, and the moments around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, Statistics
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.families.family import Assigned, Moments
from latentmix.kernels.kmeans import centres as kmeans
from latentmix.kernels.maximisation import maximise
from latentmix.training.em_ascent import RELATIVE_ROUNDING
from latentmix.training.sources import ROWS_A_TIME, Source, Summary

# In place of a probability of 0, which has no logarithm.
LEAST_PROBABILITY = float(np.finfo(np.float64).tiny)

# A deviation of so small a share of the mean is the rounding of that mean.
ROUNDING = 4 * float(np.finfo(np.float64).eps)

INITIALISATIONS = ("kmeans", "k-means++", "k-means||", "labels", "random", "random_from_data")


class Start(NamedTuple):
    """Parameters that replace the initialisation's; None keeps it.

    `lower_bound` is that of the fit they come from: going on from there can converge at once.
    """

    weights: Floats | None = None
    means: Floats | None = None
    covariances: Floats | None = None
    class_probs: Floats | None = None
    lower_bound: float = -np.inf


# Initialisations that give every component one row.
SINGLE_ROWS = ("k-means++", "random_from_data")

# So many labelled rows for each feature show the shape of a class.
LABELLED_ROWS_A_FEATURE = 3


@dataclass(frozen=True)
class Units:
    """Scaled rows are (x - shift) / scale; scales are powers of two, so that this is exact."""

    shift: Float[Floats, " D"]
    scale: Float[Floats, " D"]
    reg_covar: Float[Floats, " D"]

    @classmethod
    def of(cls, family: Family, summary: Summary, reg_covar: float, *, relative: bool) -> Units:
        """Choose units for a family: a scale for each feature, one for all, or none.

        `reg_covar` is in the rows' squared units or, if relative, a share of each variance: of
        each square, where a feature is constant.
        """
        n_features = len(summary.mean)
        shift, reach, spread = summary.mean, summary.reach, summary.deviation
        if relative and (family.scaling != "common" or not spread.any()):
            constant = spread <= ROUNDING * np.abs(shift)
            spread = np.where(constant, np.where(shift == 0, 1.0, np.abs(shift)), spread)
            reach = np.maximum(reach, spread)
        if family.scaling == "none":
            shift, reach = np.zeros(n_features), np.zeros(n_features)
        elif family.scaling == "common":
            reach = np.full(n_features, reach.max())
        # Features whose reach is 0 or subnormal keep their unit. Others need none that is next to
        # nothing beside the deviation that reg_covar alone makes: its square would overflow.
        least = 0.0 if relative else 1e-100 * float(np.sqrt(reg_covar))
        safe = np.where(reach > np.finfo(np.float64).tiny, np.maximum(reach, least), 1.0)
        scale = 2.0 ** np.ceil(np.log2(safe))
        with np.errstate(over="ignore"):  # of rows that keep their unit
            variance = (spread / scale) ** 2
            if family.scaling == "common":
                variance = np.full(n_features, variance.mean())
            reg = reg_covar * variance if relative else reg_covar / scale / scale
        return cls(shift, scale, reg + np.zeros(n_features))

    def scaled(self, x: Floats) -> Floats:
        """Return rows or means in scaled units."""
        return (x - self.shift) / self.scale


def moments_around(family: Family, x: Floats, responsibilities: Floats, about: Mixture) -> Moments:
    """Return the moments of rows x (D, B) about each mean of `about`, given all p(k|x) (K, B)."""
    counts = responsibilities.sum(axis=1)
    if not family.has_centred_form:
        return Moments(counts, responsibilities @ x.T, np.zeros(0), np.zeros_like(about.means))
    first, seconds = np.empty_like(about.means), []
    for k, weights in enumerate(responsibilities):
        own = np.flatnonzero(weights)
        deviation = x[:, own] - about.means[k, :, None]
        first[k] = deviation @ weights[own]
        seconds.append(family.centred_second(deviation, weights[own], about, k))
    return Moments(counts, first, family.gathered(seconds), about.means)


class Starter:
    """Draws starting models for a family, in scaled units, from a sample of the rows."""

    def __init__(self, family: Family, units: Units, summary: Summary, crew: Crew) -> None:
        self.family, self.units, self.crew = family, units, crew
        sample = summary.sample
        x = np.where(np.isnan(sample.x), summary.mean, sample.x)
        self.x = np.ascontiguousarray(units.scaled(x).T)
        self.weights, self.labels = sample.weights, sample.labels
        self.class_counts = summary.class_counts
        # k-means measures lengths in the rows' own units, features against each other.
        self.lengths = units.scale / units.scale.max()
        self.points = self.x.T * self.lengths

    def draw(
        self,
        n_components: int,
        method: str,
        random: np.random.RandomState,
        *,
        by_class: bool = True,
    ) -> Model:
        """Return a starting model; with labels, from the classes unless `by_class` is False."""
        n_rows = len(self.points)
        classes = self._classes() if by_class else []
        if method == "random":
            shares = random.random_sample((n_components, n_rows))
            responsibilities = shares / shares.sum(axis=0) * self.weights
            means = np.repeat(self.x.mean(axis=1)[None], n_components, axis=0)
            about = self._about(means, np.zeros(n_rows, np.intp))
        else:
            nearest, means = self._assigned(n_components, method, random, classes)
            single = method in SINGLE_ROWS
            if single and self.family.has_centred_form and not self.units.reg_covar.any():
                # One row has no variance of its own: those that are nearest lend it theirs.
                nearest, single = self._nearest(self.x, means), False
            responsibilities = one_hot(nearest, n_components)
            if not single:
                responsibilities *= self.weights
                self._keep_to_classes(responsibilities, classes)
            about = self._about(means, nearest)
        moments = moments_around(self.family, self.x, responsibilities, about)
        return self.named(self.model(moments, about))

    def from_shares(self, responsibilities: Floats) -> Model:
        """Return the model of the sample's rows, given their weighted p(k|x), (K, S)."""
        counts = responsibilities.sum(axis=1)
        means = (responsibilities @ self.x.T) / np.maximum(counts, 1e-300)[:, None]
        about = self._about(means, responsibilities.argmax(axis=0))
        moments = moments_around(self.family, self.x, responsibilities, about)
        return self.named(self.model(moments, about))

    def around(self, means: Floats, source: Source) -> Model:
        """Return the model of all rows assigned to the nearest of the given means (scaled).

        Unlike the rest, this looks at every row: the answer is the same for any order of them.
        """
        read = partial(self._read_assigned, means, source)
        about = self.family.start(means, self.lengths, read)
        total: Moments | None = None
        for rows in read():
            shares = one_hot(rows.nearest, len(means)) * rows.weights
            part = moments_around(self.family, rows.x, shares, about)
            total = part if total is None else total.plus(part)
        assert total is not None
        return self.named(self.model(total, about))

    def _read_assigned(self, means: Floats, source: Source) -> Iterator[Assigned]:
        """Yield all rows, scaled and with the numbers of their nearest means."""
        for rows in source.chunks(self.units.shift, self.units.scale):
            for start in range(0, len(rows.x), ROWS_A_TIME):
                piece = slice(start, start + ROWS_A_TIME)
                x = self.units.scaled(np.asarray(rows.x[piece], np.float64)).T
                x = np.where(np.isnan(x), 0.0, x)
                weights = np.ones(x.shape[1]) if rows.weights is None else rows.weights[piece]
                yield Assigned(x, weights, self._nearest(x, means))

    def model(self, moments: Moments, about: Mixture) -> Model:
        """Return the model that the moments make most likely."""
        n_components = len(moments.counts)
        total = float(moments.counts.sum())
        statistics = Statistics(moments, 0.0, total, np.zeros((n_components, 0)), [])
        return maximise(Model(self.family, about), statistics, self.units.reg_covar).model

    def _about(self, means: Floats, nearest: np.ndarray) -> Mixture:
        """Return a mixture to take the first moments about, given each row's nearest mean."""
        sample = Assigned(self.x, self.weights, nearest)
        return self.family.start(means, self.lengths, lambda: [sample])

    def _nearest(self, x: Floats, means: Floats) -> np.ndarray:
        """Return the number of the mean nearest to each of the rows x (D, B), both scaled."""
        points, centres = x * self.lengths[:, None], means * self.lengths
        products = centres @ points - 0.5 * np.sum(centres**2, axis=1)[:, None]
        nearest: np.ndarray = np.argmax(products, axis=0)
        return nearest

    def _classes(self) -> list[Floats]:
        """Return the weights of each class's rows; a class that the sample missed has none."""
        if self.labels is None:
            return []
        numbers = np.unique(self.labels[self.labels >= 0])
        return [np.where(self.labels == number, self.weights, 0.0) for number in numbers]

    def _keep_to_classes(self, responsibilities: Floats, classes: Sequence[Floats]) -> None:
        """Let the first components rest on the labelled rows of a class where they suffice.

        Classes that cross have one centre, and nothing but their covariances tells them apart.
        """
        if len(classes) > len(responsibilities):
            return
        for k, weights in enumerate(classes):
            if np.count_nonzero(weights) >= LABELLED_ROWS_A_FEATURE * len(self.x):
                # As heavy as the rows near its centre.
                mass = max(float(responsibilities[k].sum()), float(weights.max()))
                responsibilities[k] = weights * (mass / weights.sum())

    def _assigned(
        self,
        n_components: int,
        method: str,
        random: np.random.RandomState,
        classes: Sequence[Floats],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's starting component, -1 for none, and the centres, scaled."""
        n_rows = len(self.points)
        if method == "random_from_data":
            chosen = random.choice(
                n_rows, n_components, replace=False, p=self.weights / self.weights.sum()
            )
        elif method == "k-means++":
            chosen = kmeans.plus_plus(random, self.points, self.weights, n_components, self.crew)
        else:
            centres = self._seeds(n_components, method, random, classes)
            found = kmeans.lloyd(self.points, self.weights, centres, self.crew)
            return found.components, found.centres / self.lengths
        nearest = np.full(n_rows, -1)
        nearest[chosen] = np.arange(n_components)
        return nearest, self.x.T[chosen]

    def _seeds(
        self,
        n_components: int,
        method: str,
        random: np.random.RandomState,
        classes: Sequence[Floats],
    ) -> Floats:
        """Return the centres that k-means starts from; known classes come first."""
        points, weights, crew = self.points, self.weights, self.crew
        if 0 < len(classes) <= n_components:
            own = np.stack([np.average(points, axis=0, weights=weights) for weights in classes])
            rest = n_components - len(classes)
            if not rest:
                return own
            others = kmeans.plus_plus(random, points, weights, rest, crew, fixed=own)
            return np.concatenate([own, points[others]])
        if method == "k-means||":
            return kmeans.parallel(random, points, weights, n_components, crew)
        return np.asarray(points[kmeans.plus_plus(random, points, weights, n_components, crew)])

    def named(self, model: Model) -> Model:
        """Add p(y|k), where there are labels: the classes of the rows nearest to each mean."""
        if self.labels is None or self.class_counts is None:
            return model
        known = np.flatnonzero(self.labels >= 0)
        means = model.mixture.means
        nearest = one_hot(self._nearest(self.x[:, known], means), len(means)) * self.weights[known]
        counts = nearest @ one_hot(self.labels[known], len(self.class_counts)).T
        # One row's worth of all classes, also of those that the sample missed: no name is
        # excluded before EM has begun.
        counts += self.class_counts / max(float(self.class_counts.sum()), LEAST_PROBABILITY)
        probs = counts / np.maximum(counts.sum(axis=1, keepdims=True), LEAST_PROBABILITY)
        return model._replace(log_class_probs=np.log(np.maximum(probs, LEAST_PROBABILITY)))


def pairing(
    family: Family, weights: Floats | None, covariances: Floats, drawn: Mixture
) -> Int[np.ndarray, " K"]:
    """Return which of the given components each drawn one is, where no means are given.

    Drawn components come in no order that a caller could know. Of all pairings this is the one
    under which their rows, each about its own mean, have the highest expected log-density; the
    order given stays where none is better. The parameters of a drawn start stay with their
    components, as each Gaussian explains its own rows best.
    """
    n_components = len(drawn.weights)
    shares = np.ones(n_components) if weights is None else weights
    given = Mixture(shares, drawn.means, covariances, family.factors(covariances))
    as_given = np.arange(n_components)
    with np.errstate(all="ignore"):
        log_density = family.constants(given)[:, None]
        log_density = log_density - family.expected_distances(given, drawn.covariances) / 2
        log_density += np.log(np.maximum(shares, LEAST_PROBABILITY))[:, None]
        explained = drawn.weights * log_density
    if not np.isfinite(explained).all():
        return as_given
    # Row i of the answer is the given component i, and where it goes.
    order = np.argsort(linear_sum_assignment(explained, maximize=True)[1])
    best, before = explained[order, as_given], np.diagonal(explained)
    rounding = RELATIVE_ROUNDING * float(np.sum(np.abs(best)) + np.sum(np.abs(before)))
    return order if np.sum(best) - np.sum(before) > rounding else as_given


def one_hot(numbers: np.ndarray, width: int) -> Floats:
    """Return (width, B) of 0 and 1; a negative number has no 1."""
    return np.asarray(np.arange(width)[:, None] == numbers, np.float64)
