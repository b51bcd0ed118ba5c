"""`--scheduler` and `--workers`: a cluster of Dask for the time of a command."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from latentmix.apps.signals import children_deaf_to_ctrl_c
from latentmix.errors import ClusterError, ParameterError, needing

Command = TypeVar("Command", bound=Callable[..., Any])

# So long a scheduler has to answer, and its first worker, which may be starting, to come.
SECONDS_TO_ANSWER: Final = 10
SECONDS_FOR_A_WORKER: Final = 60

_scheduler = click.option(
    "--scheduler", metavar="tcp://HOST:PORT", help="A cluster of Dask that runs already."
)
_workers = click.option(
    "--workers", type=click.IntRange(1, 4096), help="Processes of this machine, as a cluster."
)


def cluster_options(command: Command) -> Command:
    """Give a command the options that name a cluster."""
    return _scheduler(_workers(command))


@contextmanager
def cluster_of(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Yield a client of the cluster that is asked for, in charge until the block ends, or None.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, has no worker, or one of another version.
    ParameterError
        If Dask is not installed, or both are asked for.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None and workers is not None:
        raise ParameterError(
            "--scheduler and --workers were given. Expected one: a cluster that runs, or a new one."
        )
    with needing("A cluster", "Dask", "latentmix[dask]"):
        import distributed  # noqa: PLC0415  # an extra
        from dask import config  # noqa: PLC0415
    # What goes wrong is said here, once.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = {
        "distributed.comm.timeouts.connect": f"{SECONDS_TO_ANSWER}s",
        # A model is sent once, and pieces of rows are small.
        "distributed.admin.large-graph-warning-threshold": "1GB",
    }
    with config.set(settings):
        begun = _connected(distributed, scheduler) if scheduler else _begun(distributed, workers)
        with begun as client:
            _check(client, scheduler)
            click.echo(_described(client))
            yield client


@contextmanager
def _connected(distributed: Any, scheduler: str) -> Iterator[Any]:
    """Yield a client of a scheduler that runs."""
    try:
        asyncio.run(asyncio.wait_for(_asked(distributed, scheduler), SECONDS_TO_ANSWER))
        client = distributed.Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except ValueError as error:
        raise ParameterError(
            f"--scheduler={scheduler!r} is no address: {error}. Expected one as tcp://HOST:8786."
        ) from error
    except OSError as error:
        said = (str(error).splitlines() or ["it stays silent"])[0].rstrip(".")
        raise ClusterError(
            f"The scheduler at {scheduler} does not answer: {said}. Check its address, and that "
            "`dask scheduler` runs there."
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_A_WORKER)
        except OSError as error:
            raise ClusterError(
                f"The scheduler at {scheduler} has no worker after {SECONDS_FOR_A_WORKER} s. "
                f"Expected one at least; start some with `dask worker {scheduler}`."
            ) from error
        yield client


async def _asked(distributed: Any, scheduler: str) -> None:
    """Have somebody at an address say who it is: a client waits for a silent one for ever."""
    async with distributed.rpc(scheduler) as there:
        await there.identity()


@contextmanager
def _begun(distributed: Any, workers: int | None) -> Iterator[Any]:
    """Yield a client of a new cluster of processes on this machine, ended with the block."""
    with children_deaf_to_ctrl_c():
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        )
    with cluster, distributed.Client(cluster) as client:
        yield client


def _check(client: Any, scheduler: str | None) -> None:
    """Refuse workers of another version; those begun here have this one."""
    if scheduler is not None:
        from latentmix.training.cluster import OF_NETWORKS, check_workers  # noqa: PLC0415

        check_workers(OF_NETWORKS, client)


def _described(client: Any) -> str:
    """Return how many workers there are, and where to watch them."""
    n_workers = len(client.nthreads())
    named = f"{n_workers} {'worker' if n_workers == 1 else 'workers'} of Dask"
    where = client.dashboard_link
    return f"{named}; dashboard: {where}" if where else named
