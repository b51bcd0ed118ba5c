"""The likelihood of columns of several kinds: what it sums, its means and its draws."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentmix.data.columns import Column
from latentmix.models.likelihoods.mixed import Categorical, Mixed

# Out of order on purpose: outputs stand kind by kind, answers column by column.
COLUMNS = (
    Column("categorical", ("a", "b", "c")),
    Column("count"),
    Column("categorical", ("no", "yes")),
    Column("continuous"),
    Column("binary"),
    Column("categorical", (10, 20, 30)),
)
# A number, a count's log mean, a bit's logit; then two categories' logits, and twice three.
OUTPUTS = np.array([0.4, 0.9, -0.3, 0.2, -0.7, 1.0, -0.5, 0.3, 0.1, 2.0, -1.0], np.float32)
LOG_VARIANCE, LOG_DISPERSION = -0.6, 0.4
N = 40_000
# A two-sided chance of 1 in 16,000.
LIMIT = 4.0


@pytest.fixture(scope="module")
def mixed():
    likelihood = Mixed(jnp.full(6, 0.5), COLUMNS)
    where = lambda one: (one.continuous.log_variance, one.counts.log_dispersion)  # noqa: E731
    return eqx.tree_at(where, likelihood, (jnp.full(1, LOG_VARIANCE), jnp.full(1, LOG_DISPERSION)))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


YES, FIRST, LAST = softmax(OUTPUTS[3:5]), softmax(OUTPUTS[5:8]), softmax(OUTPUTS[8:])
RATE, P_ONE = np.exp(OUTPUTS[1]), 1 / (1 + np.exp(-OUTPUTS[2]))
R = np.exp(-LOG_DISPERSION)


def log_p_by_hand(x):
    return (
        np.log(FIRST[int(x[0])])
        + stats.nbinom.logpmf(x[1], R, R / (R + RATE))
        + np.log(YES[int(x[2])])
        + stats.norm.logpdf(x[3], OUTPUTS[0], np.exp(LOG_VARIANCE / 2))
        + stats.bernoulli.logpmf(x[4], P_ONE)
        + np.log(LAST[int(x[5])])
    )


def test_it_is_the_sum_over_columns(mixed):
    rows = np.array(
        [[0, 0, 1, 0.3, 0, 2], [2, 7, 0, -1.5, 1, 0], [1, 1, 1, 0, 1, 1]], dtype=np.float32
    )
    outputs = np.tile(OUTPUTS, (3, 1))
    found = mixed.log_likelihood(jnp.asarray(rows), jnp.asarray(outputs))
    np.testing.assert_allclose(found, [log_p_by_hand(row) for row in rows], rtol=1e-5)


def test_it_sums_to_one_over_all_that_a_row_may_be(mixed):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    numbers = OUTPUTS[0] + 7 * nodes
    grid = np.array(
        list(itertools.product(range(3), range(60), range(2), numbers, range(2), range(3)))
    )
    by_place = dict(zip(numbers, 7 * weights, strict=True))
    weight = np.array([by_place[number] for number in grid[:, 3]])
    outputs = jnp.broadcast_to(OUTPUTS, (len(grid), len(OUTPUTS)))
    log_p = mixed.log_likelihood(jnp.asarray(grid, jnp.float32), outputs)
    # Counts of 60 and more have next to nothing.
    assert (np.exp(np.asarray(log_p, np.float64)) * weight).sum() == pytest.approx(1, abs=1e-5)


def test_its_mean_has_the_most_probable_categories(mixed):
    mean = np.asarray(mixed.mean(jnp.asarray(OUTPUTS)[None]))[0]
    expected = [FIRST.argmax(), RATE, YES.argmax(), OUTPUTS[0], P_ONE, LAST.argmax()]
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


def test_its_draws_have_its_probabilities(mixed):
    outputs = jnp.broadcast_to(OUTPUTS, (N, len(OUTPUTS)))
    drawn = np.asarray(mixed.sample(outputs, jax.random.key(0)), np.float64)
    for column, p in ((0, FIRST), (2, YES), (5, LAST), (4, np.array([1 - P_ONE, P_ONE]))):
        shares = np.bincount(drawn[:, column].astype(int), minlength=len(p)) / N
        assert np.all(np.abs(shares - p) < LIMIT * np.sqrt(p * (1 - p) / N))
    spread = [np.sqrt(RATE + RATE**2 / R), np.exp(LOG_VARIANCE / 2)]
    error = np.abs(drawn[:, [1, 3]].mean(axis=0) - [RATE, OUTPUTS[0]])
    assert np.all(error < LIMIT * np.array(spread) / np.sqrt(N))
    # Columns are drawn apart, those that share a softmax too.
    apart = np.corrcoef(drawn.T) - np.eye(6)
    assert np.abs(apart).max() < LIMIT / np.sqrt(N)


def test_the_encoder_sees_one_hot_categories(mixed):
    row = jnp.asarray([[2, 3, 1, 0.3, 1, 0]], jnp.float32)
    seen = np.asarray(mixed.encoded(row))[0]
    np.testing.assert_allclose(seen[0], 0.3, rtol=1e-6)
    np.testing.assert_allclose(seen[1], np.log(4 / 1.5), rtol=1e-6)
    np.testing.assert_array_equal(seen[2:], [1, 0, 1, 0, 0, 1, 1, 0, 0])


def test_it_starts_at_the_means_and_with_all_categories_alike():
    likelihood = Mixed(jnp.asarray([0.9, 4.0, 0.5, 0.0, 0.25, 1.0]), COLUMNS)
    start = likelihood.initial_output_bias(jnp.asarray([0.9, 4.0, 0.5, 0.0, 0.25, 1.0]))
    mean = np.asarray(likelihood.mean(start[None]))[0]
    np.testing.assert_allclose(mean[[1, 3, 4]], [4, 0, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(start[3:], 0)


@pytest.mark.parametrize("kind", ["continuous", "count", "binary", "categorical"])
def test_kinds_that_are_not_there_leave_no_gap(kind):
    columns = [Column(kind, ("a", "b") if kind == "categorical" else ())] * 2
    likelihood = (Categorical if kind == "categorical" else Mixed)(jnp.full(2, 0.5), columns)
    outputs = jnp.zeros((3, 4 if kind == "categorical" else 2))
    rows = jnp.ones((3, 2))
    assert np.isfinite(likelihood.log_likelihood(rows, outputs)).all()
    for answer in (likelihood.mean(outputs), likelihood.sample(outputs, jax.random.key(0))):
        assert answer.shape == (3, 2) and np.isfinite(answer).all()


def test_the_gradient_of_a_category_is_what_it_lacks_in_probability(mixed):
    def total(outputs):
        return mixed.log_likelihood(jnp.asarray([[2.0, 0, 1, 0, 1, 1]]), outputs[None])[0]

    slope = np.asarray(jax.grad(total)(jnp.asarray(OUTPUTS)))
    np.testing.assert_allclose(slope[3:5], np.array([0, 1]) - YES, rtol=1e-5)
    np.testing.assert_allclose(slope[5:8], np.array([0, 0, 1]) - FIRST, rtol=1e-5)
