"""Who trains, who names the clusters, who is scored: 70/15/15, stratified, by seed.

Rows are shuffled, ordered by class (the unlabelled are one more class), and dealt in a
fixed pattern of twenty. So the shares are right overall and, to one row, in every class,
and a class of seven rows is seen in all three parts.
"""

from __future__ import annotations

import numpy as np

from latentmix.data.dataset import Dataset, Split
from latentmix.errors import InputError

_TRAIN, _VALIDATION, _TEST = 0, 1, 2
_DEAL = np.full(20, _TRAIN)
_DEAL[[3, 9, 16]] = _VALIDATION
_DEAL[[6, 13, 19]] = _TEST
_FEWEST_ROWS = 7  # the first deal that leaves no part empty


def split(dataset: Dataset, *, seed: int) -> Split:
    """Return the data set's official split, or one of 70/15/15 by `seed`.

    Parameters
    ----------
    dataset : Dataset
    seed : int
        The same seed gives the same rows; it has no effect on an official split.

    Raises
    ------
    InputError
        If there are fewer than 7 rows, too few for three parts.

    Examples
    --------
    >>> from latentmix.data import load, split
    >>> digits = load("digits")
    >>> parts = split(digits, seed=0)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (1258, 270, 269)
    >>> digits.X[parts.train].shape
    (1258, 64)
    """
    if dataset.fixed_split is not None:
        return dataset.fixed_split
    n_rows = len(dataset.X)
    if n_rows < _FEWEST_ROWS:
        raise InputError(
            f"{dataset.source} has {n_rows} rows. Expected at least {_FEWEST_ROWS}, to split them "
            "into training, validation and test rows."
        )
    order = np.random.default_rng(seed).permutation(n_rows)
    if dataset.labels is not None:
        order = order[np.argsort(dataset.labels[order], kind="stable")]
    part = np.empty(n_rows, dtype=np.int64)
    part[order] = _DEAL[np.arange(n_rows) % len(_DEAL)]
    return Split(*(np.flatnonzero(part == number) for number in (_TRAIN, _VALIDATION, _TEST)))
