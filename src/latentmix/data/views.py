"""Rows that are read when they are asked for: some of an array's, in memory or in a mapped file."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np


class Rows(Protocol):
    """Rows, (N, D), read by a slice or by their numbers: an array, a `RowView`.

    Examples
    --------
    Whatever takes `Rows` takes an array, a mapped file, and some rows of either:

    >>> import numpy as np
    >>> from latentmix.data import Rows, RowView
    >>> def means(rows: Rows) -> list[float]:
    ...     return [float(rows[start : start + 2].mean()) for start in range(0, len(rows), 2)]
    >>> X = np.arange(8.0).reshape(4, 2)
    >>> means(X), means(RowView(X, np.array([0, 3])))
    ([1.5, 5.5], [3.5])
    """

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

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix.data import RowView
    >>> np.save("rows.npy", np.arange(20.0).reshape(10, 2))
    >>> some = RowView(np.load("rows.npy", mmap_mode="r"), np.array([7, 2, 5]))
    >>> some.shape
    (3, 2)
    >>> np.asarray(some[:2])  # only now they are read
    array([[14., 15.],
           [ 4.,  5.]])
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
