"""The walk's coordinates beside the same from all eigenvectors, or from the walk itself."""

import numpy as np
import pytest

from latentmix.kernels.diffusion import neighbour_graph, slowest_ways, walk_coordinates

N_ROWS = 150


@pytest.fixture(scope="module")
def graph():
    return neighbour_graph(np.random.RandomState(0).randn(N_ROWS, 3), 10)


@pytest.fixture(autouse=True)
def lanczos(monkeypatch):
    """These graphs are so small that the dense decomposition would be taken."""
    monkeypatch.setattr("latentmix.kernels.diffusion.ROWS_WITHOUT_LANCZOS", 0)


def normalised(graph):
    lengths = 1 / np.sqrt(graph.toarray().sum(axis=1))
    return lengths[:, None] * graph.toarray() * lengths


def coordinates_of(graph, n_coordinates, n_steps):
    ways = slowest_ways(graph, n_coordinates, np.random.RandomState(0))
    return walk_coordinates(*ways, n_steps)


@pytest.mark.parametrize("n_steps", [1, 4, 20])
def test_coordinates_are_those_of_the_dense_decomposition(graph, n_steps):
    values, vectors = np.linalg.eigh(normalised(graph))
    expected = vectors[:, -8:] * np.clip(values[-8:], 0, 1) ** n_steps
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = coordinates_of(graph, 8, n_steps)
    # Signs and the order are free: inner products are not.
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)


@pytest.mark.parametrize("distance", [6, 60])
def test_groups_far_from_each_other_have_the_dense_coordinates(distance):
    """As many eigenvalues are 1 as there are groups, or all but 1."""
    x = np.random.RandomState(0).randn(400, 4)
    x[:, :3] += distance * np.eye(3)[np.arange(400) % 3]
    graph = neighbour_graph(x, 10)
    values, vectors = np.linalg.eigh(normalised(graph))
    assert values[-3] > 0.995
    expected = vectors[:, -3:] * np.clip(values[-3:], 0, 1) ** 20
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = coordinates_of(graph, 3, 20)
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.02)


def test_all_coordinates_tell_how_alike_walks_are_after_so_many_steps(graph):
    """Of walks that stay where they are with probability a half, so that no eigenvalue is below 0.

    The inner product of two rows' coordinates is their entry of the walk's matrix to twice the
    steps; of length 1, its cosine.
    """
    lazy = graph.copy()
    lazy.setdiag(np.asarray(graph.sum(axis=1)).ravel())
    after = np.linalg.matrix_power(normalised(lazy), 6)
    scale = 1 / np.sqrt(np.diag(after))
    found = coordinates_of(lazy, N_ROWS, 3)
    np.testing.assert_allclose(found @ found.T, scale[:, None] * after * scale, atol=1e-8)
