"""The threads that share a pass over rows: one block each at a time, one product each at a time.

NumPy lets go of the interpreter in its loops and products, so that threads which work on blocks
of their own keep every core busy and never wait for each other inside a product. For that, BLAS
has to use one thread a product as long as the crew works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Self, TypeVar

import joblib
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def n_threads() -> int:
    """Return the cores this process may use, and no more threads than BLAS was allowed."""
    allowed: list[int] = [library["num_threads"] for library in _blas().info()]
    return max(1, min([int(joblib.cpu_count()), *allowed]))


class Crew:
    """Threads for the time of a `with` block; a single task never leaves the caller's thread."""

    def __init__(self) -> None:
        self.size = n_threads()
        self._pool = ThreadPoolExecutor(max(1, self.size - 1))

    def __enter__(self) -> Self:
        self._limit = _blas().limit(limits=1)
        self._limit.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._limit.__exit__(kind, value, traceback)
        self._pool.shutdown()

    def run(self, share: Callable[[Sequence[T]], R], tasks: Sequence[T]) -> list[R]:
        """Deal the tasks out, and return each member's answer in the members' order."""
        n_members = max(1, min(self.size, len(tasks)))
        hands = [tasks[member::n_members] for member in range(n_members)]
        others = [self._pool.submit(share, hand) for hand in hands[1:]]
        # The caller is a member too.
        return [share(hands[0]), *(other.result() for other in others)]
