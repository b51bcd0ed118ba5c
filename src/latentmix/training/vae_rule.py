"""The VAE's training rule: what one step does, and a compiled run of many.

`init` makes the state, `advance` takes it from one step of an epoch to another inside one
compiled loop, over a shard of rows on the device (as bytes, for images). Every random number
is a function of (seed, epoch, place in the epoch), so an epoch cut into other shards or calls
gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, Key, Shaped

from latentmix.kernels import consistency
from latentmix.kernels.binarisation import binarised
from latentmix.kernels.warp import N_AMOUNTS, Warps, warped
from latentmix.models.convolution import Halving
from latentmix.models.mlp import product
from latentmix.models.priors import MixturePrior
from latentmix.models.vae import Network, prepare
from latentmix.training.adam import scale_by_adam
from latentmix.training.schedules import learning_rate


@dataclass(frozen=True)
class Rule:
    """How to train: Adam on the mean over a batch of reconstruction + kl_weight * KL.

    Under a mixture prior, what is asked of p(k|x) is added (`kernels.consistency`).

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
    most_shard_rows : int
        How many rows may be on the device at once; an epoch is cut into shards of equal size.
    binarise : bool
        Rows are intensities, of which each step draws black and white anew.
    warps : Warps, optional
        The encoder sees warped images, and the decoder tells the images themselves.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of a row; needed for warps.
    agreement_weight : float
        Weight of the cross entropy from a row's targets to what it is told, where it has any.
    sharpness_weight : float
        Weight of p(k|z)'s entropy.
    balance_weight : float
        Weight of the entropy of a batch's mean p(k|z), which is to be large.
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
    most_shard_rows: int = 2**31 - 1
    binarise: bool = False
    warps: Warps | None = None
    image_shape: tuple[int, ...] | None = None
    agreement_weight: float = 0.0
    sharpness_weight: float = 0.0
    balance_weight: float = 0.0

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch, the last one padded."""
        return math.ceil(self.n_rows / self.batch_size)

    @property
    def n_steps(self) -> int:
        """The number of steps in all."""
        return self.steps_per_epoch * self.n_epochs

    @property
    def steps_per_shard(self) -> int:
        """The number of batches in a shard; the last shard is padded, by as little as can be."""
        most = max(1, self.most_shard_rows // self.batch_size)
        return math.ceil(self.steps_per_epoch / math.ceil(self.steps_per_epoch / most))

    @property
    def n_shards(self) -> int:
        """The number of shards in an epoch."""
        return math.ceil(self.steps_per_epoch / self.steps_per_shard)

    @property
    def rows_per_shard(self) -> int:
        """The number of rows in a shard, padding included."""
        return self.steps_per_shard * self.batch_size


class State(NamedTuple):
    """Everything a step changes.

    `totals` are the epoch's sums of [reconstruction, kl, objective], and under a mixture prior of
    [entropy of p(k|z), p(1|z), ..., p(K|z)] after them.
    """

    network: Network
    optimiser: optax.OptState
    totals: Float[Array, " T"]


class Shard(NamedTuple):
    """Some of an epoch's batches, S of them of B rows, and their noise; or one batch, without S.

    Padding has weight 0, so the epoch's last batch is weighted, not dropped. `amounts`, in
    [-1, 1], say how far each image is warped, if it is; `targets` are what p(k|x) is to be, and
    zeros for a row of which nothing is known; by `bits` pixels are drawn, where that is done.
    """

    rows: Shaped[Array, "S B D"]
    weights: Float[Array, "S B"]
    noise: Float[Array, "S B L"]
    amounts: Float[Array, "S B A"] | None = None
    targets: Float[Array, "S B K"] | None = None
    bits: Key[Array, "S B"] | None = None

    def batch(self, number: int | Array) -> Shard:
        """Return one of the batches."""
        return jax.tree.map(  # type: ignore[no-any-return]
            lambda array: jax.lax.dynamic_index_in_dim(array, number, keepdims=False), self
        )


class Keys(NamedTuple):
    """Independent streams of random numbers, one for each use."""

    init: Array
    order: Array
    noise: Array
    draws: Array
    warps: Array
    bits: Array


def named_keys(seed: int) -> Keys:
    """Split a seed into its named streams."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def _optimiser(rule: Rule) -> optax.GradientTransformation:
    rate = learning_rate(rule.schedule, rule.learning_rate, rule.learning_rate_warmup, rule.n_steps)
    adam = optax.chain(scale_by_adam(), optax.scale_by_learning_rate(rate))
    if rule.clip_norm is None:
        return adam
    return optax.chain(optax.clip_by_global_norm(rule.clip_norm), adam)


