"""Training under a mixture prior: what targets and warps do to the objective, and what not."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from latentmix.estimators.vae import nowhere
from latentmix.kernels.consistency import LABEL_NOISE, as_told, cross_entropy, entropy_of_mean
from latentmix.kernels.warp import N_AMOUNTS, Warps, warped
from latentmix.models.named_tensors import to_tensors
from latentmix.models.priors import MixturePrior
from latentmix.models.vae import Architecture, Network, prepare
from latentmix.training import vae_loop
from latentmix.training.checkpoint import Checkpoint
from latentmix.training.data_parallel import Replicas
from latentmix.training.events import nobody
from latentmix.training.shards import Feed
from latentmix.training.vae_rule import (
    Rule,
    Shard,
    init,
    label_noise_at,
    named_keys,
    objective,
)

N, SIDE, L, K = 96, 6, 2, 3
D = SIDE**2
RULE = Rule(
    batch_size=32,
    learning_rate=1e-2,
    schedule="constant",
    kl_weight=0.5,
    kl_warmup=0.0,
    latent_dim=L,
    n_rows=N,
    n_epochs=30,
)
WARPED = replace(RULE, warps=Warps(), image_shape=(SIDE, SIDE))
SHORT = replace(WARPED, agreement_weight=5.0, n_epochs=1)
WEIGHT = jnp.float32(0.5)
NOISE = jnp.float32(LABEL_NOISE)


@pytest.fixture(scope="module")
def rows():
    """Return images of three kinds, one after the other."""
    random = np.random.RandomState(0)
    bright = np.zeros((K, SIDE, SIDE), int)
    bright[0, :3] = bright[1, :, :3] = bright[2, 2:4, 2:4] = 220
    X = bright[np.arange(N) % K] + random.randint(0, 30, (N, SIDE, SIDE))
    return X.reshape(N, D).astype(np.uint8)


TARGETS = np.eye(K, dtype=np.float32)[np.arange(N) % K]


def network(*, mixture=True):
    shape = Architecture(D, (16, 8), L, "linear", "bernoulli")
    built = Network(shape, np.full(D, 0.3), named_keys(0).init)
    random = np.random.RandomState(1)
    prior = MixturePrior(np.ones(K) / K, random.randn(K, L), np.ones((K, L)))
    return built.with_prior(prior) if mixture else built


def batch_of(rows, targets=None, seed=2):
    random = np.random.RandomState(seed)
    noise = random.randn(N, L).astype(np.float32)
    amounts = random.uniform(-1, 1, (N, N_AMOUNTS)).astype(np.float32)
    given = None if targets is None else jnp.asarray(targets)
    ones = jnp.ones(N, jnp.float32)
    return Shard(jnp.asarray(rows), ones, jnp.asarray(noise), jnp.asarray(amounts), given)


def loss(network, batch, rule):
    return float(objective(network, batch, rule, WEIGHT, NOISE)[0])


def agreement(network, batch, targets):
    """Return the mean cross entropy of targets at the batch's draws, without warps."""
    terms = network.terms(prepare(batch.rows), batch.noise)
    shares = np.exp(np.asarray(network.prior.log_responsibilities(terms.z), np.float64))
    told = (1 - LABEL_NOISE) * shares + LABEL_NOISE / K
    return -(targets * np.log(told)).sum(axis=1).mean()


def test_targets_add_their_cross_entropy_times_its_weight(rows):
    model, rule = network(), replace(RULE, agreement_weight=7.0)
    plain = loss(model, batch_of(rows), rule)
    batch = batch_of(rows, TARGETS)
    expected = plain + 7.0 * agreement(model, batch, TARGETS)
    assert loss(model, batch, rule) == pytest.approx(expected, rel=1e-5)


