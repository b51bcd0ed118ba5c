"""What a few labels inside EM are worth where clusters alone mislead."""

import numpy as np
import pytest

from latentmix import GaussianMixture


def crossing(seed):
    """Return two classes with one centre, long in x and long in y, and labels of 60 of 400 rows."""
    rng = np.random.RandomState(seed)
    truth = np.arange(400) % 2
    X = rng.randn(400, 2) * np.where(truth[:, None] == 0, [3, 0.5], [0.5, 3])
    return X, truth, np.where(np.arange(400) < 60, truth, -1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_init", [1, 4])
def test_classes_that_cross_are_told_apart(seed, n_init):
    X, truth, labels = crossing(seed)
    mixture = GaussianMixture(2, random_state=0, n_init=n_init, max_iter=500)
    mixture.fit(X, labels=labels)
    assert (mixture.predict_class(X) == truth)[60:].mean() > 0.85


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_single_rows_start_with_equal_weights():
    rng = np.random.RandomState(0)
    X = np.r_[rng.randn(60, 2), rng.randn(60, 2) + 5]
    weights = rng.randint(1, 4, 120)
    mixture = GaussianMixture(2, init_params="k-means++", random_state=0, max_iter=0)
    mixture.fit(X, sample_weight=weights)
    np.testing.assert_allclose(mixture.weights_, 0.5)
