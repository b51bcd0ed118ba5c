"""Methods as they are asked for: ``kmeans``, ``n2d:epochs=100``, ``seed``, ``peer.py:epochs=5``.

A name, then settings after colons. With several values to a setting, or several methods joined
by a plus, it is a choice: ``default:vae.latent_dim=8,12+seed``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from latentmix.errors import ParameterError

# A colon in a path is none of ours: settings have a name and an equals sign.
_SETTING = re.compile(r":(?=[A-Za-z_][\w.]*=)")
# 1e+3 is a number.
_PLUS = re.compile(r"\+(?=[A-Za-z./~_])")


@dataclass(frozen=True)
class Spec:
    """A method's name, and its settings as they were written."""

    name: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The method as it stands in tables."""
        return ":".join([self.name, *(f"{key}={value}" for key, value in self.settings)])


@dataclass(frozen=True)
class Choice:
    """Methods of which one is chosen, for each data set and seed."""

    label: str
    alternatives: tuple[Spec, ...]


def read_specs(words: Sequence[str]) -> tuple[Spec, ...]:
    """Return the methods of words that may hold several, separated by commas; each once.

    Raises
    ------
    ParameterError
        If a name is missing.
    """
    found = [spec for word in words for text in _separated(word) for spec in _grid(text)]
    return tuple(dict.fromkeys(found))


def read_choice(text: str) -> Choice:
    """Return a choice: a grid of settings, or several methods or grids joined by a plus.

    Raises
    ------
    ParameterError
        If there is nothing to choose from.
    """
    alternatives = [spec for grid in _PLUS.split(text) for spec in _grid(grid)]
    if len(set(alternatives)) < 2:
        raise ParameterError(
            f"The choice {text!r} names one method. Expected several to choose from, such as "
            "default:vae.latent_dim=8,12 or default+seed."
        )
    return Choice(text, tuple(dict.fromkeys(alternatives)))


def separated(words: Sequence[str]) -> tuple[str, ...]:
    """Return the names in words that may hold several, separated by commas; each once."""
    return tuple(dict.fromkeys(name for word in words for name in _separated(word)))


def _grid(text: str) -> list[Spec]:
    """Return a method with each combination of its settings' values."""
    name, *settings = _SETTING.split(text.strip())
    if not name:
        raise ParameterError(f"{text!r} names no method. Expected a name, then :setting=value.")
    pairs = [setting.partition("=") for setting in settings]
    values = [[(key, each) for each in _separated(listed) or [""]] for key, _, listed in pairs]
    return [Spec(name, combination) for combination in product(*values)]


def _separated(text: str) -> list[str]:
    """Return what commas separate, but for those within brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]
