"""Naming without a fold: against leaving rows out by hand, and whatever the order."""

import numpy as np
import pytest

from latentmix.kernels.cross_fitting import cross_fitted, dealt, order_of_rows
from latentmix.kernels.naming import name_components


@pytest.fixture(scope="module")
def labelled():
    """Return p(k|x) of 60 rows in 4 components, and their classes, 3 of them."""
    random = np.random.RandomState(0)
    indices = random.randint(3, size=60)
    favoured = np.eye(4)[(indices + (random.random_sample(60) < 0.2)) % 4]
    responsibilities = random.dirichlet(np.ones(4), size=60) + 3 * favoured
    return responsibilities / responsibilities.sum(axis=1, keepdims=True), indices


def test_each_row_left_out_alone_is_named_by_all_others(labelled):
    responsibilities, indices = labelled
    found = cross_fitted(responsibilities, indices, 3, 1.0, n_folds=60)
    for row in range(60):
        others = np.arange(60) != row
        one_hot = np.eye(3)[indices[others]]
        named = name_components(responsibilities[others], one_hot, 1.0)
        np.testing.assert_allclose(
            found.class_proba[row], responsibilities[row] @ named.class_probs, atol=1e-6
        )
    assert found.accuracies.shape == (60,)


def test_a_rows_own_label_has_no_say(labelled):
    responsibilities, indices = labelled
    order = order_of_rows(responsibilities, indices)
    last = order[-1]  # of the last class: one class more keeps the order of rows
    changed = indices.copy()
    changed[last] = 3
    before = cross_fitted(responsibilities, indices, 4, 0.0, n_folds=10).class_proba
    after = cross_fitted(responsibilities, changed, 4, 0.0, n_folds=10).class_proba
    np.testing.assert_allclose(before[last], after[last], atol=1e-6)
    assert np.abs(before - after).max() > 1e-3


def test_another_order_of_rows_gives_the_same_bits(labelled):
    responsibilities, indices = labelled
    shuffled = np.random.RandomState(1).permutation(60)
    one = cross_fitted(responsibilities, indices, 3, 1.0, n_folds=10)
    other = cross_fitted(responsibilities[shuffled], indices[shuffled], 3, 1.0, n_folds=10)
    np.testing.assert_array_equal(one.class_proba[shuffled], other.class_proba)
    np.testing.assert_array_equal(one.accuracies, other.accuracies)


def test_folds_have_their_share_of_rows_and_of_every_class(labelled):
    _, indices = labelled
    fold = dealt(60, 7)
    assert np.ptp(np.bincount(fold)) <= 1
    of_class = [np.bincount(fold[np.sort(indices) == label], minlength=7) for label in range(3)]
    assert max(np.ptp(counts) for counts in of_class) <= 1
