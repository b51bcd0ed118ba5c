"""Convolutional layers: shapes, values by brute force, and what neighbours share."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentmix.models.convolution import Doubling, Halving, convolutional_trunks, shapes_of
from latentmix.models.vae import Architecture, Network
from latentmix.training import vae_loop
from latentmix.training.events import StopTraining, nobody
from latentmix.training.vae_rule import Rule, named_keys

KEY = jax.random.key(0)


def drawn(*shape):
    return np.random.RandomState(0).normal(size=shape).astype(np.float32)


def test_each_halving_rounds_up():
    assert shapes_of((28, 28), (16, 32)) == [(28, 28, 1), (14, 14, 16), (7, 7, 32)]
    assert shapes_of((7, 5, 3), (4, 8, 8)) == [(7, 5, 3), (4, 3, 4), (2, 2, 8), (1, 1, 8)]


@pytest.mark.parametrize("shape", [(6, 4, 2), (5, 7, 1), (1, 3, 3)])
def test_a_halving_is_the_sum_over_three_by_three_pixels(shape):
    layer = Halving(shape, 3, KEY)
    layer = eqx.tree_at(lambda it: it.bias, layer, jnp.asarray(drawn(3)))
    images = drawn(2, *shape)
    height, width = math.ceil(shape[0] / 2), math.ceil(shape[1] / 2)
    # Zeros beyond the border, as many as the last pixels need; the odd one at the end.
    beyond = [
        max((small - 1) * 2 + 3 - side, 0)
        for small, side in zip((height, width), shape, strict=False)
    ]
    padding = [(0, 0), *((each // 2, each - each // 2) for each in beyond), (0, 0)]
    padded = np.pad(images, padding)
    expected = np.empty((2, height, width, 3))
    for row, column in itertools.product(range(height), range(width)):
        seen = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected[:, row, column] = np.einsum("bhwi,hwio->bo", seen, layer.weight) + layer.bias
    np.testing.assert_allclose(
        layer(images.reshape(2, -1)), expected.reshape(2, -1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("larger", [(6, 4, 2), (5, 7, 1)])
def test_a_doubling_lays_four_answers_out_as_pixels(larger):
    smaller = (math.ceil(larger[0] / 2), math.ceil(larger[1] / 2), 3)
    layer = Doubling(smaller, larger, KEY, gain=1.0)
    layer = eqx.tree_at(lambda it: it.bias, layer, jnp.asarray(drawn(math.prod(larger))))
    images = drawn(2, *smaller)
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    expected = np.empty((2, *larger))
    for row, column in itertools.product(range(larger[0]), range(larger[1])):
        seen = padded[:, row // 2 : row // 2 + 3, column // 2 : column // 2 + 3]
        told = np.einsum("bhwi,hwio->bo", seen, layer.weight).reshape(2, 2, 2, larger[2])
        expected[:, row, column] = told[:, row % 2, column % 2]
    expected = expected.reshape(2, -1) + layer.bias
    np.testing.assert_allclose(layer(images.reshape(2, -1)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "channels"), [((9, 6), (4,)), ((8, 8, 3), (4, 6)), ((3, 3), (2, 2, 2))]
)
def test_a_decoder_ends_where_the_encoder_began(shape, channels):
    keys = jax.random.split(KEY, 3)
    trunks = convolutional_trunks(shape, channels, (10,), 5, keys, gain=1.0)
    rows = drawn(4, math.prod(shape))
    assert trunks.encoder(rows).shape == (4, 10)
    assert trunks.output(trunks.decoder(drawn(4, 5))).shape == rows.shape


def test_activations_neither_grow_nor_shrink():
    keys = jax.random.split(KEY, 3)
    trunks = convolutional_trunks((28, 28), (16, 32), (256,), 10, keys, gain=1.0)
    rows = drawn(64, 784)
    # He's start keeps the mean square of what a ReLU lets through, but for the zeros at borders.
    assert 0.4 < np.mean(np.square(trunks.encoder(rows))) < 1.1
    assert 0.4 < np.mean(np.square(trunks.decoder(drawn(64, 10)))) < 1.1


# Training

D, L = 30, 2
ARCHITECTURE = Architecture(D, (6,), L, "linear", "bernoulli", channels=(3, 4), image_shape=(5, 6))


def trained(rows, listener=nobody, **changes):
    settings = {"batch_size": 16, "learning_rate": 1e-2, "schedule": "cosine", "kl_weight": 1.0}
    sizes = {"kl_warmup": 0.0, "latent_dim": L, "n_rows": len(rows), "n_epochs": 3}
    keys = named_keys(0)
    network = Network(ARCHITECTURE, np.full(D, 0.5), keys.init)
    training = vae_loop.start(Rule(**settings, **sizes, **changes), keys, network, None)
    vae_loop.run(training, rows, rows[:20], listener, lambda *_, **__: None)
    return training


def leaves(training):
    return jax.tree.leaves(training.network)


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randint(0, 256, (70, D)).astype(np.uint8)


def test_training_improves_and_has_the_same_bits_however_it_is_cut(rows):
    whole = trained(rows)
    assert whole.history[-1].train.objective < whole.history[0].train.objective
    cut = trained(rows, most_shard_rows=16)
    for one, other in zip(leaves(whole), leaves(cut), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_one_by_one_are_the_steps_of_the_loop(rows, monkeypatch):
    singly = trained(rows)
    monkeypatch.setattr("latentmix.training.vae_rule._goes_singly", lambda network: False)
    looped = trained(rows)
    for one, other in zip(leaves(singly), leaves(looped), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_it_can_be_stopped(rows):
    def stop(event):
        raise StopTraining

    assert trained(rows, stop).stop_reason == "listener"
