"""The loop around the compiled training steps: epochs, progress, and a clean stop.

An epoch is called in pieces of about half a second, so that news, Ctrl-C and SIGTERM fall
between two calls; the answer does not depend on where it was cut.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.errors import ParameterError
from latentmix.models import inference
from latentmix.models.vae import Network
from latentmix.training.events import Averages, EpochEnd, Listener, Steps
from latentmix.training.interrupts import deliver, held_back
from latentmix.training.vae_rule import (
    Epoch,
    Keys,
    Rule,
    State,
    advance,
    epoch_of,
    init,
    kl_weight_at,
)

SECONDS_PER_CALL = 0.5


@dataclass
class Training:
    """A training under way: its state after `epoch` whole epochs and `step` steps more."""

    rule: Rule
    keys: Keys
    state: State
    epoch: int = 0
    step: int = 0
    history: list[EpochEnd] = field(default_factory=list)
    seconds: float = 0.0


def start(rule: Rule, keys: Keys, network: Network) -> Training:
    """Return a training before its first step, which takes over the network's memory."""
    return Training(rule, keys, init(rule, network))


def run(
    training: Training,
    rows: np.ndarray,
    validation: np.ndarray | None,
    listener: Listener,
    save: Callable[[Training], None],
) -> Network:
    """Train until the last epoch ends, and return the network.

    Parameters
    ----------
    training : Training
        Changed in place.
    rows, validation : (N, D) and (M, D)
        Bytes, or float32 prepared for the likelihood.
    listener : callable
        Told of `Steps` and `EpochEnd`.
    save : callable
        Called with the training after each epoch, and before an interrupt propagates.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after the call under way and `save`.
    ParameterError
        If the objective is no longer finite.
    """
    device_rows = jnp.asarray(rows)
    pace = _Pace(training.rule.steps_per_epoch)
    with held_back() as pending:
        while training.epoch < training.rule.n_epochs:
            epoch = epoch_of(training.rule, training.keys, training.epoch)
            while training.step < training.rule.steps_per_epoch:
                _call(training, (device_rows, epoch), pace)
                listener(_progress(training))
                if pending.number is not None:
                    save(training)
                deliver(pending)
            _end_epoch(training, validation, listener)
            save(training)
    return training.state.network


def _call(training: Training, fixed: tuple[Array, Epoch], pace: _Pace) -> None:
    """Make one compiled call of as many steps as take about `SECONDS_PER_CALL`."""
    stop = min(training.step + pace.steps, training.rule.steps_per_epoch)
    span = jnp.asarray([training.step, stop, training.epoch], jnp.int32)
    began = time.perf_counter()
    state = advance((*fixed, span), training.rule, training.state)
    # JAX leaves this function untyped.
    training.state, training.step = jax.block_until_ready(state), stop  # type: ignore[no-untyped-call]
    took = time.perf_counter() - began
    pace.learn(took)
    training.seconds += took


def _progress(training: Training) -> Steps:
    rule = training.rule
    rows_seen = min(training.step * rule.batch_size, rule.n_rows)
    return Steps(
        training.epoch + 1,
        rule.n_epochs,
        training.step,
        rule.steps_per_epoch,
        float(training.state.totals[2]) / rows_seen,
        training.seconds,
    )


def _end_epoch(training: Training, validation: np.ndarray | None, listener: Listener) -> None:
    """Record the epoch's averages and make ready for the next one."""
    rule = training.rule
    train = Averages(*(float(total) / rule.n_rows for total in training.state.totals))
    if not np.isfinite(train.objective):
        raise ParameterError(
            f"Training diverged in epoch {training.epoch + 1}: the objective is {train.objective}. "
            f"Expected a finite one; lower learning_rate={rule.learning_rate} or rescale X."
        )
    held_out = None if validation is None else evaluate(training, validation)
    record = EpochEnd(training.epoch + 1, rule.n_epochs, train, held_out, training.seconds)
    training.history.append(record)
    training.state = training.state._replace(totals=jnp.zeros(3, jnp.float32))
    training.epoch, training.step = training.epoch + 1, 0
    listener(record)


def evaluate(training: Training, rows: np.ndarray) -> Averages:
    """Return the held-out averages, at one fixed draw of z for each row."""
    network, rule = training.state.network, training.rule
    # The weight of the epoch's last step: during a warm-up not yet the final one.
    kl_weight = float(kl_weight_at(rule, jnp.asarray((training.epoch + 1) * rule.steps_per_epoch)))
    latent_dim = network.decoder.layers[0].weight.shape[0]
    noise = jax.random.normal(training.keys.draws, (len(rows), latent_dim), jnp.float32)
    terms = inference.terms(network, rows, np.asarray(noise))
    reconstruction, kl = float(terms.reconstruction.mean()), float(terms.kl.sum(axis=1).mean())
    return Averages(reconstruction, kl, reconstruction + kl_weight * kl)


class _Pace:
    """How many steps to ask of one call so that it takes about `SECONDS_PER_CALL`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.steps = min(8, limit)
        self.calls = 0

    def learn(self, seconds: float) -> None:
        """Learn from the last call; the first one holds the compilation and teaches nothing."""
        self.calls += 1
        if self.calls > 1:
            wished = self.steps * SECONDS_PER_CALL / max(seconds, 1e-6)
            self.steps = int(np.clip(wished, 1, min(4 * self.steps, self.limit)))
