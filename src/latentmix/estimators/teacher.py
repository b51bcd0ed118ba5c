"""What a round has for a teacher: groups of the latents, as targets of p(k|x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.decomposition import PCA

from latentmix.data import Rows, RowView
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.labels import KnownLabels
from latentmix.estimators.refinement import Refinement
from latentmix.kernels.cross_fitting import dealt
from latentmix.kernels.diffusion import (
    clusters_of_two_graphs,
    graph_clusters,
    neighbour_graph,
    spread_labels,
)
from latentmix.models import inference
from latentmix.models.vae import Network

# The share of a row's target that is spread over all components: none begins without a row.
DOUBT: Final = 0.01

# So probable is what overrules a row's group.
CERTAIN: Final = 0.8

# A group of which less would be left was not understood, and keeps its rows.
LEAST_LEFT: Final = 0.5

# Few labelled rows count for so much of all rows together.
LABELLED_SHARE: Final = 0.05

# Parts of the labelled rows that the others judge.
N_FOLDS: Final = 5

# Near inputs are looked for along so many principal components, learned from so many rows at most,
# and of wide ones from fewer: their numbers take 128 MiB, and PCA copies them some times.
INPUT_COMPONENTS: Final = 50
ROWS_FOR_COMPONENTS: Final = 10_000
NUMBERS_FOR_COMPONENTS: Final = 2**25


class Grouped(NamedTuple):
    """Rows that have a group, ascending, which group, and the places of those beyond doubt."""

    rows: Int[np.ndarray, " M"]
    groups: Int[np.ndarray, " M"]
    known: Int[np.ndarray, " A"]


def groups_of(
    latents: Float[np.ndarray, "N L"],
    how: Refinement,
    mixture: GaussianMixture,
    seed: int,
    *,
    inputs: Callable[[Int[np.ndarray, " M"]], Float[np.ndarray, "M P"]] | None = None,
    before: Int[np.ndarray, " N"] | None = None,
    known: KnownLabels | None = None,
) -> Grouped:
    """Return as many groups as the mixture has components, of the rows in the graph.

    Where `inputs` gives places of rows in input space, neighbours there count beside those of the
    latents, by `how.input_weights`, and there are no components before. They count alone where they
    are no more numbers than the latents: a network that has room for all of a row may weigh its
    noise like the rest. Components that rows had `before` are mended along the graph. Where labels
    are known, rows are put among the components of their classes (:func:`by_class`).
    """
    n_rows, n_components = len(latents), int(mixture.n_components)
    random = np.random.RandomState(seed)
    chosen = _rows_of_graph(n_rows, how, known, random)
    z = latents[chosen].astype(np.float64)
    graph = None
    if how.groups == "mixture":
        em = clone(mixture).set_params(random_state=seed)
        groups = em.fit(latents).predict(latents[chosen])
    else:
        x = None if inputs is None else inputs(chosen)
        # Fewer components than there may be are all that a row has.
        if x is not None and x.shape[1] <= min(z.shape[1], INPUT_COMPONENTS - 1):
            z, x = x, None
        graph = neighbour_graph(z, int(how.n_neighbors))
        walks = (int(random.randint(2**31 - 1)), tuple(map(int, how.n_walk_steps)))
        evenness = float(how.evenness)
        if x is None:
            named = None if before is None else before[chosen]
            groups = graph_clusters(graph, n_components, *walks, named, evenness)
        else:
            graphs = graph, neighbour_graph(x, int(how.n_neighbors))
            weights = tuple(map(float, how.input_weights))
            groups = clusters_of_two_graphs(graphs, weights, n_components, *walks, evenness)
    at = np.empty(0, np.int64)
    if known is not None:
        at = np.searchsorted(chosen, known.rows)
        groups = by_class(groups, n_components, known._replace(rows=at), graph)
    return Grouped(chosen, groups, at)


def principal_inputs(
    network: Network, rows: Rows, numbers: Int[np.ndarray, " M"], seed: int
) -> Float[np.ndarray, "M P"]:
    """Return what the encoder is given of some rows, along its principal components.

    They are learned from rows drawn at random, all of which are in memory at once.
    """
    random = np.random.RandomState(seed)
    n_in_memory = NUMBERS_FOR_COMPONENTS // rows.shape[1]
    n_drawn = int(np.clip(n_in_memory, INPUT_COMPONENTS, ROWS_FOR_COMPONENTS))
    drawn = np.sort(random.permutation(numbers)[:n_drawn])
    learned = inference.encoded(network, RowView(rows, drawn))
    pca = PCA(min(INPUT_COMPONENTS, *learned.shape), random_state=random).fit(learned)
    along = inference.encoded(network, RowView(rows, numbers), pca.transform)
    return along.astype(np.float64)


def overruled(grouped: Grouped, proba: Float[np.ndarray, "M K"]) -> Grouped:
    """Return groups, or where a second opinion p(k|x) is all but certain of another that one.

    Known rows keep theirs, and so does a group that would lose most of its rows: a classifier
    that has not learned it is certain of others.
    """
    groups = grouped.groups
    moved = (proba.max(axis=1) > CERTAIN) & (proba.argmax(axis=1) != groups)
    moved[grouped.known] = False
    n_groups = proba.shape[1]
    counts, left = (np.bincount(rows, minlength=n_groups) for rows in (groups, groups[~moved]))
    moved &= (left >= LEAST_LEFT * counts)[groups]
    return grouped._replace(groups=np.where(moved, proba.argmax(axis=1), groups))


def _rows_of_graph(
    n_rows: int, how: Refinement, known: KnownLabels | None, random: np.random.RandomState
) -> Int[np.ndarray, " M"]:
    """Return the rows that have groups, ascending: all, or some drawn and the labelled."""
    if how.groups == "mixture" or n_rows <= how.max_graph_rows:
        return np.arange(n_rows)
    drawn = random.permutation(n_rows)[: how.max_graph_rows]
    return np.sort(drawn) if known is None else np.union1d(drawn, known.rows)


def by_class(
    groups: Int[np.ndarray, " N"],
    n_components: int,
    known: KnownLabels,
    graph: sparse.csr_matrix | None,
) -> Int[np.ndarray, " N"]:
    """Return the component of each row, one of its class.

    Each class has the component that holds most of its labelled rows, one to one as far as there
    are as many (Kuhn 1955), and components left over are of the class they hold most of. A row's
    class is what its group is of, or what labels say that reach it along the graph: whichever is
    right for more of the labelled rows. The graph says each row's by labels of others; groups have
    their classes from all, which favours them where labels are few. A labelled row has its own. A
    row stays in its group if that is of its class.
    """
    one_hot = np.eye(len(known.classes))[known.indices]
    counts = np.zeros((n_components, one_hot.shape[1]))
    np.add.at(counts, groups[known.rows], one_hot)
    class_of = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    component_of = counts.argmax(axis=0)
    components, classes = linear_sum_assignment(-counts)
    class_of[components], component_of[classes] = classes, components
    said = class_of[groups]
    if graph is not None:
        right = np.mean(said[known.rows] == known.indices)
        if _right_along(graph, known, one_hot) > right:
            said = spread_labels(graph, _given(len(groups), known.rows, one_hot)).argmax(axis=1)
    said[known.rows] = known.indices
    return np.where((said == class_of[groups]) | (said < 0), groups, component_of[said])


def _right_along(graph: sparse.csr_matrix, known: KnownLabels, one_hot: np.ndarray) -> float:
    """Return the share of labelled rows whose class the other labels say along the graph."""
    folds = np.empty(len(known.rows), np.int64)
    folds[np.argsort(known.indices, kind="stable")] = dealt(len(known.rows), N_FOLDS)
    right = 0
    for fold in range(N_FOLDS):
        shown, hidden = folds != fold, folds == fold
        if shown.any() and hidden.any():
            given = _given(graph.shape[0], known.rows[shown], one_hot[shown])
            found = spread_labels(graph, given)[known.rows[hidden]].argmax(axis=1)
            right += int(np.sum(found == known.indices[hidden]))
    return right / len(known.rows)


def _given(n_rows: int, rows: np.ndarray, one_hot: np.ndarray) -> Float[np.ndarray, "N C"]:
    given = np.zeros((n_rows, one_hot.shape[1]))
    given[rows] = one_hot
    return given


def importance_of(n_rows: int, known: KnownLabels | None) -> Float[np.ndarray, " N"]:
    """Return what each row's target counts: labelled rows, where few, for a share of all rows."""
    importance = np.ones(n_rows, np.float32)
    if known is not None:
        importance[known.rows] = max(1.0, LABELLED_SHARE * n_rows / len(known.rows))
    return importance


def targets_of(grouped: Grouped, n_rows: int, n_components: int) -> Float[np.ndarray, "N K"]:
    """Return what p(k|x) is to be: the row's group, but for a hundredth; zeros without a group."""
    targets = np.zeros((n_rows, n_components), np.float32)
    targets[grouped.rows] = DOUBT / n_components
    targets[grouped.rows, grouped.groups] += 1 - DOUBT
    return targets


def moments_of(
    latents: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N K"]
) -> dict[str, np.ndarray]:
    """Return weights, means and variances of the groups: EM's maximisation with these shares."""
    shares, z = targets.astype(np.float64), latents.astype(np.float64)
    counts = shares.sum(axis=0)
    means = shares.T @ z / counts[:, None]
    variances = np.maximum(shares.T @ z**2 / counts[:, None] - means**2, 0.0)
    return {"weights": counts / counts.sum(), "means": means, "variances": variances}
