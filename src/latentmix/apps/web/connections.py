"""The server itself: a socket, and connections that have to come to the point."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from latentmix.apps.web.guards import PATIENCE, App
from latentmix.errors import ParameterError

# Connections at a time: a browser opens six.
MOST_CONNECTIONS = 64


class PromptProtocol(H11Protocol):
    """An HTTP connection that is closed unless each request is there within `PATIENCE` seconds.

    Uvicorn waits forever for a request's last byte: some dozens of half-open connections would keep
    everybody else out.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on; wait no more once a request is whole."""
        if self._late is None:
            self._wait()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(PATIENCE, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self.transport.abort()


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0 is one that is free.

    Raises
    ------
    ParameterError
        If the port is in use, or the address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Asyncio sends at once on a socket that names its protocol; else small answers wait 40 ms for
    # the other side to confirm their head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # From here on callers wait to be answered, and are not refused.
        listening.listen(MOST_CONNECTIONS)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ParameterError(
                f"Port {port} of {host} is in use. Give another with --port, or --port 0 for any "
                "that is free."
            ) from error
        raise ParameterError(
            f"Nothing can listen at {host}, port {port}: {error}. Expected an address of this "
            "machine; give --host 127.0.0.1."
        ) from error
    return listening


def serve(app: App, listening: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])
