"""What a named data set says of itself, in one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentmix.data.dataset import Dataset


@dataclass(frozen=True)
class DatasetSpec:
    """A data set people can ask for by name.

    Attributes
    ----------
    name : str
    description : str
        One line for people.
    read : callable
        Returns the data set; raises MissingError where it cannot be had.
    """

    name: str
    description: str
    read: Callable[[], Dataset]
