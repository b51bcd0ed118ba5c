"""Several processes that train as one: started here, or found by the variables of a launcher.

`latentmix launch --processes N run ...` starts them on this machine and watches over them. Under
SLURM, Open MPI, `torchrun` or whatever else sets JAX's own variables, `latentmix run ...` is what
each of them starts. The first keeps the run and says how far it is; the others train with it
(`training.data_parallel`) and are silent.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Final, NamedTuple

import click

from latentmix.errors import ClusterError, ParameterError

# A process that does not say for so long that it lives is lost.
HEARTBEAT_SECONDS: Final = 20
# So long they wait for each other at the start.
JOIN_SECONDS: Final = 60
# What a lost process leaves behind ends by itself within this, or is ended.
GRACE_SECONDS: Final = 3.0

# Set by `launch` alone: a process whose parent is gone is to stop.
LAUNCHED: Final = "LATENTMIX_LAUNCHED"

LOST: Final = 75


class Launcher(NamedTuple):
    """The variables by which a launcher says how many processes there are, and which one this is.

    Without an address JAX knows how to ask that launcher for it.
    """

    size: str
    number: str
    address: str | None = None
    port: str | None = None


LAUNCHERS: Final = (
    Launcher("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS"),
    Launcher("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    Launcher("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    Launcher("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"),
)


class Place(NamedTuple):
    """Which process this is of how many, and where the first one listens, if that is known."""

    number: int
    size: int
    address: str | None


def place(variables: Mapping[str, str]) -> Place | None:
    """Return what a launcher says of this process; None if it is alone.

    Raises
    ------
    ParameterError
        If the variables contradict each other.
    """
    for launcher in LAUNCHERS:
        count = variables.get(launcher.size, "1")
        if count == "1":
            continue
        number = variables.get(launcher.number, "")
        if not (count.isdecimal() and number.isdecimal() and int(number) < int(count)):
            raise ParameterError(
                f"{launcher.size}={count!r} and {launcher.number}={number!r} name no process of "
                "several. Expected a count, and a number below it; set both or neither."
            )
        return Place(int(number), int(count), _address(launcher, variables))
    return None


def _address(launcher: Launcher, variables: Mapping[str, str]) -> str | None:
    if launcher.address is None:
        return None
    names = [name for name in (launcher.address, launcher.port) if name is not None]
    parts = [variables.get(name, "") for name in names]
    address = ":".join(parts)
    if not all(parts) or not address.rpartition(":")[2].isdecimal():
        raise ParameterError(
            f"{' and '.join(names)} say {address!r}, where the first of "
            f"{variables[launcher.size]} processes should listen. Expected HOST:PORT; set it."
        )
    return address


def join() -> None:
    """Join the processes that a launcher started beside this one, if it did.

    To be called before JAX is asked for anything.

    Raises
    ------
    ParameterError
        If the launcher's variables contradict each other.
    ClusterError
        If the others do not come.
    """
    here = place(os.environ)
    if here is None:
        return
    if LAUNCHED in os.environ:
        threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    _initialize(here)
    if here.number:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # until the process ends


def part() -> None:
    """Wait until all processes are done: none is missed before."""
    from latentmix.training.data_parallel import most  # noqa: PLC0415

    most(0)


def launched_again(command: str) -> str:
    """Return how a command is to be given once more, if `launch` started this process."""
    if LAUNCHED not in os.environ:
        return command
    name, _, rest = command.partition(" ")
    return f"{name} launch --processes {os.environ[LAUNCHERS[0].size]} {rest}"


def leave(code: int) -> None:
    """End a process that failed among others: JAX would wait for them, and they for it."""
    jax = sys.modules.get("jax")
    if code and jax is not None and jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _initialize(here: Place) -> None:
    import jax  # noqa: PLC0415  # slow, and of no use to a process that is alone

    # JAX would end the process from C++, with a page of its own.
    alarm = threading.Timer(JOIN_SECONDS, _nobody_came, (here,))
    alarm.start()
    try:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
        jax.distributed.initialize(
            here.address,
            here.size,
            here.number,
            initialization_timeout=2 * JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise ClusterError(f"{_alone(here)} ({error}).") from error
    finally:
        alarm.cancel()


def _nobody_came(here: Place) -> None:
    click.echo(f"latentmix: {_alone(here)}.", err=True)
    os._exit(LOST)


def _alone(here: Place) -> str:
    where = "" if here.address is None else f" at {here.address}"
    return (
        f"Process {here.number} of {here.size} found no others{where} within {JOIN_SECONDS} s. "
        "Expected all of them, started with the same address; check that and the network"
    )


def _leave_with_the_parent() -> None:
    """Wait until the parent closes what it never writes to, and then stop as by SIGTERM."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10 * GRACE_SECONDS)
    os._exit(LOST)


