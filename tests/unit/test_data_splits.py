"""The split: every row once, right shares overall and in each class, by seed alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentmix.data import Dataset, Split, split
from latentmix.errors import InputError


def dataset_of(labels: np.ndarray | None, n_rows: int, fixed: Split | None = None) -> Dataset:
    return Dataset(
        "d", "some data", np.zeros((n_rows, 1)), labels, ("a", "b", "c"), fixed_split=fixed
    )


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(-1, 2), min_size=7, max_size=300),
    seed=st.integers(0, 2**32),
    labelled=st.booleans(),
)
def test_shares_overall_and_in_each_class(labels: list[int], seed: int, labelled: bool) -> None:
    y = np.array(labels)
    parts = split(dataset_of(y if labelled else None, len(y)), seed=seed)
    rows = [parts.train, parts.validation, parts.test]

    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(y)))
    for part, share in zip(rows, (0.7, 0.15, 0.15), strict=True):
        assert part.dtype == np.int64
        assert len(part) > 0
        assert (np.diff(part) > 0).all()
        assert abs(len(part) - share * len(y)) < 1.5
        if labelled:
            for label in (-1, 0, 1, 2):
                expected = share * np.sum(y == label)
                assert abs(np.sum(y[part] == label) - expected) < 2


def test_the_seed_decides_and_nothing_else() -> None:
    dataset = dataset_of(np.arange(100) % 3, 100)
    state = np.random.get_state()[1].copy()

    first, again, other = (split(dataset, seed=seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_an_official_split_is_kept() -> None:
    official = Split(np.array([0]), np.array([1]), np.array([2]))

    assert split(dataset_of(None, 3, official), seed=5) is official


def test_too_few_rows_for_three_parts() -> None:
    with pytest.raises(InputError, match=r"6 rows\. Expected at least 7"):
        split(dataset_of(None, 6), seed=0)
