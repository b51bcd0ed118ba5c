"""The units of a network's inputs, learned and applied block by block: rows may be a map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from jaxtyping import Float

from latentmix.data.columns import Column
from latentmix.data.views import Rows
from latentmix.models.blocks import blocks

ROWS_PER_READ = 1 << 14

FLOAT32: Final = np.dtype(np.float32)

# The largest of whole numbers that a float32 tells apart.
MOST_COUNTED: Final = 1 << 24


class PreparedRows:
    """Rows that are prepared when they are read; as `latentmix.data.views.Rows`."""

    def __init__(
        self, rows: Rows, prepare: Callable[[np.ndarray], np.ndarray], dtype: np.dtype[Any]
    ) -> None:
        self.source, self._prepare = rows, prepare
        self.shape, self.dtype = rows.shape, dtype

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, which: Any) -> np.ndarray:
        return self._prepare(self.source[which])


class Preparation(ABC):
    """Prepared inputs are (X - shift) / scale, in a domain's own way.

    Parameters
    ----------
    likelihood : str
        Its name, for messages.
    shift, scale : (D,)
    columns : sequence of Column
        What each column holds, (D,), where a domain tells them apart.
    """

    # Whether training draws from the rows anew each time that it sees them.
    draws_anew = False

    def __init__(
        self,
        likelihood: str,
        shift: Float[np.ndarray, " D"],
        scale: Float[np.ndarray, " D"],
        columns: Sequence[Column] = (),
    ) -> None:
        self.likelihood, self.shift, self.scale = likelihood, shift, scale
        self.columns = columns

    @classmethod
    @abstractmethod
    def learned(cls, likelihood: str, X: Rows, columns: Sequence[Column] = ()) -> Self:
        """Return the preparation that training rows ask for."""

    @abstractmethod
    def rows(self, X: Rows) -> Rows:
        """Return what the network is trained on: bytes as they are, floats in prepared units.

        Raises
        ------
        InputError
            For rows outside the domain.
        """

    def asked(self, X: Rows) -> Rows:
        """Return what the network is given where it answers: `rows`, or one draw from them."""
        return self.rows(X)

    def in_units(self, prepared: np.ndarray) -> np.ndarray:
        """Return a block of prepared rows in the units that answers are given in: as they are."""
        return prepared

    def shown(self, X: np.ndarray) -> np.ndarray:
        """Return a block of X in the same units."""
        shown: np.ndarray = X / self.scale
        return shown


class Moments(NamedTuple):
    """The mean and the standard deviation of each column, (D,)."""

    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]


def mean_of(rows: Rows) -> Float[np.ndarray, " D"]:
    """Return the mean of each column."""
    total = sum(block.sum(axis=0, dtype=np.float64) for block in in_blocks(rows))
    return np.asarray(total / len(rows))


def moments_of(rows: Rows) -> Moments:
    """Return the moments of each column, in two passes."""
    mean = mean_of(rows)
    squares = sum(np.square(block - mean).sum(axis=0) for block in in_blocks(rows))
    return Moments(mean, np.sqrt(squares / len(rows)))


def extent_of(rows: Rows) -> tuple[float, float]:
    """Return the least and the greatest value."""
    ends = [(block.min(), block.max()) for block in in_blocks(rows) if block.size]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def in_blocks(rows: Rows) -> Iterator[np.ndarray]:
    """Yield all rows, some at a time."""
    for block in blocks(len(rows), ROWS_PER_READ):
        yield rows[block]
