"""Draws follow the distribution they are said to: counts and moments, in standard errors.

Seeds are fixed, so a test that passes once always does. LIMIT is a two-sided chance of 1 in
16,000 for each number that is looked at.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentmix import GaussianMixture, LatentMixture
from latentmix.kernels.families import GAUSSIAN
from latentmix.models.likelihoods import Gaussian

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LIMIT = 4.0
N = 40_000
WEIGHTS = np.array([0.5, 0.3, 0.15, 0.05])
MEANS = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, -30.0], [30.0, 30.0]])
MATRIX = np.array([[2.0, -0.9], [-0.9, 0.5]])
COVARIANCES = {
    "full": np.array([1.0, 0.2, 3.0, 1.0])[:, None, None] * MATRIX,
    "tied": MATRIX,
    "diag": np.array([[1.0, 4.0], [0.3, 0.1], [2.0, 2.0], [5.0, 0.5]]),
    "spherical": np.array([1.0, 0.1, 4.0, 2.5]),
    # Noise variances, then loadings on two factors.
    "factor": np.array(
        [
            [[0.5, 1.0, 0.0], [0.3, -0.4, 0.2]],
            [[0.1, 0.3, 0.1], [0.2, 0.0, 0.5]],
            [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]],
            [[0.2, 0.1, 0.0], [2.0, 0.0, 0.0]],
        ]
    ),
}


def test_every_gaussian_family_is_looked_at():
    assert set(COVARIANCES) == set(GAUSSIAN)


def matrix_of(family, k):
    """Return a component's covariance as a matrix."""
    covariances = COVARIANCES[family]
    return {
        "full": lambda: covariances[k],
        "tied": lambda: covariances,
        "diag": lambda: np.diag(covariances[k]),
        "spherical": lambda: covariances[k] * np.eye(2),
        "factor": lambda: (
            np.diag(covariances[k, :, 0]) + covariances[k, :, 1:] @ covariances[k, :, 1:].T
        ),
    }[family]()


def mixture_of(family, seed=0):
    """Return a mixture with known parameters, as a fit would leave it."""
    mixture = GaussianMixture(4, covariance_type=family, random_state=seed)
    mixture.weights_, mixture.means_, mixture.covariances_ = WEIGHTS, MEANS, COVARIANCES[family]
    return mixture


def component_of(z):
    """Return whose draw each row is: components lie twenty sigmas apart."""
    return np.linalg.norm(z[:, None] - MEANS, axis=2).argmin(axis=1)


def assert_frequencies(components, probabilities):
    n_rows = len(components)
    counts = np.bincount(components, minlength=len(probabilities))
    error = np.sqrt(n_rows * probabilities * (1 - probabilities))
    assert np.all(np.abs(counts - n_rows * probabilities) <= LIMIT * error)


def assert_moments(rows, mean, covariance):
    """Check mean and covariance of draws from one Gaussian."""
    n_rows = len(rows)
    assert n_rows > 500
    variances = np.diag(covariance)
    z_mean = (rows.mean(axis=0) - mean) / np.sqrt(variances / n_rows)
    assert np.all(np.abs(z_mean) < LIMIT)
    # Var of (x - m)_i (x - m)_j is S_ii S_jj + S_ij^2 for a Gaussian (Isserlis).
    found = (rows - mean).T @ (rows - mean) / n_rows
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / n_rows)
    assert np.all(np.abs(found - covariance) < LIMIT * error)
    # The fourth moment of a Gaussian is 3; its estimate's variance 96 / n.
    fourth = np.mean(((rows - mean) / np.sqrt(variances)) ** 4, axis=0)
    assert np.all(np.abs(fourth - 3) < LIMIT * np.sqrt(96 / n_rows))


@pytest.mark.parametrize("family", COVARIANCES)
def test_a_mixture_draws_its_components_by_weight_and_each_as_its_gaussian(family):
    rows, components = mixture_of(family).sample(N)
    assert_frequencies(components, WEIGHTS)
    np.testing.assert_array_equal(components, component_of(rows))
    for k in range(4):
        assert_moments(rows[components == k], MEANS[k], matrix_of(family, k))


def test_rows_of_one_draw_are_independent():
    rows, components = mixture_of("diag").sample(N)
    rows = rows[components == 0]
    products = rows[:-1, 0] * rows[1:, 0] / COVARIANCES["diag"][0, 0]
    assert abs(products.mean()) < LIMIT / np.sqrt(len(products))


def test_one_seed_draws_the_same_and_another_something_else():
    one, again, other = (mixture_of("full", seed).sample(5)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


# What people call each component: one has two names, one name has two components.
CLASSES = np.array(["cat", "dog"])
CLASS_PROBABILITIES = np.array([[0.9, 0.1], [0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])


@pytest.fixture
def model():
    """Return a model whose decoder shows z itself, so that what was drawn is seen."""
    model = LatentMixture(latents="z", random_state=0)
    model.mixture_ = mixture_of("full")
    model.vae_ = SimpleNamespace(sample_given=lambda z, seed: z)
    model.keep_names(CLASSES, CLASS_PROBABILITIES, np.full(4, 10.0))
    return model


@pytest.mark.parametrize("label", CLASSES)
def test_a_label_draws_its_components_by_their_share_in_it(model, label):
    z = model.sample(N, label=label)
    joint = WEIGHTS * CLASS_PROBABILITIES[:, CLASSES.tolist().index(label)]
    expected = joint / joint.sum()
    components = component_of(z)
    assert_frequencies(components, expected)
    for k in np.flatnonzero(expected):
        assert_moments(z[components == k], MEANS[k], matrix_of("full", k))


def test_without_a_label_components_are_drawn_by_weight(model):
    components = component_of(model.sample(N))
    assert_frequencies(components, WEIGHTS)
    # In any order, not component by component.
    same = np.mean(components[:-1] == components[1:])
    expected = np.sum(WEIGHTS**2)
    assert abs(same - expected) < 2 * LIMIT * np.sqrt(expected * (1 - expected) / N)


def test_a_component_draws_from_itself_alone(model):
    z = model.sample(2000, component=3)
    assert set(component_of(z)) == {3}
    assert_moments(z, MEANS[3], matrix_of("full", 3))


def test_a_gaussian_likelihood_draws_with_its_variance():
    variances = np.array([0.25, 4.0])
    likelihood = Gaussian(jnp.zeros(2))
    object.__setattr__(likelihood, "log_variance", jnp.log(jnp.asarray(variances, jnp.float32)))
    outputs = jnp.tile(jnp.asarray([[1.0, -3.0]]), (N, 1))
    rows = np.asarray(likelihood.sample(outputs, jax.random.key(0)), np.float64)
    assert_moments(rows, np.array([1.0, -3.0]), np.diag(variances))


@pytest.mark.parametrize("family", COVARIANCES)
def test_em_without_regularisation_never_lowers_the_likelihood(family):
    mixture = mixture_of(family, seed=3)
    # So near that they overlap, and EM has long to go.
    mixture.means_ = MEANS / 15
    rows, _ = mixture.sample(400)
    fit = GaussianMixture(4, covariance_type=family, tol=0, max_iter=60, reg_covar=0)
    bounds = np.array(fit.set_params(random_state=0).fit(rows).lower_bounds_)
    assert bounds[-1] > bounds[0] + 0.005
    assert np.all(np.diff(bounds) > -1e-12)
    assert np.sum(np.diff(bounds) > 1e-9) > 10
