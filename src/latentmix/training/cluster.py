"""A cluster of Dask that is in charge: who its workers are, what it finds, and how it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib.metadata import version
from itertools import islice
from typing import Any, Final, TypeVar

from dask.base import compute

from latentmix.errors import ClusterError, LatentmixError
from latentmix.training.elsewhere import cluster_in_use

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

# Workers have to have these as this process has them: where sums are made, and where networks are.
OF_SUMS: Final = ("latentmix", "numpy")
OF_NETWORKS: Final = (*OF_SUMS, "jax")

# Of tasks that are each dealt out in their turn: under way for each thread of the workers.
AHEAD: Final = 2


def client_in_charge() -> Any:
    """Return the client in charge, None where the rows are this process's own."""
    try:
        from distributed import get_client  # noqa: PLC0415  # no cluster is needed

        return get_client()
    except (ImportError, ValueError):
        return None


def computed(*tasks: Any) -> tuple[Any, ...]:
    """Return what tasks give, by whichever scheduler is in charge.

    Raises
    ------
    ClusterError
        If the cluster cannot finish them.
    LatentmixError
        What a task raised.
    """
    with one_error():
        found: tuple[Any, ...] = compute(*tasks)  # type: ignore[no-untyped-call]
    return found


def dealt_out(
    task: Callable[[S, T], R], shared: S, items: Iterable[T], client: Any = None
) -> Iterator[tuple[T, R]]:
    """Yield each item with what ``task(shared, item)`` gives on a worker, as they end.

    What is shared is sent to a worker once. No more items are taken than keep all workers busy. A
    task whose worker is lost is done by another.

    Raises
    ------
    ClusterError
        If the cluster is lost, or a task ends one worker after the other.
    LatentmixError
        What a task raised.
    """
    from distributed import as_completed  # noqa: PLC0415  # no cluster is needed elsewhere

    client = client or client_in_charge()
    waiting, ended = iter(items), as_completed()  # type: ignore[no-untyped-call]
    at_work: dict[str, tuple[Any, T]] = {}

    def begin(number: int) -> None:
        for item in islice(waiting, number):
            future = client.submit(task, held, item, pure=False)
            at_work[future.key] = future, item
            ended.add(future)  # type: ignore[no-untyped-call]

    with one_error("what was dealt out to it", "repeat the command: what is done is kept"):
        held = client.submit(_itself, shared, pure=False)
        try:
            begin(AHEAD * max(1, sum(client.nthreads().values())))
            for future in ended:
                _, item = at_work.pop(future.key)
                yield item, future.result()
                begin(1)
        finally:
            # Of a cluster that is gone, nothing can be called off.
            with suppress(Exception):
                client.cancel([future for future, _ in at_work.values()])


@contextmanager
def one_error(what: str = "a pass over the rows", remedy: str | None = None) -> Iterator[None]:
    """Say in one sentence what ended a cluster's work; what a task raised passes as it is."""
    if remedy is None:
        alone = cluster_in_use() is None
        again = "fit again; with checkpoint=FOLDER the fit goes on"
        remedy = again if alone else "go on with `latentmix run --resume`"
    try:
        yield
    except Exception as error:
        kind = type(error)
        lost = isinstance(error, OSError | CancelledError)
        if isinstance(error, LatentmixError) or not (
            lost or kind.__module__.startswith("distributed")
        ):
            raise
        raise ClusterError(
            f"The cluster could not finish {what} ({kind.__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}). Look at its "
            f"scheduler and at its workers' memory, and {remedy}."
        ) from error


def check_workers(names: Iterable[str] = OF_SUMS, client: Any = None) -> None:
    """Refuse workers that have other versions of what the answer depends on.

    Raises
    ------
    ClusterError
        If a worker has another version, or none, of latentmix or the others named.
    """
    client = client or client_in_charge()
    if client is None:
        return
    own = _versions()
    try:
        with one_error():
            others = client.run(_versions)
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"A worker has no {error.name}. Install latentmix {own['latentmix']} on all of them."
        ) from error
    for address, found in others.items():
        for name in names:
            if found[name] != own[name]:
                raise ClusterError(
                    f"The worker {address} has {name} {found[name]}, and this process "
                    f"{own[name]}. Install the same version on all of them."
                )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in OF_NETWORKS}


def _itself(value: T) -> T:
    return value
