"""Each covariance family against the textbook density and the textbook moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from latentmix.kernels.families import FAMILIES
from latentmix.kernels.mixture import (
    log_joint,
    make_mixture,
    maximise,
    statistics_of_assignment,
    to_blocks,
)

K, D = 3, 4


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def random_covariances(family, rng):
    full = np.stack([np.cov(rng.randn(D, 12)) + 0.1 * np.eye(D) for _ in range(K)])
    return {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2),
        "spherical": np.diagonal(full, axis1=1, axis2=2).mean(axis=1),
    }[family]


def as_matrices(family, covariances):
    return {
        "full": lambda c: c,
        "tied": lambda c: np.stack([c] * K),
        "diag": lambda c: np.stack([np.diag(v) for v in c]),
        "spherical": lambda c: np.stack([v * np.eye(D) for v in c]),
    }[family](covariances)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("centred", [False, True])
def test_log_joint_is_the_textbook_density(family, centred):
    rng = np.random.RandomState(0)
    weights, means = rng.dirichlet(np.ones(K)), rng.randn(K, D)
    covariances = random_covariances(family, rng)
    mixture = make_mixture(family, *map(jnp.asarray, (weights, means, covariances)))
    x = rng.randn(7, D)
    expected = np.stack(
        [
            np.log(w) + multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(weights, means, as_matrices(family, covariances), strict=True)
        ],
        axis=1,
    )
    answer = log_joint(family, mixture, jnp.asarray(x), centred=centred)
    np.testing.assert_allclose(answer, expected, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_maximise_gives_the_moments_of_assigned_rows(family):
    rng = np.random.RandomState(1)
    x, components = rng.randn(60, D) + 2, np.repeat(np.arange(K), 20)
    blocks = to_blocks(jnp.asarray(x), jnp.ones(60), 25)
    padded = jnp.pad(jnp.asarray(components), (0, 15)).reshape(3, 25)
    statistics = statistics_of_assignment(family, blocks, padded, K)
    mixture = maximise(family, statistics, jnp.asarray(0.0)).mixture
    groups = [x[components == k] for k in range(K)]
    np.testing.assert_allclose(mixture.weights, np.full(K, 1 / 3))
    np.testing.assert_allclose(mixture.means, [g.mean(axis=0) for g in groups])
    within = np.stack([np.cov(g.T, bias=True) for g in groups])
    expected = {
        "full": within,
        "tied": within.mean(axis=0),
        "diag": np.diagonal(within, axis1=1, axis2=2),
        "spherical": np.diagonal(within, axis1=1, axis2=2).mean(axis=1),
    }[family]
    np.testing.assert_allclose(mixture.covariances, expected, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_inverses_agree(family):
    kind, rng = FAMILIES[family], np.random.RandomState(2)
    covariances = jnp.asarray(random_covariances(family, rng))
    assert covariances.shape == kind.shape(K, D)
    precisions = kind.precisions(kind.factors(covariances))
    np.testing.assert_allclose(kind.covariances_from_precisions(precisions), covariances, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_have_the_covariances_asked_for(family):
    kind, rng = FAMILIES[family], np.random.RandomState(3)
    covariances = random_covariances(family, rng)
    n_draws = 40_000
    noise = jnp.asarray(rng.randn(n_draws, D))
    drawn = kind.draw(noise, jnp.asarray(covariances), jnp.full(n_draws, 1))
    np.testing.assert_allclose(np.cov(drawn.T), as_matrices(family, covariances)[1], atol=0.06)


def test_a_dead_component_is_born_again_at_the_worst_row():
    x = np.vstack([np.random.RandomState(4).randn(50, 2), [[30.0, 30.0]]])
    blocks = to_blocks(jnp.asarray(x), jnp.ones(51), 51)
    assigned = statistics_of_assignment("full", blocks, jnp.zeros((1, 51), int), 2)
    statistics = assigned._replace(worst=jnp.asarray([30.0, 30.0]))
    fitted = maximise("full", statistics, jnp.asarray(1e-6))
    assert fitted.reborn.tolist() == [False, True]
    np.testing.assert_allclose(fitted.mixture.means[1], [30, 30])
    assert np.all(np.isfinite(fitted.mixture.factors))
    np.testing.assert_allclose(fitted.mixture.weights.sum(), 1)
