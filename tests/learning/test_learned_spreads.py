"""Spreads that a likelihood learns beside the decoder come out as the rows were drawn with."""

import numpy as np
import pytest

from latentmix import VAE

N, D = 1500, 16


def vae(likelihood):
    return VAE(
        hidden_dims=(32,), latent_dim=2, likelihood=likelihood, min_steps=4000, random_state=0
    )


def signal(random):
    """Return what each row expects, up to noise: two factors, and features that load on them."""
    angles = np.pi * np.arange(D) / D
    return random.standard_normal((N, 2)) @ np.stack([np.cos(angles), np.sin(angles)])


def test_the_dispersion_of_counts():
    random = np.random.RandomState(0)
    dispersion = np.linspace(0.4, 1.2, D)
    rates = np.exp(signal(random) + np.linspace(2, 5, D))
    X = random.poisson(rates * random.gamma(1 / dispersion, dispersion, rates.shape))
    fitted = vae("negative-binomial").fit(X)
    found = np.exp(np.asarray(fitted.network_.likelihood.log_dispersion))
    np.testing.assert_allclose(found, dispersion, rtol=0.2)
    assert fitted.score(X) > vae("poisson").set_params(min_steps=1000).fit(X).score(X) + D


def test_the_variance_of_numbers():
    random = np.random.RandomState(0)
    deviation = np.linspace(0.8, 2.0, D)
    X = 10 * (signal(random) + deviation * random.standard_normal((N, D)))
    fitted = vae("gaussian").fit(X)
    found = np.exp(0.5 * np.asarray(fitted.network_.likelihood.log_variance)) * fitted.scale_
    np.testing.assert_allclose(found, 10 * deviation, rtol=0.15)


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial"])
def test_counts_of_all_sizes_share_a_network(likelihood):
    """The encoder sees logarithms about the mean: ten thousands do not drown ones."""
    random = np.random.RandomState(1)
    kinds = np.arange(N) % 2
    rates = np.where(kinds[:, None] == (np.arange(D) < 8), 4.0, 1.0) * 10 ** (np.arange(D) % 4)
    X = random.poisson(rates)
    fitted = vae(likelihood).set_params(min_steps=1000).fit(X)
    means = fitted.reconstruct(X)
    for kind in range(2):
        np.testing.assert_allclose(means[kinds == kind].mean(axis=0), rates[kind], rtol=0.25)
