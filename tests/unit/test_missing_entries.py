"""What a fitted mixture says of entries that are missing: conditional means and mixtures."""

import re

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAUSSIAN = ("full", "tied", "diag", "spherical", "factor")
D, K = 4, 3
rng = np.random.RandomState(0)
COMPLETE = np.concatenate([rng.randn(60, D) @ rng.randn(D, D) + 3 * rng.randn(D) for _ in range(K)])
HOLES = np.where(rng.uniform(size=COMPLETE.shape) < 0.3, np.nan, COMPLETE)
COUNTS = rng.poisson([[1.0, 4, 2, 6], [5, 1, 1, 2], [2, 2, 8, 1]], (60, K, D)).reshape(-1, D) * 1.0


def gaussian(family, X=COMPLETE, **parameters):
    given = {"covariance_type": family, "n_factors": 2, "random_state": 0, "max_iter": 20}
    return GaussianMixture(K, **given, **parameters).fit(X)


def dense(mixture):
    """Return every component's covariance as a matrix, (K, D, D)."""
    covariances = mixture.covariances_
    if mixture.covariance_type == "factor":
        noise, loads = covariances[:, :, 0], covariances[:, :, 1:]
        return loads @ loads.transpose(0, 2, 1) + np.stack([np.diag(psi) for psi in noise])
    return {
        "full": lambda: covariances,
        "tied": lambda: np.stack([covariances] * K),
        "diag": lambda: np.stack([np.diag(row) for row in covariances]),
        "spherical": lambda: np.stack([variance * np.eye(D) for variance in covariances]),
    }[mixture.covariance_type]()


def conditioned(mixture, row):
    """Return p(k | seen), and the conditional means and covariances of the rest."""
    seen, logs, means, covariances = ~np.isnan(row), [], [], []
    for weight, mean, matrix in zip(mixture.weights_, mixture.means_, dense(mixture), strict=True):
        within, across = matrix[np.ix_(seen, seen)], matrix[np.ix_(~seen, seen)]
        gap = row[seen] - mean[seen]
        density = multivariate_normal(mean[seen], within).logpdf(row[seen]) if seen.any() else 0
        logs.append(np.log(weight) + density)
        means.append(mean[~seen] + across @ np.linalg.solve(within, gap))
        covariances.append(
            matrix[np.ix_(~seen, ~seen)] - across @ np.linalg.solve(within, across.T)
        )
    shares = np.exp(np.array(logs) - np.max(logs))
    return shares / shares.sum(), np.array(means), np.array(covariances)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_impute_gives_conditional_means(family):
    mixture = gaussian(family)
    rows = HOLES[:40].copy()
    rows[3], rows[4] = np.nan, COMPLETE[4]
    expected = rows.copy()
    for row in expected:
        shares, means, _ = conditioned(mixture, row)
        row[np.isnan(row)] = shares @ means
    filled = mixture.impute(rows)
    np.testing.assert_allclose(filled, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(filled[~np.isnan(rows)], rows[~np.isnan(rows)])
    assert np.isnan(rows).any()  # and X is left as it was


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_impute_gives_the_components_means_where_features_are_independent(kind):
    X = COUNTS if kind is PoissonMixture else (COUNTS > 2) * 1.0
    mixture = kind(K, random_state=0).fit(X)
    rows = X[:20].copy()
    rows[:, 1] = np.nan
    rows[0] = np.nan
    expected = mixture.predict_proba(rows) @ mixture.means_
    np.testing.assert_allclose(mixture.impute(rows)[:, 1], expected[:, 1], rtol=1e-12)
    np.testing.assert_allclose(mixture.impute(rows)[0], mixture.weights_ @ mixture.means_)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_conditional_mixture_follows_the_formulas(family):
    mixture = gaussian(family)
    row = np.array([np.nan, 0.3, np.nan, -1.0])
    shares, means, covariances = conditioned(mixture, row)
    answer = mixture.conditional(row)
    np.testing.assert_allclose(answer.weights_, shares, rtol=1e-9)
    np.testing.assert_allclose(answer.means_, means, rtol=1e-9, atol=1e-12)
    points = np.random.RandomState(1).randn(20, 2)
    expected = np.log(
        sum(
            share * multivariate_normal(mean, matrix).pdf(points)
            for share, mean, matrix in zip(shares, means, covariances, strict=True)
        )
    )
    np.testing.assert_allclose(answer.score_samples(points), expected, rtol=1e-9, atol=1e-9)
    assert answer.sample(5)[0].shape == (5, 2)
    # p(rest | seen) = p(rest, seen) / p(seen)
    both = np.column_stack([points[:, 0], np.full(20, 0.3), points[:, 1], np.full(20, -1.0)])
    ratio = mixture.score_samples(both) - mixture.score_samples(row[None])
    np.testing.assert_allclose(answer.score_samples(points), ratio, rtol=1e-8, atol=1e-8)


def test_given_by_number_by_name_and_as_a_row_are_one():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(COMPLETE, columns=["a", "b", "c", "d"])
    mixture = gaussian("full", table)
    row = mixture.conditional([np.nan, 0.3, np.nan, -1.0])
    for given in ({1: 0.3, 3: -1.0}, {"d": -1.0, "b": 0.3}, {"b": 0.3, np.int64(3): -1}):
        answer = mixture.conditional(given)
        np.testing.assert_array_equal(answer.means_, row.means_)
        assert answer.feature_names_in_.tolist() == ["a", "c"]
    rest = pandas.DataFrame({"a": [0.0], "c": [1.0]})
    assert np.isfinite(answer.score(rest))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "0 of 4 features"),
        (dict.fromkeys(range(D), 0.0), "4 of 4 features"),
        ({4: 0.0}, "the feature 4, which is unknown. Expected numbers from 0 to 3"),
        ({-1: 0.0}, "the feature -1"),
        ({"a": 0.0}, "the feature 'a'"),
        ([1.0, 2.0], "given has shape (2,)"),
    ],
)
def test_what_cannot_be_given_is_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        gaussian("full").conditional(given)


