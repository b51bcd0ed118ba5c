"""The importance-weighted log p(x), beside densities that have a closed form.

A decoder that is linear makes the model probabilistic principal components (Tipping and Bishop
1999): x = W z + b + noise, whose density is Gaussian, or a mixture of Gaussians if z's is.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from latentmix import VAE, GaussianMixture, LatentMixture
from latentmix.errors import ParameterError
from latentmix.models import importance

# One epoch is no training, and the weights are replaced.
pytestmark = pytest.mark.filterwarnings("ignore::latentmix.errors.TrainingWarning")

LATENT = 2
# Its noise is small enough for the posterior to matter, and large enough for float32.
NOISE = 0.3


def with_linear(layer, weight, bias=None):
    """Return an affine layer with another weight, and no bias unless one is given."""
    bias = np.zeros(weight.shape[1]) if bias is None else bias
    arrays = (jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))
    return eqx.tree_at(lambda one: (one.weight, one.bias), layer, arrays)


def linear(vae, loadings, offset, widening):
    """Make a VAE's network linear, x = W z + b + N(0, NOISE^2), in its prepared units.

    The encoder is the exact posterior of N(0, I) for orthogonal loadings, its standard deviations
    `widening` times as large. ReLU(a) - ReLU(-a) = a makes layers with a ReLU linear.
    """
    both = np.hstack([np.eye(LATENT), -np.eye(LATENT)])
    variance = NOISE**2 / (np.sum(loadings**2, axis=0) + NOISE**2)
    to_mean = loadings * variance / NOISE**2
    network = vae.network_
    encoder, decoder = network.encoder.layers[0], network.decoder.layers[0]
    heads = network.heads
    log_variance = np.log(variance * widening**2)
    vae.network_ = eqx.tree_at(
        lambda n: (
            n.encoder.layers[0],
            n.decoder.layers[0],
            n.output,
            n.heads.mean,
            n.heads.log_variance,
            n.likelihood.log_variance,
        ),
        network,
        (
            with_linear(encoder, to_mean @ both, -(offset @ to_mean) @ both),
            with_linear(decoder, both),
            with_linear(network.output, both.T @ loadings.T, offset),
            with_linear(heads.mean, both.T),
            with_linear(heads.log_variance, np.zeros((2 * LATENT, LATENT)), log_variance),
            jnp.full(len(offset), 2 * np.log(NOISE), jnp.float32),
        ),
    )
    return vae


@pytest.fixture(scope="module")
def rows():
    """Return correlated rows, (400, 5), in units of their own."""
    random = np.random.RandomState(0)
    z = random.randn(400, LATENT) * [2.0, 1.0]
    return 3 * (z @ random.randn(LATENT, 5) + 0.4 * random.randn(400, 5)) + np.arange(5)


def prepared(vae, X):
    return (X - vae.shift_) / vae.scale_


@pytest.fixture(scope="module")
def linear_vae(rows):
    """Return a function that gives a linear VAE of those rows, with its loadings and offset."""

    def build(widening):
        vae = VAE(hidden_dims=(2 * LATENT,), latent_dim=LATENT, max_epochs=1, min_steps=0)
        vae.set_params(random_state=0, likelihood="gaussian")
        vae.fit(rows)
        components = PCA(LATENT).fit(prepared(vae, rows))
        loadings = components.components_.T * np.sqrt(components.explained_variance_)
        offset = np.linspace(-0.2, 0.2, 5)
        return linear(vae, loadings, offset, widening), loadings, offset

    return build


def exact(vae, X, loadings, offset):
    covariance = loadings @ loadings.T + NOISE**2 * np.eye(len(offset))
    density = multivariate_normal(offset, covariance).logpdf(prepared(vae, X))
    return density - np.log(vae.scale_).sum()


def test_with_the_exact_posterior_every_draw_says_the_density_of_principal_components(
    linear_vae, rows
):
    vae, loadings, offset = linear_vae(widening=1.0)
    found = vae.log_likelihood(rows, n_draws=3)
    np.testing.assert_allclose(found.log_likelihood, exact(vae, rows, loadings, offset), rtol=2e-5)
    assert found.standard_error.max() < 1e-4


def test_with_another_posterior_the_density_lies_within_the_standard_errors(linear_vae, rows):
    vae, loadings, offset = linear_vae(widening=1.5)
    found = vae.log_likelihood(rows, n_draws=4000)
    off = (found.log_likelihood - exact(vae, rows, loadings, offset)) / found.standard_error
    # 400 rows with draws of their own: about a standard normal each.
    assert 0.85 < np.std(off) < 1.15 and abs(off.mean()) < 0.2
    assert found.standard_error.max() < 0.05
    assert found.log_likelihood.mean() > vae.score(rows) + 0.1


def test_a_mixture_prior_gives_the_density_of_a_mixture_of_such_models(linear_vae, rows):
    vae, loadings, offset = linear_vae(widening=2.0)
    model = LatentMixture(3, vae=vae, random_state=0).fit(rows)
    model.vae_ = vae
    model.mixture_ = mixture = GaussianMixture(3, random_state=0).fit(vae.transform(rows))
    densities = [
        multivariate_normal(
            offset + loadings @ mean, loadings @ cov @ loadings.T + NOISE**2 * np.eye(5)
        ).logpdf(prepared(vae, rows))
        for mean, cov in zip(mixture.means_, mixture.covariances_, strict=True)
    ]
    expected = logsumexp(np.array(densities).T + np.log(mixture.weights_), axis=1)
    expected -= np.log(vae.scale_).sum()
    found = model.log_likelihood(rows, n_draws=4000)
    off = (found.log_likelihood - expected) / found.standard_error
    assert 0.85 < np.std(off) < 1.15 and abs(off.mean()) < 0.2
    assert found.log_likelihood.mean() > model.score(rows)


def test_more_draws_bring_the_mean_closer_from_below(linear_vae, rows):
    vae, loadings, offset = linear_vae(widening=2.0)
    means = [vae.log_likelihood(rows, n).log_likelihood.mean() for n in (1, 4, 32, 256)]
    assert np.all(np.diff(means) > 0)
    assert means[-1] < exact(vae, rows, loadings, offset).mean() + 0.01
    errors = [vae.log_likelihood(rows, n).standard_error.mean() for n in (32, 256)]
    assert 2 < errors[0] / errors[1] < 4  # the root of 8 is 2.8


def test_the_standard_error_is_that_of_other_draws(linear_vae, rows):
    vae, _, _ = linear_vae(widening=1.5)
    prior = importance.log_standard_normal
    found = [
        importance.log_likelihood(vae.network_, vae._validated(rows), 100, prior, seed)
        for seed in range(200)
    ]
    spread = np.std([one.log_likelihood for one in found], axis=0)
    claimed = np.sqrt(np.mean([one.standard_error**2 for one in found], axis=0))
    # 200 repetitions know a standard deviation to 5 %.
    np.testing.assert_allclose(claimed / spread, 1, atol=0.25)


def test_memory_is_for_a_group_of_draws_and_a_block_of_rows(linear_vae, rows):
    vae, _, _ = linear_vae(widening=1.0)
    sizes = []

    def noting(z):
        sizes.append(z.shape)
        return importance.log_standard_normal(z)

    importance.log_likelihood(vae.network_, vae._validated(rows), 100, noting)
    assert sum(len_z for len_z, _ in sizes) == 512 * 100  # the block of 400 rows is padded
    assert max(sizes) == (512 * importance.DRAWS_PER_GROUP, LATENT)


def test_twins_have_the_same_draws_and_others_their_own(linear_vae, rows):
    vae, _, _ = linear_vae(widening=1.5)
    twice = np.concatenate([rows, rows[::-1]])
    found = vae.log_likelihood(twice, n_draws=1).log_likelihood
    np.testing.assert_allclose(found[:400], found[:399:-1], rtol=1e-5)
    loadings, offset = linear_vae(widening=1.5)[1:]
    off = found[:400] - exact(vae, rows, loadings, offset)
    # The mean of independent errors is small beside them.
    assert abs(off.mean()) < 4 * off.std() / 20 + 0.5 * off.var()
    assert len(np.unique(off.round(4))) > 390


def test_weights_of_nothing_at_all_are_no_number_to_divide_by():
    groups = [
        np.full((2, 3), -np.inf),
        np.array([[-np.inf, -2000.0, 3.0], [-np.inf, -2001.0, 3.0]]),
    ]
    sums = importance._Sums(np.full(3, -np.inf), np.zeros(3), np.zeros(3))
    for group in groups:
        sums = importance._added(sums, group)
    found = importance._estimate(sums, 4)
    expected = [-np.inf, np.logaddexp(-2000, -2001) - np.log(4), 3 - np.log(2)]
    np.testing.assert_allclose(found.log_likelihood, expected)
    assert np.isnan(found.standard_error[0]) and np.isfinite(found.standard_error[1:]).all()
    # Weights 0, 0, 1, 1: their mean has a standard error of 0.5774 times itself.
    np.testing.assert_allclose(found.standard_error[2], np.std([0, 0, 1, 1], ddof=1) / 2 / 0.5)


def test_draws_that_cannot_be_are_refused(linear_vae, rows):
    vae, _, _ = linear_vae(widening=1.0)
    for n_draws in (0, 2.5, "many"):
        with pytest.raises(ParameterError, match="n_draws"):
            vae.log_likelihood(rows, n_draws=n_draws)
    assert np.isnan(vae.log_likelihood(rows, 1).standard_error).all()
