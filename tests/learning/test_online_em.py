"""`partial_fit`: rows that are seen once come near what a fit of all of them finds."""

import pickle
import re

import numpy as np
import pytest
from sklearn.base import clone

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError

SHARED_FAMILIES = ("full", "tied", "diag", "spherical")
N, D, K = 9000, 2, 3


def rows(spread, seed=0):
    rng = np.random.RandomState(seed)
    centres = np.array([[0.0, 0], [1, 0.2], [0.3, 1]]) * spread
    return centres[rng.randint(K, size=N)] + rng.randn(N, D)


def online(mixture, X, size, **weights):
    for start in range(0, len(X), size):
        block = slice(start, start + size)
        mixture.partial_fit(X[block], **{name: w[block] for name, w in weights.items()})
    return mixture


@pytest.mark.parametrize("spread", [5.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_blocks_in_any_order_come_near_the_fit_of_all(family, spread):
    X = rows(spread)
    batch = GaussianMixture(K, covariance_type=family, random_state=0, n_init=3, tol=1e-6).fit(X)
    mixture = online(GaussianMixture(K, covariance_type=family, random_state=0), X, 300)
    # Steps fall as n^-0.6, so that the last 30^0.6 = 8 blocks or so decide: 2000 rows' worth of a
    # likelihood whose K (D + 3) D / 2 + K - 1 = 17 parameters cost half a nat a row's inverse each.
    assert batch.score(X) - mixture.score(X) < 3 * 17 / 2 / 2000
    order, found = batch.means_[:, 0].argsort(), mixture.means_[:, 0].argsort()
    error = np.abs(mixture.means_[found] - batch.means_[order]).max()
    # Deviations of a mean over 2000 / 3 rows of unit variance, and six of them are looked at.
    assert error < 4 * np.sqrt(3 / 2000)


@pytest.mark.parametrize("size", [50, 1000, 4500])
def test_the_blocks_size_is_free(size):
    X = rows(5.0)
    batch = GaussianMixture(K, random_state=0, n_init=3).fit(X)
    mixture = online(GaussianMixture(K, random_state=0), X, size)
    assert batch.score(X) - mixture.score(X) < 0.015


def test_single_rows_after_a_first_block():
    X = rows(5.0)[:1500]
    mixture = online(GaussianMixture(K, random_state=0).partial_fit(X[:300]), X[300:], 1)
    assert GaussianMixture(K, random_state=0).fit(X).score(X) - mixture.score(X) < 0.1
    assert mixture.n_iter_ == 1201


def test_more_rows_come_nearer():
    X = rows(3.0)
    batch = GaussianMixture(K, random_state=0, n_init=3, tol=1e-7, max_iter=500).fit(X)
    mixture, gaps = GaussianMixture(K, random_state=0), []
    for start in range(0, N, 300):
        gaps.append(batch.score(X) - mixture.partial_fit(X[start : start + 300]).score(X))
    assert np.mean(gaps[-10:]) < 0.5 * np.mean(gaps[:3])


@pytest.mark.parametrize("spread", [3.0, 50.0])
@pytest.mark.parametrize("size", [50, 900])
def test_sorted_rows_do_not_blow_up(spread, size):
    """A stream that drifts is followed, not averaged: the answers stay finite and in range."""
    X = rows(spread)
    X = X[X[:, 0].argsort()]
    mixture = GaussianMixture(K, random_state=0)
    for start in range(0, N, size):
        mixture.partial_fit(X[start : start + size])
        assert np.abs(mixture.means_).max() < 1.5 * np.abs(X).max()
    assert np.all(np.linalg.eigvalsh(mixture.covariances_) > 0)
    assert np.all(np.isfinite(mixture.score_samples(X)))
    assert mixture.covariances_.max() < 10 * X.var(axis=0).max()


def test_missing_entries_take_part():
    X = rows(5.0)
    holes = np.where(np.random.RandomState(1).uniform(size=X.shape) < 0.3, np.nan, X)
    mixture = online(GaussianMixture(K, random_state=0), holes, 300)
    assert GaussianMixture(K, random_state=0, n_init=3).fit(X).score(X) - mixture.score(X) < 0.03


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_the_discrete_families_learn_online(kind):
    rng = np.random.RandomState(0)
    means = np.array([[0.2] * 6, [0.7] * 6]) * (1 if kind is BernoulliMixture else 4)
    truth = means[rng.randint(2, size=6000)]
    X = rng.uniform(size=truth.shape) < truth if kind is BernoulliMixture else rng.poisson(truth)
    mixture = online(kind(2, random_state=0), X * 1.0, 300)
    found = mixture.means_[mixture.means_[:, 0].argsort()]
    np.testing.assert_allclose(found, means, rtol=0.15)


START = {"means_init": [[0.0, 0], [5, 1], [1, 5]], "random_state": 0}


def test_rows_without_weight_are_left_out():
    X, weights = rows(5.0)[:3000], np.random.RandomState(0).randint(0, 2, 3000)
    mixture = online(GaussianMixture(K, **START), X, 300, sample_weight=weights)
    left = GaussianMixture(K, **START)
    for start in range(0, 3000, 300):
        block = slice(start, start + 300)
        left.partial_fit(X[block][weights[block] > 0])
    np.testing.assert_allclose(mixture.means_, left.means_, rtol=1e-7)


def test_whole_weights_are_repeated_rows():
    X, weights = rows(5.0)[:3000], np.random.RandomState(0).randint(0, 4, 3000)
    mixture = online(GaussianMixture(K, **START), X, 300, sample_weight=weights)
    repeated = GaussianMixture(K, **START)
    for start in range(0, 3000, 300):
        block = slice(start, start + 300)
        repeated.partial_fit(np.repeat(X[block], weights[block], axis=0))
    np.testing.assert_allclose(mixture.means_, repeated.means_, rtol=1e-7)


def test_a_block_without_weight_is_refused_and_changes_nothing():
    mixture = GaussianMixture(K, **START).partial_fit(rows(5.0)[:300])
    means = mixture.means_.copy()
    with pytest.raises(InputError, match="zero for every row"):
        mixture.partial_fit(rows(5.0)[300:600], sample_weight=np.zeros(300))
    np.testing.assert_array_equal(mixture.means_, means)


def test_another_width_and_too_small_a_start_are_refused():
    X = rows(5.0)
    with pytest.raises(InputError, match=re.escape("n_components = 3, n_samples = 2")):
        GaussianMixture(K).partial_fit(X[:2])
    mixture = GaussianMixture(K, random_state=0).partial_fit(X[:300])
    with pytest.raises(InputError, match="1 features"):
        mixture.partial_fit(X[:300, :1])
    bad = X[300:600].copy()
    bad[7, 1] = np.inf
    with pytest.raises(InputError, match="inf at row 7, column 1"):
        mixture.partial_fit(bad)
    # What was refused has left nothing behind.
    other = online(GaussianMixture(K, random_state=0), X[:600], 300)
    np.testing.assert_array_equal(mixture.partial_fit(X[300:600]).means_, other.means_)


def test_a_fit_begins_anew():
    X = rows(5.0)
    mixture = online(GaussianMixture(K, random_state=0), X + 100, 900).fit(X)
    np.testing.assert_array_equal(mixture.means_, GaussianMixture(K, random_state=0).fit(X).means_)
    assert mixture.converged_
    clean = online(clone(mixture), X, 900)
    np.testing.assert_array_equal(
        clean.means_, online(GaussianMixture(K, random_state=0), X, 900).means_
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"n_components": 4},
        {"n_components": "auto"},
        {"covariance_type": "diag"},
        {"reg_covar": 0.1},
        {"relative_reg_covar": True},
    ],
)
def test_parameters_that_were_changed_in_mid_stream_are_refused(changed):
    X = rows(5.0)
    mixture = GaussianMixture(K, random_state=0).partial_fit(X[:300])
    before, (name, value) = getattr(mixture, next(iter(changed))), next(iter(changed.items()))
    sentence = f"{name} was changed from {before!r} to {value!r} between two blocks"
    with pytest.raises(InputError, match=re.escape(sentence)):
        mixture.set_params(**changed).partial_fit(X[300:600])
    # Set back, it goes on as if nothing had been.
    mixture.set_params(**{name: before}).partial_fit(X[300:600])
    other = online(GaussianMixture(K, random_state=0), X[:600], 300)
    np.testing.assert_array_equal(mixture.means_, other.means_)


