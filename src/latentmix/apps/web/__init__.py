"""A run's model behind a local web server: `guards`, `connections`, and `api` on top of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latentmix.errors import needing
from latentmix.runs.opened import open_run

if TYPE_CHECKING:
    from latentmix.apps.web.guards import Guarded

# What is needed of packages, and the extra that brings it (`errors.needing`).
A_SERVER: Final = ("A server", "FastAPI with uvicorn", "latentmix[explore]")


def serve_run(folder: Path, host: str, port: int, say: Callable[[str], object]) -> None:
    """Answer for a run's model over HTTP until a signal comes, having said where and to whom.

    Raises
    ------
    ParameterError
        If the extra `explore` is not installed, or nothing can listen there.
    MissingError, IntegrityError
        As `open_run`.
    """

    def announce(guarded: Guarded) -> None:
        say(f"Serving {guarded.address}, described in {guarded.address}openapi.json")
        say(f"Send Authorization: Bearer {guarded.token}")
        say("and with a POST X-Latentmix: 1, too. Ctrl-C ends it.")

    with needing(*A_SERVER):
        from latentmix.apps.web.api import api_of  # noqa: PLC0415
    serve_app(api_of(open_run(folder)), host, port, announce)


def serve_app(app: Any, host: str, port: int, announce: Callable[[Guarded], object]) -> None:
    """Let an application answer behind the guards until a signal comes.

    `announce` is called once callers are answered; or before, and they wait.
    """
    from latentmix.apps.web.connections import bound_socket, serve  # noqa: PLC0415
    from latentmix.apps.web.guards import Guarded  # noqa: PLC0415

    with bound_socket(host, port) as listening:
        guarded = Guarded(app, host, listening.getsockname()[1])
        announce(guarded)
        serve(guarded, listening)
