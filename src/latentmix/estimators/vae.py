"""The variational autoencoder as a scikit-learn transformer; the network is in `models.vae`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows, RowView
from latentmix.data.columns import Said
from latentmix.errors import InputError, ParameterError
from latentmix.estimators.diagnosis import warn_of_network
from latentmix.estimators.log_likelihood import LogLikelihoodMixin
from latentmix.estimators.saving import SaveMixin
from latentmix.estimators.schema import check_declared
from latentmix.estimators.units import mean_of
from latentmix.estimators.vae_inputs import VaeInputsMixin
from latentmix.estimators.vae_online import OnlineVaeMixin
from latentmix.estimators.validation import (
    check_choice,
    check_finite,
    check_number,
    check_readable,
    check_verbosity,
    draw_seeds,
    random_of,
)
from latentmix.estimators.verbosity import print_epoch
from latentmix.models import importance, inference
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.models.posteriors import HEADS, Posterior
from latentmix.models.vae import Network
from latentmix.training.events import Listener, all_of, nobody
from latentmix.training.schedules import SCHEDULES
from latentmix.training.shards import most_shard_rows
from latentmix.training.vae_loop import Training, run, start
from latentmix.training.vae_rule import Keys, Rule, named_keys

# Draws of z in the bound of `score_samples`: its error then lies well under a nat on MNIST.
SCORE_DRAWS = 8

# Data in [0, 1] with so many features and more are trained on the plain ELBO (docs/decisions/0009).
FEATURES_FOR_FULL_KL = 784


class Keeper(Protocol):
    """Keeps a training on disk (:class:`latentmix.training.checkpoint.Checkpoint`)."""

    def restore(self, training: Training) -> None:
        """Bring the training to where the kept one was, if there is one."""

    def save(self, training: Training, *, at_once: bool = False) -> None:
        """Keep the training, now and then or at once."""


# scikit-learn carries no types, so its classes are Any.
class VAE(
    LogLikelihoodMixin,
    OnlineVaeMixin,
    VaeInputsMixin,
    SaveMixin,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Variational autoencoder, dense or convolutional, trained with Adam under XLA.

    x ~ likelihood(decoder(z)), z ~ N(0, I_L); the encoder gives q(z|x) = N(mean, sigma^2).
    The loss is reconstruction + kl_weight * KL, in nats, summed over features and dimensions.

    Parameters
    ----------
    hidden_dims : sequence of int, optional
        Widths of the encoder's hidden layers; the decoder has them in reverse without the
        first. None: D, D/2, D/4, D/8 for D features, clipped to [16, 1024], where a category
        counts as a feature, and a single one of 256 after convolutions.
    channels : sequence of int, optional
        Channels of convolutions before the encoder's hidden layers, each of which halves the
        sides of the image, such as (16, 32); the decoder goes the same way back. None: none.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of a row; needed for convolutions.
    latent_dim : int, default=12
        Latent dimensions, L.
    likelihood : str, default='auto'
        p(x|z). Auto: 'bernoulli' for bytes (uint8, divided by 255), else 'gaussian' on standardised
        features, with a learned variance of each. 'bernoulli', 'binarised', 'relu-bernoulli' and
        'continuous-bernoulli' need X in [0, 1] (or bytes), 'discretised-logistic' bytes, 'poisson'
        and 'negative-binomial' counts. 'binarised' draws black or white for each pixel, anew
        each time that it trains on a row, and always the same where it answers. 'mixed' is for
        tables whose columns differ, and what auto is for those with text or with `columns`;
        'categorical' for tables of categories alone.
    columns : sequence or mapping, optional
        What the columns of a table hold: for each, or for some by title or number, 'continuous',
        'count', 'binary' (0 and 1), 'categorical', or a list of categories. None, and columns that
        a mapping leaves out: text is categorical, truth values are binary, numbers continuous.
    heads : {'linear', 'relu'}, default='linear'
        The encoder's last layers: linear mean and log-variance, or ReLU mean and sigma.
    kl_weight : float or 'auto', default='auto'
        Weight of the KL term; at 1 the loss is minus the ELBO. 'auto' is n_features / 784, at
        most 1, for cross entropies ('bernoulli' and 'relu-bernoulli'), and 1 for the others.
    kl_warmup : float, default=0.0
        Share of the training, [0, 1], over which the weight rises linearly from 0.
    batch_size : int, default=128
    max_epochs : int, default=20
        Passes over the rows.
    min_steps : int, default=4000
        On small data, so many epochs more that at least so many batches are seen; 0: never.
    learning_rate : float, default=1e-3
        Adam's.
    schedule : {'cosine', 'constant', 'linear'}, default='cosine'
        How the learning rate falls to 0 over the training, or that it does not.
    learning_rate_warmup : float, default=0.0
        Share of the training, [0, 1], over which the learning rate first rises linearly.
    clip_norm : float, optional
        Longer gradients, over all weights together, are shortened to this Euclidean norm (the
        objective's unit, nats a row). None: they are taken as they are.
    patience : int, optional
        Training ends after so many epochs without a better one, and the best epoch's weights are
        kept. Epochs are judged by the loss of the validation rows at the final KL weight (minus
        their ELBO where that is 1), and counted once the KL warm-up is over.
    validation_fraction : float, optional
        Share of the rows, in (0, 1), drawn to be validation rows where `fit` is given none.
    verbose : int, default=0
        1 prints a line an epoch.
    random_state : int, RandomState or None
        Seed of the weights, the order of rows and the noise.

    Attributes
    ----------
    network_ : latentmix.models.vae.Network
        The trained network (an Equinox module).
    architecture_ : latentmix.models.vae.Architecture
        Its shape.
    shift_, scale_ : (D,)
        Prepared inputs are ``(X - shift_) / scale_``; of categories, their positions are.
    columns_ : tuple of latentmix.data.columns.Column
        What each column of a table holds, ``kind`` and ``categories``; empty where the likelihood
        tells them all alike.
    history_ : list of latentmix.training.events.EpochEnd
        One record an epoch (of `partial_fit` one a block).
    best_epoch_ : int
        The epoch, from 1, whose weights are kept: the last one, or with `patience` the best.
    stop_reason_ : str
        Why training ended: 'max_epochs', 'patience' or 'listener'; None after `partial_fit`.
    n_features_in_ : int
        Features of a row, D.

    References
    ----------
    Kingma and Welling (2014), "Auto-encoding variational Bayes".

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import VAE
    >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
    >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
    >>> vae.fit(X).transform(X).shape
    (80, 2)
    >>> vae.reconstruct(X[:1]).reshape(2, 8).mean(axis=1).round()
    array([1., 0.], dtype=float32)
    """

    def __init__(
        self,
        *,
        hidden_dims: Sequence[int] | None = None,
        channels: Sequence[int] | None = None,
        image_shape: Sequence[int] | None = None,
        latent_dim: int = 12,
        likelihood: str = "auto",
        columns: Mapping[str | int, Said] | Sequence[Said] | None = None,
        heads: str = "linear",
        kl_weight: float | str = "auto",
        kl_warmup: float = 0.0,
        batch_size: int = 128,
        max_epochs: int = 20,
        min_steps: int = 4000,
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        learning_rate_warmup: float = 0.0,
        clip_norm: float | None = None,
        patience: int | None = None,
        validation_fraction: float | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.hidden_dims = hidden_dims
        self.channels = channels
        self.image_shape = image_shape
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.columns = columns
        self.heads = heads
        self.kl_weight = kl_weight
        self.kl_warmup = kl_warmup
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_steps = min_steps
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.learning_rate_warmup = learning_rate_warmup
        self.clip_norm = clip_norm
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation_data: Any = None,
        listener: Listener = nobody,
        keeper: Keeper | None = None,
    ) -> Self:
        """Train on X.

        Parameters
        ----------
        X : (N, D)
            Rows: bytes (images), floats, or a table with text (a data frame, an array of objects).
        y : ignored
        validation_data : (M, D), optional
            Rows whose averages are recorded after each epoch; no weight is learned from them.
        listener : callable, optional
            Told of :class:`~latentmix.training.events.Steps` and ``EpochEnd``. It ends the
            training by raising :class:`~latentmix.training.events.StopTraining`.
        keeper : Keeper, optional
            What keeps the training on disk and lets it go on where it stopped; `latentmix run` has
            one.

        Raises
        ------
        InputError
            For NaN or infinity, or values that the likelihood does not tell of.
        ParameterError
            For a parameter outside its domain, or a training that diverges; the estimator then
            holds the weights of the last good epoch, if there was one.

        Warns
        -----
        TrainingWarning
            If a hidden layer is dead, or the posterior has collapsed.
        """
        X, seed = self._checked(X)
        # Of all rows: a category may be among those held out alone.
        likelihood, columns = self._told_by(X)
        if validation_data is None:
            X, validation_data = self._held_out(X, seed)
        self._learn_units(X, likelihood, columns)
        rows = self._prepared(X)
        held_out = None if validation_data is None else self._validated(validation_data)
        save = nowhere if keeper is None else keeper.save
        told = all_of(print_epoch, listener) if self.verbose else listener
        # The same bits whatever the caller's mode: in 64 bits Adam's corrections round otherwise.
        with jax.enable_x64(False):
            training = self._start(rows, seed)
            if keeper is not None:
                keeper.restore(training)
            try:
                run(training, rows, held_out, told, save)
            except ParameterError:
                if training.history:
                    self._keep(training)
                raise
            self._keep(training)
        warn_of_network(self, rows)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means E_q[z|x], (N, L)."""
        return self.of_means(X, lambda means: means)

    def of_means(self, X: Any, function: inference.OfBlock) -> np.ndarray:
        """Return what a function of posterior means (B, L) says of each row, block by block."""
        return inference.of_means(self.network_, self._validated(X), function)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Return E[x|z], (N, D): intensities in [0, 1] for images, X's units for tables.

        In a categorical column stands the most probable category: in an array of objects, if any
        category is text. In a binary one stands the probability of 1.
        """
        check_is_fitted(self)
        Z = np.asarray(Z, np.float32)
        if Z.ndim != 2 or Z.shape[1] != self.architecture_.latent_dim:
            raise InputError(
                f"Z has shape {Z.shape} but the latent space needs (N, "
                f"{self.architecture_.latent_dim}). Give rows as `transform` returns them."
            )
        check_finite(Z, "Z")
        return inference.decode(self.network_, Z, self._preparation.in_units)

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return E[x|z] at the posterior means of X, (N, D), in `inverse_transform`'s units."""
        rows = self._validated(X)
        return inference.reconstruct(self.network_, rows, self._preparation.in_units)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the ELBO of each row, (N,), in nats: a lower bound on log p(x).

        Averaged over 8 draws of z shared by all rows, so the same row has the same score. For
        grey images the 'bernoulli' term is minus the cross entropy, and no density.
        """

        def elbo(bound: inference.Draws[np.ndarray]) -> np.ndarray:
            score: np.ndarray = self.log_jacobian_ - bound.reconstruction - bound.kl.sum(axis=1)
            return score

        scores: np.ndarray = self.of_draws(X, SCORE_DRAWS, elbo)
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean ELBO over the rows, in nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draw z ~ N(0, I) and return x given z, (n_samples, D), in `inverse_transform`'s units.

        Images are shown as probabilities ('bernoulli'); of other likelihoods x is a draw.
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, kind=Integral, least=1)
        random = random_of(self.random_state)
        z = random.standard_normal((n_samples, self.architecture_.latent_dim))
        return self.sample_given(z, int(random.randint(2**31 - 1)))

    def sample_given(self, z: np.ndarray, seed: int) -> np.ndarray:
        """Return x given each z, (N, D), as `sample` shows it."""
        return inference.sample_from(self.network_, z, seed, self._preparation.in_units)

    def sample_posterior(self, X: Any, seed: int) -> np.ndarray:
        """Return one draw z = mean + sigma * noise of each row, (N, L)."""
        posterior = self._posterior(X)
        noise = jax.random.normal(jax.random.key(seed), posterior.mean.shape, jnp.float32)
        sigma = np.exp(0.5 * posterior.log_variance)
        z: np.ndarray = posterior.mean + sigma * np.asarray(noise)
        return z

    def draws(self, X: Any, n_draws: int) -> inference.Draws[np.ndarray]:
        """Return the bound's ingredients of each row at fixed draws (prepared units)."""
        bound: inference.Draws[np.ndarray] = self.of_draws(X, n_draws, lambda bound: bound)
        return bound

    def of_draws(
        self, X: Any, n_draws: int, function: Callable[[inference.Draws[np.ndarray]], Any]
    ) -> Any:
        """Return what a function of a block's `draws` says of each row, block by block."""
        rows = self._validated(X)
        shape = (n_draws, self.architecture_.latent_dim)
        noise = jax.random.normal(jax.random.key(0), shape, jnp.float32)
        return inference.draws(self.network_, rows, np.asarray(noise), function)

    @property
    def kl_weight_(self) -> float:
        """The KL term's weight in use, 'auto' resolved."""
        if self.kl_weight != "auto":
            return float(self.kl_weight)
        if LIKELIHOODS[self.likelihood_].measure != "cross entropy":
            return 1.0
        return min(1.0, self.architecture_.n_features / FEATURES_FOR_FULL_KL)

    @property
    def _n_features_out(self) -> int:
        return self.architecture_.latent_dim

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # Latents are float32 whatever X is: the network computes in float32.
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _vae_and_prior(self) -> tuple[VAE, importance.LogPrior]:
        return self, importance.log_standard_normal

    def _posterior(self, X: Any) -> Posterior[np.ndarray]:
        return inference.posterior(self.network_, self._validated(X))

    def _checked(self, X: Any) -> tuple[Rows, int]:
        """Return the rows and the seed of a training that begins anew."""
        self._check_parameters()
        X = check_readable(self, X, reset=True)
        self._stream = None
        return X, draw_seeds(self.random_state, 1)[0]

    def _check_parameters(self) -> None:
        check_choice("likelihood", self.likelihood, ("auto", *LIKELIHOODS))
        check_declared(self.columns, self.likelihood)
        check_choice("heads", self.heads, HEADS)
        check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("latent_dim", "batch_size", "max_epochs"):
            check_number(name, getattr(self, name), kind=Integral, least=1)
        if self.kl_weight != "auto":
            check_number("kl_weight", self.kl_weight, least=0)
        check_number("min_steps", self.min_steps, kind=Integral, least=0)
        check_number("kl_warmup", self.kl_warmup, least=0, most=1)
        check_number("learning_rate", self.learning_rate, above=0)
        check_number("learning_rate_warmup", self.learning_rate_warmup, least=0, most=1)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, above=0)
        if self.patience is not None:
            check_number("patience", self.patience, kind=Integral, least=1)
        if self.validation_fraction is not None:
            check_number("validation_fraction", self.validation_fraction, above=0, most=1)
        check_verbosity(self.verbose)
        for name, what in (("hidden_dims", "width"), ("channels", "number")):
            for each in () if getattr(self, name) is None else getattr(self, name):
                check_number(f"{name}' {what}", each, kind=Integral, least=1)

    def _held_out(self, X: Rows, seed: int) -> tuple[Rows, Rows | None]:
        """Return the rows to train on and those to judge by, if any are asked for."""
        if self.validation_fraction is None:
            if self.patience is not None:
                raise ParameterError(
                    f"patience={self.patience} needs validation rows to judge epochs by. Give fit "
                    "validation_data, or set validation_fraction=0.1."
                )
            return X, None
        n_held_out = round(self.validation_fraction * len(X))
        if not 0 < n_held_out < len(X):
            raise InputError(
                f"validation_fraction={self.validation_fraction} of {len(X)} rows is {n_held_out}. "
                "Expected at least one row on either side; give more rows or another fraction."
            )
        chosen = np.zeros(len(X), bool)
        chosen[np.random.RandomState(seed).permutation(len(X))[:n_held_out]] = True
        return RowView(X, np.flatnonzero(~chosen)), RowView(X, np.flatnonzero(chosen))

    def _keep(self, training: Training) -> None:
        """Take over what a training has come to."""
        self.network_, self.history_ = training.network, training.history
        self.best_epoch_ = training.best_epoch
        self.stop_reason_ = training.stop_reason

    def _start(self, rows: Rows, seed: int) -> Training:
        batch_size = min(int(self.batch_size), len(rows))
        steps_per_epoch = math.ceil(len(rows) / batch_size)
        rule = Rule(
            batch_size,
            float(self.learning_rate),
            self.schedule,
            self.kl_weight_,
            float(self.kl_warmup),
            int(self.latent_dim),
            len(rows),
            max(int(self.max_epochs), math.ceil(self.min_steps / steps_per_epoch)),
            float(self.learning_rate_warmup),
            None if self.clip_norm is None else float(self.clip_norm),
            most_shard_rows(rows),
            binarise=self._preparation.draws_anew,
        )
        keys = named_keys(seed)
        return start(rule, keys, self._untrained(rows, keys), self.patience)

    def _untrained(self, rows: Rows, keys: Keys) -> Network:
        """Return a network before its first step; rows are prepared."""
        unit = 255.0 if rows.dtype == np.uint8 else 1.0
        return Network(self.architecture_, mean_of(rows) / unit, keys.init)


def nowhere(training: Training, *, at_once: bool = False) -> None:
    """Keep nothing."""
