"""How many clusters along a graph of neighbours: the numbers tried, the choice, how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Final, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator

from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.refinement import Refinement, check_walk_steps
from latentmix.estimators.validation import check_number, check_rows, draw_seeds
from latentmix.kernels.group_numbers import PATIENCE, SizeOfGroups, compare_numbers, ranked
from latentmix.training.events import Listener, Stage

# Numbers tried at most, unless asked otherwise: most searches end long before.
MOST_CLUSTERS: Final = 50


class ClusterRow(NamedTuple):
    """One number in the table of a :class:`ClusterSelection`.

    Attributes
    ----------
    n_components : int
    stability : float
        How far the clusters that one half of the rows tells the other agree with those that the
        other finds by itself: the adjusted Rand index, 1 where they agree on all rows, 0 by chance;
        the mean over halves.
    stability_sd : float
        Its standard deviation over halves.
    modularity : float
        Of the clusters told, on the graph of the half that had no part in finding them; the mean
        over halves.
    chosen_by : int
        How many halves choose this number by themselves.
    """

    n_components: int
    stability: float
    stability_sd: float
    modularity: float
    chosen_by: int


@dataclass(frozen=True)
class ClusterSelection:
    """The number of clusters that halves of the rows agree on, and what it was chosen from.

    Attributes
    ----------
    n_components : int
        The choice: of the numbers hardly less stable than the most stable, the one of the largest
        product of stability and modularity. 1 where halves agree on nothing, or there are too few
        rows to tell.
    runner_up : int or None
        What would be chosen without it.
    n_halves : int
        Halves that were judged, each by what the other told it.
    table : tuple of ClusterRow
        One for each number, in their order.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import select_n_clusters
    >>> centres = np.repeat([[0, 0], [9, 0], [0, 9]], 40, axis=0)
    >>> X = np.random.RandomState(0).randn(120, 2) + centres
    >>> selection = select_n_clusters(X, random_state=0)
    >>> selection.n_components, selection.agreement, selection.open_ended
    (3, 1.0, False)
    >>> selection.n_agreeing == selection.n_halves
    True
    >>> [row.n_components for row in selection.table if row.stability > 0.9]
    [3]
    >>> print(selection.sentence)
    Chose 3 components (tried 2 to ...): halves of the rows agree on them to ...
    """

    n_components: int
    runner_up: int | None
    n_halves: int
    table: tuple[ClusterRow, ...]

    @property
    def n_agreeing(self) -> int:
        """How many halves choose the number by themselves."""
        if self.n_components > 1:
            return self._row(self.n_components).chosen_by
        return self.n_halves - sum(row.chosen_by for row in self.table)

    @property
    def agreement(self) -> float:
        """The share of halves that choose the number by themselves, [0, 1]; 1 without any."""
        return self.n_agreeing / self.n_halves if self.n_halves else 1.0

    @property
    def sentence(self) -> str:
        """What was chosen, and how sure it is, in one sentence."""
        if not self.table:
            return "Chose 1 component: there are too few rows to tell more apart"
        tried = f"(tried {self.table[0].n_components} to {self.table[-1].n_components})"
        alone = f"{self.n_agreeing} of {self.n_halves} choose {self.n_components} by themselves"
        if self.n_components == 1:
            most = max(row.stability for row in self.table)
            return (
                f"Chose 1 component {tried}: halves of the rows agree on no more, to {most:.2f} at "
                f"most (adjusted Rand index), and {alone}"
            )
        text = (
            f"Chose {self.n_components} components {tried}: halves of the rows agree on them to "
            f"{self._row(self.n_components).stability:.2f} (adjusted Rand index), and {alone}"
        )
        if self.runner_up is not None:
            stability = self._row(self.runner_up).stability
            text = f"{text}; next best {self.runner_up}, to {stability:.2f}"
        return f"{text}; more were not tried" if self.open_ended else text

    @property
    def open_ended(self) -> bool:
        """Whether modularity may go on growing beyond the largest number tried."""
        best = max(range(len(self.table)), key=lambda at: self.table[at].modularity, default=0)
        return len(self.table) - best <= PATIENCE

    def _row(self, n_components: int) -> ClusterRow:
        return next(row for row in self.table if row.n_components == n_components)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_json` takes."""
        table = [row._asdict() for row in self.table]
        said = {"agreement": self.agreement, "sentence": self.sentence}
        return {**asdict(self), **said, "table": table}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """Return the selection that `to_json` wrote."""
        table = tuple(ClusterRow(**row) for row in record["table"])
        return cls(record["n_components"], record["runner_up"], record["n_halves"], table)

    def __str__(self) -> str:
        lines = [f"{'K':>4} {'stability':>9} {'+-':>6} {'modularity':>10} {'halves':>6}"]
        for row in self.table:
            mark = "  <-" if row.n_components == self.n_components else ""
            lines.append(
                f"{row.n_components:>4} {row.stability:>9.3f} {row.stability_sd:>6.3f} "
                f"{row.modularity:>10.4f} {row.chosen_by:>6}{mark}"
            )
        return "\n".join(lines)


