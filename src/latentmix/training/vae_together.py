"""Several VAEs of one shape trained by the same compiled steps (`vmap` over the models).

Each has its own weights, order of rows, noise, and what `TRACED` names; only rows and rule are
shared. A step of a small network is mostly the cost of calling its many small operations, and
that is now paid once for all; a large one is its matrix products, and gains nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from latentmix.training.vae_loop import Training, end_epoch
from latentmix.training.vae_rule import (
    Keys,
    Rule,
    Shard,
    State,
    compiled,
    init,
    keys_of_places,
    noise_of,
    order_of,
    take_steps,
)

# The numbers of a rule in which trainings may differ: traced, so that they share a compilation.
TRACED: Final = ("learning_rate", "kl_weight", "clip_norm")

Settings = dict[str, Float[Array, " S"]]
Tree = TypeVar("Tree")


def run_together(trainings: Sequence[Training], rows: np.ndarray) -> list[int]:
    """Train all to their last epoch, and return the numbers of those that diverged.

    Parameters
    ----------
    trainings : S of them
        Before their first step, with equal rules but for `TRACED`. Changed in place; one that
        diverges goes on as NaN and disturbs no other.
    rows : (N, D)
        Bytes, or float32 prepared for the likelihood.
    """
    rule, settings = _in_common([training.rule for training in trainings])
    states = _stacked([init(rule, training.state.network) for training in trainings])
    keys = _stacked([training.keys for training in trainings])
    device_rows = jnp.asarray(rows)
    for epoch in range(rule.n_epochs):
        began = time.perf_counter()
        orders = _orders(rule, keys, jnp.asarray(epoch))
        for number in range(rule.n_shards):
            place = jnp.asarray([epoch, number], jnp.int32)
            fixed = (device_rows, orders, keys, settings, place)
            states = compiled(_steps_of_all)(fixed, rule, states)
        totals = np.asarray(states.totals)
        took = time.perf_counter() - began
        states = states._replace(totals=jnp.zeros_like(states.totals))
        for training, own in zip(trainings, totals, strict=True):
            training.state = training.state._replace(totals=own)
            training.step, training.seconds = rule.steps_per_epoch, training.seconds + took
            end_epoch(training, None)
    for number, training in enumerate(trainings):
        training.state = jax.tree.map(lambda leaf, number=number: leaf[number], states)
    return [number for number, training in enumerate(trainings) if not _is_finite(training)]


def _is_finite(training: Training) -> bool:
    numbers = [training.history[-1].train.objective, *jax.tree.leaves(training.state.network)]
    return all(bool(np.isfinite(array).all()) for array in numbers)


def _in_common(rules: Sequence[Rule]) -> tuple[Rule, Settings]:
    """Return the rule that all share, and what each has of its own."""
    clipped = any(rule.clip_norm is not None for rule in rules)
    # Clipping to infinity changes nothing: with it all have the same optimiser.
    wide = [replace(rule, clip_norm=rule.clip_norm or math.inf) for rule in rules]
    names = [name for name in TRACED if clipped or name != "clip_norm"]
    settings = {
        name: jnp.asarray([getattr(rule, name) for rule in wide], jnp.float32) for name in names
    }
    # Each gathers rows of its own: all of them together take as much as one does alone.
    rows_of_each = max(1, rules[0].most_shard_rows // len(rules))
    shared = replace(
        rules[0],
        most_shard_rows=rows_of_each,
        # Whatever these are, they must not tell two compilations apart.
        learning_rate=0.0,
        kl_weight=0.0,
        clip_norm=math.inf if clipped else None,
    )
    return shared, settings


def _stacked(trees: Sequence[Tree]) -> Tree:
    stack: Tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    return stack


@partial(jax.jit, static_argnums=0)
def _orders(rule: Rule, keys: Keys, epoch: Array) -> Int[Array, "S N"]:
    """Return each model's order of an epoch's rows, padded to whole shards."""
    orders = jax.vmap(lambda own: order_of(rule, own, epoch))(keys)
    padding = rule.n_shards * rule.rows_per_shard - rule.n_rows
    return jnp.pad(orders, ((0, 0), (0, padding)))


def _steps_of_all(
    fixed: tuple[Shaped[Array, "N D"], Int[Array, "S N"], Keys, Settings, Int[Array, " 2"]],
    rule: Rule,
    states: State,
) -> State:
    """Take all models through a shard of an epoch; `fixed` ends with [epoch, shard]."""
    rows, orders, keys, settings, (epoch, number) = fixed
    first, shape = number * rule.rows_per_shard, (rule.steps_per_shard, rule.batch_size)
    places = first + jnp.arange(rule.rows_per_shard)
    weights = (places < rule.n_rows).astype(jnp.float32).reshape(shape)
    step = number * rule.steps_per_shard
    stop = jnp.minimum(rule.steps_per_shard, rule.steps_per_epoch - step)
    span = jnp.stack([jnp.zeros_like(stop), stop, epoch * rule.steps_per_epoch + step])

    def one(order: Array, keys: Keys, settings: Settings, state: State) -> State:
        chosen = jax.lax.dynamic_slice_in_dim(order, first, rule.rows_per_shard)
        noise = noise_of(rule, keys, epoch, places).reshape(*shape, -1)
        bits = keys_of_places(keys.bits, epoch, places).reshape(shape) if rule.binarise else None
        shard = Shard(rows[chosen].reshape(*shape, -1), weights, noise, bits=bits)
        # A rule's numbers may be traced arrays here: nothing but the formulas reads them.
        return take_steps((shard, span), replace(rule, **settings), state)  # type: ignore[arg-type]

    return jax.vmap(one)(orders, keys, settings, states)
