"""What must hold of EM for any data: hypothesis looks for the exception."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentmix import GaussianMixture
from latentmix.kernels.families import FAMILIES
from latentmix.kernels.mixture import expectation, make_mixture, maximise, to_blocks
from latentmix.training.em_loop import EmRule, fit_em
from latentmix.training.events import nobody

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
quick = settings(max_examples=15, deadline=None)
families = st.sampled_from(sorted(FAMILIES))
seeds = st.integers(0, 2**31 - 1)
N, D, K = 60, 3, 3


def rows_of(seed):
    rng = np.random.RandomState(seed)
    scale = 10.0 ** rng.uniform(-4, 4)
    return scale * (rng.randn(N, D) + rng.randint(-3, 4, size=(N, 1))) + scale * rng.randn(D)


@quick
@given(seeds, families)
def test_the_log_likelihood_never_falls(seed, family):
    rows = rows_of(seed)
    reg_covar = 1e-12 * rows.var()
    fit = GaussianMixture(
        K, covariance_type=family, tol=0, max_iter=25, reg_covar=reg_covar, random_state=seed % 100
    ).fit(rows)
    assert np.all(np.diff(fit.lower_bounds_) > -1e-6)


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


@quick
@given(seeds, families, st.integers(7, 64))
def test_blocks_of_any_size_give_the_same_statistics(seed, family, size):
    rng = np.random.RandomState(seed)
    rows, weights = rng.randn(N, D), rng.uniform(0, 2, N)
    with jax.enable_x64(True):
        shape = FAMILIES[family].shape(K, D)
        covariances = np.broadcast_to(np.eye(D) if shape[-2:] == (D, D) else 1.0, shape)
        mixture = make_mixture(
            family, jnp.full(K, 1 / K), jnp.asarray(rng.randn(K, D)), jnp.asarray(covariances)
        )
        answers = [
            maximise(
                family,
                expectation(
                    family,
                    mixture,
                    to_blocks(jnp.asarray(rows), jnp.asarray(weights), n),
                    centred=c,
                ),
                jnp.asarray(1e-6),
            ).mixture
            for n, c in ((N, False), (size, False), (size, True))
        ]
        for other in answers[1:]:
            for ours, theirs in zip(answers[0], other, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@quick
@given(seeds, families)
def test_integer_weights_are_repeated_rows(seed, family):
    rng = np.random.RandomState(seed)
    rows, weights = rng.randn(N, D), rng.randint(1, 4, N)
    with jax.enable_x64(True):
        shape = FAMILIES[family].shape(K, D)
        covariances = np.broadcast_to(np.eye(D) if shape[-2:] == (D, D) else 1.0, shape)
        mixture = make_mixture(
            family, jnp.full(K, 1 / K), jnp.asarray(rng.randn(K, D)), jnp.asarray(covariances)
        )
        weighted = to_blocks(jnp.asarray(rows), jnp.asarray(weights, jnp.float64), 16)
        repeated = np.repeat(rows, weights, axis=0)
        plain = to_blocks(jnp.asarray(repeated), jnp.ones(len(repeated)), 16)
        for ours, theirs in zip(
            expectation(family, mixture, weighted, centred=False),
            expectation(family, mixture, plain, centred=False),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@quick
@given(seeds, st.floats(-3, 3))
def test_units_change_the_density_by_the_jacobian_alone(seed, exponent):
    rng = np.random.RandomState(seed)
    rows, scale = rng.randn(N, D), 10.0**exponent
    ones = np.ones(N)
    ours = fit_em(rows, ones, EmRule("full", 2, reg_covar=1e-9), 0, nobody)
    other = fit_em(rows * scale, ones, EmRule("full", 2, reg_covar=1e-9 * scale**2), 0, nobody)
    shift = D * np.log(scale)
    np.testing.assert_allclose(
        np.array(other.lower_bounds) + shift, ours.lower_bounds, rtol=1e-7, atol=1e-7
    )
    np.testing.assert_allclose(other.mixture.means, ours.mixture.means * scale, rtol=1e-6)
