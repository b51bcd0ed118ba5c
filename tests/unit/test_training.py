"""The training loop: the same bits however it is cut, stopped or resumed."""

import signal
import time
from dataclasses import astuple
from types import SimpleNamespace
from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
import pytest

from latentmix.errors import IntegrityError, ParameterError
from latentmix.models.named_tensors import to_tensors
from latentmix.models.vae import Architecture, Network
from latentmix.training import checkpoint, vae_loop
from latentmix.training.checkpoint import Checkpoint
from latentmix.training.data_parallel import Replicas
from latentmix.training.events import Averages, EpochEnd, Steps, StopTraining, all_of, nobody
from latentmix.training.schedules import learning_rate
from latentmix.training.shards import Feed, gathered
from latentmix.training.vae_rule import Rule, kl_weight_at, named_keys

N, D, L = 150, 12, 2
ARCHITECTURE = Architecture(D, (16, 8), L, "linear", "bernoulli")


def rule(**changes):
    settings = {
        "batch_size": 32,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "kl_weight": 2.0,
        "kl_warmup": 1 / 3,
        "latent_dim": L,
        "n_rows": N,
        "n_epochs": 3,
    }
    return Rule(**{**settings, **changes})


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randint(0, 256, (N, D)).astype(np.uint8)


def begin(rule, patience=None):
    keys = named_keys(0)
    network = Network(ARCHITECTURE, np.full(D, 0.5), keys.init)
    return vae_loop.start(rule, keys, network, patience)


def keep_nothing(training, *, at_once=False):
    """Keep nothing."""


def train(rows, listener=nobody, keeper=keep_nothing, **changes):
    training = begin(rule(**changes))
    vae_loop.run(training, rows, rows[:20], listener, keeper)
    return training


def assert_same_bits(one, other):
    ours, theirs = to_tensors(one.state), to_tensors(other.state)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name], err_msg=name)


def test_an_epoch_cut_elsewhere_gives_the_same_bits(rows, monkeypatch):
    whole = train(rows)
    monkeypatch.setattr(vae_loop._Pace, "learn", lambda self, seconds: None)
    monkeypatch.setattr(vae_loop._Pace, "__init__", lambda self, limit: setattr(self, "steps", 2))
    assert_same_bits(whole, train(rows))


@pytest.mark.parametrize("most_shard_rows", [64, 100])
def test_an_epoch_in_other_shards_gives_the_same_bits(rows, most_shard_rows):
    other = train(rows, most_shard_rows=most_shard_rows)
    assert other.rule.n_shards > 1
    assert_same_bits(train(rows), other)


def test_shards_of_one_batch_give_the_same_to_rounding(rows):
    # XLA cuts no batch out of a shard that is one, and so rounds elsewhere.
    one, other = train(rows), train(rows, most_shard_rows=1)
    assert other.rule.n_shards == other.rule.steps_per_epoch
    ours, theirs = one.history[-1].train, other.history[-1].train
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-4)


def shards_of(settings, rows, n_epochs):
    """Yield the shards of so many epochs, each once."""
    with Feed(settings, named_keys(3), rows, Replicas(), n_epochs) as feed:
        for epoch in range(n_epochs):
            for step in range(0, settings.steps_per_epoch, settings.steps_per_shard):
                shard = feed.at(epoch, step)
                assert feed.at(epoch, step) is shard
                yield jax.tree.map(np.asarray, shard)


def test_every_row_is_seen_once_an_epoch_and_the_last_batch_is_padded():
    settings = rule(most_shard_rows=64)
    numbered = np.arange(N, dtype=np.float32)[:, None]
    shards = [*shards_of(settings, numbered, 2)]
    assert [shard.rows.shape for shard in shards] == [(2, 32, 1)] * 6
    orders = [
        np.concatenate([shard.rows[shard.weights == 1][:, 0] for shard in epoch])
        for epoch in (shards[:3], shards[3:])
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(N))
    assert not np.array_equal(*orders)
    noise = np.concatenate([shard.noise for shard in shards])
    assert len(np.unique(noise)) == noise.size


