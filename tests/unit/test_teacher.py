"""What a round has for a teacher once labels are known: groups, classes, and the graph's say."""

import numpy as np
import pytest
from jax.random import key
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from latentmix.estimators import GaussianMixture, Refinement, teacher
from latentmix.estimators.labels import known_labels
from latentmix.estimators.teacher import (
    by_class,
    groups_of,
    importance_of,
    principal_inputs,
    targets_of,
)
from latentmix.kernels.diffusion import neighbour_graph, spread_labels
from latentmix.models.vae import Architecture, Network


def places(n_each, centres, seed=0, width=0.3):
    """Return rows around each centre, and which it is."""
    random = np.random.RandomState(seed)
    which = np.repeat(np.arange(len(centres)), n_each)
    return np.asarray(centres, float)[which] + width * random.randn(len(which), 2), which


def labels_of(classes, rows, n_rows):
    labels = np.full(n_rows, -1)
    labels[rows] = classes
    return known_labels(labels, n_rows)


CENTRES = [[0, 0], [9, 0], [0, 9], [9, 9]]


def test_labels_flow_to_their_neighbours():
    """As far as the graph reaches: the fixed point of F = a S F + (1 - a) Y, class masses even."""
    x, which = places(40, CENTRES)
    graph = neighbour_graph(x, 8)
    labels = np.zeros((160, 4))
    labels[[0, 40, 80, 120], [0, 1, 2, 3]] = 1
    found = spread_labels(graph, labels)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_array_equal(found.argmax(axis=1), which)
    lengths = np.sqrt(np.asarray(graph.sum(axis=1)).ravel())
    normalised = graph.toarray() / np.outer(lengths, lengths)
    exact = np.linalg.solve(np.eye(160) - 0.99 * normalised, labels)
    exact = exact / exact.sum(axis=0)
    np.testing.assert_allclose(found, exact / exact.sum(axis=1, keepdims=True), atol=1e-3)


def test_rows_that_no_label_reaches_have_the_labels_frequencies():
    x, _ = places(30, [[0, 0], [50, 50]])
    labels = np.zeros((60, 2))
    labels[[0, 1, 2], [0, 0, 1]] = 1
    found = spread_labels(neighbour_graph(x, 5), labels)
    np.testing.assert_allclose(found[30:], [[2 / 3, 1 / 3]] * 30)


def test_groups_that_agree_with_their_labels_stay_as_they_are():
    x, which = places(40, CENTRES)
    known = labels_of([3, 2, 1, 0], [0, 40, 80, 120], 160)
    np.testing.assert_array_equal(by_class(which, 4, known, neighbour_graph(x, 8)), which)


def test_a_labelled_row_goes_to_its_class_and_its_group_stays():
    """Two labels of one class against one of another: the odd row moves, its group does not."""
    which = np.repeat(np.arange(4), 40)
    known = labels_of([0, 0, 1, 1, 2, 3, 1], [0, 1, 40, 41, 80, 120, 5], 160)
    found = by_class(which, 4, known, None)
    assert found[5] == 1
    np.testing.assert_array_equal(np.delete(found, 5), np.delete(which, 5))


def test_classes_that_groups_confuse_are_told_apart_along_the_graph():
    """One class has two groups and two classes share one; labels that flow put it right."""
    x, which = places(60, CENTRES)
    confused = which.copy()
    confused[which == 1] = 0  # two classes in one group
    left = (which == 2) & (x[:, 0] < 0)
    confused[left] = 1  # one class in two
    rows = np.concatenate([np.arange(0, 240, 60) + shift for shift in range(6)])
    known = labels_of(which[rows], rows, 240)
    found = by_class(confused, 4, known, neighbour_graph(x, 8))
    # Each row is in a component of its class, and each class has one.
    pairs = set(zip(found.tolist(), which.tolist(), strict=True))
    assert len({component for component, _ in pairs}) == len(pairs) == 4
    # A mixture's groups, with no graph to go by, are left but for the labelled rows.
    without = by_class(confused, 4, known, None)
    assert (without != confused).sum() < len(rows)


def test_more_components_than_classes_are_kept_and_fewer_are_shared():
    x, which = places(40, CENTRES)
    two_classes = which // 2
    known = labels_of(two_classes[::10], np.arange(0, 160, 10), 160)
    np.testing.assert_array_equal(by_class(which, 4, known, neighbour_graph(x, 8)), which)
    known = labels_of(which[::10], np.arange(0, 160, 10), 160)
    np.testing.assert_array_equal(by_class(two_classes, 2, known, None), two_classes)


def test_a_component_without_labels_keeps_its_rows():
    which = np.repeat(np.arange(4), 40)
    known = labels_of([0, 0, 1, 1, 2, 2], [0, 1, 40, 41, 80, 81], 160)
    np.testing.assert_array_equal(by_class(which, 4, known, None), which)


