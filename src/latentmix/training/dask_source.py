"""Rows in Dask's blocks: the work goes to them, and what it adds up to comes back.

A pass is one task a block, on one thread, whose sums in float64 are added in a tree of fixed shape:
the same bits from however many workers, and some kilobytes on the wire whatever the number of
rows. A block whose worker is lost is made again by Dask, from what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from importlib.metadata import version
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from dask import annotate  # type: ignore[attr-defined]
from dask.base import compute
from dask.delayed import delayed

from latentmix.errors import ClusterError, InputError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.rows import Rows, patterns_of
from latentmix.training.sources import NO_ROW, Source

T = TypeVar("T")

# Sums that are added in one task.
ADDED_AT_ONCE: Final = 8

# Workers have to have these as this process has them.
COMPARED: Final = ("latentmix", "numpy")


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


def computed(*tasks: Any) -> tuple[Any, ...]:
    """Return what tasks give, by whichever scheduler is in charge.

    Raises
    ------
    ClusterError
        If the cluster cannot finish them.
    LatentmixError
        What a task raised.
    """
    with _one_error():
        found: tuple[Any, ...] = compute(*tasks)  # type: ignore[no-untyped-call]
    return found


@contextmanager
def _one_error() -> Iterator[None]:
    """Say in one sentence what ended a cluster's work; what a task raised passes as it is."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        if not kind.__module__.startswith("distributed") and not isinstance(error, OSError):
            raise
        raise ClusterError(
            f"The cluster could not finish a pass over the rows ({kind.__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Look at its "
            "scheduler and at its workers' memory, and fit again; with checkpoint=FOLDER the fit "
            "goes on."
        ) from error


def check_workers() -> None:
    """Refuse workers that have other versions of what the answer depends on.

    Raises
    ------
    ClusterError
        If a worker has another version, or none, of latentmix or NumPy.
    """
    client = _client()
    if client is None:
        return
    own = _versions()
    try:
        with _one_error():
            others = client.run(_versions)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"A worker has no {error.name}. Install latentmix {own['latentmix']} on all of them."
        ) from error
    for address, found in others.items():
        for name in COMPARED:
            if found[name] != own[name]:
                raise ClusterError(
                    f"The worker {address} has {name} {found[name]}, and this process "
                    f"{own[name]}. Install the same version on all of them."
                )


def _holders(blocks: Sequence[Any]) -> list[list[str]]:
    """Return which workers of the cluster hold each block, none where it is still to be made."""
    client = _client()
    if client is None:
        return [[]] * len(blocks)
    with _one_error():
        known = client.who_has()
    # Keys are tuples; in earlier versions their text.
    keys = [getattr(block, "key", None) for block in blocks]
    return [list(known.get(key) or known.get(str(key)) or ()) for key in keys]


def _client() -> Any:
    """Return the client in charge, None where the rows are this process's own."""
    try:
        from distributed import get_client  # noqa: PLC0415  # no cluster is needed

        return get_client()
    except (ImportError, ValueError):
        return None


def _versions() -> dict[str, str]:
    return {name: version(name) for name in COMPARED}


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
