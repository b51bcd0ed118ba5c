"""p-values of rows like the held-out ones, and what a density of statistics finds strange."""

import numpy as np
import pytest

from latentmix.estimators.anomaly import usual_of


def statistics(n_rows, seed):
    """Return draws of two kinds of rows, skewed as a reconstruction's nats are."""
    random = np.random.RandomState(seed)
    kinds = random.randint(2, size=(n_rows, 1))
    drawn = np.exp(0.3 * random.standard_normal((n_rows, 3))) * [100, 20, 1] + 30 * kinds
    return np.hstack([drawn, np.zeros((n_rows, 1))])  # and a statistic that is always 0


def test_p_values_of_usual_rows_are_uniform():
    """So they are of any score: it need not be right, only the rows exchangeable.

    Over 200 draws of 199 held-out rows and 100 others, the share of others with p <= a is a on
    average; its standard error is at most sqrt((0.25 / 199 + 0.25 / 100) / 200) = 0.0043.
    """
    usual = usual_of(statistics(2000, 0), seed=0)
    p_values = []
    for seed in range(1, 201):
        scores = usual.scores(statistics(299, seed))
        p_values.append(usual._replace(held_out=np.sort(scores[:199])).p_values(scores[199:]))
    shares = [np.mean(np.stack(p_values) <= a) for a in (0.005, 0.05, 0.25, 0.5, 0.9)]
    np.testing.assert_allclose(shares, [0.005, 0.05, 0.25, 0.5, 0.9], atol=0.015)


@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_too_little_is_as_strange_as_too_much(factor):
    usual, new = usual_of(statistics(2000, 0), seed=0), statistics(500, 1)
    held_out = np.sort(usual.scores(new))
    p_values = usual._replace(held_out=held_out).p_values(usual.scores(factor * new))
    assert np.median(p_values) < 0.05


def test_a_score_is_minus_a_log_density_in_nats():
    """Of one component it is the normal's, whose variances are those of the rows plus 1e-3."""
    random = np.random.RandomState(0)
    rows = random.standard_normal((400, 2)) * [1e3, 1e-2]
    usual = usual_of(rows, seed=0)
    z = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    covariance = np.cov(z.T, bias=True) + 1e-3 * np.eye(2)
    quadratic = np.einsum("ni,ij,nj->n", z, np.linalg.inv(covariance), z)
    expected = 0.5 * (quadratic + np.log(np.linalg.det(2 * np.pi * covariance)))
    np.testing.assert_allclose(usual.scores(rows), expected, rtol=1e-5)


def test_what_rounding_makes_of_a_statistic_is_no_news():
    """Of components far apart, entropies of p(k|z) are 1e-36 nats, of which no digit is sure."""
    rows, entropies = statistics(500, 0), 1e-36 * np.random.RandomState(1).random((500, 1))
    usual, digits_lost = usual_of(np.hstack([rows, entropies]), seed=0), np.zeros((500, 1))
    expected = usual.scores(np.hstack([rows, digits_lost]))
    np.testing.assert_allclose(usual.scores(np.hstack([rows, entropies])), expected, rtol=1e-9)
    between = np.full((500, 1), np.log(2))
    assert (usual.scores(np.hstack([rows, between])) > expected.max()).all()