def test_rows_are_gathered_in_the_order_asked_for():
    rows = np.random.RandomState(0).randint(0, 256, (9000, 3)).astype(np.uint8)
    numbers = np.random.RandomState(1).permutation(9000)[:8500]
    there = np.arange(9600) % 9 > 0
    there &= np.cumsum(there) <= 8500
    found = gathered(rows, numbers, there)
    np.testing.assert_array_equal(found[there], rows[numbers])
    assert there.sum() == 8500
    assert not found[~there].any()


def test_the_next_shard_is_gathered_while_one_is_trained_on_and_no_other():
    class Counted(np.ndarray):
        reads: ClassVar[list[int]] = []

        def __getitem__(self, numbers):
            if isinstance(numbers, np.ndarray) and len(numbers) > 1:
                self.reads.append(len(numbers))
            return np.asarray(super().__getitem__(numbers))

    rows = np.zeros((N, D), np.uint8).view(Counted)
    feed = shards_of(rule(most_shard_rows=64), rows, 1)
    next(feed)
    deadline = time.monotonic() + 30
    while len(Counted.reads) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert Counted.reads == [64, 64]
    assert len([*feed]) == 2
    assert Counted.reads == [64, 64, 22]


def test_padding_does_not_count(rows):
    # 150 rows in batches of 100: the last batch holds 50 rows, and the epoch's mean is over 150.
    one = train(rows, batch_size=100, n_epochs=1, learning_rate=1e-12)
    other = train(rows, batch_size=150, n_epochs=1, learning_rate=1e-12)
    assert one.history[0].train.kl == pytest.approx(other.history[0].train.kl, rel=1e-5)


def test_the_kl_weight_rises_over_the_warmup():
    settings = rule(kl_warmup=2 / 3)
    weights = [float(kl_weight_at(settings, np.asarray(step))) for step in (0, 4, 9, 14)]
    np.testing.assert_allclose(weights, [0.2, 1.0, 2.0, 2.0], rtol=1e-6)
    assert float(kl_weight_at(rule(kl_warmup=0.0), np.asarray(0))) == 2.0


def test_the_learning_rate_rises_linearly_and_then_follows_its_schedule():
    rising = [0.25, 0.5, 0.75, 1.0]
    for schedule, later in (
        ("constant", [1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.5, 1 / 6]),
        ("cosine", [1.0, 0.5, (1 + np.cos(np.pi * 5 / 6)) / 2]),
    ):
        rate = learning_rate(schedule, 1.0, 0.4, 10)
        found = [float(rate(np.asarray(step))) for step in (0, 1, 2, 3, 4, 7, 9)]
        np.testing.assert_allclose(found, [*rising, *later], atol=1e-6, err_msg=schedule)
    assert learning_rate("constant", 1.0, 0.0, 10) == 1.0
    assert float(learning_rate("constant", 1.0, 0.1, 10)(np.asarray(0))) == 1.0


def test_a_clipped_gradient_has_at_most_that_norm(rows):
    # Adam's first moment after one step from 0 is a tenth of the gradient.
    def norm(clip_norm):
        settings = rule(batch_size=N, n_epochs=1, clip_norm=clip_norm)
        training = begin(settings)
        vae_loop.run(training, rows, None, nobody, keep_nothing)
        tensors = to_tensors(training.state.optimiser)
        moments = [tensor for name, tensor in tensors.items() if ".mu." in f".{name}"]
        assert moments
        return 10 * np.sqrt(sum(float(np.sum(moment**2)) for moment in moments))

    free = norm(None)
    assert norm(free / 3) == pytest.approx(free / 3, rel=1e-4)
    assert norm(2 * free) == pytest.approx(free, rel=1e-4)


