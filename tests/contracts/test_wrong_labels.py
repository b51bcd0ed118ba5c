"""Labels of which some are wrong: names hold, and the wrong ones are found."""

import numpy as np
import pytest

from latentmix import GaussianMixture
from latentmix.errors import InputError
from latentmix.kernels.cross_fitting import label_errors

CENTRES = 5 * np.eye(5)


def five_kinds(n_rows, seed=0):
    random = np.random.RandomState(seed)
    kinds = random.randint(5, size=n_rows)
    return CENTRES[kinds] + random.randn(n_rows, 5), kinds


def with_wrong(kinds, seed=0):
    """Return labels of which every tenth is another class's, and which ones."""
    random = np.random.RandomState(seed)
    wrong = np.zeros(len(kinds), bool)
    wrong[random.permutation(len(kinds))[: len(kinds) // 10]] = True
    return np.where(wrong, (kinds + random.randint(1, 5, len(kinds))) % 5, kinds), wrong


@pytest.fixture(scope="module")
def mixture():
    return GaussianMixture(10, random_state=0).fit(five_kinds(3000, seed=1)[0])


@pytest.mark.parametrize(("n_labels", "most"), [(100, 0.03), (1000, 0.01)])
def test_a_tenth_of_wrong_labels_costs_little(mixture, n_labels, most):
    X, kinds = five_kinds(5000, seed=2)
    costs = []
    for draw in range(10):
        few, labels = five_kinds(n_labels, seed=100 + draw)
        right = np.mean(mixture.label(few, labels).predict_class(X) == kinds)
        wrong = np.mean(mixture.label(few, with_wrong(labels, draw)[0]).predict_class(X) == kinds)
        costs.append(right - wrong)
    assert np.mean(costs) < most


def test_the_wrong_labels_come_first_and_the_right_class_is_suggested(mixture):
    X, kinds = five_kinds(400, seed=3)
    labels, wrong = with_wrong(kinds)
    found = mixture.suspects(X, labels)
    assert sorted(found.rows) == list(range(400))
    assert np.all(np.diff(found.belief) >= 0)
    assert wrong[found.rows[:40]].mean() > 0.9
    assert (found.suggested[:40] == kinds[found.rows[:40]]).mean() > 0.9
    marked = wrong[found.rows[found.likely_wrong]]
    assert marked.mean() > 0.8 and marked.sum() > 0.9 * wrong.sum()


def test_unknown_labels_are_no_suspects_and_their_order_does_not_matter(mixture):
    X, kinds = five_kinds(400, seed=3)
    names = np.array(["a", "b", "c", "d", "e"])[with_wrong(kinds)[0]].astype(object)
    names[::3] = None
    found = mixture.suspects(X, names)
    assert set(found.rows) == set(range(400)) - set(range(0, 400, 3))
    assert set(found.suggested) <= set("abcde")
    order = np.random.RandomState(0).permutation(400)
    again = mixture.suspects(X[order], names[order])
    np.testing.assert_array_equal(np.sort(found.belief), np.sort(again.belief))
    assert set(order[again.rows[again.likely_wrong]]) == set(found.rows[found.likely_wrong])
    with pytest.raises(InputError, match="5 rows have a label but n_folds=10"):
        mixture.suspects(X[:8], names[:8])


def test_errors_are_counted_by_what_rows_of_a_class_are_believed_on_average():
    proba = np.array([[0.9, 0.1], [0.5, 0.5], [0.45, 0.55], [0.2, 0.8], [0.8, 0.2]])
    labels = np.array([0, 0, 1, 1, 1])
    # Averages: 0.7 for the first class, and 0.517 for the second.
    assert label_errors(proba, labels).tolist() == [False, False, False, False, True]
    # A row that no class is believable for is no error, nor one of a class without rows.
    assert (
        label_errors(np.array([[0.6, 0.4], [0.8, 0.2]]), np.array([0, 0])).tolist() == [False] * 2
    )
