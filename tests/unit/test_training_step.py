"""The compiled steps: the calculus's gradients and optax's Adam, one step after the other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentmix.models.mlp import Dense
from latentmix.models.named_tensors import to_tensors
from latentmix.models.vae import Architecture, Network
from latentmix.training import vae_rule
from latentmix.training.vae_rule import Rule, Shard, advance, named_keys, objective

N_STEPS, D, L, LEARNING_RATE = 60, 196, 4, 1e-3


def rule_of(batch_size):
    n_rows = N_STEPS * batch_size
    return Rule(batch_size, LEARNING_RATE, "constant", 1.0, 0.0, L, n_rows, n_epochs=1)


def network():
    shape = Architecture(D, (98, 49), L, "linear", "bernoulli")
    return Network(shape, np.full(D, 0.5), named_keys(0).init)


def shard_of(rule):
    random = np.random.RandomState(0)
    shape = (N_STEPS, rule.batch_size)
    rows = random.randint(0, 256, (*shape, D)).astype(np.uint8)
    noise = random.standard_normal((*shape, L)).astype(np.float32)
    return Shard(jnp.asarray(rows), jnp.ones(shape, jnp.float32), jnp.asarray(noise))


def advanced(rule, shard):
    span = np.asarray([0, N_STEPS, 0], np.int32)
    return advance((shard, span), rule, vae_rule.init(rule, network()))


def one_by_one(rule, shard):
    """Return the network and the objective's sum after steps as a textbook writes them."""
    optimiser, trained = optax.adam(LEARNING_RATE), network()
    state, total = optimiser.init(eqx.filter(trained, eqx.is_inexact_array)), 0.0
    weights = jnp.ones(rule.batch_size)

    @jax.jit
    def step(network, state, rows, noise):
        gradient, sums = jax.grad(objective, has_aux=True)(
            network, Shard(rows, weights, noise), rule, jnp.float32(1.0), jnp.float32(0.0)
        )
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(network, updates), state, sums[2]

    for i in range(N_STEPS):
        trained, state, loss = step(trained, state, shard.rows[i], shard.noise[i])
        total += float(loss)
    return trained, total


# Few rows take the derivative that is written by hand, many do not.
@pytest.mark.parametrize("batch_size", [32, 96])
def test_steps_are_those_of_the_textbook(batch_size, monkeypatch):
    rule = rule_of(batch_size)
    shard = shard_of(rule)
    state = advanced(rule, shard)
    monkeypatch.setattr(Dense, "__call__", lambda self, x: x @ self.weight + self.bias)
    expected, total = one_by_one(rule, shard)
    assert float(state.totals[2]) == pytest.approx(total, rel=1e-5)
    for name, tensor in to_tensors(expected).items():
        # A hundredth of a step: where a gradient is zero but for rounding, Adam's step is not.
        difference = np.abs(to_tensors(state.network)[name] - tensor)
        assert np.quantile(difference, 0.99) < 0.01 * LEARNING_RATE
        assert difference.max() < LEARNING_RATE


def test_an_xla_without_the_option_trains_the_same(monkeypatch):
    rule = rule_of(32)
    with_option = advanced(rule, shard_of(rule))
    monkeypatch.setattr(vae_rule, "_compiler_options", dict)
    vae_rule.compiled.cache_clear()
    without = advanced(rule, shard_of(rule))
    vae_rule.compiled.cache_clear()
    for one, other in zip(
        jax.tree.leaves(with_option.network), jax.tree.leaves(without.network), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("No such compile option")

    monkeypatch.setattr(jax, "jit", refuse)
    assert vae_rule._compiler_options() == {}