def test_a_row_that_is_sure_is_pulled_nowhere_and_a_wrong_group_costs_so_much_at_most():
    """Else it would leave its component's middle for where p(k|z) is what the targets say."""
    sure, target = jnp.array([[0.0, -50.0, -60.0]]), jnp.array([[0.0, 1.0, 0.0]])

    def cost(log_joint, target):
        return jnp.sum(cross_entropy(target, as_told(jax.nn.log_softmax(log_joint, axis=1), NOISE)))

    for group in (target, target[:, [1, 0, 2]]):
        np.testing.assert_allclose(jax.grad(cost)(sure, group), 0.0, atol=1e-6)
    assert float(cost(sure, target)) == pytest.approx(np.log(3 / LABEL_NOISE), rel=1e-5)
    assert float(cost(sure, target[:, [1, 0, 2]])) == pytest.approx(
        -np.log(1 - LABEL_NOISE * 2 / 3), rel=1e-5
    )
    assert jax.grad(cost)(jnp.zeros((1, 3)), target)[0, 1] < -0.2


def test_noise_is_none_for_half_of_a_training_and_then_rises():
    steps = jnp.arange(RULE.n_steps)
    noise = np.array([float(label_noise_at(RULE, step)) for step in steps])
    half = RULE.n_steps // 2
    np.testing.assert_array_equal(noise[:half], 0.0)
    assert (np.diff(noise[half:]) > 0).all()
    assert noise[-1] == pytest.approx(LABEL_NOISE)
    sure = jnp.array([[0.0, -30.0, -30.0]])
    told = as_told(jax.nn.log_softmax(sure, axis=1), 0.0)
    np.testing.assert_allclose(told, jax.nn.log_softmax(sure, axis=1), rtol=1e-6)
    pull = jax.grad(lambda z: as_told(jax.nn.log_softmax(z, axis=1), 0.0)[0, 1])(sure)
    assert float(pull[0, 1]) == pytest.approx(1.0, abs=1e-4), "however sure the mixture is"
    assert np.isfinite(pull).all()


def test_rows_without_a_target_add_nothing(rows):
    model, rule = network(), replace(RULE, agreement_weight=7.0)
    nothing = np.zeros_like(TARGETS)
    assert loss(model, batch_of(rows, nothing), rule) == loss(model, batch_of(rows), rule)
    few = TARGETS * (np.arange(N) < 10)[:, None]
    expected = loss(model, batch_of(rows), rule) + 7.0 * agreement(model, batch_of(rows), few)
    assert loss(model, batch_of(rows, few), rule) == pytest.approx(expected, rel=1e-5)


def test_a_standard_normal_has_no_use_for_targets(rows):
    model, rule = network(mixture=False), replace(RULE, agreement_weight=7.0)
    assert loss(model, batch_of(rows, TARGETS), rule) == loss(model, batch_of(rows), rule)


def test_sharpness_and_balance_are_the_two_halves_of_mutual_information(rows):
    """I(x; k) = H(k) - H(k|x), at the batch's draws, less what padding would add."""
    model, batch = network(), batch_of(rows)
    batch = batch._replace(weights=jnp.asarray(np.arange(N) < 70, jnp.float32))
    z = model.terms(prepare(batch.rows), batch.noise).z[:70]
    shares = np.exp(np.asarray(model.prior.log_responsibilities(z), np.float64))
    information = scipy.stats.entropy(shares.mean(axis=0)) - scipy.stats.entropy(shares.T).mean()
    assert information > 0.05
    rule = replace(RULE, sharpness_weight=3.0, balance_weight=3.0)
    found = loss(model, batch, RULE) - loss(model, batch, rule)
    assert found == pytest.approx(3.0 * information, rel=1e-3)
    sharp = loss(model, batch, replace(RULE, sharpness_weight=3.0)) - loss(model, batch, RULE)
    assert sharp == pytest.approx(3.0 * scipy.stats.entropy(shares.T).mean(), rel=1e-3)


def test_an_unused_component_has_a_finite_gradient():
    def balance(means):
        prior = MixturePrior(np.ones(2) / 2, np.zeros((2, 1)), np.ones((2, 1)))
        prior = eqx.tree_at(lambda prior: prior.means, prior, means)
        answers = prior.log_responsibilities(jnp.zeros((4, 1)))
        return entropy_of_mean(answers, jnp.ones(4))

    far = jnp.array([[0.0], [1e3]])
    assert float(balance(far)) == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(jax.grad(balance)(far)).all()


