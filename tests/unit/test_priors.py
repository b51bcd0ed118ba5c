"""The mixture as a prior: its densities are the mixture's, its divergence the definition's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Peer
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

from latentmix.estimators import GaussianMixture, Refinement
from latentmix.estimators.rounds import Found
from latentmix.estimators.teacher import groups_of, moments_of, targets_of
from latentmix.kernels.elbo import reparameterise
from latentmix.models.posteriors import Posterior
from latentmix.models.priors import LEAST_VARIANCE, MixturePrior, StandardNormal

K, L = 4, 3


@pytest.fixture(scope="module")
def mixture():
    """Return weights, means and variances."""
    random = np.random.RandomState(0)
    return random.dirichlet(np.ones(K)), 2 * random.randn(K, L), random.uniform(0.2, 3, (K, L))


def peer_of(weights, means, variances):
    peer = Peer(K, covariance_type="diag")
    peer.weights_, peer.means_, peer.covariances_ = weights, means, variances
    peer.precisions_cholesky_ = _compute_precision_cholesky(variances, "diag")
    return peer


def test_densities_and_responsibilities_are_the_mixtures(mixture):
    z = 3 * np.random.RandomState(1).randn(50, L)
    weights, means, variances = mixture
    prior, peer = MixturePrior(*mixture), peer_of(weights, means, variances + LEAST_VARIANCE)
    log_joint = np.asarray(prior.log_joint(jnp.asarray(z, jnp.float32)))
    expected = peer._estimate_weighted_log_prob(z)
    np.testing.assert_allclose(log_joint, expected, rtol=1e-4, atol=1e-4)
    answer = np.exp(prior.log_responsibilities(jnp.asarray(z, jnp.float32)))
    np.testing.assert_allclose(answer, peer.predict_proba(z), atol=1e-4)


def test_the_estimator_of_its_numbers_answers_the_same(mixture):
    z = 3 * np.random.RandomState(1).randn(50, L)
    prior, latents = MixturePrior(*mixture), jnp.asarray(z, jnp.float32)
    model = Found.of(prior, None).as_mixture(GaussianMixture(K, covariance_type="diag"), z)
    expected = jax.nn.logsumexp(prior.log_joint(latents), axis=1)
    np.testing.assert_allclose(model.score_samples(z), expected, rtol=1e-4, atol=1e-4)
    expected = np.exp(prior.log_responsibilities(latents))
    np.testing.assert_allclose(model.predict_proba(z), expected, atol=1e-4)


def test_a_component_of_no_width_is_given_some(mixture):
    weights, means, _ = mixture
    prior = MixturePrior(weights, means, np.zeros((K, L)))
    np.testing.assert_allclose(np.exp(prior.log_variances), LEAST_VARIANCE, rtol=1e-5)


def test_weights_that_gradients_moved_still_sum_to_one(mixture):
    prior = MixturePrior(*mixture)
    moved = MixturePrior(3 * mixture[0], *mixture[1:])
    z = jnp.asarray(np.random.RandomState(1).randn(5, L), jnp.float32)
    np.testing.assert_allclose(moved.log_joint(z), prior.log_joint(z), rtol=1e-5, atol=1e-5)


def test_the_divergences_mean_over_draws_is_the_closed_form_of_one_component():
    """At the draw it is one term; N(0, I) written as a mixture has both."""
    random, n_draws = np.random.RandomState(0), 40_000
    mean, log_variance = random.randn(1, L), random.uniform(-2, 0.5, (1, L))
    posterior = Posterior(
        *(
            jnp.asarray(np.repeat(part, n_draws, axis=0), jnp.float32)
            for part in (mean, log_variance)
        )
    )
    noise = jnp.asarray(random.randn(n_draws, L), jnp.float32)
    z = reparameterise(posterior.mean, posterior.log_variance, noise)
    prior = MixturePrior(np.ones(1), np.zeros((1, L)), np.full((1, L), 1 - LEAST_VARIANCE))
    drawn = np.asarray(prior.kl(posterior, z))
    assert drawn.shape == (n_draws, 1)
    exact = float(StandardNormal().kl(posterior, z)[0].sum())
    error = drawn.std() / np.sqrt(n_draws)
    assert abs(drawn.mean() - exact) < 4 * error < 0.1
    assert drawn.std() > 0.1


def test_the_mixture_of_certain_groups_has_their_moments():
    random = np.random.RandomState(0)
    groups = np.repeat([0, 1], [40, 10])
    z = random.randn(50, L) * np.array([[1.0], [3.0]])[groups]
    prior = MixturePrior(**moments_of(z, np.eye(2)[groups]))
    np.testing.assert_allclose(np.exp(prior.log_weights), [0.8, 0.2], rtol=1e-5)
    for k in range(2):
        np.testing.assert_allclose(prior.means[k], z[groups == k].mean(axis=0), atol=1e-5)
        variances = z[groups == k].var(axis=0) + LEAST_VARIANCE
        np.testing.assert_allclose(np.exp(prior.log_variances[k]), variances, rtol=1e-4)


def test_targets_are_all_but_certain_and_nothing_outside_the_graph():
    z = np.random.RandomState(0).randn(250, L).astype(np.float32)
    z[::2] += 20
    how = Refinement(max_graph_rows=100)
    targets = targets_of(groups_of(z, how, GaussianMixture(2), 0), 250, 2)
    known = targets.sum(axis=1) > 0
    assert known.sum() == 100
    np.testing.assert_allclose(targets[known].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(targets[known].max(axis=1), 0.995, rtol=1e-6)
    assert not targets[~known].any()
    # The groups are the two places.
    chosen = targets.argmax(axis=1)
    assert len(set(chosen[known & (np.arange(250) % 2 == 0)])) == 1
    assert len(set(chosen[known])) == 2
    whole = groups_of(z, Refinement(), GaussianMixture(2), 0)
    np.testing.assert_array_equal(whole.rows, np.arange(250))


def test_a_dead_component_is_half_of_the_fullest_one():
    """The two halves together have the mean and the variance of the whole."""
    weights = np.array([0.6, 0.3, 0.1])
    means, variances = np.array([[1.0, 2.0], [9.0, 9.0], [5.0, 5.0]]), np.ones((3, 2))
    variances[0] = 0.5, 4.0
    prior = MixturePrior(weights, means, variances)
    found = prior.revived(np.array([False, False, True]), np.array([0.65, 0.35, 0.0]))
    shares = np.exp(found.log_weights) / np.exp(found.log_weights).sum()
    np.testing.assert_allclose(shares[[0, 2]] / shares[1], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found.means[1], prior.means[1])
    halves = np.asarray(found.means)[[0, 2]]
    np.testing.assert_allclose(halves.mean(axis=0), means[0], rtol=1e-5)
    assert halves[0, 1] < means[0, 1] < halves[1, 1]
    within = np.exp(found.log_variances)[[0, 2]].mean(axis=0)
    np.testing.assert_allclose(
        within + halves.var(axis=0), variances[0] + LEAST_VARIANCE, rtol=1e-4
    )


def test_two_dead_components_are_of_two_parents_or_of_one_that_holds_most():
    prior = MixturePrior(np.ones(4) / 4, np.arange(8.0).reshape(4, 2), np.ones((4, 2)))
    dead = np.array([True, True, False, False])
    two = np.asarray(prior.revived(dead, np.array([0, 0, 0.5, 0.5])).means)
    np.testing.assert_allclose((two[0] + two[2]) / 2, prior.means[2], rtol=1e-5)
    np.testing.assert_allclose((two[1] + two[3]) / 2, prior.means[3], rtol=1e-5)
    one = np.asarray(prior.revived(dead, np.array([0, 0, 0.9, 0.1])).means)
    np.testing.assert_array_equal(one[3], prior.means[3])
    assert len(np.unique(one, axis=0)) == 4
