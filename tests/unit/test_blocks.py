"""Rows through a compiled function block by block: what is joined, and how much is held."""

import threading
import time

import jax
import numpy as np
import pytest

from latentmix import VAE, GaussianMixture, LatentMixture
from latentmix.models import blocks
from latentmix.models.blocks import map_blocks

SIZE = 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "ROWS_PER_BLOCK", SIZE)


@jax.jit
def scaled(factor, x):
    return {"scaled": factor * x, "sum": x.sum(axis=1)}


class OnTheDisk:
    """Rows that are read by slices alone."""

    def __init__(self, rows):
        self.rows = rows
        self.most = 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, block):
        self.most = max(self.most, block.stop - block.start)
        return self.rows[block]


@pytest.mark.parametrize("n_rows", [1, 3, 8, 9, 16, 29])
def test_every_row_has_its_answer_where_it_stands(n_rows):
    x = np.arange(3.0 * n_rows, dtype=np.float32).reshape(n_rows, 3)
    found = map_blocks(scaled, 2.0, x)
    np.testing.assert_array_equal(found["scaled"], 2 * x)
    np.testing.assert_array_equal(found["sum"], x.sum(axis=1))


def test_rows_are_read_by_slices_no_longer_than_a_block():
    x = np.arange(87, dtype=np.float32).reshape(29, 3)
    rows = OnTheDisk(x)
    np.testing.assert_array_equal(map_blocks(scaled, 2.0, rows)["scaled"], 2 * x)
    assert rows.most == SIZE


def test_what_becomes_of_a_block_decides_the_dtype_and_the_shape():
    x = np.ones((29, 3), np.float32)
    found = map_blocks(scaled, 2.0, x, then=lambda answer: answer["sum"].astype(np.float64))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.full(29, 3.0))


def test_blocks_are_under_way_together_and_no_more_than_said():
    together = threading.Barrier(blocks.N_UNDER_WAY, timeout=60)
    at_work, most = [], []

    def answered(x):
        at_work.append(None)
        most.append(len(at_work))
        if x[0] > 0:  # the first block comes alone
            together.wait()
        at_work.pop()
        return x

    x = np.arange((1 + 4 * blocks.N_UNDER_WAY) * SIZE, dtype=np.float32)
    found = map_blocks(lambda _, x: x, None, x, then=answered)
    np.testing.assert_array_equal(found, x)
    assert max(most) == blocks.N_UNDER_WAY


def test_rows_are_read_in_order_and_by_one_thread_at_a_time():
    class Read:
        """Rows whose reading two threads at once would spoil."""

        def __init__(self):
            self.read, self.reading = [], threading.Lock()

        def __len__(self):
            return 40 * SIZE

        def __getitem__(self, block):
            assert self.reading.acquire(blocking=False)
            self.read.append(block.start)
            time.sleep(0.001)
            self.reading.release()
            return np.zeros((SIZE, 1), np.float32)

    rows = Read()
    map_blocks(lambda _, x: x, None, rows)
    assert rows.read == list(range(0, 40 * SIZE, SIZE))


@pytest.mark.parametrize("where", [0, 3])
def test_an_error_reaches_the_caller_and_stops_the_rest(where):
    asked = []

    def failing(x):
        asked.append(x[0])
        if x[0] == where * SIZE:
            raise ZeroDivisionError
        time.sleep(0.001)
        return x

    x = np.arange(100 * SIZE, dtype=np.float32)
    with pytest.raises(ZeroDivisionError):
        map_blocks(lambda _, x: x, None, x, then=failing)
    assert len(asked) < 100


def test_answers_have_the_same_bits_however_many_are_under_way(rows, monkeypatch):
    vae = VAE(hidden_dims=(16,), latent_dim=2, max_epochs=1, min_steps=0)
    model = LatentMixture(mixture=GaussianMixture(2), vae=vae, random_state=0).fit(rows)
    together = model.score_samples(rows)
    monkeypatch.setattr(blocks, "N_UNDER_WAY", 1)
    np.testing.assert_array_equal(model.score_samples(rows), together)


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randint(0, 256, (61, 16)).astype(np.uint8)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_answers_block_by_block_are_those_of_one_block(rows, likelihood, monkeypatch):
    vae = VAE(hidden_dims=(16,), latent_dim=2, max_epochs=1, min_steps=0, likelihood=likelihood)
    model = LatentMixture(mixture=GaussianMixture(2), vae=vae, random_state=0).fit(rows)
    names = ("transform", "predict_proba", "reconstruct", "score_samples")
    in_blocks = {name: getattr(model, name)(rows) for name in names}
    composed = model.inverse_transform(model.transform(rows))
    np.testing.assert_allclose(in_blocks["reconstruct"], composed, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(blocks, "ROWS_PER_BLOCK", 64)
    for name, found in in_blocks.items():
        whole = getattr(model, name)(rows)
        assert found.dtype == whole.dtype
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", ["predict_proba", "score_samples"])
def test_the_mixture_is_asked_of_no_more_than_a_block(rows, name, monkeypatch):
    vae = VAE(hidden_dims=(16,), latent_dim=2, max_epochs=1, min_steps=0)
    model = LatentMixture(mixture=GaussianMixture(2), vae=vae, random_state=0).fit(rows)
    asked = []
    answer = getattr(model.mixture_, name)

    def watched(latents):
        asked.append(len(latents))
        return answer(latents)

    monkeypatch.setattr(model.mixture_, name, watched)
    getattr(model, name)(rows)
    draws = 1 if name == "predict_proba" else 8
    assert max(asked) == SIZE * draws
    assert sum(asked) == len(rows) * draws
