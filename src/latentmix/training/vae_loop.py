"""The loop around the compiled training steps: epochs, progress, and a clean stop.

Rows come in shards (`training.shards`), and a shard is called in pieces of about half a second,
so that news, Ctrl-C and SIGTERM fall between two calls; the answer does not depend on where it
was cut.
"""

from __future__ import annotations

import math
import time
from dataclasses import astuple, dataclass, field
from typing import Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.data import Rows
from latentmix.data.room import read_at_random
from latentmix.errors import ParameterError
from latentmix.models import inference
from latentmix.models.priors import MixturePrior
from latentmix.models.vae import Network
from latentmix.training.data_parallel import Replicas, all_there, most, of_first, said_by_first
from latentmix.training.events import Averages, Components, EpochEnd, Listener, Steps, StopTraining
from latentmix.training.interrupts import deliver, held_back
from latentmix.training.shards import Feed
from latentmix.training.vae_rule import (
    Keys,
    Rule,
    State,
    advance,
    init,
    kl_weight_at,
    no_totals,
)

SECONDS_PER_CALL = 0.5

# A component is dead once it has so small a part of the rows that it was to have.
DEAD = 0.05

Tree = TypeVar("Tree")


@dataclass
class Training:
    """A training under way: its state after `epoch` whole epochs and `step` steps more.

    With `patience` it ends after so many epochs without a better one, and `best` holds the
    network of the best epoch so far. `stopped` says that the listener has ended it. `targets`,
    (N, K), are what p(k|x) of the rows is to be under a mixture prior.
    """

    rule: Rule
    keys: Keys
    state: State
    epoch: int = 0
    step: int = 0
    history: list[EpochEnd] = field(default_factory=list)
    seconds: float = 0.0
    patience: int | None = None
    best: Network | None = None
    stopped: bool = False
    targets: np.ndarray | None = None

    @property
    def network(self) -> Network:
        """The best epoch's network, or without patience the present one."""
        return self.state.network if self.best is None else self.best

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the least validation loss; without patience the last one."""
        if self.patience is None:
            return len(self.history)
        losses = [_held_out_loss(record, self.rule.kl_weight) for record in self.history]
        return int(np.argmin(losses)) + 1 if losses else 0

    @property
    def stop_reason(self) -> str | None:
        """Why no further epoch is wanted: 'listener', 'patience', 'max_epochs', or None."""
        if self.stopped:
            return "listener"
        if self.patience is not None:
            # While the KL weight still rises, the loss that counts is not yet trained for.
            warmup = math.ceil(self.rule.kl_warmup * self.rule.n_epochs)
            if self.epoch - max(self.best_epoch, warmup) >= self.patience:
                return "patience"
        # No number is known where rows come in blocks.
        return "max_epochs" if 0 < self.rule.n_epochs <= self.epoch else None


def _held_out_loss(record: EpochEnd, kl_weight: float) -> float:
    """Return the validation loss at the final KL weight: minus the ELBO where that is 1."""
    assert record.validation is not None  # asked for with patience alone
    loss = record.validation.reconstruction + kl_weight * record.validation.kl
    return loss if np.isfinite(loss) else np.inf


def start(rule: Rule, keys: Keys, network: Network, patience: int | None = None) -> Training:
    """Return a training before its first step, which takes over the network's memory."""
    return Training(rule, keys, init(rule, network), patience=patience)


class Save(Protocol):
    """Keeps a training on disk, now and then or at once."""

    def __call__(self, training: Training, *, at_once: bool = False) -> None:
        """Keep it."""


def run(
    training: Training,
    rows: Rows,
    validation: Rows | None,
    listener: Listener,
    save: Save,
) -> Network:
    """Train until the last epoch ends, or enough of them, and return the network.

    Parameters
    ----------
    training : Training
        Changed in place.
    rows, validation : (N, D) and (M, D)
        Bytes, or float32 prepared for the likelihood. Patience needs validation rows.
    listener : callable
        Told of `Steps` and `EpochEnd`; ends the training by raising `StopTraining`.
    save : callable
        Called after each call and epoch, and `at_once` before an interrupt propagates.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C or SIGTERM, after the call under way and `save`.
    ParameterError
        If the objective or a weight is no longer finite; the training is then back at the last
        good epoch's end.
    """
    rule, replicas = training.rule, Replicas()
    pace, end = _Pace(rule.steps_per_shard), rule.n_epochs or None
    training.state = of_first(training.state)
    with read_at_random(rows), held_back() as pending, _feed(training, rows, end, replicas) as feed:
        # An epoch that the listener cut short is ended, too, if a signal came between.
        while training.stop_reason is None or training.step:
            good = copied(training.state), training.step
            try:
                while training.step < rule.steps_per_epoch and not training.stopped:
                    _call(training, feed, pace)
                    _check_finite(training)
                    _tell(training, _progress(training), listener)
                    pending.number = most(pending.number or 0) or None  # one stops, all do
                    if pending.number is not None:
                        save(training, at_once=True)
                    deliver(pending)
                    if training.step < rule.steps_per_epoch:  # else the epoch's end saves
                        save(training)
            except ParameterError:
                training.state, training.step = good
                if training.epoch:
                    save(training, at_once=True)
                raise
            _tell(training, end_epoch(training, validation), listener)
            save(training)
    return training.network


def take_block(training: Training, rows: Rows) -> EpochEnd:
    """Take one epoch's steps over rows that are seen once, and return their averages.

    Raises
    ------
    ParameterError
        As `run`.
    """
    pace = _Pace(training.rule.steps_per_shard)
    with _feed(training, rows, training.epoch + 1, Replicas()) as feed:
        while training.step < training.rule.steps_per_epoch:
            _call(training, feed, pace)
            _check_finite(training)
    return end_epoch(training, None)


