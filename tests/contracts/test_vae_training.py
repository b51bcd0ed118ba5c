"""What users steer of a VAE's training: early stopping, verbose, blocks, and what goes wrong."""

import pickle

import equinox as eqx
import numpy as np
import pytest
from sklearn.base import clone

import latentmix
from latentmix import VAE, LatentMixture
from latentmix.errors import InputError, ParameterError, TrainingWarning
from latentmix.estimators.diagnosis import warn_of_network, warn_of_one_cluster
from latentmix.training import vae_loop
from latentmix.training.events import EpochEnd, StopTraining

FAST = {
    "hidden_dims": (16,),
    "latent_dim": 2,
    "max_epochs": 3,
    "min_steps": 0,
    "learning_rate": 1e-2,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def rows():
    """Return bytes of two kinds of 16-pixel images."""
    rng = np.random.RandomState(0)
    bright = np.where((np.arange(200) % 2)[:, None] == (np.arange(16) < 8), 220, 30)
    return np.clip(bright + rng.randint(-20, 21, (200, 16)), 0, 255).astype(np.uint8)


def assert_same_weights(one, other):
    latents = [model.transform(np.eye(16, dtype=np.uint8) * 255) for model in (one, other)]
    np.testing.assert_array_equal(*latents)


# Early stopping


def test_early_stopping_says_where_and_why_and_gives_the_best_weights(rows):
    asked = {**FAST, "max_epochs": 400, "schedule": "constant", "patience": 3}
    vae = VAE(**asked, validation_fraction=0.1).fit(rows)
    assert vae.stop_reason_ == "patience"
    assert len(vae.history_) == vae.best_epoch_ + 3 < 400
    weight = vae.kl_weight_
    losses = [r.validation.reconstruction + weight * r.validation.kl for r in vae.history_]
    assert int(np.argmin(losses)) + 1 == vae.best_epoch_
    longer = VAE(**{**asked, "patience": None}, validation_fraction=0.1)

    def stop(event):
        if isinstance(event, EpochEnd) and event.epoch == vae.best_epoch_:
            raise StopTraining

    assert_same_weights(vae, longer.fit(rows, listener=stop))
    assert (longer.stop_reason_, longer.best_epoch_) == ("listener", vae.best_epoch_)


def test_validation_rows_are_left_out_of_the_training(rows):
    vae = VAE(**FAST, validation_fraction=0.25).fit(rows)
    seed = np.random.RandomState(0).randint(2**31 - 1, size=1)[0]
    held_out = np.sort(np.random.RandomState(seed).permutation(200)[:50])
    train = np.setdiff1d(np.arange(200), held_out)
    other = VAE(**FAST).fit(rows[train], validation_data=rows[held_out])
    assert_same_weights(vae, other)
    assert [r.validation for r in vae.history_] == [r.validation for r in other.history_]
    assert (vae.stop_reason_, vae.best_epoch_) == ("max_epochs", 3)
    with pytest.raises(InputError, match=r"validation_fraction=0\.1 of 4 rows is 0"):
        VAE(**FAST, validation_fraction=0.1).fit(rows[:4])


# Listeners and verbose


def test_verbose_prints_a_line_an_epoch_and_then_the_mixtures(rows, capsys):
    vae = VAE(**FAST)
    LatentMixture(2, vae=vae, random_state=0).fit(rows)
    assert capsys.readouterr().out == ""
    LatentMixture(2, vae=vae, random_state=0, verbose=1).fit(rows, validation_data=rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
    assert all("nats" in line and "validation" in line for line in lines[:3])
    assert lines[3] == "Initialization 0"
    assert vae.verbose == 0


# Rows that are seen once


def test_blocks_teach_what_one_fit_teaches_at_a_constant_rate(rows):
    vae = VAE(**FAST)
    for number in range(60):
        vae.partial_fit(rows[:128] if number % 2 else rows[72:])
    assert [record.epoch for record in vae.history_] == list(range(1, 61))
    assert vae.history_[-1].train.objective < 0.9 * vae.history_[0].train.objective
    fitted = VAE(**{**FAST, "max_epochs": 60, "schedule": "constant"}).fit(rows)
    assert vae.score(rows) == pytest.approx(fitted.score(rows), abs=1.0)


def test_blocks_go_on_with_the_same_optimiser_also_in_a_copy(rows):
    vae = VAE(**FAST).partial_fit(rows)
    before = vae.transform(rows)
    copy = pickle.loads(pickle.dumps(vae))
    vae.partial_fit(rows)
    np.testing.assert_array_equal(copy.transform(rows), before)
    assert_same_weights(vae, copy.partial_fit(rows))
    # Without Adam's state the same block leads elsewhere.
    forgetful = VAE(**FAST).partial_fit(rows)
    forgetful._stream = None
    assert np.abs(forgetful.partial_fit(rows).transform(rows) - vae.transform(rows)).max() > 1e-3


def test_blocks_refine_a_fitted_or_loaded_network(rows, tmp_path):
    vae = VAE(**FAST).fit(rows)
    fitted = vae.transform(rows)
    vae.save(tmp_path / "vae")
    loaded = latentmix.load(tmp_path / "vae")
    for model in (vae, loaded):
        model.set_params(learning_rate=1e-6)
        model.partial_fit(rows)
        np.testing.assert_allclose(model.transform(rows), fitted, atol=1e-3)
        assert not np.array_equal(model.transform(rows), fitted)
    assert len(vae.history_) == 4
    again = clone(vae).set_params(learning_rate=1e-2).fit(rows)
    np.testing.assert_array_equal(again.transform(rows), fitted)


def test_a_block_that_cannot_be_taken_in_changes_nothing(rows):
    vae = VAE(**FAST).partial_fit(rows)
    before = vae.transform(rows)
    vae.set_params(learning_rate=1e30)
    with pytest.raises(ParameterError, match=r"lower learning_rate=1e\+30, set clip_norm"):
        vae.partial_fit(np.tile(rows, (2, 1)))
    np.testing.assert_array_equal(vae.transform(rows), before)
    assert len(vae.history_) == 1
    vae.set_params(learning_rate=1e-2, latent_dim=3)
    with pytest.raises(InputError, match="latent_dim was changed from 2 to 3"):
        vae.partial_fit(rows)
    vae.set_params(latent_dim=2)
    with pytest.raises(InputError, match="features"):
        vae.partial_fit(rows[:, 1:])
    with pytest.raises(InputError, match="NaN"):
        vae.partial_fit(np.full((3, 16), np.nan))


# Training that goes wrong


def test_a_training_that_diverges_leaves_the_last_good_epoch(rows, monkeypatch):
    good = VAE(**{**FAST, "max_epochs": 2, "schedule": "constant"}).fit(rows)
    call = vae_loop._call

    def lose_the_objective(training, *rest):
        call(training, *rest)
        if training.epoch == 2:
            training.state = training.state._replace(totals=training.state.totals * np.nan)

    monkeypatch.setattr(vae_loop, "_call", lose_the_objective)
    bad = VAE(**{**FAST, "schedule": "constant"})
    with pytest.raises(ParameterError, match=r"diverged in epoch 3, by step 2 of 2: the objective"):
        bad.fit(rows)
    assert len(bad.history_) == bad.best_epoch_ == 2
    assert_same_weights(bad, good)


def test_a_collapsed_posterior_is_said_with_what_mends_it(rows):
    longer = {**FAST, "max_epochs": 40}
    with pytest.warns(TrainingWarning, match="0 of latent_dim=2 dimensions are active") as caught:
        VAE(**longer, kl_weight=1000.0).fit(rows)
    assert "Lower kl_weight=1e+03" in str(caught[0].message)
    assert caught[0].filename == __file__
    VAE(**longer, kl_weight=0.1).fit(rows)  # warnings are errors


def test_a_dead_layer_is_said_with_what_mends_it(rows, monkeypatch):
    vae = VAE(**FAST).fit(rows)
    warn_of_network(vae, rows)
    network = vae.network_
    bias = network.decoder.layers[0].bias - 1e6
    vae.network_ = eqx.tree_at(lambda tree: tree.decoder.layers[0].bias, network, bias)
    with pytest.warns(TrainingWarning, match=r"layer 1 of the decoder is dead: 0%.*learning_rate"):
        warn_of_network(vae, rows)


def test_one_cluster_is_said_with_what_mends_it():
    with pytest.warns(TrainingWarning, match="All 150 rows are in one of n_components=4"):
        warn_of_one_cluster(np.full(150, 2), 4)
    warn_of_one_cluster(np.arange(150) % 2, 4)
    warn_of_one_cluster(np.zeros(150), 1)
