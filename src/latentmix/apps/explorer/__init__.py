"""The explorer: a run in the browser, to look at, to name and to use.

    routes  what the page asks for          files   what leaves and comes back as a file
    views   what is shown of a run          page/   the page itself: ES modules, nothing to build

What a person says goes through `latentmix.runs.sitting`, whose journal lies in the run folder.
"""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from latentmix.apps.web import A_SERVER, serve_app
from latentmix.errors import needing
from latentmix.runs.opened import open_run
from latentmix.runs.sitting import Sitting
from latentmix.storage.files import alone_in

if TYPE_CHECKING:
    from latentmix.apps.web.guards import Guarded


def explore_run(
    folder: Path, host: str, port: int, say: Callable[[str], object], *, open_browser: bool
) -> None:
    """Show a run in the browser until a signal comes, having said where.

    Raises
    ------
    ParameterError
        If the extra `explore` is not installed, or nothing can listen there.
    MissingError, IntegrityError
        As `open_run`; and if the journal is another run's.
    WriteError
        If someone else writes in the folder, or nobody can.
    """

    def announce(guarded: Guarded) -> None:
        say(f"Open {guarded.link}")
        say("The link is good for one browser. Ctrl-C ends it; names are kept.")
        if open_browser:
            webbrowser.open(guarded.link)

    with needing(*A_SERVER):
        from latentmix.apps.explorer.routes import explorer_of  # noqa: PLC0415
        from latentmix.apps.explorer.views import Views  # noqa: PLC0415
    run = open_run(folder)
    with alone_in(folder.resolve()):
        sitting = Sitting(run, folder)
        for left_out in sitting.left_out:
            say(f"{sitting.path}: {left_out}, and is left out; all else is there.")
        serve_app(explorer_of(Views(run, sitting)), host, port, announce)
