"""The threads that share a pass over rows: one block each at a time, one product each at a time.

NumPy lets go of the interpreter in its loops and products, so that threads which work on blocks
of their own keep every core busy and never wait for each other inside a product. For that, BLAS
has to use one thread a product as long as any crew of the process works.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import joblib
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")

# The BLAS that limits each thread for itself; all others limit the process.
_OWN_LIMITS: Final = {"internal_api": "openblas", "threading_layer": "openmp"}


@cache
def _blas(*, per_thread: bool) -> ThreadpoolController:
    """Return the BLAS libraries whose limit is each thread's own, or the process's."""
    blas = ThreadpoolController().select(user_api="blas")
    paths = [
        library["filepath"]
        for library in blas.info()
        if per_thread == (_OWN_LIMITS.items() <= library.items())
    ]
    return blas.select(filepath=paths)


def _limit_this_thread() -> Any:
    """Keep a thread's own BLAS to one thread, where it has one; return what restores it."""
    return _blas(per_thread=True).limit(limits=1)


class _ProcessLimit:
    """BLAS kept to one thread a product, from the first crew of the process to the last.

    Crews overlap when fits run in several threads: were each to restore what it found, the last
    one out would leave BLAS as limited as it found it.
    """

    def __init__(self) -> None:
        self._limit: Any = None
        self._n_threads = 1
        self.forget()
        if hasattr(os, "register_at_fork"):  # Windows has none
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Count no crew: of all threads, a forked child has the one that forked."""
        self._lock, self._n_crews = threading.Lock(), 0

    def n_threads(self) -> int:
        """Return how many threads a crew has, whether or not others are at work."""
        with self._lock:
            if self._n_crews:
                return self._n_threads
            # A child that was forked while crews were at work begins with their limit.
            self._restore()
            blas = [_blas(per_thread=own) for own in (False, True)]
            allowed = [int(library["num_threads"]) for one in blas for library in one.info()]
            return max(1, min([int(joblib.cpu_count()), *allowed]))

    def enter(self, n_threads: int) -> None:
        """Limit BLAS, if this crew is the first, of so many threads."""
        with self._lock:
            if not self._n_crews:
                self._n_threads = n_threads
                self._limit = _blas(per_thread=False).limit(limits=1)
                self._let_go()
            self._n_crews += 1

    def leave(self) -> None:
        """Give BLAS its threads back, if this crew is the last."""
        with self._lock:
            self._n_crews = max(0, self._n_crews - 1)
            if not self._n_crews:
                self._restore()

    def _restore(self) -> None:
        if self._limit is not None:
            self._limit.restore_original_limits()
            self._limit = None
            self._let_go()

    def _let_go(self) -> None:
        # From version 3.8 on, threadpoolctl listens to none but the thread that set a limit as
        # long as it lives; ours is restored by whichever comes last.
        for library in _blas(per_thread=False).lib_controllers:
            clear = getattr(library, "clear_controlling_thread", None)
            if clear is not None:
                clear()


_PROCESS_LIMIT = _ProcessLimit()


class Crew:
    """Threads for the time of a `with` block; a single task never leaves the caller's thread.

    `size` is the number of cores this process may use, and no more than BLAS was allowed; or what
    is asked for.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = _PROCESS_LIMIT.n_threads() if size is None else size
        self._pool = ThreadPoolExecutor(max(1, self.size - 1), initializer=_limit_this_thread)

    def __enter__(self) -> Self:
        _PROCESS_LIMIT.enter(self.size)
        self._own_limit = _limit_this_thread()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._pool.shutdown()
        finally:
            self._own_limit.restore_original_limits()
            _PROCESS_LIMIT.leave()

    def run(self, share: Callable[[Sequence[T]], R], tasks: Sequence[T]) -> list[R]:
        """Deal the tasks out, and return each member's answer in the members' order."""
        n_members = max(1, min(self.size, len(tasks)))
        hands = [tasks[member::n_members] for member in range(n_members)]
        others = [self._pool.submit(share, hand) for hand in hands[1:]]
        # The caller is a member too.
        return [share(hands[0]), *(other.result() for other in others)]
