"""A file's column of text as numbers: positions among its categories, found as its cells come."""

from __future__ import annotations

import numpy as np

from latentmix.data.columns import Column, Said, check_repeats, reads_as_number
from latentmix.data.labels import USUAL_TITLES
from latentmix.errors import InputError


class Coder:
    """Positions of a column's texts, in the order in which these first come.

    Parameters
    ----------
    title : str
    said : 'categorical' or a list of categories, optional
        What is said of the column. None: its cells have to be text, not numbers, and to repeat.
    source : str
        Where the column stands, for messages.

    Raises
    ------
    InputError
        If nothing is said of a column with a title that those of labels and ids have.
    """

    def __init__(self, title: str, said: Said | None, source: str) -> None:
        self.title, self.said, self.source = title, said, source
        if said is None and title.lower() in USUAL_TITLES:
            raise InputError(
                f"{source}, column {title!r} holds text, and such a title is one of labels or ids. "
                f"Expected to be told; {remedies(title)}."
            )
        listed = () if said is None or isinstance(said, str) else said
        self._position = {str(category): number for number, category in enumerate(listed)}
        self._closed = bool(self._position)

    def __call__(self, text: str) -> float:
        """Return a text's position.

        Raises
        ------
        ValueError
            If that text is no category here, in words that go on after it: what was expected.
        """
        position = self._position.get(text)
        if position is None:
            self._check_new(text)
            position = self._position[text] = len(self._position)
        return position

    def _check_new(self, text: str) -> None:
        if not text.strip():
            raise ValueError("Expected text; fill in or drop that row")
        if self._closed:
            listed = ", ".join(map(repr, self._position))
            raise ValueError(f"Expected one of the categories that were declared: {listed}")
        if self.said is None and reads_as_number(text):
            raise ValueError(
                f"Expected text, as in the rows before; correct it, or {_called(self.title)}"
            )

    def settled(self, positions: np.ndarray, n_rows: int) -> Column:
        """Bring positions (N,) to the order of the categories, and return what the column holds.

        Raises
        ------
        InputError
            If nothing is said of the column, and its texts do not repeat.
        """
        if self.said is None:
            where = f"{self.source}, column {self.title!r},"
            check_repeats(where, len(self._position), n_rows, remedies(self.title))
        categories = list(self._position) if self._closed else sorted(self._position)
        place = {category: number for number, category in enumerate(categories)}
        order = np.array([place[category] for category in self._position], positions.dtype)
        positions[:] = order[positions.astype(int)]
        return Column("categorical", tuple(categories))


def is_text(said: Said | None) -> bool:
    """Say whether a column's cells are text by what is said of it."""
    return said == "categorical" or (said is not None and not isinstance(said, str))


def remedies(title: str) -> str:
    """Return what to say of a column that may hold ids, labels or categories."""
    return (
        "if these are ids, labels or categories say so: "
        f"--set data.id_column={title}, --set data.label_column={title} or {_set_of(title)}"
    )


def _called(title: str) -> str:
    return f"call the column categorical: {_set_of(title)}"


def _set_of(title: str) -> str:
    return f"--set 'data.columns={{{title} = \"categorical\"}}'"
