"""The variational autoencoder: encoder, decoder, likelihood, and the ELBO's two terms.

Generative story: z ~ N(0, I), x ~ Likelihood(decoder(z)); inference: q(z|x) = N(mean, sigma^2)
from the encoder (Kingma and Welling 2014). Terms stay per row until the caller reduces them.
"""

from __future__ import annotations

from typing import Generic, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentmix.kernels.elbo import kl_to_standard_normal, reparameterise
from latentmix.models.arrays import ArrayT
from latentmix.models.likelihoods import LIKELIHOODS, Likelihood
from latentmix.models.mlp import Dense, Trunk
from latentmix.models.posteriors import HEADS, Heads, Posterior


class Architecture(NamedTuple):
    """All that is needed to build an untrained network of the same shape again."""

    n_features: int
    hidden_dims: tuple[int, ...]
    latent_dim: int
    heads: str
    likelihood: str


class Terms(NamedTuple, Generic[ArrayT]):
    """The ELBO's terms, in nats: ELBO = -(reconstruction + sum of kl).

    Attributes
    ----------
    reconstruction : (B,)
        -log p(x|z) at one draw of z; the cross entropy for grey pixels.
    kl : (B, L)
        KL(q(z|x) || N(0, I)) for each latent dimension.
    """

    reconstruction: Float[ArrayT, " B"]
    kl: Float[ArrayT, "B L"]


class Network(eqx.Module):
    """Encoder 784-784-392-196-98-(8, 8), decoder 8-98-196-392-784, for MNIST."""

    encoder: Trunk
    heads: Heads
    decoder: Trunk
    output: Dense
    likelihood: Likelihood

    def __init__(
        self, architecture: Architecture, feature_means: Float[Array | np.ndarray, " D"], key: Array
    ) -> None:
        """Draw an untrained network; `feature_means` are those of the prepared inputs."""
        keys = jax.random.split(key, 4)
        widths = architecture.hidden_dims
        n_features, latent_dim = architecture.n_features, architecture.latent_dim
        self.encoder = Trunk(n_features, widths, keys[0])
        self.heads = HEADS[architecture.heads](widths[-1], latent_dim, keys[1])
        # The encoder's first hidden layer is as wide as the data: the decoder's output stands
        # in its place when the widths are read in reverse.
        decoder_widths = tuple(reversed(widths[1:])) + widths[:1] * (len(widths) == 1)
        self.decoder = Trunk(latent_dim, decoder_widths, keys[2])
        self.likelihood = LIKELIHOODS[architecture.likelihood](n_features)
        gain = self.likelihood.output_gain
        output = Dense(decoder_widths[-1], n_features, keys[3], gain=gain)
        start = self.likelihood.initial_output_bias(jnp.asarray(feature_means, jnp.float32))
        self.output = eqx.tree_at(lambda layer: layer.bias, output, start)

    def posterior(self, x: Float[Array, "B D"]) -> Posterior[Array]:
        """Return q(z|x)."""
        return self.heads(self.encoder(x))

    def outputs(self, z: Float[Array, "B L"]) -> Float[Array, "B D"]:
        """Return the decoder's outputs: the likelihood's parameters."""
        return self.output(self.decoder(z))

    def terms(self, x: Float[Array, "B D"], noise: Float[Array, "B L"]) -> Terms[Array]:
        """Return the ELBO's terms at z = mean + sigma * noise."""
        posterior = self.posterior(x)
        outputs = self.outputs(reparameterise(posterior.mean, posterior.log_variance, noise))
        return Terms(-self.likelihood.log_likelihood(x, outputs), kl_to_standard_normal(*posterior))


def prepare(x: Array) -> Float[Array, "B D"]:
    """Return rows as float32: bytes become intensities in [0, 1], the rest stays."""
    if x.dtype == jnp.uint8:
        return x.astype(jnp.float32) / 255.0
    return x.astype(jnp.float32)
