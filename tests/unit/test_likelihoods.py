"""Each likelihood of one feature: it sums to 1, its mean is its mean, its draws are its own."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from latentmix.estimators.preparation import PREPARATIONS
from latentmix.kernels.counts import negative_binomial_log_likelihood, poisson_log_likelihood
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.models.likelihoods.continuous_bernoulli import log_normaliser, mean_of
from latentmix.models.likelihoods.discretised_logistic import DiscretisedLogistic

# Of several columns of several kinds: test_mixed_likelihood.py.
ALIKE = {name: kind for name, kind in LIKELIHOODS.items() if kind.domain != "columns"}
PROPER = [name for name, kind in ALIKE.items() if kind.measure != "cross entropy"]
N = 40_000
# A two-sided chance of 1 in 16,000.
LIMIT = 4.0


class Support(NamedTuple):
    """Places of a domain, and weights with which a sum over them is a sum, or integral, of all.

    `outputs` are such as a decoder may come to.
    """

    x: np.ndarray
    weights: np.ndarray
    outputs: tuple[float, ...]


def interval(low, high, n_pieces, outputs):
    """Return Gauss-Legendre places and weights in each of the pieces of an interval."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.linspace(low, high, n_pieces + 1)
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + nodes)
    return Support(x.ravel(), (half * weights).ravel(), outputs)


SUPPORTS = {
    "numbers": interval(-60, 60, 200, (-5.0, 0.0, 12.0)),
    "intensities": interval(0, 1, 50, (-40.0, -4.0, -0.51, -0.49, -1e-3, 0.0, 0.3, 0.7, 12.0)),
    "counts": Support(np.arange(20_000.0), np.ones(20_000), (-20.0, -3.0, 0.0, 0.7, 3.0, 6.0)),
    "drawn bits": Support(np.arange(2.0), np.ones(2), (-20.0, -2.0, 0.0, 0.7, 5.0)),
    "levels": Support(np.arange(256) / 255, np.ones(256), (-2.0, -0.1, 0.0, 0.5, 0.998, 1.3)),
}


def test_every_domain_is_looked_at():
    assert set(SUPPORTS) == set(PREPARATIONS) - {"columns"}


def built(name):
    """Return a likelihood of one feature, with parameters other than those it starts with."""

    def moved(leaf):
        return leaf + 0.4 if eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(moved, LIKELIHOODS[name](jnp.full(1, 0.5)))


CASES = [(name, out) for name in PROPER for out in SUPPORTS[LIKELIHOODS[name].domain].outputs]


@pytest.fixture(params=CASES, ids=[f"{name} at {out}" for name, out in CASES])
def case(request):
    """Return a likelihood, an output, the support, and the probability of each place."""
    name, output = request.param
    likelihood, support = built(name), SUPPORTS[LIKELIHOODS[name].domain]
    x = jnp.asarray(support.x, jnp.float32)[:, None]
    log_p = likelihood.log_likelihood(x, jnp.full_like(x, output))
    return likelihood, output, support, np.exp(np.asarray(log_p, np.float64)) * support.weights


def test_it_sums_to_one(case):
    *_, probabilities = case
    assert probabilities.sum() == pytest.approx(1, abs=2e-5)


def test_its_mean_is_that_of_its_probabilities(case):
    likelihood, output, support, probabilities = case
    mean = float(likelihood.mean(jnp.full((1, 1), output))[0, 0])
    expected = (probabilities * support.x).sum()
    spread = np.sqrt((probabilities * (support.x - expected) ** 2).sum())
    assert mean == pytest.approx(expected, abs=1e-4 * spread + 1e-6 * abs(expected))


def test_its_draws_are_in_its_domain_and_have_its_moments(case):
    likelihood, output, support, probabilities = case
    outputs = jnp.full((N, 1), output, jnp.float32)
    drawn = np.asarray(likelihood.sample(outputs, jax.random.key(0)), np.float64)[:, 0]
    assert support.x.min() - 0.01 <= drawn.min() and drawn.max() <= support.x.max() + 0.01
    mean = (probabilities * support.x).sum()
    powers = [(probabilities * np.abs(support.x - mean) ** power).sum() for power in (2, 4)]
    assert abs(drawn.mean() - mean) <= LIMIT * np.sqrt(powers[0] / N)
    error = np.sqrt((powers[1] - powers[0] ** 2) / N)
    assert abs(((drawn - mean) ** 2).mean() - powers[0]) <= LIMIT * error


