"""EM at the edges of what numbers hold: scales far apart, rows far away, few labels."""

import warnings

import numpy as np
import pytest

from latentmix import GaussianMixture
from latentmix.kernels.families import GAUSSIAN

pytestmark = pytest.mark.filterwarnings(
    "error::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)

rng = np.random.RandomState(0)
ROWS = np.concatenate([rng.randn(60, 2), rng.randn(60, 2) + 4])


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
def test_features_in_units_as_far_apart_as_numbers_go(covariance_type):
    lengths = np.array([1e-150, 1e150])
    mixture = GaussianMixture(
        2, covariance_type=covariance_type, n_factors=1, reg_covar=0, random_state=0
    ).fit(ROWS * lengths)
    answer = mixture.predict(ROWS * lengths)
    if covariance_type != "spherical":  # to which the first feature is nothing
        assert len(np.unique(answer[:60])) == len(np.unique(answer[60:])) == 1
    assert np.all(np.isfinite(mixture.score_samples(ROWS * lengths)))
