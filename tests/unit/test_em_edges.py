"""EM at the edges of what numbers hold: scales far apart, rows far away, few labels."""

import numpy as np
import pytest

from latentmix import GaussianMixture
from latentmix.errors import InputError
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


def test_a_block_past_all_squares_leaves_what_was_learnt():
    mixture = GaussianMixture(2, random_state=0).partial_fit(ROWS)
    with pytest.raises(InputError, match="largest value is 1e\\+200"):
        mixture.partial_fit(np.concatenate([ROWS, [[1e200, 0]]]))
    other = GaussianMixture(2, random_state=0).partial_fit(ROWS)
    np.testing.assert_array_equal(
        mixture.partial_fit(ROWS[::-1]).means_, other.partial_fit(ROWS[::-1]).means_
    )
