"""Where EM's rows come from: an array, in memory or on disk, or blocks that can be read again.

A source is read once to learn its units and to draw rows for the start, and then once for each
iteration. Nothing but a block is ever copied.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial, reduce
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, Int

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.rows import Rows, patterns_of, refuse_infinite

T = TypeVar("T")

NO_ROW = "X holds no row. Expected at least one block with rows."

# Starting points are chosen among this many rows at most.
ROWS_FOR_START = 100_000
ROWS_A_TIME = 65_536

# Beyond, there is no unit to count in: the next power of two is infinite.
LONGEST_REACH = 2.0**1022

# So large a share of the rows drawn may be there for their labels.
SHARE_FOR_LABELS = 0.25


class Sample(NamedTuple):
    """Rows drawn evenly from all, (S, D) float64, with their weights and labels.

    Labelled rows are few, and some of each class are there for certain (see `draw`). They weigh
    as much less as they are more than their share.
    """

    x: Float[Floats, "S D"]
    weights: Float[Floats, " S"]
    labels: Int[np.ndarray, " S"] | None


class Summary(NamedTuple):
    """What one look at all rows tells: sums are weighted, and leave missing entries out.

    `total` is the weight of all rows, `seen` that of the rows that have a feature. `deviation` is
    the standard deviation, whose square may be past float64's range, and `reach` how far the
    farthest row with weight lies from the mean, both in the rows' own units.
    `class_counts` are the weights of the rows of each class, where there are labels.
    """

    n_rows: int
    total: float
    seen: Float[Floats, " D"]
    mean: Float[Floats, " D"]
    deviation: Float[Floats, " D"]
    reach: Float[Floats, " D"]
    sample: Sample
    class_counts: Float[Floats, " C"] | None


class Source(ABC):
    """Rows that can be read again and again, to be centred and divided block by block.

    Work on all of them is work on each chunk, whose results are added up in the chunks' order:
    where the rows lie on other machines, the work goes to them.
    """

    n_features: int
    n_classes: int = 0

    @abstractmethod
    def chunks(self, shift: Floats, scale: Floats) -> Iterator[Rows]:
        """Yield all rows, chunk by chunk."""

    def added_up(
        self,
        work: Callable[[Rows, Crew], T],
        add: Callable[[T, T], T],
        units: tuple[Floats, Floats],
        crew: Crew,
    ) -> T:
        """Return the sum of what work on each chunk gives.

        Parameters
        ----------
        work, add : callable
            Functions of a module, or partial ones, which can be sent elsewhere.
        units : shift, scale
        crew : Crew
            The threads of this process.

        Raises
        ------
        InputError
            If there is no chunk.
        """
        found = (work(rows, crew) for rows in self.chunks(*units))
        first = next(found, None)
        if first is None:
            raise InputError(NO_ROW)
        return reduce(add, found, first)


class ArraySource(Source):
    """An (N, D) array, with weights and labels (class numbers, -1 unknown) where given."""

    def __init__(
        self, x: np.ndarray, weights: Floats | None = None, labels: np.ndarray | None = None
    ) -> None:
        self.x, self.weights, self.labels = x, weights, labels
        self.n_features = x.shape[1]
        self.n_classes = 0 if labels is None else int(np.max(labels, initial=-1)) + 1
        self.patterns = patterns_of(x) if _has_nan(x) else None

    def chunks(self, shift: Floats, scale: Floats) -> Iterator[Rows]:
        """Yield all rows at once: blocks are cut from them later."""
        yield Rows(self.x, shift, scale, self.weights, self.labels, patterns=self.patterns)


class StreamSource(Source):
    """Blocks (B, D) from whatever `again()` iterates over."""

    def __init__(self, again: Callable[[], Iterable[np.ndarray]], n_features: int) -> None:
        self.again = again
        self.n_features = n_features
        self._n_rows: int | None = None

    def chunks(self, shift: Floats, scale: Floats) -> Iterator[Rows]:
        """Yield block after block.

        Raises
        ------
        InputError
            If there were not as many rows as the first time.
        """
        n_rows = 0
        for x in self.again():
            if len(x):
                yield Rows(x, shift, scale, before=n_rows, patterns=patterns_of(x))
            n_rows += len(x)
        if self._n_rows is None:
            self._n_rows = n_rows
        if n_rows != self._n_rows:
            raise InputError(
                f"X gave {self._n_rows} rows when it was read first and {n_rows} rows when it was "
                "read again. Give an object that yields the same blocks each time; what can be "
                "read once is for partial_fit, block by block."
            )


def _has_nan(x: np.ndarray) -> bool:
    if x.dtype.kind != "f":
        return False
    with np.errstate(all="ignore"):
        sums = (np.sum(x[i : i + ROWS_A_TIME]) for i in range(0, len(x), ROWS_A_TIME))
        # Infinities of both signs sum to NaN as well, and are looked at more closely.
        return any(np.isnan(total) for total in sums) and bool(
            any(np.isnan(x[i : i + ROWS_A_TIME]).any() for i in range(0, len(x), ROWS_A_TIME))
        )


class Drawn(NamedTuple):
    """The numbers of the rows that are drawn, and by what to multiply the weight of each."""

    rows: Int[np.ndarray, " S"]
    factors: Float[Floats, " S"]


def draw(
    keys: Float[Floats, " N"], labels: np.ndarray | None, n_classes: int, most: int, n_rows: int
) -> Drawn:
    """Draw the rows with the smallest keys, after the first few of each class.

    Parameters
    ----------
    keys : (N,)
        Evenly spread numbers between 0 and 1.
    labels : (N,), optional
        Class numbers, -1 where unknown.
    n_classes : int
    most : int
        How many to draw.
    n_rows : int
        The rows that `keys` are the smallest of.
    """
    if n_rows <= most:
        return Drawn(np.arange(len(keys)), np.ones(len(keys)))
    first = np.zeros(len(keys), bool)
    if labels is not None and n_classes:
        of_each = max(1, int(SHARE_FOR_LABELS * most / n_classes))
        # Their last bits tell nothing of the keys' sizes, so that the other rows of a class are
        # neither large nor small.
        order = np.lexsort((keys * 2**26 % 1, labels))
        ordered = labels[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        first[order] = (ordered >= 0) & (rank < of_each)
    rows = np.arange(len(keys))
    if len(keys) > most:
        rows = np.sort(np.argpartition(keys - first, most)[:most])
    n_first = int(np.sum(first[rows]))
    n_others = len(rows) - n_first
    share = n_others / (n_rows - n_first) if n_others else 1.0
    return Drawn(rows, np.where(first[rows], share, 1.0))


def summarise(source: Source, random: np.random.RandomState) -> Summary:
    """Read all rows once.

    Raises
    ------
    InputError
        If there is no row, no row with weight, or a value is infinite.
    """
    look = partial(_looked_at, source.n_classes, int(random.randint(2**31 - 1)))
    units = np.zeros(source.n_features), np.ones(source.n_features)
    with Crew() as crew:
        return source.added_up(look, _Looks.plus, units, crew).summary()


def _looked_at(n_classes: int, seed: int, rows: Rows, crew: Crew) -> _Looks:
    looks = _Looks(rows.x.shape[1], n_classes, seed, rows.before)
    for start in range(0, len(rows.x), ROWS_A_TIME):
        piece = slice(start, start + ROWS_A_TIME)
        looks.add(
            np.asarray(rows.x[piece], np.float64),
            None if rows.weights is None else rows.weights[piece],
            None if rows.labels is None else rows.labels[piece],
        )
    return looks


def keys_of(seed: int, first: int, n_rows: int) -> Float[Floats, " N"]:
    """Return a random number in [0, 1) for each of the rows from `first` on.

    A row has its number whichever chunk it is in, and whoever asks.
    """
    # Of each count of its counter, Philox makes four numbers.
    counter = np.random.Philox(key=seed)
    counter.advance(first // 4)
    drawn: Floats = np.random.Generator(counter).random(first % 4 + n_rows)[first % 4 :]
    return drawn


class _Kept(NamedTuple):
    """Rows of the sample so far, and the random numbers that they were kept for."""

    keys: Float[Floats, " S"]
    sample: Sample


class _Looks:
    """Running sums of `summarise` over rows, before which so many others come."""

    def __init__(self, n_features: int, n_classes: int, seed: int, before: int) -> None:
        self.seed, self.before = seed, before
        self.n_rows, self.n_weighty, self.total = 0, 0, 0.0
        self.seen = np.zeros(n_features)
        self.mean = np.zeros(n_features)
        # Squares are summed in units of the largest deviation so far: 1e150 has a square too.
        self.unit = np.zeros(n_features)
        self.squares = np.zeros(n_features)
        self.low = np.full(n_features, np.inf)
        self.high = np.full(n_features, -np.inf)
        self.most = max(1000, min(ROWS_FOR_START, (1 << 27) // (8 * n_features)))
        self.kept: list[_Kept] = []
        self.class_counts = np.zeros(n_classes)

    def add(self, x: Floats, weights: Floats | None, labels: np.ndarray | None) -> None:
        refuse_infinite(x, slice(0, len(x)), before=self.before + self.n_rows)
        w = np.ones(len(x)) if weights is None else weights
        present = ~np.isnan(x)
        complete = bool(present.all())
        filled = x if complete else np.where(present, x, 0.0)
        seen = np.full(x.shape[1], w.sum()) if complete else w @ present
        with np.errstate(over="ignore", invalid="ignore"):  # `summary` says so
            self._add_moments(x, filled, w, present, seen)
        self._keep(x, w, labels)
        if labels is not None:
            self._count(w, labels)
        self.n_rows += len(x)
        self.total += float(w.sum())

    def plus(self, other: _Looks) -> _Looks:
        """Return the sums of both: other rows, which come after these."""
        both = copy.copy(self)
        with np.errstate(over="ignore", invalid="ignore"):
            both.low = np.minimum(self.low, other.low)
            both.high = np.maximum(self.high, other.high)
            both._merge(other.seen, other.mean, other.unit, other.squares)
        both.kept = [*self.kept, *other.kept]
        both.n_weighty += other.n_weighty
        both._thin()
        both.class_counts = self.class_counts + other.class_counts
        both.n_rows += other.n_rows
        both.total += other.total
        return both

    def _add_moments(
        self,
        x: Floats,
        filled: Floats,
        w: Floats,
        present: np.ndarray,
        seen: Floats,
    ) -> None:
        """Add a block's means and squares to those so far."""
        some = np.where(seen > 0, seen, 1.0)
        mean = (w @ filled) / some
        used = present & (w > 0)[:, None]
        self.low = np.minimum(self.low, np.min(x, axis=0, initial=np.inf, where=used))
        self.high = np.maximum(self.high, np.max(x, axis=0, initial=-np.inf, where=used))
        centred = np.where(used, filled - mean, 0.0)
        unit = np.max(np.abs(centred), axis=0, initial=0)
        squares = w @ (centred / np.where(unit > 0, unit, 1.0)) ** 2
        self._merge(seen, mean, unit, squares)

    def _merge(self, seen: Floats, mean: Floats, unit: Floats, squares: Floats) -> None:
        """Merge means and squares with those so far (Chan, Golub and LeVeque 1979)."""
        both = self.seen + seen
        gap = np.where((self.seen > 0) & (seen > 0), mean - self.mean, 0.0)
        largest = np.maximum(np.maximum(self.unit, unit), np.abs(gap))
        safe = np.where(largest > 0, largest, 1.0)
        share = np.where(both > 0, self.seen * seen / np.where(both > 0, both, 1.0), 0.0)
        self.squares = (
            self.squares * (self.unit / safe) ** 2
            + squares * (unit / safe) ** 2
            + share * (gap / safe) ** 2
        )
        self.mean = np.where(
            both > 0, self.mean + (mean - self.mean) * (seen / np.where(both > 0, both, 1.0)), 0.0
        )
        self.seen, self.unit = both, largest

    def _count(self, w: Floats, labels: np.ndarray) -> None:
        """Add up the weights of each class."""
        known = labels >= 0
        self.class_counts += np.bincount(labels[known], w[known], len(self.class_counts))

    def _keep(self, x: Floats, w: Floats, labels: np.ndarray | None) -> None:
        """Keep the rows with the smallest of evenly drawn numbers: a sample of all, in one pass."""
        candidates = np.flatnonzero(w > 0)
        keys = keys_of(self.seed, self.before + self.n_rows, len(x))[candidates]
        known = None if labels is None else labels[candidates]
        chosen = draw(keys, known, len(self.class_counts), self.most, len(keys)).rows
        candidates, keys = candidates[chosen], keys[chosen]
        known = None if known is None else known[chosen]
        self.kept.append(_Kept(keys, Sample(x[candidates], w[candidates], known)))
        self.n_weighty += int(np.count_nonzero(w > 0))
        self._thin()

    def _thin(self) -> None:
        """Keep no more than the sample needs, now and then."""
        if sum(len(part.keys) for part in self.kept) > 2 * self.most:
            self.kept = [self._sampled()[0]]

    def _sampled(self) -> tuple[_Kept, Floats]:
        """Return the rows drawn so far, and by what to multiply their weights."""
        keys = np.concatenate([part.keys for part in self.kept])
        samples = [part.sample for part in self.kept]
        x = np.concatenate([sample.x for sample in samples])
        w = np.concatenate([sample.weights for sample in samples])
        known = [sample.labels for sample in samples if sample.labels is not None]
        labels = np.concatenate(known) if known else None
        rows, factors = draw(keys, labels, len(self.class_counts), self.most, self.n_weighty)
        labels = None if labels is None else labels[rows]
        return _Kept(keys[rows], Sample(x[rows], w[rows], labels)), factors

    def summary(self) -> Summary:
        if self.n_rows == 0:
            raise InputError(NO_ROW)
        if not self.total > 0:
            raise InputError("All weights are 0. Expected at least one row with a weight above 0.")
        if not (self.seen > 0).all():
            column = int(np.flatnonzero(~(self.seen > 0))[0])
            raise InputError(
                f"Column {column} of X holds no number in any row with weight. Expected some in "
                "every column; drop that one."
            )
        some = np.where(self.seen > 0, self.seen, 1.0)
        deviation = np.sqrt(self.squares / some) * self.unit
        with np.errstate(all="ignore"):
            reach = np.maximum(self.high - self.mean, self.mean - self.low)
        if not (np.isfinite(deviation) & (reach < LONGEST_REACH)).all():
            largest = max(float(np.max(self.high)), float(-np.min(self.low)))
            raise InputError(
                f"X holds values as large as {largest:.3g}, which float64 cannot add up. Expected "
                "values whose sums are finite; rescale X."
            )
        (_, sample), factors = self._sampled()
        return Summary(
            self.n_rows,
            self.total,
            self.seen,
            self.mean,
            deviation,
            reach,
            sample._replace(weights=sample.weights * factors),
            self.class_counts if len(self.class_counts) else None,
        )
