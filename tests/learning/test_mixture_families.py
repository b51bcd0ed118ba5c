"""What the families find, how acceleration and restarts get there, and at what cost."""

import tracemalloc

import numpy as np
import pytest
from sklearn.decomposition import FactorAnalysis

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# --- factor analysers


@pytest.fixture(scope="module")
def wide():
    """Return 2000 rows of 100 features that three factors and noise make, twice, and the truth."""
    rng = np.random.RandomState(0)
    loads, noise = rng.randn(100, 3), rng.uniform(0.3, 1.5, 100)

    def draw():
        return rng.randn(2000, 3) @ loads.T + rng.randn(2000, 100) * np.sqrt(noise) + 2

    return draw(), draw(), loads @ loads.T + np.diag(noise), noise


def factor(n_components, n_factors, **parameters):
    given = {"covariance_type": "factor", "n_factors": n_factors, "random_state": 0}
    return GaussianMixture(n_components, **{**given, **parameters})


def test_three_factors_are_found_in_a_hundred_features(wide):
    rows, others, truth, true_noise = wide
    mixture = factor(1, 3, tol=1e-6, max_iter=2000).fit(rows)
    noise, loads = mixture.covariances_[0, :, 0], mixture.covariances_[0, :, 1:]
    found = loads @ loads.T + np.diag(noise)
    # sqrt(rank / N) of the norm is what 2000 rows leave undetermined of rank three.
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    assert error < 2 * np.sqrt(3 / 2000)
    # A variance from 2000 rows is known to sqrt(2 / 2000), and a hundred are looked at.
    assert np.abs(noise / true_noise - 1).max() < 5 * np.sqrt(2 / 2000)
    full, diag = GaussianMixture(1).fit(rows), GaussianMixture(1, covariance_type="diag").fit(rows)
    # 300 parameters in place of 5150: a nat and more on rows not seen.
    assert mixture.score(others) > full.score(others) + 1
    assert mixture.score(others) > diag.score(others) + 50
    assert mixture.bic(rows) < full.bic(rows)


def test_one_component_is_scikit_learns_factor_analysis(wide):
    rows = wide[0]
    mixture = factor(1, 3, tol=1e-9, max_iter=5000, reg_covar=0.0).fit(rows)
    peer = FactorAnalysis(3, tol=1e-9, max_iter=5000, svd_method="lapack").fit(rows)
    assert mixture.score(rows) == pytest.approx(peer.score(rows), abs=1e-5)
    noise, loads = mixture.covariances_[0, :, 0], mixture.covariances_[0, :, 1:]
    np.testing.assert_allclose(loads @ loads.T + np.diag(noise), peer.get_covariance(), atol=6e-3)
    np.testing.assert_allclose(
        mixture.score_samples(rows[:50]), peer.score_samples(rows[:50]), atol=0.05
    )


def test_components_that_differ_in_their_factors_alone_are_told_apart():
    rng = np.random.RandomState(0)
    kind, loads = rng.randint(2, size=1500), rng.randn(2, 40, 2)
    rows = np.einsum("nq,ndq->nd", rng.randn(1500, 2), loads[kind]) + rng.randn(1500, 40) * 0.7
    rows += 0.3 * kind[:, None]
    mixture = factor(2, 2, n_init=2, tol=1e-4, max_iter=500).fit(rows)
    agreement = np.mean(mixture.predict(rows) == kind)
    assert max(agreement, 1 - agreement) > 0.97