def _feed(training: Training, rows: Rows, end: int | None, replicas: Replicas) -> Feed:
    return Feed(training.rule, training.keys, rows, replicas, end, training.targets)


def _tell(training: Training, event: Steps | EpochEnd, listener: Listener) -> None:
    """Tell the listener, which may end the training."""
    try:
        listener(event)
    except StopTraining:
        training.stopped = True
    training.stopped = bool(most(training.stopped))


def _check_finite(training: Training) -> None:
    """Refuse a training whose objective or weights are lost."""
    objective = float(training.state.totals[2])
    if np.isfinite(objective) and _finite(jax.tree.leaves(training.state.network)):
        return
    rule = training.rule
    lost = "some weights are NaN or infinite"
    unclipped = rule.clip_norm in (None, math.inf)
    clip = "set clip_norm" if unclipped else f"lower clip_norm={rule.clip_norm}"
    raise ParameterError(
        f"Training diverged in epoch {training.epoch + 1}, by step {training.step} of "
        f"{rule.steps_per_epoch}: "
        f"{lost if np.isfinite(objective) else f'the objective is {objective}'}. Expected finite "
        f"numbers; lower learning_rate={rule.learning_rate}, {clip}, or rescale X."
    )


def copied(tree: Tree) -> Tree:
    """Return a pytree whose arrays have memory of their own: a step takes over its state's."""
    leaves, structure = jax.tree.flatten(tree)
    copy: Tree = jax.tree.unflatten(structure, _copies(leaves))
    return copy


@jax.jit
def _copies(arrays: list[Array]) -> list[Array]:
    return [jnp.copy(array) for array in arrays]


@jax.jit
def _finite(arrays: list[Array]) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in arrays]))


def _call(training: Training, feed: Feed, pace: _Pace) -> None:
    """Make one compiled call of as many steps as take about `SECONDS_PER_CALL`."""
    rule, step, replicas = training.rule, training.step, feed.replicas
    first = step - step % rule.steps_per_shard  # of the shard, in the epoch
    stop = min(step + pace.steps, first + rule.steps_per_shard, rule.steps_per_epoch)
    stop = int(of_first(np.int64(stop)))
    before = training.epoch * rule.steps_per_epoch + first
    span = np.asarray([step - first, stop - first, before], np.int32)
    began = time.perf_counter()
    shard = feed.at(training.epoch, step)
    fed = time.perf_counter()
    with all_there():
        state = advance((shard, span), rule, replicas.everywhere(training.state), replicas.alike)
        # JAX leaves this function untyped.
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
    training.state, training.step = replicas.here(state), stop
    ended = time.perf_counter()
    pace.learn(ended - fed)
    training.seconds += ended - began


def _progress(training: Training) -> Steps:
    rule = training.rule
    return Steps(
        training.epoch + 1,
        rule.n_epochs,
        training.step,
        rule.steps_per_epoch,
        float(training.state.totals[2]) / _rows_seen(training),
        training.seconds,
    )


def _rows_seen(training: Training) -> int:
    """Return how many rows the epoch under way has seen."""
    return min(training.step * training.rule.batch_size, training.rule.n_rows)


def end_epoch(training: Training, validation: Rows | None) -> EpochEnd:
    """Record the averages over the epoch's rows that were seen, and make ready for the next one."""
    rule, n_seen = training.rule, _rows_seen(training)
    means = [float(total) / n_seen for total in training.state.totals]
    components = Components(tuple(means[4:]), means[3]) if means[3:] else None
    held_out = None if validation is None else _held_out(training, validation)
    record = EpochEnd(
        training.epoch + 1,
        rule.n_epochs,
        Averages(*means[:3]),
        held_out,
        training.seconds,
        components,
    )
    training.history.append(record)
    training.state = training.state._replace(totals=no_totals(training.state.network))
    training.epoch, training.step = training.epoch + 1, 0
    if components is not None and training.epoch < rule.n_epochs:
        _revive(training, np.array(components.shares))
    if training.patience is not None and training.best_epoch == training.epoch:
        training.best = copied(training.state.network)
    return record


def _revive(training: Training, shares: np.ndarray) -> None:
    """Have components that lost nearly all of their targets' rows begin anew, within others."""
    network, targets = training.state.network, training.targets
    if targets is None or not isinstance(network.prior, MixturePrior):
        return
    meant = targets.sum(axis=0, dtype=np.float64) / targets.sum(dtype=np.float64)
    dead = shares < DEAD * meant
    if dead.any():
        prior = network.prior.revived(dead, shares)
        training.state = training.state._replace(network=network.with_prior(prior))


def _held_out(training: Training, validation: Rows) -> Averages:
    """Return the held-out averages, which one process finds for all: patience hangs on them."""

    def found() -> dict[str, np.ndarray]:
        return {"averages": np.array(astuple(evaluate(training, validation)))}

    return Averages(*said_by_first(found)["averages"].tolist())


def evaluate(training: Training, rows: Rows) -> Averages:
    """Return the held-out averages, at one fixed draw of z for each row."""
    network, rule = training.state.network, training.rule
    # The weight that the epoch has come to: during a warm-up not yet the final one.
    kl_weight = float(kl_weight_at(rule, jnp.asarray((training.epoch + 1) * rule.steps_per_epoch)))
    noise = jax.random.normal(training.keys.draws, (len(rows), rule.latent_dim), jnp.float32)
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
