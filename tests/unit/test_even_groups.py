"""k-means for groups of like size: the cost it says it lowers, by the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentmix.kernels.kmeans.even import entropy, evened


def rows_of(seed, n_rows=400, n_features=3):
    """Return rows along which nothing tells where groups end, and groups drawn at random."""
    random = np.random.RandomState(seed)
    return random.rand(n_rows, n_features) ** 2, random.randint(5, size=n_rows)


def cost_of(x, groups, evenness):
    """Return mean squared distance to the group's mean, minus weighted entropy of the sizes."""
    inertia, shares = 0.0, []
    for group in np.unique(groups):
        own = x[groups == group]
        inertia += np.sum((own - own.mean(axis=0)) ** 2)
        shares.append(len(own) / len(x))
    return inertia / len(x) + evenness * np.sum(np.multiply(shares, np.log(shares)))


@pytest.mark.parametrize("evenness", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_cost_is_what_its_definition_gives_and_lower_than_before(seed, evenness):
    x, before = rows_of(seed)
    found = evened(x, before, 5, evenness)
    assert found.cost == pytest.approx(cost_of(x, found.groups, evenness), abs=1e-10)
    assert found.cost < cost_of(x, before, evenness) - 0.01
    np.testing.assert_array_equal(before, rows_of(seed)[1])  # and what was given is untouched


@pytest.mark.parametrize("evenness", [0.0, 0.1])
def test_no_row_would_be_better_off_elsewhere(evenness):
    x, before = rows_of(0)
    found = evened(x, before, 5, evenness, max_iter=300)
    moved = found.groups.copy()
    for row in range(0, len(x), 10):
        for other in set(range(5)) - {found.groups[row]}:
            moved[row] = other
            # A row that goes takes its group's mean along, which is of the order of 1 / N squared.
            assert cost_of(x, moved, evenness) > found.cost - 1 / len(x) ** 2
        moved[row] = found.groups[row]


def test_without_weight_each_row_is_in_the_group_whose_mean_is_nearest():
    x, before = rows_of(1)
    groups = evened(x, before, 5, 0.0, max_iter=300).groups
    means = np.stack([x[groups == group].mean(axis=0) for group in range(5)])
    nearest = np.argmin(((x[:, None] - means) ** 2).sum(axis=2), axis=1)
    np.testing.assert_array_equal(groups, nearest)


def test_the_more_evenness_weighs_the_more_alike_are_the_sizes():
    x, before = rows_of(2, n_rows=2000)
    entropies = [entropy(evened(x, before, 5, evenness).groups) for evenness in (0, 0.1, 0.5, 2)]
    assert np.all(np.diff(entropies) > 0)
    assert entropies[-1] == pytest.approx(np.log(5), abs=0.002)


def test_groups_that_lie_far_apart_are_not_evened():
    random = np.random.RandomState(0)
    truth = np.repeat([0, 1], [900, 100])
    x = 6.0 * truth[:, None] + random.randn(1000, 2)
    np.testing.assert_array_equal(evened(x, truth, 2, 0.8).groups, truth)


@given(st.integers(1, 60), st.integers(1, 8), st.floats(0, 5), st.integers(0, 2**16), st.booleans())
def test_any_rows_have_a_group(n_rows, n_groups, evenness, seed, equal):
    random = np.random.RandomState(seed)
    x = np.ones((n_rows, 2)) if equal else random.randn(n_rows, 2)
    found = evened(x, random.randint(n_groups, size=n_rows), n_groups, evenness)
    assert found.groups.shape == (n_rows,)
    assert found.groups.min() >= 0 and found.groups.max() < n_groups
    assert np.isfinite(found.cost)


def test_entropy_is_in_nats_and_knows_groups_without_rows():
    assert entropy(np.repeat([0, 1, 2, 3], 5)) == pytest.approx(np.log(4))
    assert entropy(np.repeat([0, 2], 5)) == pytest.approx(np.log(2))
    assert entropy(np.zeros(9, int)) == 0