def test_news_arrive_in_order(rows):
    heard = []
    train(rows, heard.append)
    epochs = [event for event in heard if isinstance(event, EpochEnd)]
    assert [event.epoch for event in epochs] == [1, 2, 3]
    assert all(event.validation is not None for event in epochs)
    steps = [event for event in heard if isinstance(event, Steps)]
    assert steps[-1].step == steps[-1].n_steps == 5
    assert np.all(np.diff([event.seconds for event in steps]) > 0)


@pytest.fixture
def two_steps_a_call(monkeypatch):
    """Let an epoch of 5 steps take three calls."""
    monkeypatch.setattr(vae_loop._Pace, "learn", lambda self, seconds: None)
    monkeypatch.setattr(vae_loop._Pace, "__init__", lambda self, limit: setattr(self, "steps", 2))


@pytest.mark.usefixtures("two_steps_a_call")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_kept_and_resumed_with_the_same_bits(rows, tmp_path, number):
    whole = train(rows)

    def interrupt(event):
        if isinstance(event, Steps) and (event.epoch, event.step) == (2, 4):
            signal.raise_signal(number)

    # Neither has this handler everywhere: SIGTERM never, SIGINT not in the background.
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(rows, interrupt, Checkpoint(tmp_path).save)
    finally:
        signal.signal(number, before)
    resumed = begin(rule())
    Checkpoint(tmp_path).restore(resumed)
    assert (resumed.epoch, resumed.step, len(resumed.history)) == (1, 4, 1)
    vae_loop.run(resumed, rows, rows[:20], nobody, keep_nothing)
    assert_same_bits(whole, resumed)


class Killed(Exception):  # noqa: N818  # no error: the end of a process
    """Stands for a kill: nothing is saved."""


def kill_at(epoch, step):
    def listener(event):
        if isinstance(event, Steps) and (event.epoch, event.step) == (epoch, step):
            raise Killed

    return listener


@pytest.mark.usefixtures("two_steps_a_call")
def test_a_training_killed_within_an_epoch_goes_on_from_there(rows, tmp_path, monkeypatch):
    whole = train(rows)
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    with pytest.raises(Killed):
        train(rows, kill_at(2, 4), Checkpoint(tmp_path).save)
    resumed = begin(rule())
    kept = Checkpoint(tmp_path)
    kept.restore(resumed)
    assert (resumed.epoch, resumed.step, len(resumed.history)) == (1, 2, 1)
    vae_loop.run(resumed, rows, rows[:20], nobody, kept.save)
    assert_same_bits(whole, resumed)
    assert resumed.history[-1].train == whole.history[-1].train


@pytest.mark.usefixtures("two_steps_a_call")
def test_a_training_is_saved_once_a_minute_also_within_an_epoch(rows, tmp_path, monkeypatch):
    clock, written, write = [0.0], [], checkpoint.write_bytes

    def a_while_later(event):
        clock[0] += 25.0 if isinstance(event, Steps) else 0.0

    def noted(path, content):
        written.append(tuple(map(int, path.name.split("-")[1:3])))
        write(path, content)

    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(checkpoint, "write_bytes", noted)
    train(rows, a_while_later, Checkpoint(tmp_path).save, n_epochs=4)
    # Three calls of 25 s an epoch: after the third its end saves, not the call.
    assert written == [(1, 0), (2, 0), (3, 0), (4, 0)]
    written.clear()
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", 40.0)
    train(rows, a_while_later, Checkpoint(tmp_path / "other").save, n_epochs=4)
    assert written == [(0, 4), (1, 2), (2, 0), (2, 4), (3, 2), (4, 0)]


@pytest.mark.parametrize("average", [np.inf, -np.inf, np.nan])
def test_an_average_that_is_not_finite_is_kept_with_the_rest(rows, tmp_path, monkeypatch, average):
    held_out = Averages(average, 1.0, average)
    monkeypatch.setattr(vae_loop, "evaluate", lambda training, rows: held_out)
    whole = train(rows, keeper=Checkpoint(tmp_path).save)
    resumed = begin(rule())
    Checkpoint(tmp_path).restore(resumed)
    assert_same_bits(whole, resumed)
    kept = [record.validation for record in resumed.history]
    assert len(kept) == 3
    for averages in kept:
        np.testing.assert_array_equal(astuple(averages), astuple(held_out))


