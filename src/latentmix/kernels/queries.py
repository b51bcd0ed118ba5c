"""Which rows to label next: a typical one of each cluster, then more where there is doubt.

A first label is worth most where it names a component: each gets a row where its own density is
high, larger components first (typical rows beat doubtful ones as long as labels are few: Hacohen,
Dekel and Weinshall 2022, "Active learning on a budget: opposite strategies suit high and low
budgets"). In latent space the very densest row can be another kind's that happens to lie at the
component's mean: of the densest tenth it is the one that looks most like them all. Every label more
goes to the cluster with the most doubt about classes for each label it has (uncertainty sampling:
Settles 2009, "Active learning literature survey", section 3.1). There it goes to a row of the
denser half far from those that have a label (core sets: Sener and Savarese 2018, "Active learning
for convolutional neural networks", algorithm 1), whatever its own doubt: a cluster's rows in most
doubt do not stand for the others, whom their labels name as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from latentmix.kernels.arrays import Floats

# Doubt of a row that is in none: where no row is in doubt, the size of clusters decides.
LEAST_DOUBT: Final = 0.01
# Of a cluster's rows, the densest so many may be asked for first.
TYPICAL_SHARE: Final = 0.1


class Landscape(NamedTuple):
    """Where rows lie, and what a mixture says of them.

    Attributes
    ----------
    responsibilities : (N, K)
        p(k|x).
    log_density : (N,)
        log p of each row, or of its latents, in nats.
    places : (N, L)
        What distances are taken between, each column over its own standard deviation.
    looks : callable, optional
        From row numbers (n,) to what the rows look like (n, D), where `places` are only latents.
    """

    responsibilities: Float[Floats, "N K"]
    log_density: Float[Floats, " N"]
    places: Float[Floats, "N L"]
    looks: Callable[[np.ndarray], np.ndarray] | None = None


def doubt_of(proba: Float[Floats, "N C"]) -> Float[Floats, " N"]:
    """Return the entropy of each row's probabilities over the largest there is, in [0, 1]."""
    positive = np.where(proba > 0, proba, 1.0)
    entropy: np.ndarray = -np.sum(positive * np.log(positive), axis=1)
    entropy /= np.log(max(proba.shape[1], 2))
    return entropy


def queried(
    landscape: Landscape, doubt: Float[Floats, " N"], labelled: Bool[np.ndarray, " N"], n_rows: int
) -> Int[np.ndarray, " n"]:
    """Return the numbers of the rows to label, the most useful first.

    Parameters
    ----------
    landscape : Landscape
    doubt : (N,)
        About the class of each row, in [0, 1].
    labelled : (N,) bool
        Rows that have a label, and are not asked for.
    n_rows : int
        At most the number of rows without one.
    """
    asking = _Asking(landscape, np.maximum(doubt, LEAST_DOUBT), labelled)
    for component in np.argsort(-landscape.responsibilities.sum(axis=0), kind="stable"):
        if len(asking.asked) < n_rows and not asking.n_labels[component]:
            asking.ask_typical(component)
    while len(asking.asked) < n_rows:
        asking.ask_in_doubt()
    return np.array(asking.asked, dtype=np.int64)


class _Asking:
    """Rows asked for so far, and what that leaves."""

    def __init__(self, landscape: Landscape, doubt: np.ndarray, labelled: np.ndarray) -> None:
        n_components = landscape.responsibilities.shape[1]
        self.landscape = landscape
        self.cluster = landscape.responsibilities.argmax(axis=1)
        self.free = ~labelled
        self.n_labels = np.bincount(self.cluster[labelled], minlength=n_components)
        self.n_free = np.bincount(self.cluster[self.free], minlength=n_components)
        self.doubt_of_cluster = np.bincount(self.cluster, doubt, n_components)
        self.rows = [np.flatnonzero(self.cluster == k) for k in range(n_components)]
        self.asked: list[int] = []
        # Squared distance to the nearest row of the same cluster that has a label.
        self.distance = np.full(len(doubt), np.inf)
        for row in np.flatnonzero(labelled).tolist():
            self._measure_from(row)

    def ask_typical(self, component: int) -> None:
        """Ask for a row of a cluster where the component's own density is highest.

        Of rows that look like something, the densest tenth's that is nearest to their mean look.
        """
        rows = self._free_rows(component)
        if not len(rows):
            return
        with np.errstate(divide="ignore"):
            log_share = np.log(self.landscape.responsibilities[rows, component])
        densest = np.argsort(-(log_share + self.landscape.log_density[rows]), kind="stable")
        if self.landscape.looks is None:
            self._ask(int(rows[densest[0]]))
            return
        typical = np.sort(rows[densest[: math.ceil(len(rows) * TYPICAL_SHARE)]])
        looks = np.asarray(self.landscape.looks(typical), np.float64)
        away = np.sum((looks - looks.mean(axis=0)) ** 2, axis=1)
        self._ask(int(typical[np.argmin(away)]))

    def ask_in_doubt(self) -> None:
        """Ask for a row of the cluster whose labels leave the most doubt."""
        worth = np.where(self.n_free > 0, self.doubt_of_cluster / (self.n_labels + 1), -1.0)
        component = int(np.argmax(worth))
        rows = self._free_rows(component)
        density = self.landscape.log_density
        typical = rows[density[rows] >= np.median(density[self.rows[component]])]
        rows = typical if len(typical) else rows
        # Without any label in the cluster all are as far from one: then the densest.
        far = self.distance[rows] if self.n_labels[component] else density[rows]
        self._ask(int(rows[np.argmax(far)]))

    def _free_rows(self, component: int) -> np.ndarray:
        rows = self.rows[component]
        free: np.ndarray = rows[self.free[rows]]
        return free

    def _ask(self, row: int) -> None:
        self.asked.append(row)
        self.free[row] = False
        self.n_labels[self.cluster[row]] += 1
        self.n_free[self.cluster[row]] -= 1
        self._measure_from(row)

    def _measure_from(self, row: int) -> None:
        rows = self.rows[self.cluster[row]]
        away = np.sum((self.landscape.places[rows] - self.landscape.places[row]) ** 2, axis=1)
        self.distance[rows] = np.minimum(self.distance[rows], away)
