"""Which latent dimensions count as carrying information."""

import numpy as np

from latentmix.metrics import active_dimensions
from latentmix.metrics.density import LEAST_KL


def test_dimensions_above_the_least_kl_are_counted():
    assert active_dimensions(np.array([0.0, 0.5 * LEAST_KL, 2 * LEAST_KL, 3.0])) == 2


def test_the_least_kl_itself_is_not_above_it():
    assert active_dimensions(np.array([LEAST_KL])) == 0


def test_rounding_below_zero_is_no_information():
    assert active_dimensions(np.array([-1e-9, -0.5])) == 0


def test_another_threshold_can_be_asked_for():
    assert active_dimensions(np.array([0.2, 0.4, 0.6]), threshold=0.3) == 2


def test_a_plain_list_and_no_dimension_at_all():
    count = active_dimensions([0.1, 0.0])
    assert (count, type(count)) == (1, int)
    assert active_dimensions(np.zeros(0)) == 0


def test_a_dimension_whose_means_stand_still_is_not_active():
    assert active_dimensions(np.array([6.4, 6.4]), np.array([0.0, 1.0])) == 1
