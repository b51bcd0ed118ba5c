"""The ELBO's terms and the naming of components, each against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from latentmix.kernels import elbo
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


def test_names_are_maximum_likelihood_where_rows_are_certain():
    responsibilities = np.eye(3)[[0, 0, 0, 0, 1, 1]]
    labels = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    naming = name_components(responsibilities, labels, 0.0)
    np.testing.assert_allclose(naming.class_probs[:2], [[0.75, 0.25], [0.0, 1.0]])
    # Nothing is known of the third component: it has the classes' frequencies.
    np.testing.assert_allclose(naming.class_probs[2], [0.5, 0.5])
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
    naming = name_components(responsibilities, one_hot, 0.0)
    assert log_likelihood(naming.class_probs) > log_likelihood(once)
    np.testing.assert_allclose(naming.class_probs.sum(axis=1), 1, rtol=1e-9)
