"""What must hold of a number of clusters whatever the rows: hypothesis looks for exceptions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latentmix import select_n_clusters

seeds = st.integers(0, 2**31 - 1)


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(8, 60), st.integers(1, 4), st.integers(-20, 20))
def test_units_do_not_count(seed, n_rows, n_features, power):
    """Powers of two change no digit of a distance's ratio to another."""
    x = np.random.RandomState(seed).randn(n_rows, n_features)
    one = select_n_clusters(x, 6, random_state=seed)
    assert select_n_clusters(x * 2.0**power, 6, random_state=seed) == one


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(8, 60), st.integers(1, 4))
def test_the_table_is_of_shares_and_the_choice_is_in_it(seed, n_rows, n_features):
    found = select_n_clusters(
        np.random.RandomState(seed).standard_cauchy((n_rows, n_features)), 6, random_state=seed
    )
    assert 0 <= sum(row.chosen_by for row in found.table) <= found.n_halves
    for row in found.table:
        assert -1 <= row.stability <= 1
        assert -0.5 <= row.modularity < 1
    assert found.n_components in [1, *(row.n_components for row in found.table)]
    assert 0 <= found.agreement <= 1
    assert found.runner_up != found.n_components
