"""The variational autoencoder: encoder, decoder, likelihood, and the ELBO's two terms.

Generative story: z ~ prior, x ~ Likelihood(decoder(z)); inference: q(z|x) = N(mean, sigma^2)
from the encoder (Kingma and Welling 2014). Terms stay per row until the caller reduces them.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentmix.data.columns import Column
from latentmix.kernels.elbo import reparameterise
from latentmix.models.arrays import ArrayT
from latentmix.models.likelihoods import Likelihood, likelihood_of
from latentmix.models.mlp import Dense, Trunk
from latentmix.models.posteriors import HEADS, Heads, Posterior
from latentmix.models.priors import MixturePrior, StandardNormal


class Architecture(NamedTuple):
    """All that is needed to build an untrained network of the same shape again."""

    n_features: int
    hidden_dims: tuple[int, ...]
    latent_dim: int
    heads: str
    likelihood: str
    # What each column holds, where the likelihood tells them apart.
    columns: tuple[Column, ...] = ()


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
    output: Dense
    likelihood: Likelihood
    prior: StandardNormal | MixturePrior

    def __init__(
        self, architecture: Architecture, feature_means: Float[Array | np.ndarray, " D"], key: Array
    ) -> None:
        """Draw an untrained network; `feature_means` are those of the prepared inputs."""
        keys = jax.random.split(key, 4)
        widths = architecture.hidden_dims
        latent_dim = architecture.latent_dim
        means = jnp.asarray(feature_means, jnp.float32)
        likelihood = likelihood_of(architecture.likelihood, means, architecture.columns)
        seen = jax.eval_shape(likelihood.encoded, means[None])
        self.encoder = Trunk(seen.shape[1], widths, keys[0])
        self.heads = HEADS[architecture.heads](widths[-1], latent_dim, keys[1])
        # The encoder's first hidden layer is as wide as the data: the decoder's output stands
        # in its place when the widths are read in reverse.
        decoder_widths = tuple(reversed(widths[1:])) + widths[:1] * (len(widths) == 1)
        self.decoder = Trunk(latent_dim, decoder_widths, keys[2])
        self.likelihood = likelihood
        self.prior = StandardNormal()
        start = likelihood.initial_output_bias(means)
        output = Dense(decoder_widths[-1], len(start), keys[3], gain=likelihood.output_gain)
        self.output = eqx.tree_at(lambda layer: layer.bias, output, start)

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


def prepare(x: Array) -> Float[Array, "B D"]:
    """Return rows as float32: bytes become intensities in [0, 1], the rest stays."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)