def test_a_first_block_after_a_fit_begins_anew():
    X = rows(5.0)
    mixture = GaussianMixture(K, random_state=0).fit(X + 100).partial_fit(X[:300])
    fresh = GaussianMixture(K, random_state=0).partial_fit(X[:300])
    np.testing.assert_array_equal(mixture.means_, fresh.means_)


def test_a_pickle_goes_on():
    X = rows(5.0)
    mixture = online(GaussianMixture(K, random_state=0), X[:3000], 300)
    other = pickle.loads(pickle.dumps(mixture))
    online(mixture, X[3000:6000], 300)
    online(other, X[3000:6000], 300)
    np.testing.assert_array_equal(other.means_, mixture.means_)
    np.testing.assert_array_equal(other.covariances_, mixture.covariances_)


def test_the_same_blocks_give_the_same_bits_and_names_stay():
    X = rows(5.0)
    first, second = (online(GaussianMixture(K, random_state=0), X, 450) for _ in range(2))
    np.testing.assert_array_equal(first.means_, second.means_)
    np.testing.assert_array_equal(first.lower_bound_, second.lower_bound_)
    assert len(first.lower_bounds_) >= 1
    first.label(X[:300], first.predict(X[:300]))
    assert np.mean(first.predict_class(X) == first.predict(X)) > 0.99
