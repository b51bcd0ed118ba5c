"""Pixels drawn black or white: anew in training, by places alone; the same in every answer."""

import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentmix import VAE
from latentmix.kernels.binarisation import binarised, fixed_binarisation
from latentmix.kernels.elbo import bernoulli_log_likelihood
from latentmix.models.vae import Architecture, Network, prepare
from latentmix.training.checkpoint import Checkpoint
from latentmix.training.data_parallel import Replicas
from latentmix.training.events import Steps, nobody
from latentmix.training.shards import Feed
from latentmix.training.vae_rule import Rule, Shard, named_keys, objective

N, D, L = 150, 12, 2
RULE = Rule(32, 1e-2, "cosine", 1.0, 0.0, L, N, 3, binarise=True)
# A two-sided chance of 1 in 16,000 for each number.
LIMIT = 4.0


@pytest.fixture
def rows():
    return np.random.RandomState(0).randint(0, 256, (N, D)).astype(np.uint8)


def keys_of(n_rows, seed=0):
    return jax.random.split(jax.random.key(seed), n_rows)


def anew(x):
    return np.asarray(binarised(jnp.asarray(x, jnp.float32), keys_of(len(x))))


@pytest.mark.parametrize("draw", [anew, lambda x: fixed_binarisation(x) / 255])
def test_white_is_as_frequent_as_pixels_are_bright_and_pixels_are_independent(draw):
    n_rows, levels = 20_000, np.array([0.0, 0.1, 0.5, 0.5, 0.9, 1.0])
    # Rows of the fixed draw must differ somewhere: a seventh pixel numbers them.
    x = np.c_[np.tile(levels, (n_rows, 1)), np.arange(n_rows) / n_rows]
    bits = draw(x)[:, :6]
    assert set(np.unique(bits)) == {0.0, 1.0}
    error = np.sqrt(levels * (1 - levels) / n_rows)
    assert np.all(np.abs(bits.mean(axis=0) - levels) <= LIMIT * error)
    varied = bits[:, 1:5] - levels[1:5]
    varied /= np.sqrt(levels * (1 - levels))[1:5]
    between_pixels = (varied.T @ varied / n_rows)[np.triu_indices(4, 1)]
    between_rows = (varied[:-1] * varied[1:]).mean(axis=0)
    assert np.abs([*between_pixels, *between_rows]).max() < LIMIT / np.sqrt(n_rows)


def test_what_is_black_and_white_stays():
    x = np.random.RandomState(0).randint(0, 2, (50, D))
    np.testing.assert_array_equal(anew(x), x)
    np.testing.assert_array_equal(fixed_binarisation(x), 255 * x)


def test_the_fixed_draw_is_of_the_row_alone(rows):
    x = rows / 255
    drawn = fixed_binarisation(x)
    np.testing.assert_array_equal(fixed_binarisation(x[::-1]), drawn[::-1])
    np.testing.assert_array_equal(fixed_binarisation(x.astype(np.float32)), drawn)
    darker = np.where(np.arange(D) == 0, np.maximum(x - 1 / 255, 0), x)
    assert (fixed_binarisation(darker)[:, 1:] != drawn[:, 1:]).mean() > 0.2


def shards_of(rule, rows):
    with Feed(rule, named_keys(3), rows, Replicas(), 2) as feed:
        for epoch in range(2):
            for step in range(0, rule.steps_per_epoch, rule.steps_per_shard):
                yield feed.at(epoch, step)


def bits_of_places(rule, rows):
    shards = [*shards_of(rule, rows)]
    bits = [np.asarray(jax.random.key_data(shard.bits))[shard.weights == 1] for shard in shards]
    return np.concatenate(bits)


def test_each_place_of_each_epoch_has_its_own_key_wherever_epochs_are_cut(rows):
    whole = bits_of_places(RULE, rows)
    assert len(np.unique(whole, axis=0)) == 2 * N
    np.testing.assert_array_equal(whole, bits_of_places(replace(RULE, most_shard_rows=64), rows))
    assert next(shards_of(replace(RULE, binarise=False), rows)).bits is None


def test_a_step_tells_the_drawn_pixels_from_the_drawn_pixels(rows):
    shape = Architecture(D, (16,), L, "linear", "binarised")
    network = Network(shape, np.full(D, 0.5), named_keys(0).init)
    noise = jax.random.normal(jax.random.key(1), (N, L))
    batch = Shard(jnp.asarray(rows), jnp.ones(N), noise, bits=keys_of(N))
    _, sums = objective(network, batch, RULE, jnp.asarray(1.0), jnp.asarray(0.0))
    drawn = binarised(prepare(batch.rows), batch.bits)
    posterior = network.posterior(drawn)
    outputs = network.outputs(posterior.mean + jnp.exp(0.5 * posterior.log_variance) * noise)
    expected = -bernoulli_log_likelihood(drawn, outputs).sum()
    assert float(sums[0]) == pytest.approx(float(expected), rel=1e-5)


SMALL = {"hidden_dims": (16,), "latent_dim": L, "batch_size": 32, "max_epochs": 5, "min_steps": 0}


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(rows, tmp_path):
    def vae():
        return VAE(likelihood="binarised", random_state=0, **SMALL)

    def stop(event):
        if isinstance(event, Steps) and event.epoch == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        vae().fit(rows, keeper=Checkpoint(tmp_path), listener=stop)
    assert [*tmp_path.iterdir()]
    resumed = vae().fit(rows, keeper=Checkpoint(tmp_path), listener=nobody)
    np.testing.assert_array_equal(resumed.transform(rows), vae().fit(rows).transform(rows))


def test_a_score_is_that_of_the_fixed_draw(rows):
    fitted = VAE(likelihood="binarised", random_state=0, **SMALL).fit(rows)
    drawn = fixed_binarisation(rows / 255)
    scores = fitted.score_samples(rows)
    np.testing.assert_array_equal(fitted.score_samples(drawn), scores)
    np.testing.assert_array_equal(fitted.transform(drawn), fitted.transform(rows))
    assert np.all(scores < 0)


def test_black_and_white_rows_train_as_they_are(rows):
    drawn = fixed_binarisation(rows / 255)
    one, other = (
        VAE(likelihood=name, kl_weight=1.0, random_state=0, **SMALL).fit(drawn)
        for name in ("binarised", "bernoulli")
    )
    np.testing.assert_allclose(one.score_samples(drawn), other.score_samples(drawn), rtol=1e-5)
