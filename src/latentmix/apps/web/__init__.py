"""A run's model behind a local web server: `guards`, `connections`, and `api` on top of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from latentmix.errors import ParameterError
from latentmix.runs.opened import open_run


def serve_run(folder: Path, host: str, port: int, say: Callable[[str], object]) -> None:
    """Answer for a run's model over HTTP until a signal comes, having said where and to whom.

    Raises
    ------
    ParameterError
        If the extra `explore` is not installed, or nothing can listen there.
    MissingError, IntegrityError
        As `open_run`.
    """
    try:
        from latentmix.apps.web.api import api_of  # noqa: PLC0415
        from latentmix.apps.web.connections import bound_socket, serve  # noqa: PLC0415
        from latentmix.apps.web.guards import Guarded  # noqa: PLC0415
    except ImportError as error:
        raise ParameterError(
            f"A server needs {error.name}, which is not installed. Install the extra: "
            "pip install 'latentmix[explore]'."
        ) from error
    run = open_run(folder)
    with bound_socket(host, port) as listening:
        guarded = Guarded(api_of(run), host, listening.getsockname()[1])
        say(f"Serving {guarded.address}, described in {guarded.address}openapi.json")
        say(f"Send Authorization: Bearer {guarded.token}")
        say("and with a POST X-Latentmix: 1, too. Ctrl-C ends it.")
        serve(guarded, listening)
