"""How many groups: what halves are asked, and how their answers are weighed."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from latentmix.kernels import group_numbers
from latentmix.kernels.diffusion import neighbour_graph, within_and_modularity
from latentmix.kernels.group_numbers import PATIENCE, SizeOfGroups, compare_numbers, ranked


def three_discs(n_rows=240, seed=0):
    kinds = np.arange(n_rows) % 3
    return np.array([[0, 0], [20, 0], [0, 20]])[kinds] + np.random.RandomState(seed).randn(
        n_rows, 2
    ), kinds


def test_what_is_unstable_is_not_chosen_however_modular():
    stability, modularity = np.array([0.5, 0.95, 0.9, 0.6]), np.array([0.4, 0.6, 0.65, 0.9])
    # 0.95 * 0.6 and 0.9 * 0.65; then the unstable by the same product.
    assert ranked(stability, modularity).tolist() == [2, 1, 3, 0]
    assert ranked(np.array([1.0, 0.89]), np.array([0.5, 0.9])).tolist() == [0, 1]


def test_halves_agree_on_what_is_apart_and_each_is_judged_by_its_own_graph(monkeypatch):
    x, kinds = three_discs()
    compared = compare_numbers(x, 6, seed=0)
    three = compared[1]
    assert three.n_groups == 3
    assert set(three.stability) == {1.0}
    # With hardly an edge between the discs: three even groups have 1 - 3 / 9.
    assert three.mean_modularity == pytest.approx(2 / 3, abs=0.01)
    assert max(each.mean_stability for each in compared if each.n_groups != 3) < 0.9
    # The same by hand, for one draw.
    monkeypatch.setattr(group_numbers, "MOST_DRAWS", 1)
    monkeypatch.setattr(group_numbers, "FEWEST_DRAWS", 1)
    drawn = np.random.RandomState(0).permutation(240)
    halves = np.sort(drawn[:120]), np.sort(drawn[120:])
    expected = [
        within_and_modularity(neighbour_graph(x[half], 15), kinds[half])[1] for half in halves
    ]
    assert compare_numbers(x, 3, seed=0)[1].modularity == pytest.approx(expected)


def test_a_row_is_told_the_group_of_most_of_its_neighbours():
    groups = np.array([2, 0, 0, 1, 1])
    nearest = np.array([[0, 1, 2], [3, 4, 0], [0, 1, 3]])
    told = group_numbers._told(groups, nearest, 3)
    assert told[:2].tolist() == [0, 1]
    assert told[2] in (0, 1, 2)  # a tie


def test_the_search_ends_some_numbers_after_the_most_modular():
    x, _ = three_discs()
    compared = compare_numbers(x, 100, seed=1)
    best = max(compared, key=lambda each: each.mean_modularity).n_groups
    assert [each.n_groups for each in compared] == list(range(2, best + PATIENCE + 1))
    assert [each.n_groups for each in compare_numbers(x, 4, seed=1)] == [2, 3, 4]


def test_the_seed_decides_the_halves_and_nothing_else_is_random():
    x, _ = three_discs()
    x[::2] += 12  # shapes that overlap, so that halves differ
    assert compare_numbers(x, 5, seed=3) == compare_numbers(x, 5, seed=3)
    assert compare_numbers(x, 5, seed=3) != compare_numbers(x, 5, seed=4)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3])
def test_too_few_rows_say_nothing(n_rows):
    assert compare_numbers(np.zeros((n_rows, 2)), 10, seed=0) == ()


def test_equal_rows_and_rows_hardly_enough_are_finite():
    for x in (np.zeros((12, 2)), np.arange(10.0)[:, None], np.eye(6)):
        for each in compare_numbers(x, 10, seed=0):
            assert np.isfinite([*each.stability, *each.modularity]).all()


def test_means_are_over_draws_and_directions():
    each = SizeOfGroups(4, (0.5, 1.0), (0.2, 0.6))
    assert (each.mean_stability, each.mean_modularity) == (0.75, pytest.approx(0.4))
    assert adjusted_rand_score([0, 0, 1], [5, 5, 3]) == 1  # names do not count
