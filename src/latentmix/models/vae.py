"""The variational autoencoder: encoder, decoder, likelihood, and the ELBO's two terms.

Generative story: z ~ prior, x ~ Likelihood(decoder(z)); inference: q(z|x) = N(mean, sigma^2)
from the encoder (Kingma and Welling 2014). Terms stay per row until the caller reduces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentmix.data.columns import Column
from latentmix.kernels.elbo import reparameterise
from latentmix.models.arrays import ArrayT
from latentmix.models.convolution import convolutional_trunks
from latentmix.models.likelihoods import Likelihood, likelihood_of
from latentmix.models.mlp import Layer, Trunk, Trunks, dense_trunks
from latentmix.models.posteriors import HEADS, Heads, Posterior
from latentmix.models.priors import MixturePrior, StandardNormal

# The widths of hidden layers that nobody chose: between these, and after convolutions.
SMALLEST_WIDTH, LARGEST_WIDTH = 16, 1024
WIDTHS_AFTER_CONVOLUTIONS = (256,)


class Architecture(NamedTuple):
    """All that is needed to build an untrained network of the same shape again.

    With `channels`, convolutions on images of that shape stand before the dense layers.
    """

    n_features: int
    hidden_dims: tuple[int, ...]
    latent_dim: int
    heads: str
    likelihood: str
    # What each column holds, where the likelihood tells them apart.
    columns: tuple[Column, ...] = ()
    channels: tuple[int, ...] = ()
    image_shape: tuple[int, ...] = ()


def default_widths(n_features: int, channels: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the encoder's hidden widths: the seed's D, D/2, D/4, D/8 clipped to [16, 1024]."""
    if channels:
        return WIDTHS_AFTER_CONVOLUTIONS
    return tuple(
        min(max(n_features // divisor, SMALLEST_WIDTH), LARGEST_WIDTH) for divisor in (1, 2, 4, 8)
    )


class Terms(NamedTuple, Generic[ArrayT]):
    """The ELBO's terms, in nats: ELBO = -(reconstruction + sum of kl).

    Attributes
    ----------
    reconstruction : (B,)
        -log p(x|z) at one draw of z; the cross entropy for grey pixels.
    kl : (B, T)
        KL(q(z|x) || p(z)): a term for each latent dimension where the prior is N(0, I), else one
        at that draw.
    z : (B, L)
        The draw.
    """

    reconstruction: Float[ArrayT, " B"]
    kl: Float[ArrayT, "B T"]
    z: Float[ArrayT, "B L"]


class Network(eqx.Module):
    """Encoder 784-784-392-196-98-(8, 8), decoder 8-98-196-392-784, for MNIST."""

    encoder: Trunk
    heads: Heads
    decoder: Trunk
    output: Layer
    likelihood: Likelihood
    prior: StandardNormal | MixturePrior

    def __init__(
        self, architecture: Architecture, feature_means: Float[Array | np.ndarray, " D"], key: Array
    ) -> None:
        """Draw an untrained network; `feature_means` are those of the prepared inputs."""
        keys = jax.random.split(key, 4)
        widths, latent_dim = architecture.hidden_dims, architecture.latent_dim
        means = jnp.asarray(feature_means, jnp.float32)
        self.likelihood = likelihood_of(architecture.likelihood, means, architecture.columns)
        self.prior = StandardNormal()
        trunks = _trunks(architecture, self.likelihood, means, keys[jnp.array([0, 2, 3])])
        self.encoder, self.decoder = trunks.encoder, trunks.decoder
        self.heads = HEADS[architecture.heads](widths[-1], latent_dim, keys[1])
        start = self.likelihood.initial_output_bias(means)
        self.output = eqx.tree_at(lambda layer: layer.bias, trunks.output, start)

    def posterior(self, x: Float[Array, "B D"]) -> Posterior[Array]:
        """Return q(z|x)."""
        return self.heads(self.encoder(self.likelihood.encoded(x)))

    def outputs(self, z: Float[Array, "B L"]) -> Float[Array, "B O"]:
        """Return the decoder's outputs: the likelihood's parameters."""
        return self.output(self.decoder(z))

    def terms(
        self,
        x: Float[Array, "B D"],
        noise: Float[Array, "B L"],
        shown: Float[Array, "B D"] | None = None,
    ) -> Terms[Array]:
        """Return the ELBO's terms at z = mean + sigma * noise.

        The encoder is given `shown` in place of x, where that is something else: x is to be told
        from it.
        """
        posterior = self.posterior(x if shown is None else shown)
        z = reparameterise(posterior.mean, posterior.log_variance, noise)
        reconstruction = -self.likelihood.log_likelihood(x, self.outputs(z))
        return Terms(reconstruction, self.prior.kl(posterior, z), z)

    def with_prior(self, prior: StandardNormal | MixturePrior) -> Network:
        """Return the same network under another prior."""
        network: Network = eqx.tree_at(lambda network: network.prior, self, prior)
        return network


def _trunks(
    architecture: Architecture, likelihood: Likelihood, means: Array, keys: Array
) -> Trunks:
    widths, latent_dim, gain = (*architecture[1:3], likelihood.output_gain)
    shape, channels = architecture.image_shape, architecture.channels
    if channels:
        return convolutional_trunks(shape, channels, widths, latent_dim, keys, gain=gain)
    n_seen = jax.eval_shape(likelihood.encoded, means[None]).shape[1]
    n_told = len(likelihood.initial_output_bias(means))
    return dense_trunks((n_seen, n_told), widths, latent_dim, keys, gain=gain)


def prepare(x: Array) -> Float[Array, "B D"]:
    """Return rows as float32: bytes become intensities in [0, 1], the rest stays."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)
