"""Rows with missing entries in blocks: every row once, and the same answer however it is cut."""

import numpy as np
import pytest

from latentmix.kernels import incomplete, rows
from latentmix.kernels.answers import answers
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, expectation
from latentmix.kernels.families import FAMILIES, Mixture
from latentmix.kernels.rows import Rows, pattern_blocks, patterns_of

D, K = 5, 3


def holes(n_rows, n_patterns, random):
    """Return rows of which few patterns have many, and many have few; some are complete."""
    masks = random.uniform(size=(n_patterns, D)) < 0.4
    masks[0], masks[1] = False, True
    which = (n_patterns * random.uniform(size=n_rows) ** 3).astype(int)
    X = random.poisson(2.0, (n_rows, D)) * 1.0
    X[masks[which]] = np.nan
    return X


@pytest.mark.parametrize(("most_rows", "most_entries"), [(64, 1), (1000, 50), (8184, 10**6)])
def test_every_incomplete_row_is_in_one_block(most_rows, most_entries):
    X = holes(20_000, 30, np.random.RandomState(0))
    patterns = patterns_of(X)
    blocks = pattern_blocks(patterns, most_rows, most_entries)
    numbers = np.concatenate([block.rows.ravel() for block in blocks])
    complete = patterns.complete()
    np.testing.assert_array_equal(complete, np.flatnonzero(~np.isnan(X).any(axis=1)))
    np.testing.assert_array_equal(np.sort(np.append(numbers, complete)), np.arange(len(X)))
    for seen, block in blocks:
        assert block.size <= max(most_rows, rows.SHARED_SIZES[0])
        assert len(set(np.sum(seen, axis=1))) == 1
        for one, some in zip(seen, block, strict=True):
            assert np.array_equal(np.isnan(X[some]), np.tile(~one, (len(some), 1)))


def mixture_of(family, random):
    means = random.uniform(0.2, 0.8, (K, D))
    matrices = np.stack([np.eye(D) + 0.1 * np.ones((D, D)) * k for k in range(1, K + 1)])
    covariances = {
        "full": matrices,
        "tied": matrices[1],
        "diag": random.uniform(1, 2, (K, D)),
        "spherical": random.uniform(1, 2, K),
        "factor": random.uniform(0.3, 1, (K, D, 3)),
    }.get(family.name, np.zeros(0))
    return Mixture(np.array([0.5, 0.3, 0.2]), means, covariances, family.factors(covariances))


@pytest.mark.parametrize("name", FAMILIES)
def test_neither_patterns_nor_blocks_change_an_answer(name, monkeypatch):
    random = np.random.RandomState(1)
    X, family = holes(4000, 25, random), FAMILIES[name]
    if name == "bernoulli":
        X = np.minimum(X, 1)
    model = Model(family, mixture_of(family, random), np.log(np.full((K, 2), 0.5)))
    weights, labels = random.randint(0, 3, len(X)) * 1.0, random.randint(-1, 2, len(X))

    def looked_at(X, w, labels):
        unit = np.zeros(D), np.ones(D)
        given = Rows(X, *unit, w, labels, patterns_of(X))
        with Crew() as crew:
            return expectation([model, model], given, crew), answers(model, given, crew)

    (_, statistics), found = looked_at(X, weights, labels)
    monkeypatch.setattr(rows, "ROWS_OF_ITS_OWN", 10)
    monkeypatch.setattr(incomplete, "MOST_ENTRIES", 500)
    order = random.permutation(len(X))
    (_, others), again = looked_at(X[order], weights[order], labels[order])
    for one, other in zip(statistics.moments, others.moments, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(statistics.class_counts, others.class_counts, rtol=1e-9)
    assert statistics.log_likelihood == pytest.approx(others.log_likelihood, rel=1e-10)
    assert statistics.total == others.total == weights.sum()
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(one[order], other, rtol=1e-9, atol=1e-12)
