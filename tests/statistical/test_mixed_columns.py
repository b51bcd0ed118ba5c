"""A VAE of mixed columns draws rows like those it was fitted to, and its probabilities sum to 1."""

import itertools

import numpy as np
import pytest

from latentmix import VAE

N = 3000
FAST = {"hidden_dims": (32,), "latent_dim": 2, "min_steps": 3000, "random_state": 0}


@pytest.fixture(scope="module")
def rows():
    """Return a hidden kind's numbers, counts, bits and categories, (N, 4)."""
    random = np.random.RandomState(0)
    kinds = random.rand(N) < 0.3
    shape = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])[kinds.astype(int)]
    return np.column_stack(
        [
            (50 + 10 * kinds + 4 * random.randn(N)).astype(object),
            random.poisson(random.gamma(2.0, (3 + 9 * kinds) / 2)),
            (random.rand(N) < 0.2 + 0.6 * kinds).astype(int),
            np.array(["circle", "line", "square"])[(random.rand(N, 1) > shape.cumsum(1)).sum(1)],
        ]
    )


@pytest.fixture(scope="module")
def drawn(rows):
    vae = VAE(columns=["continuous", "count", "binary", "categorical"], **FAST).fit(rows)
    return vae.sample(20_000)


def test_frequencies_of_categories_are_recovered(rows, drawn):
    for one in ("circle", "line", "square"):
        assert np.mean(drawn[:, 3] == one) == pytest.approx(np.mean(rows[:, 3] == one), abs=0.04)
        # And given another column's value.
        for bit in (0, 1):
            expected = np.mean(rows[rows[:, 2] == bit, 3] == one)
            assert np.mean(drawn[drawn[:, 2] == bit, 3] == one) == pytest.approx(expected, abs=0.08)


def test_moments_of_numbers_and_counts_are_recovered(rows, drawn):
    for column, room in ((0, 0.1), (1, 0.15), (2, 0.1)):
        true, found = rows[:, column].astype(float), drawn[:, column].astype(float)
        assert found.mean() == pytest.approx(true.mean(), abs=room * true.std())
        assert found.std() == pytest.approx(true.std(), rel=0.15)


def test_the_probabilities_of_all_rows_there_can_be_sum_to_one():
    random = np.random.RandomState(1)
    kinds = random.rand(N) < 0.4
    X = np.column_stack(
        [
            random.binomial(2, 0.2 + 0.6 * kinds),
            random.binomial(1, 0.8 - 0.6 * kinds),
            random.binomial(3, 0.2 + 0.6 * kinds),
        ]
    )
    vae = VAE(likelihood="categorical", **{**FAST, "min_steps": 1500}).fit(X)
    every = np.array(list(itertools.product(range(3), range(2), range(4))))
    found, error = vae.log_likelihood(every, 2000)
    p = np.exp(found)
    assert p.sum() == pytest.approx(1, abs=4 * np.sqrt(np.sum((p * error) ** 2)) + 1e-3)
    # Not the bound, which lies below.
    assert np.exp(vae.score_samples(every)).sum() < p.sum()
    counted = np.array([np.mean((row == X).all(axis=1)) for row in every])
    np.testing.assert_allclose(p, counted, atol=0.02)
