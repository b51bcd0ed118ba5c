"""Rows that are not in memory: the same answers, to the bit, as if they were."""

import numpy as np
import pytest

from latentmix import VAE, LatentMixture
from latentmix.data import RowView
from latentmix.errors import InputError, MissingError
from latentmix.estimators import units
from latentmix.training import shards

SMALL = {"hidden_dims": (16,), "latent_dim": 2, "max_epochs": 2, "min_steps": 0, "batch_size": 32}


@pytest.fixture(autouse=True)
def many_shards(monkeypatch):
    """Cut 300 rows of 64 bytes into several shards."""
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 6400)


@pytest.fixture(params=["bytes", "floats"])
def rows(request):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (300, 64)).astype(np.uint8)
    return images if request.param == "bytes" else (images / 100 - 1).astype(np.float32)


@pytest.fixture
def mapped(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


def assert_same(one, other, rows):
    np.testing.assert_array_equal(one.transform(rows), other.transform(rows))
    np.testing.assert_array_equal(one.score_samples(rows), other.score_samples(rows))


def test_a_memory_map_trains_the_same_vae_as_the_array(rows, mapped):
    asked = {**SMALL, "random_state": 0, "patience": 1, "validation_fraction": 0.2}
    assert_same(VAE(**asked).fit(rows), VAE(**asked).fit(mapped), mapped)


def test_a_view_trains_the_same_model_as_a_copy_of_its_rows(rows, mapped):
    numbers = np.random.RandomState(1).permutation(300)[:200]
    copied = LatentMixture(3, vae=VAE(**SMALL), random_state=0).fit(rows[numbers])
    view = LatentMixture(3, vae=VAE(**SMALL), random_state=0).fit(RowView(mapped, numbers))
    assert_same(copied, view, RowView(rows, numbers))
    np.testing.assert_array_equal(copied.labels_, view.labels_)
    np.testing.assert_array_equal(copied.reconstruct(rows), view.reconstruct(mapped))


def test_a_file_is_rows_too(rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    asked = {**SMALL, "random_state": 0}
    vae = VAE(**asked).fit(tmp_path / "rows.npy")
    assert_same(VAE(**asked).fit(rows), vae, rows)
    np.testing.assert_array_equal(vae.transform(str(tmp_path / "rows.npy")), vae.transform(rows))
    with pytest.raises(MissingError, match="nowhere"):
        vae.transform(tmp_path / "nowhere.npy")


def test_a_view_of_another_width_is_refused(rows):
    vae = VAE(**SMALL).fit(rows)
    with pytest.raises(InputError, match="features"):
        vae.transform(RowView(rows[:, :9], np.arange(5)))


def test_units_are_learned_block_by_block(monkeypatch):
    monkeypatch.setattr(units, "ROWS_PER_READ", 7)
    X = np.random.RandomState(0).normal(5, 3, (100, 4))
    mean, deviation = units.moments_of(X)
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(deviation, X.std(axis=0), rtol=1e-13)
    assert units.extent_of(X) == (X.min(), X.max())
