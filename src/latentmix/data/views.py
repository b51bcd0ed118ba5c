"""Rows that are read when they are asked for: some of an array's, in memory or in a mapped file."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """Rows, (N, D), read by a slice or by their numbers: an array, a `RowView`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The values' type."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> np.ndarray: ...


class RowView:
    """Some rows of an array, of which none is copied before it is asked for.

    Parameters
    ----------
    source : (M, D)
    numbers : (N,) int
        Which rows, in what order.
    """

    def __init__(self, source: Rows, numbers: np.ndarray) -> None:
        self.source, self.numbers = source, numbers
        self.shape = (len(numbers), *source.shape[1:])
        self.dtype = source.dtype

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: Any) -> np.ndarray:
        return self.source[self.numbers[which]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
