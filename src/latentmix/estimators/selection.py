"""Choosing the number of components: a table of sizes, and the choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.metrics import adjusted_rand_score

from latentmix.errors import InputError, ParameterError
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.row_sources import check_matrix
from latentmix.estimators.validation import check_choice, check_number, check_weights, draw_seeds
from latentmix.kernels.crew import Crew
from latentmix.kernels.families import GAUSSIAN
from latentmix.training.em_loop import EmRule
from latentmix.training.em_selection import (
    NESTED,
    ROWS_FOR_SELECTION,
    Candidate,
    Grower,
    grow,
)


class SizeRow(NamedTuple):
    """One size in the table of a :class:`Selection`.

    `log_likelihood` is the mean per row in nats, `heldout` that of rows that were left out of the
    fit (each half of the rows by a fit to the other), `bic` and `icl` are in nats doubled, lower
    is better, and `stability` is the adjusted Rand index between the clusters of the two halves'
    fits, 1 where they agree on all rows. A half that falls into fewer components is left out of
    `heldout`, and leaves `stability` NaN.
    """

    n_components: int
    covariance_type: str
    log_likelihood: float
    bic: float
    icl: float
    heldout: float
    stability: float


# What is lowest for the size that a criterion chooses.
CRITERIA: Final[dict[str, Callable[[SizeRow], float]]] = {
    "bic": lambda row: row.bic,
    "icl": lambda row: row.icl,
    "heldout": lambda row: -row.heldout,
}


@dataclass(frozen=True)
class Selection:
    """The number of components that a criterion chooses, and what it was chosen from.

    Attributes
    ----------
    n_components : int
    covariance_type : str
        The shape of covariance that has the lowest BIC at that size.
    criterion : str
    table : tuple of SizeRow
        One for each size, in their order; none for a size at which no component could be
        split any more.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import select_n_components
    >>> X = np.random.RandomState(0).randn(200, 1) + np.repeat([[0], [9]], 100, axis=0)
    >>> selection = select_n_components(X, range(1, 4), random_state=0)
    >>> selection.n_components, selection.criterion
    (2, 'bic')
    >>> [(row.n_components, round(row.stability, 1)) for row in selection.table[:2]]
    [(1, 1.0), (2, 1.0)]
    """

    n_components: int
    covariance_type: str
    criterion: str
    table: tuple[SizeRow, ...]

    def __str__(self) -> str:
        lines = [
            f"{'K':>4} {'covariance':>10} {'log-likelihood':>14} {'BIC':>12} {'ICL':>12} "
            f"{'held out':>10} {'stability':>9}"
        ]
        for row in self.table:
            mark = f"  <- {self.criterion}" if row.n_components == self.n_components else ""
            lines.append(
                f"{row.n_components:>4} {row.covariance_type:>10} {row.log_likelihood:>14.4f} "
                f"{row.bic:>12.1f} {row.icl:>12.1f} {row.heldout:>10.4f} {row.stability:>9.3f}"
                f"{mark}"
            )
        return "\n".join(lines)


def select_n_components(
    X: Any,
    n_components: Iterable[int] = range(1, 11),
    *,
    covariance_type: str = "auto",
    criterion: str = "bic",
    reg_covar: float = 1e-6,
    sample_weight: Any = None,
    random_state: Any = None,
) -> Selection:
    """Compare Gaussian mixtures of several sizes, and choose one.

    The smallest is fitted from k-means and grows by splits, the largest shrinks by merges: no
    size is fitted from scratch. Both halves of the rows are fitted too, for `heldout` and
    `stability`.

    Parameters
    ----------
    X : (N, D)
        Rows; more than 20,000 are sampled. NaN where an entry is missing.
    n_components : iterable of int, default=range(1, 11)
        The sizes to compare.
    covariance_type : {'auto', 'full', 'tied', 'diag', 'spherical', 'factor'}, default='auto'
        'auto' compares the four of scikit-learn at each size and takes the one with the lowest
        BIC: rows that are few for a full matrix can still tell clusters apart. 'factor' is of two
        factors.
    criterion : {'bic', 'icl', 'heldout'}, default='bic'
        ICL prefers clusters that do not overlap; 'heldout' is the likelihood of rows left out.
    reg_covar : float, default=1e-6
        Added to every variance, in X's squared units.
    sample_weight : (N,), optional
        Weights of the rows.
    random_state : int, RandomState or None
        Seed of the start, the sample and the halves.

    Returns
    -------
    Selection

    Raises
    ------
    InputError
        If there are too few rows for the sizes, values are infinite, or weights do not fit the
        rows.
    ParameterError
        For an unknown criterion or covariance type, no size, or a size below 1.

    References
    ----------
    Schwarz (1978), "Estimating the dimension of a model"; Biernacki, Celeux and Govaert (2000),
    "Assessing a mixture model for clustering with the integrated completed likelihood"; Ueda,
    Nakano, Ghahramani and Hinton (2000), "SMEM algorithm for mixture models".

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import select_n_components
    >>> centres = np.repeat([[0, 0], [9, 0], [0, 9]], 100, axis=0)
    >>> X = np.random.RandomState(0).randn(300, 2) + centres
    >>> select_n_components(X, range(1, 6), random_state=0).n_components
    3
    """
    sizes = _sizes(n_components)
    check_choice("criterion", criterion, CRITERIA)
    check_choice("covariance_type", covariance_type, ("auto", *GAUSSIAN))
    check_number("reg_covar", reg_covar, least=0)
    X = check_matrix(GaussianMixture(), X, reset=True)
    weights = np.ones(len(X)) if sample_weight is None else check_weights(sample_weight, len(X))
    seed = draw_seeds(random_state, 1)[0]
    used = _used(weights, np.random.RandomState(seed), max(sizes))
    family = "full" if covariance_type == "auto" else covariance_type
    shapes = NESTED["full"] if covariance_type == "auto" else (covariance_type,)
    rule = EmRule(GAUSSIAN[family], min(sizes), reg_covar=reg_covar)
    halves = used[: len(used) // 2], used[len(used) // 2 :]
    with Crew() as crew:
        growers = [
            Grower(X[np.sort(part)], weights[np.sort(part)], rule, seed, crew, shapes)
            for part in (used, *halves)
        ]
        whole, *parts = (grow(grower, max(sizes)) for grower in growers)
        table = tuple(
            _row(size, whole[size], [part.get(size) for part in parts], growers[1:], halves, X)
            for size in sizes
            if size in whole
        )
    chosen = min(table, key=CRITERIA[criterion])
    return Selection(chosen.n_components, chosen.covariance_type, criterion, table)


def _sizes(n_components: Iterable[int]) -> list[int]:
    sizes = [n_components] if isinstance(n_components, Integral) else list(n_components)
    if not sizes:
        raise ParameterError("n_components holds no size. Expected integers >= 1, as range(1, 11).")
    for size in sizes:
        check_number("n_components", size, kind=Integral, least=1)
    return sorted({int(size) for size in sizes})


def _used(weights: np.ndarray, random: np.random.RandomState, largest: int) -> np.ndarray:
    """Return the numbers of the rows that sizes are compared on, in random order."""
    used = random.permutation(np.flatnonzero(weights > 0))[:ROWS_FOR_SELECTION]
    if len(used) // 2 < largest:
        raise InputError(
            f"X has {len(used)} rows, of which each half is fitted with up to {largest} "
            "components. Expected twice as many rows as components; ask for fewer."
        )
    return used


def _row(
    size: int,
    whole: Candidate,
    parts: list[Candidate | None],
    growers: list[Grower],
    halves: tuple[np.ndarray, np.ndarray],
    X: np.ndarray,
) -> SizeRow:
    heldout, components = [], []
    rows = np.sort(np.concatenate(halves))
    for part, grower, others in zip(parts, growers, halves[::-1], strict=True):
        if part is not None:
            heldout.append(grower.score(part, np.asarray(X[others], np.float64))[0])
            components.append(grower.score(part, np.asarray(X[rows], np.float64))[1])
    stability = float(adjusted_rand_score(*components)) if len(components) == 2 else float("nan")
    return SizeRow(
        size,
        whole.covariance_type,
        whole.log_likelihood,
        whole.bic,
        whole.icl,
        float(np.mean(heldout)) if heldout else float("nan"),
        stability,
    )
