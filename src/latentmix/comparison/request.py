"""What a benchmark is asked for: methods, choices, data sets, seeds; checked before any is run."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentmix.comparison.fits import no_interpreter
from latentmix.comparison.plans import plan_of
from latentmix.comparison.specs import Choice, Spec, read_choice, read_specs, separated
from latentmix.data import dataset_names, name_of
from latentmix.data.dataset import plain_name
from latentmix.errors import ParameterError
from latentmix.runs.recipe import Recipe, load_recipe
from latentmix.runs.request import Source


@dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes
    ----------
    methods : sequence of Spec
        Each is a row called unsupervised.
    tuned : sequence of Choice
        Each is a row called validation-tuned: one of several, chosen by validation labels.
    selected : sequence of Choice
        Each is a row called unsupervised: one of several, chosen by held-out likelihood.
    data : sequence of str
        Names or paths of data sets.
    n_seeds : int
        Seeds 0 to n_seeds - 1.
    out : Path
        A new folder, or one that a benchmark began.
    reading : Recipe
        Its `data` section says how files are read.
    peer_python : str or None
        The interpreter of scripts.
    """

    methods: Sequence[Spec]
    tuned: Sequence[Choice]
    selected: Sequence[Choice]
    data: Sequence[str]
    n_seeds: int
    out: Path
    reading: Recipe
    peer_python: str | None = None


def request_of(  # noqa: PLR0913  # a parameter for each option of the command
    methods: Sequence[str],
    data: Sequence[str],
    *,
    n_seeds: int,
    tune: Sequence[str] = (),
    select: Sequence[str] = (),
    out: Path | None = None,
    peer_python: str | None = None,
    settings: Sequence[str] = (),
) -> Request:
    """Return the request that words describe, into ``runs/benchmark-SETS`` unless told otherwise.

    Raises
    ------
    ParameterError
        If they describe none.
    """
    for setting in settings:
        if not setting.startswith("data."):
            raise ParameterError(
                f"--set {setting!r} is no setting of how files are read. Expected data.something; "
                "a method's own settings stand after its name, such as default:vae.latent_dim=8."
            )
    sets = separated(data)
    stem = plain_name("-".join(["benchmark", *map(name_of, sets)]))
    return Request(
        read_specs(methods),
        tuple(read_choice(choice) for choice in tune),
        tuple(read_choice(choice) for choice in select),
        sets,
        n_seeds,
        Path("runs", stem) if out is None else out,
        load_recipe("default", settings),
        peer_python,
    )


def _check_names(names: Sequence[str], kind: str, what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ParameterError(
                f"Two {kind} are called {name!r}, and a table would mix them. Expected names that "
                f"differ; rename {what}."
            )


def _check_scripts(scripts: Sequence[Path], peer_python: str | None) -> None:
    _check_names([script.name for script in scripts], "scripts", "a file")
    if peer_python is None:
        raise ParameterError(
            f"{scripts[0].name} is a script, and nothing says which python runs it. Give "
            "--peer-python the path of one that has its packages."
        )
    try:
        subprocess.run([peer_python, "--version"], capture_output=True, check=False)
    except OSError as error:
        raise no_interpreter(peer_python, error.strerror) from error


def check(request: Request) -> None:
    """Refuse what can be known to fail before anything is run.

    Raises
    ------
    ParameterError, MissingError
        For an unknown method, setting or data set, or a script that nothing can run.
    """
    choices = [*request.tuned, *request.selected]
    specs = [*request.methods, *(spec for choice in choices for spec in choice.alternatives)]
    if not specs or not request.data:
        raise ParameterError("Nothing is to be compared. Expected methods and data sets.")
    plans = [plan_of(spec, n_classes=2) for spec in specs]
    scripts = dict.fromkeys(plan.script.resolve() for plan in plans if plan.script is not None)
    if scripts:
        _check_scripts(list(scripts), request.peer_python)
    for data in request.data:
        if data not in dataset_names() and not Path(data).expanduser().exists():
            Source(data).read(request.reading)  # which says what is known
    _check_names([name_of(data) for data in request.data], "data sets", "a file or folder")