@pytest.mark.parametrize("groups", ["graph", "mixture"])
def test_labelled_rows_are_in_the_graph_and_have_targets_of_their_class(groups):
    x, which = places(60, CENTRES[:2])
    odd = np.array([7, 33, 90])  # called by the other's name
    rows = np.concatenate([odd, np.arange(40, 60), np.arange(100, 120)])
    classes = np.concatenate([1 - which[odd], which[rows[3:]]])
    known = labels_of(classes, rows, 120)
    how = Refinement(max_graph_rows=100, groups=groups, n_neighbors=8)
    grouped = groups_of(x.astype(np.float32), how, GaussianMixture(2), 0, known=known)
    targets = targets_of(grouped, 120, 2)
    named = targets.argmax(axis=1)
    by_name = {name: set(named[known.rows[known.indices == name]].tolist()) for name in (0, 1)}
    assert by_name[0] | by_name[1] == {0, 1} and not by_name[0] & by_name[1]
    assert (targets[known.rows].max(axis=1) > 0.9).all()


def test_few_labelled_rows_count_for_a_share_of_all_and_many_for_themselves():
    few = importance_of(10_000, labels_of([0, 1], [5, 9], 10_000))
    assert few[5] == few[9] == pytest.approx(250.0)
    assert (np.delete(few, [5, 9]) == 1).all()
    many = importance_of(100, labels_of([0, 1] * 25, np.arange(50), 100))
    assert (many == 1).all()
    assert (importance_of(100, None) == 1).all()


def test_components_that_rows_had_are_mended_and_keep_their_numbers():
    x, which = places(60, CENTRES)
    before = (which + 2) % 4  # other numbers, and one row in ten wrong
    wrong = before.copy()
    wrong[::10] = (wrong[::10] + 1) % 4
    how = Refinement(n_neighbors=8)
    grouped = groups_of(x.astype(np.float32), how, GaussianMixture(4), 0, before=wrong)
    np.testing.assert_array_equal(grouped.groups, before)


def test_components_that_the_graph_speaks_against_are_given_up():
    """Two halves of one place and two places joined: k-means stays there, modularity does not."""
    x, which = places(60, CENTRES)
    before = which.copy()
    before[which == 1] = 0
    before[(which == 2) & (x[:, 0] > 0)] = 1
    how = Refinement(n_neighbors=8)
    grouped = groups_of(x.astype(np.float32), how, GaussianMixture(4), 0, before=before)
    pairs = set(zip(grouped.groups.tolist(), which.tolist(), strict=True))
    assert len(pairs) == 4


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_in_input_space_outvote_latents_by_their_weight(seed):
    """A fifth of the rows of one kind: latents of theirs lie nearer to the other kind."""
    random, kinds = np.random.RandomState(seed), np.repeat([0, 1], 100)
    odd = np.arange(200) < 20
    latents = random.randn(200, 2)
    latents[:, 0] += np.where(odd, 4.5, 7.0 * kinds)
    inputs = random.randn(200, 5) + 9.0 * kinds[:, None]

    def alike(weight):
        how = Refinement(n_neighbors=8, input_weights=(weight,))
        where = inputs.__getitem__ if weight else None
        found = groups_of(latents, how, GaussianMixture(2), 0, inputs=where).groups
        return np.mean(found[odd] == np.bincount(found[20:100]).argmax())

    assert alike(0.0) < 0.5
    assert alike(2.0) > 0.95


@pytest.mark.parametrize(
    ("n_columns", "n_latents", "heard"),
    [(2, 3, True), (3, 3, True), (4, 3, False), (60, 3, False), (50, 60, False)],
)
def test_rows_of_no_more_numbers_than_latents_are_looked_at_alone(n_columns, n_latents, heard):
    """Latents have groups that are noise. Fifty components may be of any number of columns."""
    random = np.random.RandomState(0)
    kinds, noise = np.repeat([0, 1], 100), random.permutation(np.repeat([0, 1], 100))
    latents = random.randn(200, n_latents) + 9.0 * noise[:, None]
    inputs = random.randn(200, n_columns) + 9.0 * kinds[:, None]
    how = Refinement(n_neighbors=8, input_weights=(0.1,))
    groups = groups_of(latents, how, GaussianMixture(2), 0, inputs=inputs.__getitem__).groups
    told = kinds if heard else noise
    assert max(np.mean(groups == told), np.mean(groups != told)) == 1


def test_principal_inputs_keep_the_distances_of_what_the_encoder_is_given():
    X = np.random.RandomState(0).randint(0, 256, (300, 60)).astype(np.uint8)
    X[:, 40:] = X[:, :20]  # 40 directions
    network = Network(Architecture(60, (8,), 2, "linear", "bernoulli"), np.zeros(60), key(0))
    numbers = np.arange(5, 300, 7)
    along = principal_inputs(network, X, numbers, 0)
    assert along.shape == (len(numbers), min(50, len(numbers)))
    np.testing.assert_allclose(pdist(along), pdist(X[numbers] / 255), rtol=1e-4)
    np.testing.assert_array_equal(along, principal_inputs(network, X, numbers, 0))


def test_principal_components_of_wide_inputs_are_learned_from_fewer_rows(monkeypatch):
    X = np.random.RandomState(0).rand(300, 60).astype(np.float32)
    network = Network(Architecture(60, (8,), 2, "linear", "bernoulli"), np.zeros(60), key(0))
    seen, fit = [], PCA.fit
    monkeypatch.setattr(PCA, "fit", lambda self, X: seen.append(len(X)) or fit(self, X))
    for numbers in (2**26, 60 * 70, 60 * 20):
        monkeypatch.setattr(teacher, "NUMBERS_FOR_COMPONENTS", numbers)
        assert principal_inputs(network, X, np.arange(300), 0).shape == (300, 50)
    assert seen == [300, 70, 50]
