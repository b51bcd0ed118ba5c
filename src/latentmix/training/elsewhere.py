"""Where sums and answers over rows are made: here, or for the time of a block by a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_in_use: ContextVar[Any] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(client: Any) -> Iterator[None]:
    """Have mixtures fitted, and rows of a run encoded, by a client's workers; None is here.

    The client is the one in charge, as one that was just made is.
    """
    before = _in_use.set(client)
    try:
        yield
    finally:
        _in_use.reset(before)


def cluster_in_use() -> Any:
    """Return the client whose workers are to be used, None for this process."""
    return _in_use.get()


def cluster_record() -> dict[str, Any] | None:
    """Return what is recorded of the cluster in use, None for this process."""
    client = cluster_in_use()
    if client is None:
        return None
    return {"scheduler": client.scheduler.address, "workers": len(client.nthreads())}
