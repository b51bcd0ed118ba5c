"""The same start, the same answer as scikit-learn's mixture, for every covariance family."""

import re
from inspect import signature

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer

from latentmix import GaussianMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
K, D = 4, 5
SHARED_FAMILIES = ("full", "tied", "diag", "spherical")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.RandomState(0)
    return np.concatenate(
        [rng.randn(150, D) @ rng.randn(D, D) + 3 * rng.randn(D) for _ in range(K)]
    )


def start(rows, family):
    precisions = {
        "full": np.tile(np.eye(D), (K, 1, 1)),
        "tied": np.eye(D),
        "diag": np.ones((K, D)),
        "spherical": np.ones(K),
    }[family]
    return {
        "weights_init": np.full(K, 1 / K),
        "means_init": rows[:: len(rows) // K][:K],
        "precisions_init": precisions,
        "init_params": "random",
        "random_state": 0,
    }


def assert_same_fit(ours, peer):
    assert (ours.n_iter_, ours.converged_) == (peer.n_iter_, peer.converged_)
    np.testing.assert_allclose(ours.lower_bounds_, peer.lower_bounds_, rtol=0, atol=1e-9)
    assert ours.lower_bound_ == pytest.approx(peer.lower_bound_, rel=0, abs=1e-9)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(peer, name), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", SHARED_FAMILIES)
@pytest.mark.parametrize("stop", [{"tol": 0, "max_iter": 30}, {}, {"tol": 1e-7, "max_iter": 40}])
def test_same_start_same_path(rows, family, stop):
    shared = {"covariance_type": family, **stop, **start(rows, family)}
    ours, peer = GaussianMixture(K, **shared).fit(rows), Peer(K, **shared).fit(rows)
    assert_same_fit(ours, peer)
    np.testing.assert_allclose(ours.score_samples(rows), peer.score_samples(rows), atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(rows), peer.predict_proba(rows), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(rows), peer.predict(rows))
    assert ours.bic(rows) == pytest.approx(peer.bic(rows), rel=1e-10)
    assert ours.aic(rows) == pytest.approx(peer.aic(rows), rel=1e-10)


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_it_has_whatever_the_peer_has(rows):
    ours, peer = GaussianMixture(K, random_state=0), Peer(K, random_state=0)
    expected = signature(Peer.__init__).parameters
    found = signature(GaussianMixture.__init__).parameters
    assert {name: found[name].default for name in expected} == {
        name: parameter.default for name, parameter in expected.items()
    }
    assert public(peer.fit(rows)) - public(ours.fit(rows)) == set()
    assert ours.n_features_in_ == D


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_a_warm_start_goes_the_peers_way(rows, family):
    shared = {"covariance_type": family, "max_iter": 3, "warm_start": True, **start(rows, family)}
    ours, peer = GaussianMixture(K, **shared), Peer(K, **shared)
    for _ in range(15):
        assert_same_fit(ours.fit(rows), peer.fit(rows))
    assert ours.converged_


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_draws_come_from_the_peers_components(rows, family):
    shared = {"covariance_type": family, **start(rows, family)}
    ours, peer = GaussianMixture(K, **shared).fit(rows), Peer(K, **shared).fit(rows)
    assert ours.sample(50)[0].shape == (50, D)
    np.testing.assert_array_equal(ours.sample(50)[1], peer.sample(50)[1])
    np.testing.assert_array_equal(ours.sample(5e1)[0], ours.sample(50)[0])


@pytest.mark.parametrize("verbose", [1, 2])
def test_it_prints_what_the_peer_prints(rows, capsys, verbose):
    shared = {"verbose": verbose, "verbose_interval": 3, "n_init": 2, **start(rows, "full")}
    printed = []
    for mixture in (GaussianMixture(K, **shared), Peer(K, **shared)):
        mixture.fit(rows)
        printed.append(re.sub(r"lapse \S+s", "lapse", capsys.readouterr().out))
    assert printed[0] == printed[1]


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_precisions_of_the_own_start_change_nothing(rows, family):
    shared = {"covariance_type": family, "random_state": 0}
    begun = GaussianMixture(K, max_iter=0, **shared).fit(rows)
    without = GaussianMixture(K, **shared).fit(rows)
    given = GaussianMixture(K, precisions_init=begun.precisions_, **shared).fit(rows)
    assert given.n_iter_ == without.n_iter_
    np.testing.assert_allclose(given.precisions_, without.precisions_, rtol=1e-7)


@pytest.mark.parametrize("family", ["full", "diag", "spherical", "factor"])
@pytest.mark.parametrize("with_weights", [False, True])
def test_precisions_find_the_drawn_components_they_belong_to(rows, family, with_weights):
    shared = {"covariance_type": family, "random_state": 0}
    begun = GaussianMixture(K, max_iter=0, **shared).fit(rows)
    without = GaussianMixture(K, **shared).fit(rows)
    order = [2, 0, 3, 1]
    shared["precisions_init"] = begun.precisions_[order]
    if with_weights:
        shared["weights_init"] = begun.weights_[order]
    given = GaussianMixture(K, **shared).fit(rows)
    assert given.n_iter_ == without.n_iter_
    np.testing.assert_allclose(given.lower_bounds_, without.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(given.predict_proba(rows), without.predict_proba(rows), atol=1e-7)


@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
def test_precisions_keep_the_order_of_given_means(rows, family):
    shared = {"covariance_type": family, "random_state": 0}
    begun = GaussianMixture(K, max_iter=0, **shared).fit(rows)
    shared["means_init"], shared["precisions_init"] = begun.means_, begun.precisions_[::-1].copy()
    given = GaussianMixture(K, max_iter=0, **shared).fit(rows)
    np.testing.assert_allclose(given.precisions_, shared["precisions_init"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("initialisation", ["k-means++", "random_from_data"])
def test_precisions_keep_their_order_where_drawn_components_are_alike(rows, initialisation):
    precisions = np.array([4.0, 1.0, 3.0, 2.0])
    begun = GaussianMixture(
        K,
        covariance_type="spherical",
        precisions_init=precisions,
        init_params=initialisation,
        max_iter=0,
        random_state=0,
    ).fit(rows)
    np.testing.assert_allclose(begun.precisions_, precisions)


def test_far_from_the_origin_the_digits_stay(rows):
    shared = {"covariance_type": "full", "tol": 1e-7, "max_iter": 40}
    near = GaussianMixture(K, **shared, **start(rows, "full")).fit(rows)
    far = rows + 1e6
    there = GaussianMixture(K, **shared, **start(far, "full")).fit(far)
    np.testing.assert_allclose(there.covariances_, near.covariances_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(there.lower_bound_, near.lower_bound_, atol=1e-6)


@pytest.mark.parametrize("spread", [1e4, 1e6, 1e7])
def test_tight_components_far_apart_keep_their_covariances(spread):
    rng = np.random.RandomState(1)
    noise = rng.randn(2, 400, 2)
    rows = np.concatenate([noise[0], noise[1] + spread])
    mixture = GaussianMixture(2, reg_covar=0.0, random_state=0).fit(rows)
    order = mixture.means_[:, 0].argsort()
    expected = [np.cov(part.T, bias=True) for part in noise]
    # What is left is the rounding of the rows themselves: spread * 2^-52.
    np.testing.assert_allclose(mixture.covariances_[order], expected, rtol=1e-7)


def test_float32_rows_keep_their_variances():
    mixture = GaussianMixture(2, random_state=0).fit(np.array([[9999.0], [0.0]], np.float32))
    assert mixture.means_.dtype == np.float32
    np.testing.assert_allclose(mixture.covariances_, np.full((2, 1, 1), 1e-6), rtol=1e-4)


@pytest.mark.parametrize("initialisation", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_start_reaches_a_likelihood_like_the_peers(rows, initialisation):
    shared = {"init_params": initialisation, "n_init": 5, "random_state": 0, "max_iter": 500}
    ours = GaussianMixture(K, **shared).fit(rows).score(rows)
    peer = Peer(K, **shared).fit(rows).score(rows)
    assert ours > peer - 0.1


def test_convergence_is_reported_as_the_peer_does(rows):
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        mixture = GaussianMixture(K, max_iter=1, tol=0, random_state=0).fit(rows)
    assert not mixture.converged_