def test_sharpness_makes_rows_certain_and_balance_uses_every_component(rows):
    def shares_after(**weights):
        rule = replace(RULE, n_epochs=60, **weights)
        return train(rows, None, rule).history[-1].components

    plain, sharp = shares_after(), shares_after(sharpness_weight=20.0)
    assert sharp.entropy < plain.entropy / 2
    balanced = shares_after(sharpness_weight=20.0, balance_weight=40.0)
    assert balanced.n_effective > max(2.9, sharp.n_effective)


def test_an_epoch_tells_how_its_rows_were_shared(rows):
    """In shares and entropy at the steps' own draws: of a network at a standstill, on average."""
    still = replace(RULE, learning_rate=1e-12, n_epochs=60)
    told = [record.components for record in train(rows, TARGETS, still).history]
    model = network()
    draws = [batch_of(rows, seed=seed).noise for seed in range(60)]
    z = jnp.concatenate([model.terms(prepare(jnp.asarray(rows)), noise).z for noise in draws])
    shares = np.exp(np.asarray(model.prior.log_responsibilities(z)))
    seen = np.mean([components.shares for components in told], axis=0)
    np.testing.assert_allclose(seen, shares.mean(axis=0), atol=0.01)
    entropy = np.mean([components.entropy for components in told])
    assert entropy == pytest.approx(scipy.stats.entropy(shares.T).mean(), abs=0.01)
    last = told[-1]
    assert last.n_effective == pytest.approx(np.exp(scipy.stats.entropy(last.shares)), rel=1e-4)
    assert train_plain(rows).history[-1].components is None


def train_plain(rows):
    training = vae_loop.start(replace(RULE, n_epochs=1), named_keys(3), network(mixture=False))
    vae_loop.run(training, rows, None, nobody, nowhere)
    return training


def far_component():
    """Return a network whose last component stands where no row is."""
    random = np.random.RandomState(1)
    means = random.randn(K, L)
    means[-1] = 60.0
    return network().with_prior(MixturePrior(np.ones(K) / K, means, np.ones((K, L))))


@pytest.mark.parametrize("dead", [True, False])
def test_a_component_that_lost_its_rows_begins_anew(rows, dead, monkeypatch):
    """Of as many rows as it was meant to have; without that, it stays where no row is."""
    if not dead:
        monkeypatch.setattr(vae_loop, "DEAD", 0.0)
    training = vae_loop.start(replace(RULE, n_epochs=20), named_keys(3), far_component())
    training.targets = TARGETS
    vae_loop.run(training, rows, None, nobody, nowhere)
    first, last = (training.history[at].components.shares[-1] for at in (0, -1))
    assert first < 1e-3
    assert last > 0.05 if dead else last < 1e-3


def test_without_warps_and_targets_the_objective_is_the_elbos(rows):
    """The same numbers to the bit, whatever amounts the shard has."""
    model, batch = network(mixture=False), batch_of(rows)
    terms = model.terms(prepare(batch.rows), batch.noise)
    rows_losses = terms.reconstruction + WEIGHT * jnp.sum(terms.kl, axis=1)
    value, sums = objective(model, batch, RULE, WEIGHT, NOISE)
    bare = objective(model, batch._replace(amounts=None), RULE, WEIGHT, NOISE)
    np.testing.assert_array_equal(np.asarray(sums), np.asarray(bare[1]))
    assert float(value) == float(bare[0])
    assert float(value) == pytest.approx(float(rows_losses.mean()), rel=1e-6)


