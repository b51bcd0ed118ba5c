"""Groups along a graph of neighbours: the graph as it is defined, and shapes no ellipsoid tells."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import brentq
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from latentmix.kernels.diffusion import (
    CUT_SLACK,
    clusters_of_two_graphs,
    even_groups_along,
    graph_clusters,
    neighbour_graph,
    slowest_ways,
    walk_coordinates,
    within_and_modularity,
)
from latentmix.kernels.kmeans.even import entropy, evened

N_NEIGHBORS = 7


def diffusion_clusters(x, n_clusters, seed, **how):
    """Return the clusters of rows along the graph that rounds draw by default."""
    return graph_clusters(neighbour_graph(x, 15), n_clusters, seed, **how)


def two_arcs(seed, sizes=(300, 120)):
    """Return rows on two half circles that reach into each other, of unequal size; and which."""
    random = np.random.RandomState(seed)
    angles = [np.pi * random.rand(size) for size in sizes]
    upper = np.column_stack([np.cos(angles[0]), np.sin(angles[0])])
    lower = np.column_stack([1 - np.cos(angles[1]), 0.4 - np.sin(angles[1])])
    x = np.vstack([upper, lower]) + 0.04 * random.randn(sum(sizes), 2)
    return x, np.repeat([0, 1], sizes)


def agreement(found, truth):
    """Return the share of rows in the cluster that is most of their own kind."""
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    _, counts = np.unique(list(pairs), axis=0, return_counts=True)
    assert len(np.unique(found)) == len(np.unique(truth))
    return np.sort(counts)[-len(np.unique(truth)) :].sum() / len(truth)


def one_way_weights(x, n_neighbors):
    """Return the weights of the edges from each row, (N, N), one root at a time."""
    weights = np.zeros((len(x), len(x)))
    for i, row in enumerate(x):
        distances = np.linalg.norm(x - row, axis=1)
        near = [j for j in np.argsort(distances) if j != i][:n_neighbors]
        beyond = distances[near] - distances[near].min()

        def excess(log_scale, beyond=beyond):
            return np.exp(-beyond / np.exp(log_scale)).sum() - np.log2(n_neighbors + 1)

        weights[i, near] = np.exp(-beyond / np.exp(brentq(excess, -20, 20)))
    return weights


def test_the_graph_is_the_one_that_its_definition_gives():
    x = np.random.RandomState(0).randn(60, 3)
    one_way = one_way_weights(x, N_NEIGHBORS)
    np.testing.assert_allclose(one_way.sum(axis=1), np.log2(N_NEIGHBORS + 1))
    expected = one_way + one_way.T - one_way * one_way.T
    graph = neighbour_graph(x, N_NEIGHBORS).toarray()
    np.testing.assert_allclose(graph, expected, atol=1e-8)
    np.testing.assert_allclose(graph, graph.T, atol=1e-15)
    assert graph.min() >= 0 and graph.max() <= 1 + 1e-12
    # The nearest of each is certain.
    np.testing.assert_allclose(graph.max(axis=1), 1)


def test_a_graph_of_no_unit_or_place():
    x = np.random.RandomState(0).randn(60, 3)
    graph = neighbour_graph(x, N_NEIGHBORS).toarray()
    moved = neighbour_graph(1000 * x + 3, N_NEIGHBORS).toarray()
    np.testing.assert_allclose(moved, graph, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_bent_groups_of_unequal_size_are_found(seed):
    x, truth = two_arcs(seed)
    # Thin sheets mix slowly: 20 steps see no further than a part of one.
    assert agreement(diffusion_clusters(x, 2, seed, n_steps=[400]), truth) == 1.0


@pytest.mark.parametrize("distance", [8, 60])
def test_groups_without_an_edge_between_them_are_found(distance):
    """Each has an eigenvector of eigenvalue 1 of its own, of which Lanczos tells one."""
    random = np.random.RandomState(0)
    truth = np.arange(1200) % 10
    x = distance * np.eye(10)[truth] + random.randn(1200, 10)
    assert agreement(diffusion_clusters(x, 10, 0), truth) == 1.0


def test_more_groups_apart_than_lanczos_is_asked_for_come_to_an_end():
    """Of sixty equal eigenvalues it is asked for twenty: which ones is open, but it has to stop."""
    random = np.random.RandomState(0)
    x = 50 * np.eye(60)[np.arange(1500) % 60] + random.randn(1500, 60)
    found = diffusion_clusters(x, 5, 0)
    assert set(found) == set(range(5))


def test_groups_apart_are_all_told_where_each_is_slow_to_mix():
    """Five arcs: what is not found at first is hardly larger than the smallest that is."""
    random = np.random.RandomState(0)
    arcs = []
    for number in range(5):
        turn = random.uniform(0, np.pi, 1500)
        arc = np.column_stack([np.cos(turn) + 10 * number, np.sin(turn)])
        arcs.append(arc + random.normal(0, 0.05, arc.shape))
    graph = neighbour_graph(np.vstack(arcs), 15)
    values, _ = slowest_ways(graph, 20, np.random.RandomState(0))
    assert np.sum(values > 1 - 1e-5) == connected_components(graph)[0] == 5


def test_what_lanczos_has_found_in_time_is_taken(monkeypatch):
    x = 60 * np.eye(10)[np.arange(1200) % 10] + np.random.RandomState(0).randn(1200, 10)
    graph = neighbour_graph(x, 15)
    all_found, _ = slowest_ways(graph, 12, np.random.RandomState(0))

    def stops(matrix, k, **asked):
        values, vectors = eigsh(matrix, k=k, **asked)
        raise ArpackNoConvergence("stopped", values[-2:], vectors[:, -2:])

    monkeypatch.setattr("latentmix.kernels.diffusion.eigsh", stops)
    values, vectors = slowest_ways(graph, 12, np.random.RandomState(0))
    assert vectors.shape == (1200, len(values))
    np.testing.assert_allclose(values[-10:], all_found[-10:], atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_blobs_of_unequal_size_and_spread_are_found(seed):
    random = np.random.RandomState(seed)
    sizes, spreads = (400, 60, 150), (1.0, 0.05, 0.3)
    x = np.vstack(
        [
            centre + spread * random.randn(size, 4)
            for centre, spread, size in zip(8 * np.eye(4)[:3], spreads, sizes, strict=True)
        ]
    )
    assert agreement(diffusion_clusters(x, 3, seed), np.repeat(np.arange(3), sizes)) == 1.0


def test_modularity_is_weight_within_groups_beyond_that_of_chance():
    graph = neighbour_graph(np.random.RandomState(0).randn(60, 3), N_NEIGHBORS)
    groups = np.random.RandomState(1).randint(4, size=60)
    weights = graph.toarray()
    ends, total = weights.sum(axis=1), weights.sum()
    same = groups[:, None] == groups
    expected = np.sum((weights - np.outer(ends, ends) / total) * same) / total
    found = within_and_modularity(graph, groups)
    assert found == pytest.approx((np.sum(weights * same) / total, expected))
    assert within_and_modularity(graph, np.zeros(60, int)) == pytest.approx((1, 0))
    assert within_and_modularity(sparse.csr_matrix((3, 3)), np.arange(3)) == (0, 0)


def test_of_several_walks_the_groups_of_largest_modularity_are_taken():
    """Along eight blobs in a row that touch, a long walk sees no borders."""
    random = np.random.RandomState(1)
    x = random.randn(800, 2) + 2.6 * np.column_stack([np.arange(800) % 8, np.zeros(800)])
    graph = neighbour_graph(x, 15)
    lengths = (1, 300)
    alone = [
        within_and_modularity(graph, diffusion_clusters(x, 8, 0, n_steps=[steps]))
        for steps in lengths
    ]
    assert np.ptp([modularity for _, modularity in alone]) > 0.01
    for order in (lengths, lengths[::-1]):
        _, together = within_and_modularity(graph, diffusion_clusters(x, 8, 0, n_steps=order))
        assert together > max(modularity for _, modularity in alone) - 0.001  # other starts


def test_a_large_group_far_from_small_ones_is_not_cut_for_evenness():
    random = np.random.RandomState(0)
    truth = np.repeat([0, 1, 2], [1000, 100, 100])
    x = 8 * np.eye(4)[truth] + random.randn(1200, 4)
    graph = neighbour_graph(x, 15)
    halves = np.where(truth == 0, x[:, 3] > 0, 2).astype(int)
    assert within_and_modularity(graph, halves)[1] > within_and_modularity(graph, truth)[1]
    assert agreement(diffusion_clusters(x, 3, 0), truth) == 1.0


def test_groups_that_lie_apart_stay_whole_even_where_evenness_is_asked_for():
    """Of 2,000 and 100 rows the first would be left by many, however far they had to go."""
    random = np.random.RandomState(0)
    truth = np.repeat([0, 1, 2], [2000, 100, 100])
    graph = neighbour_graph(12 * np.eye(4)[truth] + random.randn(2200, 4), 15)
    walk = np.eye(3)[truth]
    assert agreement(evened(walk, truth, 3, 0.8).groups, truth) < 0.95
    assert agreement(even_groups_along(graph, [walk], 3, random, 0.8), truth) == 1.0


def test_evenness_makes_sizes_alike_where_nothing_lies_between_groups():
    ranges = np.zeros((4, 2))
    for seed in range(4):
        x = np.random.RandomState(seed).beta(1, 2, (3000, 2))
        for place, evenness in enumerate((0.0, 0.8)):
            ranges[seed, place] = np.ptp(
                np.bincount(diffusion_clusters(x, 4, seed, evenness=evenness))
            )
    free, even = ranges.mean(axis=0)
    assert even < 0.5 * free


@pytest.mark.parametrize("evenness", [0.0, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_of_two_graphs_both_judge_what_is_found_along_their_sums(seed, evenness):
    """Each shows two of four kinds as one."""
    random, truth = np.random.RandomState(seed), np.repeat(np.arange(4), 150)
    places = 5 * np.eye(4)
    views = [places[np.array(joined)[truth]] for joined in ([0, 1, 2, 2], [0, 0, 2, 3])]
    graphs = tuple(neighbour_graph(view + random.randn(600, 4), 15) for view in views)
    weights = (0.0, 1.0, 1e3)
    alone = [
        graph_clusters(graphs[0] + weight * graphs[1], 4, seed, evenness=evenness)
        for weight in weights
    ]
    both = graphs[0] + graphs[1]
    judged = [within_and_modularity(both, each) for each in alone]
    best = max(
        modularity if not evenness else entropy(each)
        for (within, modularity), each in zip(judged, alone, strict=True)
        if within >= max(judged)[0] - CUT_SLACK
    )
    for order in (weights, weights[::-1]):
        found = clusters_of_two_graphs(graphs, order, 4, seed, evenness=evenness)
        value = entropy(found) if evenness else within_and_modularity(both, found)[1]
        assert value == pytest.approx(best)
    assert agreement(found, truth) > 0.97


@pytest.mark.parametrize("seed", range(10))
def test_clusters_keep_their_numbers_where_rows_differ_by_rounding(seed):
    """As they do from machine to machine: what is found twice is equal but for a last digit."""
    random, truth = np.random.RandomState(seed), np.arange(180) % 3
    views = [6 * np.eye(3)[truth] + random.randn(180, 3) for _ in range(2)]

    def found(views):
        graphs = tuple(neighbour_graph(view, 15) for view in views)
        alone = graph_clusters(graphs[0], 3, seed)
        return alone, clusters_of_two_graphs(graphs, (0.0, 0.3, 3.0), 3, seed)

    rounded = [view + 1e-6 * random.randn(180, 3) for view in views]
    for as_they_are, as_they_are_there in zip(found(views), found(rounded), strict=True):
        assert np.mean(as_they_are == as_they_are_there) > 0.95


def test_clusters_before_are_gone_on_from_where_evenness_is_asked_for():
    """Clusters that lie apart are found anew; they keep the numbers that they had."""
    random = np.random.RandomState(0)
    truth = np.repeat(np.arange(4), 250)
    x = 8 * np.eye(4)[truth] + random.randn(1000, 4)
    named = (truth + 2) % 4
    graph = neighbour_graph(x, 15)
    found = graph_clusters(graph, 4, 0, before=named, evenness=0.8)
    np.testing.assert_array_equal(found, named)


@pytest.mark.parametrize("evenness", [0.0, 0.8])
def test_the_same_seed_gives_the_same_groups(evenness):
    x, _ = two_arcs(0)
    once, again = (diffusion_clusters(x, 5, 3, evenness=evenness) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_one_cluster_holds_every_row():
    assert not diffusion_clusters(np.random.RandomState(0).randn(20, 2), 1, 0).any()


@pytest.mark.parametrize("evenness", [0.0, 0.8])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 5])
def test_fewer_rows_than_clusters_have_one_each_or_share_some(n_rows, evenness):
    x = np.random.RandomState(0).randn(n_rows, 2)
    found = diffusion_clusters(x, 8, 0, evenness=evenness)
    assert found.shape == (n_rows,)
    assert found.min() >= 0 and found.max() < n_rows


@pytest.mark.parametrize("evenness", [0.0, 0.8])
@pytest.mark.parametrize("n_clusters", [1, 3])
def test_equal_rows_are_taken(n_clusters, evenness):
    found = diffusion_clusters(np.ones((50, 3)), n_clusters, 0, evenness=evenness)
    assert found.shape == (50,)
    assert found.min() >= 0 and found.max() < n_clusters


def test_many_copies_of_two_rows_are_two_groups():
    x = np.repeat([[0.0, 0.0], [5.0, 5.0]], [70, 30], axis=0)
    assert agreement(diffusion_clusters(x, 2, 0), np.repeat([0, 1], [70, 30])) == 1.0


@pytest.mark.parametrize("n_rows", [12, 80])
def test_coordinates_have_length_one(n_rows):
    graph = neighbour_graph(np.random.RandomState(0).randn(n_rows, 3), N_NEIGHBORS)
    ways = slowest_ways(graph, min(n_rows, 14), np.random.RandomState(0))
    found = walk_coordinates(*ways, 20)
    assert found.shape == (n_rows, min(n_rows, 14))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