def test_nothing_as_large_as_a_covariance_matrix_is_formed():
    rng = np.random.RandomState(0)
    n_features = 4000
    rows = rng.randn(200, n_features) + rng.randn(200, 1)
    tracemalloc.start()
    try:
        mixture = factor(2, 2, max_iter=3).fit(rows)
        mixture.score_samples(rows)
        mixture.sample(5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * 8 * n_features**2
    assert peak < 12 * rows.nbytes


def test_parameters_of_factors_count_up_to_a_rotation():
    mixture = factor(2, 2).fit(np.random.RandomState(0).randn(50, 5))
    # Each: 5 means, 5 noise variances, 5 x 2 loadings less one angle; and one weight.
    assert mixture.bic(np.zeros((50, 5))) + 2 * 50 * mixture.score(
        np.zeros((50, 5))
    ) == pytest.approx((2 * 19 + 1) * np.log(50))


# --- binary features and counts


def test_probabilities_of_binary_features_are_found():
    rng = np.random.RandomState(0)
    truth = rng.uniform(0.05, 0.95, (3, 20))
    kind = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    rows = (rng.uniform(size=(3000, 20)) < truth[kind]).astype(np.uint8)
    mixture = BernoulliMixture(3, random_state=0, n_init=3, tol=1e-7).fit(rows)
    order = [np.abs(mixture.means_ - p).sum(axis=1).argmin() for p in truth]
    assert sorted(order) == [0, 1, 2]
    # Three standard errors and a half of a share of 600 rows, for 60 of them.
    np.testing.assert_allclose(mixture.means_[order], truth, atol=3.5 * np.sqrt(0.25 / 600))
    np.testing.assert_allclose(mixture.weights_[order], [0.5, 0.3, 0.2], atol=0.03)
    draws, components = mixture.sample(3000)
    assert set(np.unique(draws)) == {0.0, 1.0}
    for k in range(3):
        own = draws[components == k]
        np.testing.assert_allclose(own.mean(axis=0), mixture.means_[k], atol=4 / np.sqrt(len(own)))


def test_rates_of_counts_are_found():
    rng = np.random.RandomState(0)
    truth = np.array([[1.0, 8, 3, 0.2], [5, 2, 3, 2], [12, 12, 0.5, 1]])
    kind = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    rows = rng.poisson(truth[kind])
    mixture = PoissonMixture(3, random_state=0, n_init=3, tol=1e-7).fit(rows)
    order = [np.abs(mixture.means_ - rate).sum(axis=1).argmin() for rate in truth]
    np.testing.assert_allclose(mixture.means_[order], truth, atol=3.5 * np.sqrt(12 / 600))
    np.testing.assert_allclose(mixture.weights_[order], [0.5, 0.3, 0.2], atol=0.03)
    draws, _ = mixture.sample(100)
    assert np.all(draws == np.round(draws))
    assert np.all(draws >= 0)


def test_a_feature_that_was_never_on_is_not_impossible():
    rows = np.zeros((50, 3))
    rows[:25, 0] = 1
    mixture = BernoulliMixture(2, random_state=0).fit(rows)
    assert np.all(np.isfinite(mixture.score_samples(np.ones((1, 3)))))
    counts = PoissonMixture(2, random_state=0).fit(rows)
    assert np.all(np.isfinite(counts.score_samples(np.full((1, 3), 9.0))))


# --- acceleration


def overlapping(family):
    rng = np.random.RandomState(1)
    kind = np.arange(1200) % 2
    if family == "bernoulli":
        return (rng.uniform(size=(1200, 6)) < np.where(kind[:, None] == 0, 0.35, 0.65)) * 1.0
    if family == "poisson":
        return rng.poisson(np.array([[2, 3, 2.0], [3, 2, 3.5]])[kind]) * 1.0
    if family == "factor":
        loads = rng.randn(2, 8, 1)
        rows = np.einsum("nq,ndq->nd", rng.randn(1200, 1), loads[kind]) + rng.randn(1200, 8)
        return rows + kind[:, None]
    return rng.randn(1200, 2) + 1.5 * kind[:, None]


@pytest.mark.parametrize(
    "family", ["full", "tied", "diag", "spherical", "factor", "bernoulli", "poisson"]
)
def test_squarem_reaches_the_same_optimum_in_fewer_passes(family):
    X = overlapping(family)
    given = {"random_state": 0, "tol": 1e-9, "max_iter": 20_000}
    if family in ("bernoulli", "poisson"):
        kind = BernoulliMixture if family == "bernoulli" else PoissonMixture
    else:
        kind = GaussianMixture
        given |= {"covariance_type": family, "n_factors": 1, "reg_covar": 0.0}
    passes = {None: [], "squarem": []}
    plain = kind(2, **given).fit(X, listener=passes[None].append)
    fast = kind(2, acceleration="squarem", **given).fit(X, listener=passes["squarem"].append)
    assert plain.converged_
    assert fast.converged_
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-7
    assert fast.n_iter_ < 0.6 * plain.n_iter_
    # n_iter_ counts what was spent, leaps that failed included.
    assert len(passes["squarem"]) <= fast.n_iter_
    np.testing.assert_allclose(fast.means_, plain.means_, atol=2e-2)
    np.testing.assert_allclose(fast.score(X), plain.score(X), atol=1e-6)


def test_squarem_never_ends_below_its_start():
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.randn(100, 3), rng.randn(100, 3) * 4])
    for seed in range(10):
        mixture = GaussianMixture(
            4, acceleration="squarem", random_state=seed, tol=0, max_iter=25, init_params="random"
        ).fit(X)
        assert mixture.lower_bound_ >= mixture.lower_bounds_[0]
        assert mixture.score(X) >= mixture.lower_bounds_[0] - 1e-9


# --- restarts


def blobs(n_rows):
    rng = np.random.RandomState(0)
    return rng.randn(n_rows, 2) * 0.4 + rng.randint(0, 4, (n_rows, 2))


def test_restarts_run_together_and_the_best_is_kept():
    X, heard = blobs(1500), []
    given = {"init_params": "random_from_data", "random_state": 0, "max_iter": 60, "tol": 1e-4}
    mixture = GaussianMixture(10, n_init=6, **given).fit(X, listener=heard.append)
    # All starts take their first pass before any takes its second.
    assert [(event.start, event.iteration) for event in heard[:7]] == [
        *((start, 1) for start in range(6)),
        (0, 2),
    ]
    last = {event.start: event.log_likelihood for event in heard}
    assert len({round(bound, 6) for bound in last.values()}) > 2  # they are not all the same
    assert mixture.lower_bound_ == max(last.values())
    assert mixture.n_iter_ == max(
        event.iteration for event in heard if last[event.start] == mixture.lower_bound_
    )
    # Each is what it would have been alone: the first is that of n_init=1.
    alone = GaussianMixture(10, n_init=1, **given).fit(X)
    assert last[0] == pytest.approx(alone.lower_bound_, rel=1e-12)


def test_many_rows_are_left_to_the_finalists():
    X, heard = blobs(24_000), []
    given = {"init_params": "random_from_data", "random_state": 0, "max_iter": 60, "tol": 1e-4}
    mixture = GaussianMixture(10, n_init=6, **given).fit(X, listener=heard.append)
    assert {event.start for event in heard} == set(range(6))
    again = [i for i, event in enumerate(heard) if i and event.iteration == 1][5:]
    assert 1 <= len(again) <= 2  # of six, two begin a second time, now with all rows
    final = heard[again[0] :]
    assert mixture.lower_bound_ == max(
        {event.start: event.log_likelihood for event in final}.values()
    )
    single = [
        GaussianMixture(10, **{**given, "random_state": seed}).fit(X).lower_bound_
        for seed in range(4)
    ]
    assert mixture.lower_bound_ > np.median(single)
    assert mixture.lower_bound_ == pytest.approx(mixture.score(X), abs=1e-3)