def test_a_warped_image_is_shown_and_the_image_itself_is_told(rows):
    model, batch = network(), batch_of(rows)
    shown = warped(prepare(batch.rows), batch.amounts, WARPED.warps, (SIDE, SIDE))
    posterior = model.posterior(shown)
    z = posterior.mean + jnp.exp(0.5 * posterior.log_variance) * batch.noise
    told = -model.likelihood.log_likelihood(prepare(batch.rows), model.outputs(z))
    _, sums = objective(model, batch, WARPED, WEIGHT, NOISE)
    assert float(sums[0]) == pytest.approx(float(told.sum()), rel=1e-5)
    assert float(sums[0]) != pytest.approx(
        float(objective(model, batch, RULE, WEIGHT, NOISE)[1][0])
    )


def train(rows, targets, rule, listener=nobody, keep=None):
    training = vae_loop.start(rule, named_keys(3), network())
    training.targets = targets
    save = nowhere if keep is None else keep.save
    vae_loop.run(training, rows, None, listener, save)
    return training


def test_steps_teach_the_mixture_the_targets_and_spare_rows_without(rows):
    rule = replace(WARPED, agreement_weight=5.0)
    taught = train(rows, TARGETS, rule).network
    before = agreement(network(), batch_of(rows), TARGETS)
    assert agreement(taught, batch_of(rows), TARGETS) < before / 4
    # What one half of the rows is taught, the other half of the same kinds knows, too.
    half = TARGETS * (np.arange(N) < N // 2)[:, None]
    other = TARGETS - half
    before = agreement(network(), batch_of(rows), other)
    assert agreement(train(rows, half, rule).network, batch_of(rows), other) < before / 4


def test_targets_follow_their_rows_into_every_shard(rows):
    numbered = np.tile(np.arange(N, dtype=np.uint8)[:, None], (1, D))
    targets = np.tile(np.arange(N, dtype=np.float32)[:, None], (1, K))
    rule = replace(WARPED, most_shard_rows=32)
    with Feed(rule, named_keys(0), numbered, Replicas(), 2, targets) as feed:
        seen = []
        for step in range(3):
            shard = feed.at(1, step)
            np.testing.assert_array_equal(shard.rows[..., 0], shard.targets[..., 0])
            assert np.abs(np.asarray(shard.amounts)).max() <= 1
            seen.extend(np.asarray(shard.rows[..., 0]).ravel().tolist())
    assert sorted(seen) == list(range(N))


def test_shards_cut_elsewhere_give_the_same_bits_with_warps_and_targets(rows):
    one = to_tensors(train(rows, TARGETS, SHORT).state)
    other = to_tensors(train(rows, TARGETS, replace(SHORT, most_shard_rows=64)).state)
    assert any("prior" in name for name in one)
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, other[name], err_msg=name)


def test_each_round_has_checkpoints_of_its_own(rows, tmp_path):
    first, second = (Checkpoint(tmp_path).of_round(number) for number in (1, 2))
    trained = train(rows, TARGETS, SHORT, keep=first)
    other = train(rows, np.roll(TARGETS, 1, axis=1), SHORT, keep=second)
    for keeper, expected in ((first, trained), (second, other)):
        restored = vae_loop.start(SHORT, named_keys(3), network())
        keeper.restore(restored)
        assert restored.epoch == 1
        ours, theirs = to_tensors(restored.state), to_tensors(expected.state)
        for name, tensor in ours.items():
            np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)
    # What comes before the rounds has none yet, and is left as it was.
    untouched = vae_loop.start(SHORT, named_keys(3), network(mixture=False))
    Checkpoint(tmp_path).restore(untouched)
    assert untouched.epoch == 0
    rounds = [name.split("-")[1] for name in Checkpoint(tmp_path).names()]
    assert rounds == ["round2", "round1"]
    Checkpoint(tmp_path).remove()
    assert not list(tmp_path.iterdir())


def test_the_first_steps_state_holds_the_prior_for_adam(rows):
    state = init(SHORT, network())
    learned = jax.tree.leaves(eqx.filter(state.network.prior, eqx.is_inexact_array))
    assert [leaf.shape for leaf in learned] == [(K, L), (K, L), (K,)]
    before, after = network().prior, train(rows, TARGETS, SHORT).network.prior
    assert not np.allclose(before.means, after.means)