@pytest.fixture
def two_checkpoints(rows, tmp_path, monkeypatch):
    """Return a folder with the checkpoints after epochs 2 and 3 of 3, the newest first."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    kept = Checkpoint(tmp_path)
    training = begin(rule())
    vae_loop.run(training, rows, rows[:20], nobody, kept.save)
    assert [name.rpartition("-")[0] for name in kept.names()] == [
        "checkpoint-3-0",
        "checkpoint-2-0",
    ]
    return training, [tmp_path / name for name in kept.names()]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_said_and_the_one_before_goes_on(
    rows, tmp_path, two_checkpoints, damage
):
    whole, (newest, _) = two_checkpoints
    damage(newest)
    heard, resumed = [], begin(rule())
    kept = Checkpoint(tmp_path, heard.append)
    kept.restore(resumed)
    assert (resumed.epoch, resumed.step, len(resumed.history)) == (2, 0, 2)
    assert [event.message for event in heard] == [
        f"{newest.name} is damaged: going on from the one before, at 2 epochs and 0 steps"
    ]
    vae_loop.run(resumed, rows, rows[:20], nobody, kept.save)
    assert_same_bits(whole, resumed)
    assert len(kept.names()) == 2


def test_where_no_checkpoint_is_whole_the_training_is_refused(tmp_path, two_checkpoints):
    for path in two_checkpoints[1]:
        flip_a_bit(path)
    with pytest.raises(IntegrityError, match="no readable checkpoint"):
        Checkpoint(tmp_path).restore(begin(rule()))
    Checkpoint(tmp_path).remove()
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_says_so(rows):
    with pytest.raises(ParameterError, match="lower learning_rate"):
        train(rows, learning_rate=1e30, schedule="constant")


PLAIN = {"schedule": "constant", "kl_warmup": 0.0}


def test_a_training_that_diverges_is_back_at_the_last_good_epoch(rows, monkeypatch):
    good, bad, kept = train(rows, n_epochs=2, **PLAIN), [], []
    training = begin(rule(**PLAIN))
    call = vae_loop._call

    def lose_a_weight(training, *rest):
        call(training, *rest)
        if training.epoch == 2:
            network = training.state.network
            lost = network.output.bias.at[0].set(np.nan)
            network = eqx.tree_at(lambda tree: tree.output.bias, network, lost)
            training.state = training.state._replace(network=network)
            bad.append(training.step)

    monkeypatch.setattr(vae_loop, "_call", lose_a_weight)

    def keep(training, *, at_once=False):
        kept.append((training.epoch, training.step))

    with pytest.raises(ParameterError, match=r"in epoch 3, by step 5 of 5: some weights are NaN"):
        vae_loop.run(training, rows, None, nobody, keep)
    assert bad == [5]
    assert kept == [(1, 0), (2, 0), (2, 0)]
    assert_same_bits(good, training)


@pytest.mark.usefixtures("two_steps_a_call")
def test_no_checkpoint_past_the_last_good_epoch_is_left(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    check = vae_loop._check_finite

    def diverge(training):
        if (training.epoch, training.step) == (2, 4):
            raise ParameterError("lost")
        check(training)

    monkeypatch.setattr(vae_loop, "_check_finite", diverge)
    kept = Checkpoint(tmp_path)
    with pytest.raises(ParameterError):
        train(rows, keeper=kept.save)
    assert {name.rpartition("-")[0] for name in kept.names()} == {"checkpoint-2-0"}


PATIENT = {"n_epochs": 40, "learning_rate": 0.1, "schedule": "constant", "kl_warmup": 0.1}


def losses(training):
    return [
        record.validation.reconstruction + 2.0 * record.validation.kl for record in training.history
    ]


def test_early_stopping_gives_the_weights_of_the_best_epoch_back(rows):
    patient = begin(rule(**PATIENT), patience=2)
    network = vae_loop.run(patient, rows, rows[:20], nobody, keep_nothing)
    assert patient.stop_reason == "patience"
    assert patient.epoch == max(patient.best_epoch, 4) + 2 < 40
    assert int(np.argmin(losses(patient))) + 1 == patient.best_epoch
    other = begin(rule(**PATIENT))

    def enough(event):
        if isinstance(event, EpochEnd) and event.epoch == patient.best_epoch:
            raise StopTraining

    best = vae_loop.run(other, rows, rows[:20], enough, keep_nothing)
    assert other.stop_reason == "listener"
    for ours, theirs in zip(jax.tree.leaves(network), jax.tree.leaves(best), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_patience_waits_until_the_kl_weight_has_risen(rows):
    training = begin(rule(**{**PATIENT, "kl_warmup": 0.5}), patience=1)
    vae_loop.run(training, rows, rows[:20], nobody, keep_nothing)
    assert training.stop_reason == "patience"
    assert training.epoch > 20


@pytest.mark.parametrize("when", [1, 2, 3])
def test_early_stopping_goes_on_after_a_stop_with_the_same_bits(rows, tmp_path, when):
    whole = begin(rule(**PATIENT), patience=3)
    expected = vae_loop.run(whole, rows, rows[:20], nobody, keep_nothing)
    last = whole.epoch + 1 - when

    def interrupt(event):
        if isinstance(event, Steps) and (event.epoch, event.step) == (last, 5):
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stopped = begin(rule(**PATIENT), patience=3)
            vae_loop.run(stopped, rows, rows[:20], interrupt, Checkpoint(tmp_path).save)
    finally:
        signal.signal(signal.SIGINT, before)
    for sitting in range(2):  # the second one finds it finished
        resumed = begin(rule(**PATIENT), patience=3)
        checkpoint = Checkpoint(tmp_path)
        checkpoint.restore(resumed)
        assert resumed.stop_reason == (None if sitting == 0 else "patience")
        network = vae_loop.run(resumed, rows, rows[:20], nobody, checkpoint.save)
        assert_same_bits(whole, resumed)
        assert (resumed.best_epoch, len(resumed.history)) == (whole.best_epoch, whole.epoch)
        for ours, theirs in zip(jax.tree.leaves(network), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [Steps, EpochEnd])
def test_a_listener_ends_the_training_and_it_stays_ended(rows, tmp_path, kind):
    heard = []

    def enough(event):
        heard.append(event)
        if isinstance(event, kind) and event.epoch == 2:
            raise StopTraining

    training = train(rows, enough, Checkpoint(tmp_path).save)
    assert (training.epoch, training.step, training.stop_reason) == (2, 0, "listener")
    assert np.isfinite([record.train.objective for record in training.history]).all()
    assert heard[-1] is not None and heard[-1].epoch == 2
    again = begin(rule())
    Checkpoint(tmp_path).restore(again)
    vae_loop.run(again, rows, rows[:20], nobody, keep_nothing)
    assert_same_bits(training, again)


def test_several_listeners_are_told_in_order(rows):
    heard = []
    train(rows, all_of(lambda e: heard.append((1, e)), lambda e: heard.append((2, e))), n_epochs=1)
    assert [number for number, _ in heard] == [1, 2] * (len(heard) // 2)
    assert [event for number, event in heard if number == 1] == [e for n, e in heard if n == 2]


def test_the_global_configuration_is_left_alone(rows):
    before = jax.config.values.copy() if hasattr(jax.config, "values") else None
    numpy_state = np.random.get_state()[1].copy()
    train(rows, n_epochs=1)
    assert before is None or before == jax.config.values
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