class _Process(NamedTuple):
    """One of the processes, and what it says beside the first one's output."""

    running: subprocess.Popen[bytes]
    said: IO[bytes] | None


def launch(command: Sequence[str], count: int) -> int:
    """Run a command in so many processes on this machine, and return the exit code of the whole.

    The cores are dealt out among them. Ctrl-C and SIGTERM go on to all; if one is lost, the others
    are ended and a sentence says so.
    """
    with ExitStack() as stack:
        processes = _started(command, count, stack)
        try:
            failed = _first_to_fail(processes)
        finally:
            for process in processes:
                if process.running.poll() is None:
                    process.running.kill()
                process.running.wait()
        return 0 if failed is None else _outcome(processes, failed)


def _started(command: Sequence[str], count: int, stack: ExitStack) -> list[_Process]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for number, cores in enumerate(shares_of_cores(count)):
        variables = {
            "JAX_COORDINATOR_ADDRESS": address,
            "JAX_COORDINATOR_BIND_ADDRESS": address,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(number),
            LAUNCHED: "1",
        }
        said = stack.enter_context(_kept_aside()) if number else None
        running = subprocess.Popen(
            [sys.executable, "-m", "latentmix", *command],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stderr=said,
            process_group=0,  # Ctrl-C comes from here, and once
        )
        if cores:
            os.sched_setaffinity(running.pid, cores)
        processes.append(_Process(running, said))
    return processes


def _kept_aside() -> IO[bytes]:
    return tempfile.TemporaryFile()  # closed by the caller


def shares_of_cores(count: int) -> list[set[int]]:
    """Return the cores of each process: as many for all, none in particular if there are fewer."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = len(cores) // count
    return [set(cores[number * each :][:each]) for number in range(count)]


def _first_to_fail(processes: Sequence[_Process]) -> int | None:
    """Wait until all have ended, or one failed and the others had time to notice; say which one."""
    failed, leave_at = None, float("inf")
    while any(process.running.poll() is None for process in processes):
        codes = [process.running.returncode for process in processes]
        if failed is None and any(codes):
            failed = next(number for number, code in enumerate(codes) if code)
            leave_at = time.monotonic() + GRACE_SECONDS
        if time.monotonic() > leave_at:
            return failed
        try:
            time.sleep(0.05)
        except KeyboardInterrupt as stop:
            number = signal.SIGTERM if stop.args == ("SIGTERM",) else signal.SIGINT
            for process in processes:
                if process.running.poll() is None:
                    process.running.send_signal(number)
    if failed is None:  # they ended together
        codes = [process.running.returncode for process in processes]
        failed = next((number for number, code in enumerate(codes) if code), None)
    return failed


def _outcome(processes: Sequence[_Process], failed: int) -> int:
    """Return the exit code of the whole; say what the first process has not said itself."""
    codes = [process.running.returncode for process in processes]
    if codes[0] > 0 and codes[0] != LOST:
        return codes[0]
    for number, code in enumerate(codes[1:], start=1):
        if code > 0 and code != LOST:
            # Wrong on that process's machine alone.
            return _passed_on(processes[number], number)
    if codes[0] == LOST:
        return LOST
    raise ClusterError(
        f"Process {failed} of {len(codes)} was lost ({_ended(codes[failed])}). What was kept by "
        "then is kept; the same command goes on from the last checkpoint."
    )


def _passed_on(process: _Process, number: int) -> int:
    assert process.said is not None  # all but the first one's is kept
    process.said.seek(0)
    click.echo(
        f"Process {number}: {process.said.read().decode(errors='replace').strip()}", err=True
    )
    return process.running.returncode


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
