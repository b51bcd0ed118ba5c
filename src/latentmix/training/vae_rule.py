"""The VAE's training rule: what one step does, and a compiled run of many.

`init` makes the state, `advance` takes it from one step of an epoch to another inside one
compiled loop, over data that stay on the device (as bytes, for images). Every random number
is a function of (seed, epoch, row), so an epoch cut into other calls gives the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from latentmix.models.vae import Network, prepare
from latentmix.training.schedules import learning_rate


@dataclass(frozen=True)
class Rule:
    """How to train: Adam on the mean over a batch of reconstruction + kl_weight * KL.

    Attributes
    ----------
    batch_size : int
    learning_rate : float
    schedule : str
        A name in `training.schedules.SCHEDULES`, over all the steps.
    kl_weight : float
        beta (Higgins et al. 2017); at 1 the objective is minus the ELBO.
    kl_warmup : float
        Share of all steps, [0, 1], over which the weight rises linearly from 0.
    latent_dim, n_rows, n_epochs : int
    learning_rate_warmup : float
        Share of all steps, [0, 1], over which the learning rate rises linearly.
    clip_norm : float, optional
        Longer gradients, over all weights together, are shortened to this Euclidean norm.
    """

    batch_size: int
    learning_rate: float
    schedule: str
    kl_weight: float
    kl_warmup: float
    latent_dim: int
    n_rows: int
    n_epochs: int
    learning_rate_warmup: float = 0.0
    clip_norm: float | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch, the last one padded."""
        return math.ceil(self.n_rows / self.batch_size)

    @property
    def n_steps(self) -> int:
        """The number of steps in all."""
        return self.steps_per_epoch * self.n_epochs


class State(NamedTuple):
    """Everything a step changes. `totals` sums [reconstruction, kl, objective] over the epoch."""

    network: Network
    optimiser: optax.OptState
    totals: Float[Array, " 3"]


class Epoch(NamedTuple):
    """One pass over the rows: their order, padded to whole batches, and their noise.

    Padding repeats row 0 with weight 0, so the last batch is weighted, not dropped. The noise
    is drawn for the whole epoch at once, outside the loop.
    """

    order: Int[Array, " S"]
    weights: Float[Array, " S"]
    noise: Float[Array, "S L"]


class Keys(NamedTuple):
    """Independent streams of random numbers, one for each use."""

    init: Array
    order: Array
    noise: Array
    draws: Array


def named_keys(seed: int) -> Keys:
    """Split a seed into its named streams."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def _optimiser(rule: Rule) -> optax.GradientTransformation:
    adam = optax.adam(
        learning_rate(rule.schedule, rule.learning_rate, rule.learning_rate_warmup, rule.n_steps)
    )
    if rule.clip_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(rule.clip_norm), adam)


def init(rule: Rule, network: Network) -> State:
    """Return the state before the first step."""
    parameters = eqx.filter(network, eqx.is_inexact_array)
    return State(network, _optimiser(rule).init(parameters), jnp.zeros(3, jnp.float32))


def epoch_of(rule: Rule, keys: Keys, number: int) -> Epoch:
    """Return epoch `number`'s shuffled order and its noise."""
    order = jax.random.permutation(jax.random.fold_in(keys.order, number), rule.n_rows)
    n_padded = rule.steps_per_epoch * rule.batch_size
    padding = n_padded - rule.n_rows
    noise_key = jax.random.fold_in(keys.noise, number)
    return Epoch(
        jnp.pad(order.astype(jnp.int32), (0, padding)),
        jnp.pad(jnp.ones(rule.n_rows, jnp.float32), (0, padding)),
        jax.random.normal(noise_key, (n_padded, rule.latent_dim), jnp.float32),
    )


def kl_weight_at(rule: Rule, step: Array) -> Float[Array, ""]:
    """Return the KL term's weight at a step, counted over the whole training."""
    warmup = round(rule.kl_warmup * rule.n_steps)
    if warmup == 0:
        return jnp.asarray(rule.kl_weight, jnp.float32)
    return rule.kl_weight * jnp.minimum(1.0, (step + 1).astype(jnp.float32) / warmup)


def objective(
    network: Network, x: Array, noise: Array, weights: Array, kl_weight: Array
) -> tuple[Array, Array]:
    """Return the batch's mean loss, and the sums [reconstruction, kl, objective] over its rows."""
    terms = network.terms(prepare(x), noise)
    kl = jnp.sum(terms.kl, axis=1)
    per_row = jnp.stack([terms.reconstruction, kl, terms.reconstruction + kl_weight * kl])
    sums = per_row @ weights
    return sums[2] / jnp.sum(weights), sums


@eqx.filter_jit(donate="all-except-first")
def advance(fixed: tuple[Array, Epoch, Array], rule: Rule, state: State) -> State:
    """Take some of an epoch's training steps, compiled as one loop.

    Parameters
    ----------
    fixed : (rows, epoch, span)
        The training rows (N, D), bytes or float32; the epoch; and the int32 numbers [first step,
        step to stop before, epoch's number], an array, so that cutting an epoch elsewhere
        compiles nothing anew. Not consumed.
    rule : Rule
    state : State
        Consumed: its buffers are reused.
    """
    rows, epoch, (first, stop, number) = fixed
    optimiser = _optimiser(rule)
    parameters, rest = eqx.partition(state.network, eqx.is_inexact_array)

    def loss(parameters: Network, *batch: Array) -> tuple[Array, Array]:
        return objective(eqx.combine(parameters, rest), *batch)

    def step(i: Array, carry: tuple[Network, optax.OptState, Array]):  # type: ignore[no-untyped-def]
        parameters, optimiser_state, totals = carry
        chosen, weights, noise = (
            jax.lax.dynamic_slice_in_dim(array, i * rule.batch_size, rule.batch_size)
            for array in epoch
        )
        kl_weight = kl_weight_at(rule, number * rule.steps_per_epoch + i)
        gradient, sums = jax.grad(loss, has_aux=True)(
            parameters, rows[chosen], noise, weights, kl_weight
        )
        updates, optimiser_state = optimiser.update(gradient, optimiser_state)
        return optax.apply_updates(parameters, updates), optimiser_state, totals + sums

    carry = (parameters, state.optimiser, state.totals)
    parameters, optimiser_state, totals = jax.lax.fori_loop(first, stop, step, carry)
    return State(eqx.combine(parameters, rest), optimiser_state, totals)