def test_an_infinite_value_cannot_be_given():
    with pytest.raises(InputError, match="inf"):
        gaussian("full").conditional({0: np.inf})


@pytest.mark.parametrize("family", [*GAUSSIAN, "bernoulli", "poisson"])
def test_an_empty_row_says_nothing(family):
    X, kind = COMPLETE, None
    if family in ("bernoulli", "poisson"):
        kind = BernoulliMixture if family == "bernoulli" else PoissonMixture
        X = (COUNTS > 2) * 1.0 if family == "bernoulli" else COUNTS
    means = X[30::60] * 0.5 + 0.2
    given = {} if kind else {"covariance_type": family, "reg_covar": 0.0}
    given = {**given, "tol": 1e-13, "max_iter": 3000}
    mixture = (kind or GaussianMixture)(K, means_init=means, **given).fit(X)
    start = {"means_init": mixture.means_, "weights_init": mixture.weights_, "max_iter": 1}
    if not kind:
        start["precisions_init"] = mixture.precisions_
    again = (kind or GaussianMixture)(K, **{**given, **start})
    again.fit(np.concatenate([X, np.full((50, D), np.nan)]))
    # Where the other rows are at their optimum, empty ones leave it there.
    np.testing.assert_allclose(again.means_, mixture.means_, atol=1e-4)
    np.testing.assert_allclose(again.weights_, mixture.weights_, atol=1e-4)
    if not kind:
        np.testing.assert_allclose(dense(again), dense(mixture), atol=1e-3)
    mixed = np.concatenate([X[:1], np.full((1, D), np.nan)])
    assert mixture.score_samples(mixed)[1] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(mixed)[1], mixture.weights_, rtol=1e-12)


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_rows_that_are_all_empty_are_answered_without_a_warning(kind):
    mixture = kind(2, random_state=0).fit((COUNTS > 2) * 1.0)
    np.testing.assert_allclose(
        mixture.predict_proba(np.full((2, D), np.nan)), np.tile(mixture.weights_, (2, 1))
    )


@pytest.mark.parametrize("family", [*GAUSSIAN, "bernoulli", "poisson"])
def test_a_column_that_was_never_seen_is_refused(family):
    kind = {"bernoulli": BernoulliMixture, "poisson": PoissonMixture}.get(family)
    mixture = kind(2) if kind else GaussianMixture(2, covariance_type=family)
    X = np.column_stack([(COUNTS > 2) * 1.0, np.full(len(COUNTS), np.nan)])
    with pytest.raises(InputError, match=r"[Cc]olumn 4"):
        mixture.fit(X)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_missing_at_random_the_parameters_are_found_nevertheless(family):
    """One component has a closed form without holes; with them the estimate stays near it."""
    rng = np.random.RandomState(2)
    X = rng.randn(4000, D) @ rng.randn(D, D) + [5, 0, -5, 1]
    holes = np.where(rng.uniform(size=X.shape) < 0.2, np.nan, X)
    shared = {"covariance_type": family, "n_factors": 3, "tol": 1e-9, "max_iter": 2000}
    full = GaussianMixture(1, **shared).fit(X)
    found = GaussianMixture(1, **shared).fit(holes)
    # 20 % fewer entries: a standard error is about 1 / sqrt(3200) of a standard deviation.
    assert np.abs((found.means_ - full.means_) / X.std(axis=0)).max() < 4 / np.sqrt(3200)
    assert found.score(X) > full.score(X) - 0.01


def test_missing_entries_of_float32_rows_and_in_any_memory_order():
    wanted = gaussian("full", HOLES).means_
    for X in (np.asfortranarray(HOLES), np.repeat(HOLES, 2, axis=1)[:, ::2], HOLES[::-1][::-1]):
        np.testing.assert_allclose(gaussian("full", X).means_, wanted, rtol=1e-9)
    small = gaussian("full", HOLES.astype(np.float32))
    assert small.impute(HOLES.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(small.means_, wanted, rtol=1e-3, atol=1e-3)