@pytest.mark.parametrize("name", ALIKE)
def test_its_gradient_is_that_of_its_values(name):
    """Series, bounds and branches join: differences in float64 agree with the derivative."""
    support = SUPPORTS[LIKELIHOODS[name].domain]
    likelihood = built(name)
    x = jnp.asarray(support.x[:: max(1, len(support.x) // 7)], jnp.float32)[:, None]

    def total(output):
        return jnp.sum(likelihood.log_likelihood(x, jnp.full_like(x, output)))

    # At exactly 0 two branches of softplus meet, and their derivatives are of either side.
    for output in (output or 1e-4 for output in support.outputs):
        slope = jax.grad(total)(jnp.float32(output))
        assert np.isfinite(slope)
        if name == "relu-bernoulli":  # its derivative is another on purpose
            continue
        with jax.enable_x64(True):
            x64 = jnp.asarray(x, jnp.float64)
            ends = [
                likelihood.log_likelihood(x64, jnp.full_like(x64, output + step)).sum()
                for step in (-1e-4, 1e-4)
            ]
        expected = float(ends[1] - ends[0]) / 2e-4
        assert slope == pytest.approx(expected, rel=1e-3, abs=1e-3)


# Of the continuous Bernoulli


def test_the_normaliser_is_smooth_where_its_series_begins():
    t = np.r_[np.linspace(-2, 2, 801), -200, -50, 50, 200].astype(np.float32)
    exact = t.astype(np.float64)
    exact[exact == 0] = 1e-9
    log_c = np.log(exact / np.tanh(exact / 2))
    np.testing.assert_allclose(log_normaliser(jnp.asarray(t)), log_c, rtol=1e-6)
    log_c_slope = 1 / exact - 1 / np.sinh(exact)
    found = jax.vmap(jax.grad(lambda one: log_normaliser(one[None, None])[0, 0]))(jnp.asarray(t))
    near = np.abs(exact) > 1e-3  # nearer, this formula has no digits left
    np.testing.assert_allclose(found[near], log_c_slope[near], rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(found[~near], exact[~near] / 6, atol=1e-6)


def test_the_mean_is_no_parameter():
    t = jnp.asarray([-3.0, 0.0, 3.0])
    np.testing.assert_allclose(mean_of(t), [0.28094, 0.5, 0.71906], atol=1e-5)
    assert mean_of(t)[2] < jax.nn.sigmoid(t)[2]


# Of counts

COUNTS = np.r_[0:40, 97, 1000, 54_321, 10**6, 2**24].astype(float)


@pytest.mark.parametrize("ratio", [1e-4, 0.5, 0.999, 1.0, 1.001, 3.0, 1e3])
def test_poisson_log_probabilities_keep_their_digits(ratio):
    log_rate = np.log(np.maximum(COUNTS, 0.3) * ratio).astype(np.float32)
    found = poisson_log_likelihood(jnp.asarray(COUNTS[:, None]), jnp.asarray(log_rate[:, None]))
    rate = np.exp(log_rate.astype(np.float64))
    exact = stats.poisson.logpmf(COUNTS, rate)
    # Outputs of float32 know their mean to some 2e-6 of it: no formula is better than that.
    assert np.all(np.abs(found - exact) < 2e-6 * (np.abs(exact) + np.abs(COUNTS - rate)) + 2e-6)


@pytest.mark.parametrize("dispersion", [1e-5, 0.01, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("ratio", [1e-4, 0.5, 1.0, 1.1, 1e3])
def test_negative_binomial_log_probabilities_keep_their_digits(dispersion, ratio):
    log_mean = np.log(np.maximum(COUNTS, 0.3) * ratio).astype(np.float32)
    log_dispersion = np.float32(np.log(dispersion))
    found = negative_binomial_log_likelihood(
        jnp.asarray(COUNTS[:, None]), jnp.asarray(log_mean[:, None]), jnp.full(1, log_dispersion)
    )
    r, mean = np.exp(-np.float64(log_dispersion)), np.exp(log_mean.astype(np.float64))
    exact = stats.nbinom.logpmf(COUNTS, r, r / (r + mean))
    known = np.abs(COUNTS - mean) * r / (r + mean)
    assert np.all(np.abs(found - exact) < 2e-6 * (np.abs(exact) + known) + 2e-5)


def test_the_dispersion_learns_by_its_exact_gradient():
    x, log_mean = jnp.asarray(COUNTS[:42, None]), jnp.full((42, 1), 2.0)

    def total(log_dispersion):
        return negative_binomial_log_likelihood(x, log_mean, log_dispersion[None]).sum()

    for log_dispersion in (-6.0, -1.0, 0.0, 2.0):
        slope = jax.grad(total)(jnp.float32(log_dispersion))
        r = np.exp(-log_dispersion + np.array([-1e-5, 1e-5]))
        ends = [stats.nbinom.logpmf(COUNTS[:42], one, one / (one + np.exp(2))).sum() for one in r]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3)


# Of the discretised logistic


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -5.5, -4.0, -1.0, 3.0])
@pytest.mark.parametrize("location", [-0.5, 0.0, 0.3, 100.5 / 255, 1.0, 1.2])
def test_the_256_levels_have_all_of_the_probability(log_scale, location):
    likelihood = DiscretisedLogistic(jnp.zeros(1))
    likelihood = eqx.tree_at(lambda one: one.log_scale, likelihood, jnp.full(1, log_scale))
    levels = jnp.arange(256.0)[:, None] / 255
    log_p = likelihood.log_likelihood(levels, jnp.full_like(levels, location))
    probabilities = np.exp(np.asarray(log_p, np.float64))
    assert np.isfinite(log_p).all() and probabilities.sum() == pytest.approx(1, abs=1e-5)
    mean = float(likelihood.mean(jnp.full((1, 1), location))[0, 0])
    assert mean == pytest.approx((probabilities * np.arange(256) / 255).sum(), abs=1e-5)
    # As the formula has it, where differences of float64 still tell.
    s = np.exp(max(log_scale, -7.7))
    edges = special.expit(((np.arange(1, 256) - 0.5) / 255 - location) / s)
    np.testing.assert_allclose(probabilities, np.diff(np.r_[0, edges, 1]), rtol=1e-3, atol=1e-6)
