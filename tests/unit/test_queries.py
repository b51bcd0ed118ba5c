"""Which rows are asked about: typical, in doubt, apart from each other, and never twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentmix.kernels.queries import Landscape, doubt_of, queried

NONE = np.zeros(9, bool)


def line():
    """Return nine rows on a line in clusters of 4, 3 and 2, the densest first in each."""
    cluster = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    responsibilities = np.where(np.eye(3)[cluster] == 1, 0.98, 0.01)
    places = np.array([0.0, 1, 2, 3, 10, 11, 12, 20, 21])
    log_density = -np.array([0.0, 1, 2, 3, 0, 1, 2, 0, 1])
    return Landscape(responsibilities, log_density, places[:, None])


def test_first_the_densest_row_of_each_cluster_by_their_size():
    assert queried(line(), np.zeros(9), NONE, 3).tolist() == [0, 4, 7]
    labelled = NONE.copy()
    labelled[6] = True  # the second cluster has a label
    assert queried(line(), np.zeros(9), labelled, 2).tolist() == [0, 7]


def test_then_of_the_cluster_in_doubt_the_typical_row_far_from_labels():
    doubt = np.zeros(9)
    doubt[4:7] = [0.1, 0.9, 1.0]
    # Row 6 is farthest from a label, and in most doubt, but in the thinner half.
    assert queried(line(), doubt, NONE, 5).tolist() == [0, 4, 7, 5, 6]
    doubt[:4] = 0.8
    # Of doubt for each label, 3.2 / 2 is more than 2.0 / 2, and so is 3.2 / 3.
    # Once the denser half has labels, the others have their turn.
    assert queried(line(), doubt, NONE, 5).tolist() == [0, 4, 7, 1, 3]


def test_where_nothing_is_in_doubt_the_size_of_clusters_decides():
    assert queried(line(), np.zeros(9), NONE, 4)[3] in (1, 2, 3)
    # 4 rows for two labels are as many as 2 for one; in the first one, then.
    assert queried(line(), np.zeros(9), NONE, 5)[4] in (5, 6)


def test_a_component_without_rows_of_its_own_is_not_asked_about():
    landscape = line()
    shares = np.column_stack([0.9 * landscape.responsibilities, np.full(9, 0.1)])
    found = queried(landscape._replace(responsibilities=shares), np.zeros(9), NONE, 9)
    assert sorted(found) == list(range(9))


def test_doubt_is_entropy_over_its_most():
    found = doubt_of(np.array([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]]))
    np.testing.assert_allclose(found, [0, 1, np.log(2) / np.log(3)], atol=1e-12)
    assert doubt_of(np.ones((2, 1))).tolist() == [0, 0]


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(2, 40), st.integers(1, 6))
def test_any_number_of_rows_is_found_each_once_and_fewer_are_the_first_of_more(seed, n_rows, K):
    random = np.random.RandomState(seed)
    responsibilities = random.dirichlet(np.full(K, 0.3), size=n_rows)
    places = random.randint(3, size=(n_rows, 2)).astype(float)  # with twins
    landscape = Landscape(responsibilities, random.randn(n_rows), places)
    labelled = random.random_sample(n_rows) < 0.3
    doubt = random.random_sample(n_rows)
    n_free = int((~labelled).sum())
    found = queried(landscape, doubt, labelled, n_free)
    assert sorted(found) == np.flatnonzero(~labelled).tolist()
    few = queried(landscape, doubt, labelled, n_free // 2)
    np.testing.assert_array_equal(few, found[: n_free // 2])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_labels_go_where_the_doubt_is(share):
    random = np.random.RandomState(0)
    cluster = np.repeat([0, 1], 500)
    places = 10 * cluster[:, None] + random.randn(1000, 2)
    responsibilities = np.eye(2)[cluster]
    doubt = np.where(cluster == 1, 0.8, share)
    landscape = Landscape(
        responsibilities, -np.sum((places - 10 * cluster[:, None]) ** 2, 1), places
    )
    asked = queried(landscape, doubt, np.zeros(1000, bool), 52)
    # 0.8 to 0.01, and 0.8 to 0.5 of the labels.
    assert cluster[asked].sum() == pytest.approx(52 * 0.8 / (0.8 + max(share, 0.01)), abs=1.5)
    rows = places[asked[2:]]
    apart = np.sqrt(((rows[:, None] - rows) ** 2).sum(axis=2)) + 99 * np.eye(50)
    assert apart.min() > 0.05


def test_of_the_densest_tenth_the_row_that_looks_like_the_others_is_asked_for():
    """The very densest may be another kind's, that lies at the mean of latents by chance."""
    random = np.random.RandomState(0)
    shares = np.ones((200, 1))
    density = -np.arange(200.0)
    looks = random.randn(200, 5)
    looks[0] += 20
    landscape = Landscape(shares, density, random.randn(200, 2), looks.__getitem__)
    none = np.zeros(200, bool)
    (asked,) = queried(landscape, np.zeros(200), none, 1)
    away = np.sum((looks[:20] - looks[:20].mean(axis=0)) ** 2, axis=1)
    assert asked == away.argmin() != 0
    labelled = none.copy()
    labelled[1:] = True
    assert queried(landscape, np.zeros(200), labelled, 1).tolist() == [0]