def select_n_clusters(
    X: Any,
    most: int = MOST_CLUSTERS,
    *,
    n_neighbors: int = 15,
    n_walk_steps: Sequence[int] = (20, 5),
    random_state: Any = None,
) -> ClusterSelection:
    """Choose the number of clusters along a graph of neighbours, whatever their shape.

    What `LatentMixture(n_components="auto")` asks of its latents. Where clusters are Gaussian,
    `select_n_components` counts them by their likelihood.

    Parameters
    ----------
    X : (N, D)
        Rows whose Euclidean distances to near rows mean something. Halves are of at most 20,000.
    most : int, default=50
        The largest number to try. The search ends before, five numbers after the most modular.
    n_neighbors, n_walk_steps
        As in :class:`Refinement`.
    random_state : int, RandomState or None
        Seed of the halves, and of what is sought in them.

    Returns
    -------
    ClusterSelection

    Raises
    ------
    InputError, ParameterError
        If X is no matrix of finite numbers, or a number is out of its domain.

    References
    ----------
    Ben-Hur, Elisseeff and Guyon (2002), "A stability based method for discovering structure in
    clustered data"; Lange, Roth, Braun and Buhmann (2004), "Stability-based validation of
    clustering solutions"; von Luxburg (2010), "Clustering stability: an overview"; Newman and
    Girvan (2004), "Finding and evaluating community structure in networks".

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import select_n_clusters
    >>> centres = np.repeat([[0, 0], [9, 0], [0, 9]], 40, axis=0)
    >>> X = np.random.RandomState(0).randn(120, 2) + centres
    >>> select_n_clusters(X, random_state=0).n_components
    3
    """
    check_number("most", most, kind=Integral, least=1)
    check_number("n_neighbors", n_neighbors, kind=Integral, least=1)
    check_walk_steps(n_walk_steps)
    rows = check_rows(BaseEstimator(), X, reset=True)
    seed = draw_seeds(random_state, 1)[0]
    steps = tuple(map(int, n_walk_steps))
    return selection_of(compare_numbers(rows, int(most), seed, int(n_neighbors), steps))


def settle_n_components(
    mixture: GaussianMixture, latents: np.ndarray, how: Refinement, listener: Listener
) -> ClusterSelection:
    """Choose a mixture's number of components by its rows to be, and say so.

    The seed is the mixture's; `how` says what a graph is.
    """
    listener(Stage("Choosing the number of components"))
    selection = select_n_clusters(
        latents,
        n_neighbors=how.n_neighbors,
        n_walk_steps=how.n_walk_steps,
        random_state=mixture.random_state,
    )
    listener(Stage(selection.sentence))
    if mixture.verbose:
        print(selection.sentence)
    mixture.set_params(n_components=selection.n_components)
    return selection


def selection_of(compared: Sequence[SizeOfGroups]) -> ClusterSelection:
    """Return the choice among numbers of groups that halves were asked about."""
    if not compared:
        return ClusterSelection(1, None, 0, ())
    stability = np.array([each.stability for each in compared])
    modularity = np.array([each.modularity for each in compared])
    by_half = [ranked(*each)[:1] for each in zip(stability.T, modularity.T, strict=True)]
    chosen_by = np.bincount(np.concatenate(by_half), minlength=len(compared))
    table = tuple(
        ClusterRow(
            each.n_groups,
            float(stability[at].mean()),
            float(stability[at].std()),
            float(modularity[at].mean()),
            int(chosen_by[at]),
        )
        for at, each in enumerate(compared)
    )
    order = ranked(stability.mean(axis=1), modularity.mean(axis=1))
    places = [table[at].n_components for at in order]
    chosen = places[0] if places else 1
    runner_up = places[1] if len(places) > 1 else None
    return ClusterSelection(chosen, runner_up, stability.shape[1], table)
