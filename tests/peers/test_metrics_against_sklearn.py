"""Clustering and classification scores beside scikit-learn's, and beside brute force."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from latentmix import metrics

# scikit-learn suspects a regression where labels are many and rows are few.
pytestmark = pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
thorough = settings(max_examples=200, deadline=None)
MOST = 4


@st.composite
def partitions(draw):
    """Return K, C, the component of each row, and its label, some of them unknown."""
    n_components, n_classes = draw(st.integers(1, MOST)), draw(st.integers(1, MOST))
    component, label = st.integers(0, n_components - 1), st.integers(0, n_classes - 1)
    known = draw(st.lists(st.tuples(component, label), min_size=1, max_size=30))
    unknown = draw(st.lists(st.tuples(component, st.just(-1)), max_size=5))
    rows = np.array(draw(st.permutations(known + unknown)), np.int64).reshape(-1, 2)
    return n_components, n_classes, rows[:, 0], rows[:, 1]


def table_of(partition):
    n_components, n_classes, components, labels = partition
    return metrics.contingency_table(components, labels, n_components, n_classes)


def known_rows(partition):
    """Return components and labels of the labelled rows alone."""
    _, _, components, labels = partition
    return components[labels >= 0], labels[labels >= 0]


@thorough
@given(partitions())
def test_mutual_information_is_the_peers(partition):
    components, labels = known_rows(partition)
    expected = peer.normalized_mutual_info_score(labels, components)
    ours = metrics.normalized_mutual_info(table_of(partition))
    assert ours == pytest.approx(expected, abs=1e-9)
    assert 0 <= ours <= 1


@thorough
@given(partitions())
def test_rand_index_is_the_peers(partition):
    components, labels = known_rows(partition)
    expected = peer.adjusted_rand_score(labels, components)
    assert metrics.adjusted_rand_index(table_of(partition)) == pytest.approx(expected, abs=1e-12)


@thorough
@given(partitions())
def test_contingency_table_is_the_peers_confusion_matrix(partition):
    n_components, n_classes, *_ = partition
    components, labels = known_rows(partition)
    whole = peer.confusion_matrix(components, labels, labels=range(MOST))
    np.testing.assert_array_equal(table_of(partition), whole[:n_components, :n_classes])
    assert whole.sum() == len(labels)


@thorough
@given(partitions())
def test_confusion_matrix_and_accuracy_are_the_peers(partition):
    *_, predicted, labels = partition
    known_predicted, known = known_rows(partition)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, predicted, MOST),
        peer.confusion_matrix(known, known_predicted, labels=range(MOST)),
    )
    expected = peer.accuracy_score(known, known_predicted)
    assert metrics.accuracy(predicted, labels) == pytest.approx(expected, abs=1e-15)


@thorough
@given(partitions())
def test_hungarian_accuracy_is_the_best_of_all_matches(partition):
    components, labels = known_rows(partition)
    # A component matched with a class beyond the last is matched with none.
    best = max(
        sum(match[k] == c for k, c in zip(components, labels, strict=True))
        for match in permutations(range(MOST))
    )
    expected = best / len(labels)
    assert metrics.hungarian_accuracy(table_of(partition)) == pytest.approx(expected, abs=1e-15)


@thorough
@given(partitions())
def test_purity_counts_each_components_largest_class(partition):
    components, labels = known_rows(partition)
    classes_of = defaultdict(Counter)
    for component, label in zip(components, labels, strict=True):
        classes_of[component][label] += 1
    largest = {k: counts.most_common(1)[0][1] for k, counts in classes_of.items()}
    table = table_of(partition)
    assert metrics.purity(table) == pytest.approx(sum(largest.values()) / len(labels), abs=1e-15)
    for component, purity in enumerate(metrics.purity_per_component(table)):
        if component in largest:
            expected = largest[component] / classes_of[component].total()
            assert purity == pytest.approx(expected, abs=1e-15)
        else:
            assert np.isnan(purity)


@thorough
@given(partitions(), st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_what_components_are_called(partition, random):
    table = table_of(partition)
    order = random.sample(range(len(table)), len(table))
    for score in (
        metrics.normalized_mutual_info,
        metrics.adjusted_rand_index,
        metrics.hungarian_accuracy,
        metrics.purity,
    ):
        assert score(table[order]) == pytest.approx(score(table), abs=1e-12)


def test_a_table_worked_out_by_hand():
    # Two components, three classes, eight rows.
    table = np.array([[3, 1, 0], [0, 2, 2]])
    assert metrics.hungarian_accuracy(table) == 5 / 8
    assert metrics.purity(table) == 5 / 8
    np.testing.assert_array_equal(metrics.purity_per_component(table), [3 / 4, 1 / 2])
    # Pairs together in both: 3 + 1 + 1; in components: 6 + 6; in classes: 3 + 3 + 1; of 28.
    expected = 12 * 7 / 28
    assert metrics.adjusted_rand_index(table) == pytest.approx(
        (5 - expected) / ((12 + 7) / 2 - expected), rel=1e-15
    )
    # H(K) = log 2; H(C) of 3, 3 and 2 of 8; H(K, C) of 3, 1, 2 and 2 of 8.
    of_classes = -(2 * 3 / 8 * np.log(3 / 8) + 2 / 8 * np.log(2 / 8))
    together = -(3 / 8 * np.log(3 / 8) + 1 / 8 * np.log(1 / 8) + 2 * 2 / 8 * np.log(2 / 8))
    information = np.log(2) + of_classes - together
    assert metrics.normalized_mutual_info(table) == pytest.approx(
        information / ((np.log(2) + of_classes) / 2), rel=1e-14
    )


def test_billions_of_rows_do_not_overflow():
    counts = [[4 * 10**9, 10**9], [2 * 10**9, 5 * 10**9]]
    components = sum(comb(sum(row), 2) for row in counts)
    classes = sum(comb(sum(column), 2) for column in zip(*counts, strict=True))
    together = sum(comb(count, 2) for row in counts for count in row)
    expected = Fraction(components * classes, comb(sum(map(sum, counts)), 2))
    exact = (together - expected) / (Fraction(components + classes, 2) - expected)
    table = np.array(counts, np.int64)
    assert metrics.adjusted_rand_index(table) == pytest.approx(float(exact), rel=1e-9)
    assert metrics.hungarian_accuracy(table) == 0.75


@pytest.mark.parametrize("labels", [np.zeros(0, np.int64), np.full(5, -1)])
def test_without_a_known_label_every_score_is_nan(labels):
    components = np.arange(len(labels)) % 2
    table = metrics.contingency_table(components, labels, 2, 3)
    np.testing.assert_array_equal(table, np.zeros((2, 3), np.int64))
    for score in (
        metrics.normalized_mutual_info,
        metrics.adjusted_rand_index,
        metrics.hungarian_accuracy,
        metrics.purity,
    ):
        assert np.isnan(score(table))
    assert np.isnan(metrics.accuracy(components, labels))
    assert np.all(np.isnan(metrics.purity_per_component(table)))
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, components, 2), np.zeros((2, 2), np.int64)
    )


@pytest.mark.parametrize("n_rows", [1, 6])
def test_a_single_class_in_a_single_component_agrees_perfectly(n_rows):
    table = np.array([[n_rows]])
    assert metrics.normalized_mutual_info(table) == 1
    assert metrics.adjusted_rand_index(table) == 1
    assert metrics.hungarian_accuracy(table) == metrics.purity(table) == 1


def test_a_single_class_over_two_components_tells_nothing():
    table = np.array([[2], [2]])
    assert metrics.normalized_mutual_info(table) == 0
    assert metrics.adjusted_rand_index(table) == 0
    assert metrics.hungarian_accuracy(table) == 0.5
    assert metrics.purity(table) == 1
