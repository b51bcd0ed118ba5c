"""What must hold of EM for any data: hypothesis looks for the exception."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from latentmix import GaussianMixture
from latentmix.errors import InputError
from latentmix.kernels.families import FAMILIES, GAUSSIAN
from latentmix.kernels.families.factor_analytic import FactorAnalytic
from latentmix.training.em_ascent import ACCELERATIONS
from latentmix.training.em_checkpoint import EmKeeper
from latentmix.training.em_loop import EmRule, fit_em
from latentmix.training.events import nobody
from latentmix.training.sources import ArraySource

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
quick = settings(max_examples=25, deadline=None)
families = st.sampled_from(sorted(GAUSSIAN))
seeds = st.integers(0, 2**31 - 1)
N, D, K = 60, 3, 3


def rows_of(seed):
    rng = np.random.RandomState(seed)
    scale = 10.0 ** rng.uniform(-4, 4)
    return scale * (rng.randn(N, D) + rng.randint(-3, 4, size=(N, 1))) + scale * rng.randn(D)


def rows_for(family, seed, n_rows=N):
    """Return rows in a family's domain, of overlapping components."""
    rng = np.random.RandomState(seed)
    if family == "bernoulli":
        return (rng.rand(n_rows, D) < rng.rand(K, D)[rng.randint(K, size=n_rows)]).astype(float)
    if family == "poisson":
        return rng.poisson(9 * rng.rand(K, D)[rng.randint(K, size=n_rows)]).astype(float)
    centres = rng.randn(K, D) * rng.uniform(0.5, 4)
    mixing = rng.randn(D, D)
    return (centres[rng.randint(K, size=n_rows)] + rng.randn(n_rows, D)) @ mixing


# The whole of it, 1,000 cases: the longest test of this file, a few seconds.
@settings(max_examples=1000, deadline=None)
@given(
    seeds,
    st.sampled_from(sorted(FAMILIES)),
    st.sampled_from(sorted(ACCELERATIONS, key=str)),
    st.booleans(),
)
def test_the_log_likelihood_never_falls(seed, family, acceleration, incomplete):
    rows = rows_for(family, seed)
    if incomplete:
        rows[np.random.RandomState(seed).rand(*rows.shape) < 0.1] = np.nan
    # Two factors leave no noise to three features.
    kind = FactorAnalytic(1) if family == "factor" else FAMILIES[family]
    rule = EmRule(kind, 2, tol=0, reg_covar=0, max_iter=15, acceleration=acceleration)
    try:
        fit = fit_em(ArraySource(rows), rule, [seed], nobody, EmKeeper())
    except InputError:
        event("degenerate")
        return
    if fit.n_reborn:
        event("repaired")
        return
    falls = -np.diff(fit.lower_bounds)
    assert np.all(falls <= 1e-9 * np.maximum(1, np.abs(fit.lower_bounds[1:])))
    assert fit.n_falls == 0


@quick
@given(seeds, families)
def test_probabilities_are_probabilities(seed, family):
    rows = rows_of(seed)
    mixture = GaussianMixture(K, covariance_type=family, random_state=0).fit(rows)
    probabilities = mixture.predict_proba(rows)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-9)
    np.testing.assert_allclose(mixture.weights_.sum(), 1, rtol=1e-9)
    assert np.all(np.isfinite(mixture.score_samples(rows)))


class Blocks:
    """Rows as a stream of blocks."""

    def __init__(self, rows, size):
        self.rows, self.size = rows, size

    def __iter__(self):
        for start in range(0, len(self.rows), self.size):
            yield self.rows[start : start + self.size]


def assert_same_fit(one, other, rtol=1e-9):
    for name in ("weights_", "means_", "covariances_"):
        ours, theirs = getattr(one, name), getattr(other, name)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


@quick
@given(seeds, families, st.integers(1, 64), st.sampled_from(["as they are", "sorted", "reversed"]))
def test_any_blocks_in_any_order_give_one_answer(seed, family, size, order):
    rows = rows_of(seed)
    parameters = {
        "covariance_type": family,
        "means_init": rows[[0, 20, 40]],
        "tol": 0,
        "max_iter": 8,
        "reg_covar": 1e-6 * rows.var(),
    }
    whole = GaussianMixture(K, **parameters).fit(rows)
    orders = {"as they are": rows, "sorted": rows[np.argsort(rows[:, 0])], "reversed": rows[::-1]}
    stream = GaussianMixture(K, **parameters).fit(Blocks(orders[order], size))
    assert_same_fit(stream, whole, rtol=1e-6)


@quick
@given(seeds, families)
def test_integer_weights_are_repeated_rows(seed, family):
    rng = np.random.RandomState(seed)
    rows, weights = rng.randn(N, D), rng.randint(0, 4, N)
    weights[:K] = 1
    parameters = {
        "covariance_type": family,
        "means_init": rows[:K],
        "tol": 0,
        "max_iter": 8,
        "reg_covar": 1e-3,
    }
    weighted = GaussianMixture(K, **parameters).fit(rows, sample_weight=weights)
    repeated = GaussianMixture(K, **parameters).fit(np.repeat(rows, weights, axis=0))
    assert_same_fit(weighted, repeated)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-9)


@quick
@given(seeds, st.floats(-3, 3), families)
def test_units_change_the_density_by_the_jacobian_alone(seed, exponent, family):
    rng = np.random.RandomState(seed)
    rows, scale = rng.randn(N, D), 10.0**exponent
    kind = GAUSSIAN[family]
    ours = fit_em(ArraySource(rows), EmRule(kind, 2, reg_covar=1e-9), [0], nobody, EmKeeper())
    other = fit_em(
        ArraySource(rows * scale),
        EmRule(kind, 2, reg_covar=1e-9 * scale**2),
        [0],
        nobody,
        EmKeeper(),
    )
    shift = D * np.log(scale)
    np.testing.assert_allclose(
        np.array(other.lower_bounds) + shift, ours.lower_bounds, rtol=1e-7, atol=1e-7
    )
    # A mean next to 0 has no digits of its own.
    np.testing.assert_allclose(other.mixture.means / scale, ours.mixture.means, atol=1e-5)
