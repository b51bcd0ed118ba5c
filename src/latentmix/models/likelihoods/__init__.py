"""p(x|z): what the decoder's outputs mean. One class and one dict line each.

Every likelihood works on prepared inputs: intensities in [0, 1], counts, tables standardised.
For grey pixels, strictly between 0 and 1, the Bernoulli log-likelihood is minus the cross
entropy and not a density; it is reported under that name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from jaxtyping import Array

from latentmix.data.columns import Column
from latentmix.models.likelihoods.continuous_bernoulli import ContinuousBernoulli
from latentmix.models.likelihoods.counts import NegativeBinomial, Poisson
from latentmix.models.likelihoods.discretised_logistic import DiscretisedLogistic
from latentmix.models.likelihoods.gaussian import Gaussian
from latentmix.models.likelihoods.intensities import Bernoulli, Binarised, ReluBernoulli
from latentmix.models.likelihoods.mixed import Categorical, Mixed


class Likelihood(Protocol):
    """What the VAE asks of a likelihood.

    Attributes
    ----------
    domain : str
        What rows it tells of: a name in `estimators.preparation.PREPARATIONS`.
    measure : {'cross entropy', 'density', 'mass'}
        What it says of a row: a density, which other units of X change; a probability; or, as the
        cross entropy of grey pixels, neither.
    output_gain : float
        Variance of the output layer's first weights, times its inputs.
    """

    domain: str
    measure: str
    output_gain: float

    def __init__(self, feature_means: Array) -> None:
        """Take the means of the prepared inputs, (D,) float32."""

    def encoded(self, x: Array) -> Array:
        """Return what the encoder is given for prepared inputs (B, D); its width may be another."""
        ...

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return the output layer's starting bias, (O,), from the prepared inputs' means (D,)."""
        ...

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return log p(x|z) per row, (B,), in nats; outputs are (B, O), and O is mostly D."""
        ...

    def mean(self, outputs: Array) -> Array:
        """Return E[x|z], (B, D), in prepared units."""
        ...

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return what `sample` shows for x given z, (B, D), in prepared units."""
        ...


LIKELIHOODS: Final[dict[str, type[Likelihood]]] = {
    "bernoulli": Bernoulli,
    "binarised": Binarised,
    "relu-bernoulli": ReluBernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "discretised-logistic": DiscretisedLogistic,
    "gaussian": Gaussian,
    "poisson": Poisson,
    "negative-binomial": NegativeBinomial,
    "categorical": Categorical,
    "mixed": Mixed,
}


def likelihood_of(name: str, feature_means: Array, columns: Sequence[Column]) -> Likelihood:
    """Return a likelihood before its first step; `columns` are for those that tell them apart."""
    kind = LIKELIHOODS[name]
    return kind(feature_means, columns) if issubclass(kind, Mixed) else kind(feature_means)
