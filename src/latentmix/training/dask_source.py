"""Rows in Dask's blocks: the work goes to them, and what it adds up to comes back.

A pass is one task a block, on one thread, whose sums in float64 are added in a tree of fixed shape:
the same bits from however many workers, and some kilobytes a block on the wire, whatever its number
of rows. A block whose worker is lost is made again by Dask, from what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from dask import annotate  # type: ignore[attr-defined]
from dask.delayed import delayed

from latentmix.errors import InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.rows import Rows, patterns_of
from latentmix.training.cluster import check_workers, client_in_charge, computed, one_error
from latentmix.training.sources import NO_ROW, Source

T = TypeVar("T")

# Sums that are added in one task.
ADDED_AT_ONCE: Final = 8


class Block(NamedTuple):
    """Rows of a block, their weights and class numbers, how many they are, and come before them."""

    x: Any
    weights: Any
    labels: Any
    n_rows: int
    before: int


class DaskSource(Source):
    """Blocks of rows that a scheduler of Dask has, or can make.

    Parameters
    ----------
    blocks : sequence of Block
    n_features, n_classes : int
    check : callable
        Refuses a block's values.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        n_features: int,
        n_classes: int,
        check: Callable[[np.ndarray], None],
    ) -> None:
        self.blocks = [block for block in blocks if block.n_rows]
        self.n_features, self.n_classes, self._check = n_features, n_classes, check
        check_workers()

    def chunks(self, shift: Floats, scale: Floats) -> Iterator[Rows]:
        """Yield all rows, block by block: they come here for it."""
        for block in self.blocks:
            (here,) = computed(block)
            yield _rows(here, (shift, scale), self._check)

    def added_up(
        self,
        work: Callable[[Rows, Crew], T],
        add: Callable[[T, T], T],
        units: tuple[Floats, Floats],
        crew: Crew,
    ) -> T:
        """Return the sum of what work on each block gives, worked out where the blocks are."""
        if not self.blocks:
            raise InputError(NO_ROW)
        # One node of the graph each, however many blocks: sent once.
        shared = [delayed(each, traverse=False) for each in (work, add, units, self._check)]
        work_, add_, units_, check = shared
        holders = _holders([block.x for block in self.blocks])
        sums = []
        for block, workers in zip(self.blocks, holders, strict=True):
            # A block is much larger than what is made of it: it stays where it is, unless that
            # worker is gone.
            where = {"workers": workers, "allow_other_workers": True} if workers else {}
            with annotate(**where):
                sums.append(delayed(_worked)(work_, block, units_, check))
        while len(sums) > 1:
            groups = [sums[at : at + ADDED_AT_ONCE] for at in range(0, len(sums), ADDED_AT_ONCE)]
            sums = [delayed(_added)(add_, *group) for group in groups]
        (total,) = computed(*sums)
        answer: T = total
        return answer


def _holders(blocks: Sequence[Any]) -> list[list[str]]:
    """Return which workers of the cluster hold each block, none where it is still to be made."""
    client = client_in_charge()
    if client is None:
        return [[]] * len(blocks)
    with one_error():
        known = client.who_has()
    # Keys are tuples; in earlier versions their text.
    keys = [getattr(block, "key", None) for block in blocks]
    return [list(known.get(key) or known.get(str(key)) or ()) for key in keys]


def _worked(
    work: Callable[[Rows, Crew], T],
    block: Block,
    units: tuple[Floats, Floats],
    check: Callable[[np.ndarray], None],
) -> T:
    """Do work on one block, on one thread: the bits are the same on every worker."""
    rows = _rows(block, units, check)
    with Crew(size=1) as crew:
        return work(rows, crew)


def _rows(block: Block, units: tuple[Floats, Floats], check: Callable[[np.ndarray], None]) -> Rows:
    x, weights, labels, _, before = block
    rows = np.asarray(x)
    width = len(units[0])
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind not in "biuf":
        raise InputError(
            f"The block of X that begins with row {before} holds {rows.dtype} of shape "
            f"{rows.shape}. Expected numbers of {width} columns in each."
        )
    if rows.dtype not in (np.float32, np.float64, np.uint8):
        rows = rows.astype(np.float64)
    check(rows)
    patterns = patterns_of(rows) if rows.dtype.kind == "f" else None
    return Rows(rows, *units, weights, labels, patterns, before)


def _added(add: Callable[[T, T], T], *parts: T) -> T:
    return reduce(add, parts)
