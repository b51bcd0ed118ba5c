"""k-means, the ELBO's terms and the naming of components, each against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from latentmix.kernels import elbo, kmeans
from latentmix.kernels.naming import name_components


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def test_kl_to_standard_normal_is_the_integral():
    mean, log_variance = 0.7, -0.9
    q = norm(mean, np.exp(0.5 * log_variance))
    expected, _ = quad(lambda z: q.pdf(z) * (q.logpdf(z) - norm.logpdf(z)), -8, 8)
    answer = elbo.kl_to_standard_normal(jnp.asarray([[mean]]), jnp.asarray([[log_variance]]))
    np.testing.assert_allclose(answer, [[expected]], rtol=1e-8)


def test_log_normal_is_scipys():
    rng = np.random.RandomState(0)
    z, mean, log_variance = rng.randn(3, 5, 2)
    expected = norm(mean, np.exp(0.5 * log_variance)).logpdf(z).sum(axis=1)
    np.testing.assert_allclose(elbo.log_normal(z, mean, log_variance), expected, rtol=1e-12)


def test_bernoulli_log_likelihood_is_finite_at_extreme_logits():
    logits = jnp.asarray([[-800.0, 0.0, 800.0]])
    x = jnp.asarray([[0.0, 0.25, 1.0]])
    answer = elbo.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(answer, [np.log(0.5)], rtol=1e-12)


def test_plus_plus_finds_far_clusters_and_never_draws_weight_zero():
    rng = np.random.RandomState(1)
    x = np.concatenate([rng.randn(30, 2) + 100 * np.array([k, -k]) for k in range(4)])
    weights = np.ones(120)
    weights[:30] = 0
    for seed in range(5):
        rows = kmeans.plus_plus(jax.random.key(seed), jnp.asarray(x), jnp.asarray(weights), 3)
        assert sorted(np.asarray(rows) // 30) == [1, 2, 3]


def test_plus_plus_on_identical_rows_still_returns_rows():
    rows = kmeans.plus_plus(jax.random.key(0), jnp.zeros((10, 2)), jnp.ones(10), 4)
    assert rows.shape == (4,)
    assert np.all((np.asarray(rows) >= 0) & (np.asarray(rows) < 10))


def test_lloyd_ends_where_every_centre_is_its_rows_mean():
    rng = np.random.RandomState(2)
    x = jnp.asarray(np.concatenate([rng.randn(40, 3) + 6 * k for k in range(3)]))
    clustering = kmeans.lloyd(x, jnp.ones(120), x[jnp.asarray([0, 1, 2])])
    for k in range(3):
        rows = x[clustering.components == k]
        assert len(rows) > 0
        np.testing.assert_allclose(clustering.centres[k], rows.mean(axis=0), rtol=1e-9)


def test_names_are_maximum_likelihood_where_rows_are_certain():
    responsibilities = jnp.asarray(np.eye(3)[[0, 0, 0, 0, 1, 1]])
    labels = jnp.asarray(np.eye(2)[[0, 0, 0, 1, 1, 1]])
    naming = name_components(responsibilities, labels, jnp.asarray(0.0))
    np.testing.assert_allclose(naming.class_probabilities[:2], [[0.75, 0.25], [0.0, 1.0]])
    # Nothing is known of the third component: it has the classes' frequencies.
    np.testing.assert_allclose(naming.class_probabilities[2], [0.5, 0.5])
    np.testing.assert_allclose(naming.labelled_rows, [4, 2, 0], atol=1e-12)


def test_naming_never_lowers_the_labels_likelihood():
    rng = np.random.RandomState(3)
    responsibilities = rng.dirichlet(np.full(6, 0.3), size=80)
    classes = rng.randint(4, size=80)
    one_hot = np.eye(4)[classes]

    def log_likelihood(class_probabilities):
        return np.log((responsibilities @ class_probabilities)[np.arange(80), classes]).sum()

    counts = responsibilities.T @ one_hot
    once = counts / counts.sum(axis=1, keepdims=True)
    naming = name_components(jnp.asarray(responsibilities), jnp.asarray(one_hot), jnp.asarray(0.0))
    assert log_likelihood(np.asarray(naming.class_probabilities)) > log_likelihood(once)
    np.testing.assert_allclose(naming.class_probabilities.sum(axis=1), 1, rtol=1e-9)
