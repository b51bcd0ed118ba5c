"""Everything latentmix raises on purpose, as one tree.

::

    LatentmixError
    ├── InputError (ValueError)              data that cannot be used: NaN, range, shape, length
    │   └── FormatError                      a file that is not what it claims to be
    ├── IntegrityError (ValueError)          a stored model or run that was changed or is unsafe
    ├── ParameterError (ValueError)          a parameter outside its domain
    │   └── RecipeError                      an unknown recipe, key, or value in one
    ├── MissingError (FileNotFoundError)     a file, folder or data set that is not there
    ├── WriteError (OSError)                 a folder that cannot be written, a full disk
    ├── RunFailedError (RuntimeError)        a benchmark's run that ended without an answer
    ├── ClusterError (RuntimeError)          machines that do not answer, or are not as they must be
    └── NotNamedError (ValueError, AttributeError)  asked for a class before label

    TrainingWarning (UserWarning)            a training that ended, and is of little use

A message is one sentence or two: what was received, what was expected, the remedy. The command
line adds the page of the docs that says more.

Examples
--------
>>> from latentmix import GaussianMixture
>>> from latentmix.errors import LatentmixError
>>> try:
...     GaussianMixture(n_init=0).fit([[1.0], [2.0]])
... except LatentmixError as error:
...     print(type(error).__name__, "-", error)
ParameterError - n_init=0 is out of range. Expected an integer >= 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar


class LatentmixError(Exception):
    """Base of every error raised on purpose."""

    page: ClassVar[str] = "docs/errors.md"


class InputError(LatentmixError, ValueError):
    """Data that cannot be used as given."""


class FormatError(InputError):
    """A file whose content is not what its name or header claims."""


class IntegrityError(LatentmixError, ValueError):
    """A stored model or run that was changed, or whose manifest is unsafe."""

    page: ClassVar[str] = "docs/run-folder.md"


class ParameterError(LatentmixError, ValueError):
    """A parameter outside its domain."""


class RecipeError(ParameterError):
    """An unknown recipe, an unknown key, or a value a recipe does not accept."""


class MissingError(LatentmixError, FileNotFoundError):
    """A file, folder or data set that is not there."""


class WriteError(LatentmixError, OSError):
    """A folder that cannot be written, or a disk that is full."""


class RunFailedError(LatentmixError, RuntimeError):
    """A benchmark's run whose process ended without an answer."""

    page: ClassVar[str] = "docs/benchmark.md"


class ClusterError(LatentmixError, RuntimeError):
    """A cluster or a server that does not answer or is not as it has to be; a process gone."""


class NotNamedError(LatentmixError, ValueError, AttributeError):
    """A class was asked for before any labelled row named the components.

    Bases are those of scikit-learn's ``NotFittedError``, so code that catches that
    behaviour works here, without importing scikit-learn to define an exception.
    """

    page: ClassVar[str] = "docs/how-to-labels.md"


class TrainingWarning(UserWarning):
    """A training that ended, but has learned little: says what usually mends it."""


@contextmanager
def needing(what: str, package: str, install: str) -> Iterator[None]:
    """Say of a package that cannot be imported that `what` needs it, and what installs it."""
    try:
        yield
    except ImportError as error:
        raise not_installed(what, package, install) from error


def not_installed(what: str, package: str, install: str) -> ParameterError:
    """Return what is raised where a package outside the base install is asked for and absent."""
    return ParameterError(
        f"{what} needs {package}, which is not installed. Install it: pip install '{install}'."
    )


def did_you_mean(received: object, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to `received`, else ''."""
    close = get_close_matches(str(received), list(known), n=1, cutoff=likeness)
    return f" Did you mean {close[0]!r}?" if close else ""


def unknown_name(parameter: str, received: object, known: Iterable[str]) -> str:
    """Return the one sentence for a name outside a registry, with the nearest known one."""
    names = sorted(known)
    listed = ", ".join(repr(name) for name in names[:-1])
    choices = f"{listed} or {names[-1]!r}" if listed else repr(names[-1])
    # Names in a registry are short: one slip costs them more of their likeness.
    hint = did_you_mean(received, names, 0.5)
    return f"{parameter}={received!r} is unknown. Choose {choices}.{hint}"
