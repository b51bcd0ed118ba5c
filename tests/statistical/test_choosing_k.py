"""The number of components is found where it is known: a sample of benchmarks/choosing_k.py."""

import numpy as np
import pytest
from sklearn.datasets import make_moons

from latentmix import (
    BernoulliMixture,
    GaussianMixture,
    PoissonMixture,
    select_n_clusters,
    select_n_components,
)
from latentmix.errors import InputError, ParameterError


def clusters(n_components, n_features, seed, n_rows=200):
    """Return unit-variance clusters, no two nearer than 6 sigma."""
    rng = np.random.RandomState(seed)
    centres, box = [], 6.0
    while len(centres) < n_components:
        for _ in range(200):
            place = rng.uniform(-box, box, n_features)
            if all(np.linalg.norm(place - other) >= 6 for other in centres):
                centres.append(place)
            if len(centres) == n_components:
                break
        box *= 1.15
    return np.concatenate([centre + rng.randn(n_rows, n_features) for centre in centres])


@pytest.mark.parametrize(
    ("n_components", "n_features"), [(3, 2), (3, 32), (10, 2), (10, 8), (30, 2)]
)
def test_auto_finds_as_many_components_as_there_are(n_components, n_features):
    X = clusters(n_components, n_features, seed=1)
    mixture = GaussianMixture("auto", random_state=0).fit(X)
    assert mixture.n_components_ == n_components
    # And each holds one cluster.
    own = np.repeat(np.arange(n_components), 200)
    table = np.zeros((n_components, n_components))
    np.add.at(table, (own, mixture.predict(X)), 1)
    assert table.max(axis=1).sum() > 0.99 * len(X)


def test_one_cluster_is_one_component():
    for seed in range(5):
        X = np.random.RandomState(seed).randn(400, 3)
        assert GaussianMixture("auto", random_state=seed).fit(X).n_components_ == 1


def test_other_families_find_their_components():
    rng = np.random.RandomState(0)
    counts = rng.poisson(np.repeat([[2, 20, 5.0], [20, 2, 5]], 300, axis=0))
    assert PoissonMixture("auto", random_state=0).fit(counts).n_components_ == 2
    bits = rng.rand(600, 20) < np.repeat([[0.1] * 20, [0.9] * 20], 300, axis=0)
    assert BernoulliMixture("auto", random_state=0).fit(bits.astype(float)).n_components_ == 2


@pytest.mark.parametrize("criterion", ["bic", "icl", "heldout"])
def test_the_table_agrees_on_clear_clusters(criterion):
    selection = select_n_components(
        clusters(4, 3, seed=2), range(1, 8), criterion=criterion, random_state=0
    )
    assert selection.n_components == 4
    assert [row.n_components for row in selection.table] == list(range(1, 8))
    best = selection.table[3]
    assert best.stability > 0.99
    assert best.icl >= best.bic
    assert f"<- {criterion}" in str(selection).splitlines()[4]


def test_the_table_holds_a_mixtures_own_criteria():
    X = clusters(3, 2, seed=3)
    row = select_n_components(X, [3], covariance_type="full", random_state=0).table[0]
    mixture = GaussianMixture(3, random_state=0, tol=1e-6).fit(X)
    np.testing.assert_allclose(row.bic, mixture.bic(X), rtol=1e-4)
    np.testing.assert_allclose(row.log_likelihood, mixture.score(X), rtol=1e-4)
    r = mixture.predict_proba(X)
    entropy = -np.sum(r * np.log(np.maximum(r, 1e-300)))
    np.testing.assert_allclose(row.icl - row.bic, 2 * entropy, rtol=0.05, atol=0.1)


def test_entries_may_be_missing():
    X = clusters(3, 4, seed=4)
    X[np.random.RandomState(0).rand(*X.shape) < 0.05] = np.nan
    assert GaussianMixture("auto", random_state=0).fit(X).n_components_ == 3


def test_what_cannot_be_chosen_is_refused():
    X = clusters(2, 2, seed=5, n_rows=10)
    with pytest.raises(ParameterError, match=r"means_init is given .* open"):
        GaussianMixture("auto", means_init=np.zeros((2, 2))).fit(X)
    with pytest.raises(ParameterError, match=r"'autoo' is unknown. Expected an integer >= 1, or"):
        GaussianMixture("autoo").fit(X)
    with pytest.raises(ParameterError, match="criterion='aic' is unknown"):
        select_n_components(X, range(1, 3), criterion="aic")
    with pytest.raises(ParameterError, match="no size"):
        select_n_components(X, [])
    with pytest.raises(InputError, match="each half is fitted with up to 11"):
        select_n_components(X, range(1, 12))


# Groups along a graph of neighbours, whatever their shape


@pytest.mark.parametrize(
    ("n_clusters", "n_features"), [(2, 2), (3, 8), (4, 2), (6, 8), (8, 2), (10, 8), (12, 3)]
)
def test_as_many_are_found_as_there_are(n_clusters, n_features):
    X = clusters(n_clusters, n_features, seed=n_clusters, n_rows=80)
    selection = select_n_clusters(X, random_state=0)
    assert selection.n_components == n_clusters
    assert selection.agreement > 0.5


def test_one_cluster_is_one_group():
    selection = select_n_clusters(np.random.RandomState(0).randn(400, 8), random_state=0)
    assert selection.n_components == 1
    assert selection.agreement > 0.5
    assert "agree on no more" in selection.sentence


def test_shapes_that_no_ellipsoid_tells():
    X, _ = make_moons(600, noise=0.06, random_state=0)
    assert select_n_clusters(X, random_state=0).n_components == 2