def init(rule: Rule, network: Network) -> State:
    """Return the state before the first step."""
    parameters = eqx.filter(network, eqx.is_inexact_array)
    return State(network, _optimiser(rule).init(parameters), no_totals(network))


def no_totals(network: Network) -> Float[Array, " T"]:
    """Return an epoch's sums before its first step."""
    prior = network.prior
    n_of_components = 1 + len(prior.log_weights) if isinstance(prior, MixturePrior) else 0
    return jnp.zeros(3 + n_of_components, jnp.float32)


def order_of(rule: Rule, keys: Keys, epoch: int | Array) -> Int[Array, " N"]:
    """Return the shuffled order of an epoch's rows."""
    order = jax.random.permutation(jax.random.fold_in(keys.order, epoch), rule.n_rows)
    return order.astype(jnp.int32)


@partial(jax.jit, static_argnums=0)
def noise_of(rule: Rule, keys: Keys, epoch: Array, places: Int[Array, " S"]) -> Array:
    """Return standard normal noise (S, L): of each place in an epoch, its own."""

    def normal(key: Array) -> Array:
        return jax.random.normal(key, (rule.latent_dim,), jnp.float32)

    return jax.vmap(normal)(keys_of_places(keys.noise, epoch, places))


@jax.jit
def amounts_of(keys: Keys, epoch: Array, places: Int[Array, " S"]) -> Float[Array, "S A"]:
    """Return how far images are warped: in each place of an epoch, by its own."""

    def uniform(key: Array) -> Array:
        return jax.random.uniform(key, (N_AMOUNTS,), jnp.float32, -1, 1)

    return jax.vmap(uniform)(keys_of_places(keys.warps, epoch, places))


@jax.jit
def keys_of_places(key: Array, epoch: Array, places: Int[Array, " S"]) -> Key[Array, " S"]:
    """Return a key for each place of an epoch, wherever it is cut."""
    key = jax.random.fold_in(key, epoch)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


def kl_weight_at(rule: Rule, step: Array) -> Float[Array, ""]:
    """Return the KL term's weight at a step, counted over the whole training."""
    warmup = round(rule.kl_warmup * rule.n_steps)
    if warmup == 0:
        return jnp.asarray(rule.kl_weight, jnp.float32)
    return rule.kl_weight * jnp.minimum(1.0, (step + 1).astype(jnp.float32) / warmup)


def label_noise_at(rule: Rule, step: Array) -> Float[Array, ""]:
    """Return how noisy targets are taken to be: not at all for half of the steps, then ever more.

    So rows first go where they are told, also from where the mixture was sure of them, and then
    settle in their components.
    """
    done = (step + 1).astype(jnp.float32) / rule.n_steps
    return consistency.LABEL_NOISE * jnp.maximum(2 * done - 1, 0.0)


def objective(
    network: Network, batch: Shard, rule: Rule, kl_weight: Array, noise: Array
) -> tuple[Array, Array]:
    """Return the batch's mean loss, and the sums over its rows that `State.totals` adds up."""
    x = prepare(batch.rows)
    shown = None
    if rule.warps is not None and rule.image_shape is not None and batch.amounts is not None:
        shown = warped(x, batch.amounts, rule.warps, rule.image_shape)
    if batch.bits is not None:
        shown = None if shown is None else binarised(shown, batch.bits)
        x = binarised(x, batch.bits)
    terms = network.terms(x, batch.noise, shown)
    kl = jnp.sum(terms.kl, axis=1)
    loss = terms.reconstruction + kl_weight * kl
    of_components: list[Array] = []
    if isinstance(network.prior, MixturePrior):
        answers = network.prior.log_responsibilities(terms.z)
        entropy = consistency.entropy(answers)
        if batch.targets is not None:
            told = consistency.as_told(answers, noise)
            loss += rule.agreement_weight * consistency.cross_entropy(batch.targets, told)
        if rule.sharpness_weight:
            loss += rule.sharpness_weight * entropy
        if rule.balance_weight:
            loss -= rule.balance_weight * consistency.entropy_of_mean(answers, batch.weights)
        of_components = [entropy, *jnp.exp(answers).T]
    sums = product(jnp.stack([terms.reconstruction, kl, loss, *of_components]), batch.weights)
    return sums[2] / jnp.sum(batch.weights), sums


