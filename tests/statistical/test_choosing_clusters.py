"""The number of clusters is found where it is known, whatever their shape."""

import pytest
from sklearn.datasets import make_moons
from test_choosing_k import clusters

from latentmix import select_n_clusters


@pytest.mark.parametrize(
    ("n_clusters", "n_features"), [(2, 2), (3, 8), (4, 2), (6, 8), (8, 2), (10, 8), (12, 3)]
)
def test_as_many_are_found_as_there_are(n_clusters, n_features):
    X = clusters(n_clusters, n_features, seed=n_clusters, n_rows=80)
    selection = select_n_clusters(X, random_state=0)
    assert selection.n_components == n_clusters
    assert selection.agreement > 0.5


def test_one_cluster_is_one_component():
    selection = select_n_clusters(np.random.RandomState(0).randn(400, 8), random_state=0)
    assert selection.n_components == 1
    assert selection.agreement == 1
    assert "agree on no more" in selection.sentence


def test_shapes_that_no_ellipsoid_tells():
    X, _ = make_moons(600, noise=0.06, random_state=0)
    assert select_n_clusters(X, random_state=0).n_components == 2
