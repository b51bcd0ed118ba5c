"""The VAE's `partial_fit`, for rows that are seen once: Adam goes on from block to block."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import optax

from latentmix.data import Rows
from latentmix.errors import InputError
from latentmix.estimators.schema import refuse_others
from latentmix.estimators.validation import check_readable, draw_seeds
from latentmix.estimators.verbosity import print_epoch
from latentmix.training.shards import most_shard_rows
from latentmix.training.vae_loop import Training, copied, start, take_block
from latentmix.training.vae_rule import Rule, named_keys


class Stream(NamedTuple):
    """What a training between two blocks has besides its network and history."""

    seed: int
    optimiser: optax.OptState
    seconds: float


class OnlineVaeMixin:
    """Adds `partial_fit` to the VAE."""

    _stream: Stream | None = None

    def partial_fit(self: Any, X: Any, y: Any = None) -> Any:
        """Take one pass of training steps over a block of rows that is seen once.

        The first block settles the likelihood and the units of the inputs, and of a table what its
        columns hold: categories that it may lack are declared, as columns={...: [...]}. After
        `fit`, or of a loaded model, the first goes on from that network and its units, with a new
        Adam. As nobody knows how many blocks there will be, the learning rate and the KL weight
        are constant: `schedule`, the warm-ups, `max_epochs`, `min_steps` and `patience` count for
        nothing.

        Parameters
        ----------
        X : (B, D)
            Rows, taken in batches of `batch_size` in a shuffled order. Blocks of the same number
            of rows share one compilation.
        y : ignored

        Raises
        ------
        InputError
            As `fit` does, and for a block of another width, or if the network's shape was changed.
        ParameterError
            As `fit` does. A block in which the training diverges is not taken in.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import VAE
        >>> vae = VAE(hidden_dims=[16], latent_dim=2, random_state=0)
        >>> for block in np.random.RandomState(0).randint(0, 256, (3, 64, 16), np.uint8):
        ...     vae = vae.partial_fit(block)
        >>> len(vae.history_)
        3
        """
        self._check_parameters()
        begins = not hasattr(self, "network_")
        X = check_readable(self, X, reset=begins)
        if begins:
            self._learn_units(X, *self._told_by(X))
        else:
            _refuse_another_shape(self)
            if self.columns_:
                refuse_others(self.columns, X, self.columns_)
        rows = self._prepared(X)
        with jax.enable_x64(False):
            seed = (
                draw_seeds(self.random_state, 1)[0] if self._stream is None else self._stream.seed
            )
            training = _training(self, rows, seed)
            record = take_block(training, rows)
        self._keep(training)
        self._stream = Stream(seed, training.state.optimiser, training.seconds)
        if self.verbose:
            print_epoch(record)
        return self


def _training(vae: Any, rows: Rows, seed: int) -> Training:
    """Return the training that the block continues, in memory of its own."""
    rule = Rule(
        batch_size=min(int(vae.batch_size), len(rows)),
        learning_rate=float(vae.learning_rate),
        schedule="constant",
        kl_weight=vae.kl_weight_,
        kl_warmup=0.0,
        latent_dim=vae.architecture_.latent_dim,
        n_rows=len(rows),
        n_epochs=0,
        # Adam's state is of one shape, whether gradients are clipped in this block or not.
        clip_norm=math.inf if vae.clip_norm is None else float(vae.clip_norm),
        most_shard_rows=most_shard_rows(rows),
        binarise=vae._preparation.draws_anew,
    )
    keys = named_keys(seed)
    if not hasattr(vae, "network_"):
        return start(rule, keys, vae._untrained(rows, keys))
    training = start(rule, keys, copied(vae.network_))
    training.history = [*vae.history_]
    training.epoch = len(training.history)
    if vae._stream is not None:
        training.seconds = vae._stream.seconds
        training.state = training.state._replace(optimiser=copied(vae._stream.optimiser))
    return training


def _refuse_another_shape(vae: Any) -> None:
    begun = vae.architecture_
    likelihood = begun.likelihood if vae.likelihood == "auto" else vae.likelihood
    asked = vae._architecture(begun.n_features, likelihood, begun.columns)
    for name, value in begun._asdict().items():
        if getattr(asked, name) != value:
            raise InputError(
                f"{name} was changed from {value!r} to {getattr(asked, name)!r} between two blocks "
                "of partial_fit, which goes on with a network of the former. Set it back, or begin "
                "anew with a clone (sklearn.base.clone)."
            )