def advance(
    fixed: tuple[Shard, Int[np.ndarray, " 3"]],
    rule: Rule,
    state: State,
    alike: NamedSharding | None = None,
) -> State:
    """Take some of a shard's training steps, compiled as one loop.

    Parameters
    ----------
    fixed : (shard, span)
        The shard, and the int32 numbers [first step, step to stop before, both within the shard;
        the shard's first step within the whole training]: an array, so that cutting a shard
        elsewhere compiles nothing anew. Not consumed.
    rule : Rule
    state : State
        Consumed: its buffers are reused.
    alike : NamedSharding, optional
        Where several devices train (`training.data_parallel`), how they all hold the state.
    """
    if _goes_singly(state.network):
        shard, (first, stop, before) = fixed[0], fixed[1].tolist()
        for step in range(first, stop):
            at = np.asarray([step, step + 1, before], np.int32)
            state = compiled(take_step, alike)((shard, at), rule, state)
        return state
    advanced: State = compiled(take_steps, alike)(fixed, rule, state)
    return advanced


def _goes_singly(network: Network) -> bool:
    """Whether steps are asked for one by one.

    Within a loop, XLA for processors takes a convolution's derivatives ten times as slowly.
    """
    convolutional = any(isinstance(layer, Halving) for layer in network.encoder.layers)
    return convolutional and jax.default_backend() == "cpu"


@cache
def compiled(
    take: Callable[..., State], alike: NamedSharding | None = None
) -> Callable[..., State]:
    """Return such a function of (fixed, rule, state) compiled for each rule."""
    return jax.jit(
        take,
        static_argnums=1,
        donate_argnums=2,
        out_shardings=alike,
        compiler_options=_compiler_options(),
    )


def _compiler_options() -> dict[str, bool]:
    """Return what saves the loop a copy of all weights in each step, where XLA knows it.

    Products back to the inputs read the weights that Adam overwrites. XLA for processors copies
    them first, unless it is told to look where in the loop they are last read.
    """
    options = {"xla_cpu_copy_insertion_use_region_analysis": True}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # an XLA before or after this experimental option
        return {}
    return options


Carry = tuple[Network, optax.OptState, Array]


def take_steps(fixed: tuple[Shard, Int[Array, " 3"]], rule: Rule, state: State) -> State:
    """Take the steps that `advance` compiles."""
    _, (first, stop, _) = fixed
    carry, step, rest = _stepping(fixed, rule, state)
    parameters, optimiser_state, totals = jax.lax.fori_loop(first, stop, step, carry)
    return State(eqx.combine(parameters, rest), optimiser_state, totals)


def take_step(fixed: tuple[Shard, Int[Array, " 3"]], rule: Rule, state: State) -> State:
    """Take the first of the steps alone."""
    carry, step, rest = _stepping(fixed, rule, state)
    parameters, optimiser_state, totals = step(fixed[1][0], carry)
    return State(eqx.combine(parameters, rest), optimiser_state, totals)


def _stepping(
    fixed: tuple[Shard, Array], rule: Rule, state: State
) -> tuple[Carry, Callable[[Array, Carry], Carry], Network]:
    """Return what a step changes, the step, and the rest of the network, which stays."""
    shard, (_, _, before) = fixed
    optimiser = _optimiser(rule)
    parameters, rest = eqx.partition(state.network, eqx.is_inexact_array)

    def loss(
        parameters: Network, batch: Shard, kl_weight: Array, noise: Array
    ) -> tuple[Array, Array]:
        return objective(eqx.combine(parameters, rest), batch, rule, kl_weight, noise)

    def step(i: Array, carry: Carry) -> Carry:
        parameters, optimiser_state, totals = carry
        batch = shard.batch(i)
        kl_weight = kl_weight_at(rule, before + i)
        noise = label_noise_at(rule, before + i)
        gradient, sums = jax.grad(loss, has_aux=True)(parameters, batch, kl_weight, noise)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state)
        return optax.apply_updates(parameters, updates), optimiser_state, totals + sums

    return (parameters, state.optimiser, state.totals), step, rest
