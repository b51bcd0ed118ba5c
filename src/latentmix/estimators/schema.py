"""What each column of a table holds: as people say, or as it looks where that is safe.

What is not said of a column is told from it only where it cannot be mistaken: text that repeats
is categories, truth values are 0 and 1, and numbers beside these are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latentmix.data import Rows
from latentmix.data.columns import (
    KINDS,
    Column,
    Said,
    TableRows,
    check_repeats,
    codes_of,
    reads_as_number,
    table_of,
)
from latentmix.errors import InputError, ParameterError, did_you_mean, unknown_name
from latentmix.estimators.units import in_blocks

# Whole numbers up to here are exact as float64, and as JSON has them.
GREATEST_CODE = 1 << 53
SHOWN = 8

# What people may say of a table's columns.
Declared = Mapping[str | int, Said] | Sequence[Said] | None


def columns_of(declared: Declared, likelihood: str, X: Rows) -> tuple[Column, ...]:
    """Return what each column of X holds: as declared, or where that is safe as it looks.

    Parameters
    ----------
    declared : mapping or sequence, optional
        A kind or a list of categories for each column, or for some of them by title or number.
    likelihood : {'mixed', 'categorical'}
        Under the latter, undeclared columns are categorical.
    X : (N, D)

    Raises
    ------
    ParameterError
        If what is declared does not fit the columns, or is missing.
    InputError
        If a column that nothing is said of cannot be told, or does not hold what is said of it.
    """
    table, n_columns = table_of(X), X.shape[1]
    said = _said_of_each(declared, table, n_columns)
    if likelihood == "categorical":
        said = [_categorical(one, number) for number, one in enumerate(said)]
    known = (None,) * n_columns if table is None else table.columns
    if not any(said) and not any(known):
        raise ParameterError(
            f"likelihood={likelihood!r} was given without columns, and X is {n_columns} columns of "
            "numbers, which do not say of what kind they are. Expected the kind of each, as "
            f"columns=['continuous', 'count', ...], of {', '.join(map(repr, KINDS))} "
            "(of a table's file: data.columns)."
        )
    return tuple(_column(said[n], known[n], n, X) for n in range(n_columns))


def check_declared(declared: Declared, likelihood: str) -> None:
    """Refuse what is neither a kind nor a list of categories, and a likelihood that asks for none.

    Raises
    ------
    ParameterError
    """
    if declared is None:
        return
    if likelihood not in ("auto", "mixed", "categorical"):
        raise ParameterError(
            f"columns was given with likelihood={likelihood!r}, which tells all columns alike. "
            "Expected likelihood='mixed', which tells them apart; or leave columns out."
        )
    if isinstance(declared, str) or not isinstance(declared, Mapping | Sequence | np.ndarray):
        raise ParameterError(
            f"columns={declared!r} is neither a list nor a mapping. Expected a kind for each "
            "column, or some columns' kinds by title or number, as {'visits': 'count'}."
        )
    for said in declared.values() if isinstance(declared, Mapping) else declared:
        if isinstance(said, str):
            if said not in KINDS:
                raise ParameterError(unknown_name("columns' kind", said, KINDS))
        elif said is not None:
            _check_categories(said)


def _check_categories(said: Any) -> None:
    listed = list(said) if isinstance(said, Sequence | np.ndarray) else []
    whole = all(isinstance(one, int | np.integer) and not isinstance(one, bool) for one in listed)
    one_kind = whole or all(isinstance(one, str) and one.strip() for one in listed)
    if not listed or not one_kind or len(set(listed)) < len(listed):
        raise ParameterError(
            f"columns holds {said!r}. Expected a kind ({', '.join(KINDS)}), or a list of "
            "categories, all text or all whole numbers, each once."
        )


def _said_of_each(declared: Declared, table: TableRows | None, n_columns: int) -> list[Said | None]:
    """Return what is declared of each column, None where nothing is."""
    if declared is None:
        return [None] * n_columns
    if not isinstance(declared, Mapping):
        if len(declared) != n_columns:
            raise ParameterError(
                f"columns names {len(declared)} kinds but X has {n_columns} columns. Expected one "
                "for each; or name some by title or number, as {'visits': 'count'}."
            )
        return list(declared)
    titles = None if table is None else table.titles
    said: list[Said | None] = [None] * n_columns
    for name, one in declared.items():
        said[_number_of(name, titles, n_columns)] = one
    return said


def _number_of(name: object, titles: Sequence[str] | None, n_columns: int) -> int:
    """Return the number of a column that is declared by its title or number."""
    if isinstance(name, str) and titles is not None and name in titles:
        return titles.index(name)
    if isinstance(name, int | np.integer) and 0 <= name < n_columns:
        return int(name)
    have = f"the columns {listed(titles)}" if titles else f"{n_columns} columns without titles"
    hint = did_you_mean(name, titles or ())
    raise ParameterError(
        f"columns names {name!r}, but X has {have}. Expected titles, or numbers from 0 to "
        f"{n_columns - 1}.{hint}"
    )


def _categorical(said: Said | None, number: int) -> Said:
    if isinstance(said, str) and said != "categorical":
        raise ParameterError(
            f"columns calls column {number} {said!r}, but likelihood='categorical' tells "
            "categories alone. Expected 'categorical' or a list of them; or set likelihood='mixed'."
        )
    return "categorical" if said is None else said


def _column(said: Said | None, own: Column | None, number: int, X: Rows) -> Column:
    """Return what a column holds, by what is said of it and what it knows itself."""
    where = called(table_of(X), number)
    if said is None:
        if own is not None and any(isinstance(category, str) for category in own.categories):
            _check_told(own.categories, number, X)
        return own or Column("continuous")
    if not isinstance(said, str):
        return Column("categorical", _as_declared(said))
    if said != "categorical":
        refuse_text(said, own, where)
        return Column(said)
    if own is not None and own.categories:
        return own
    return Column("categorical", _codes_in(codes_of(X), number, where))


def _as_declared(categories: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(one if isinstance(one, str) else int(one) for one in categories)


def refuse_others(declared: Declared, X: Rows, columns: Sequence[Column]) -> None:
    """Refuse a declaration that differs from what columns were begun with.

    Raises
    ------
    InputError
    """
    for number, said in enumerate(_said_of_each(declared, table_of(X), X.shape[1])):
        begun = columns[number]
        same = said == begun.kind if isinstance(said, str) else said is None
        if not same and (isinstance(said, str) or _as_declared(said or ()) != begun.categories):
            raise InputError(
                f"columns was changed to {said!r} for {called(table_of(X), number)}, which began "
                f"as {begun.kind}. Set it back, or begin anew with a clone (sklearn.base.clone)."
            )


def _check_told(categories: Sequence[Any], number: int, X: Rows) -> None:
    """Refuse text that nothing is said of, and that may not be categories."""
    table = table_of(X)
    title = number if table is None or table.titles is None else table.titles[number]
    remedy = f"declare columns={{{title!r}: 'categorical'}}"
    where = called(table, number)
    numbers = [category for category in categories if reads_as_number(str(category))]
    if numbers:
        others = [category for category in categories if category not in numbers]
        beside = f" beside {others[0]!r}" if others else ""
        raise InputError(
            f"X holds {numbers[0]!r}{beside} as text in {where}, which nobody says is a number or "
            f"a category. Expected numbers alone, or text alone; convert the column, or {remedy}."
        )
    check_repeats(f"X, {where},", len(categories), len(X), remedy)


def _codes_in(codes: Rows, number: int, where: str) -> tuple[int, ...]:
    """Return the whole numbers that stand in a categorical column."""
    found: set[float] = set()
    for block in in_blocks(codes):
        found.update(np.unique(block[:, number]).tolist())
    broken = [code for code in found if code != np.floor(code) or abs(code) > GREATEST_CODE]
    if broken:
        raise InputError(
            f"X holds {broken[0]:.8g} in {where}, which is categorical. Expected text or whole "
            "numbers; give it as such, or call the column continuous."
        )
    return tuple(sorted(int(code) for code in found))


def refuse_text(kind: str, own: Column | None, where: str) -> None:
    """Refuse a column of categories, as it knows itself, where numbers are expected."""
    if own is not None and own.categories:
        raise InputError(
            f"X holds {own.categories[0]!r} in {where}, which is {kind}. Expected numbers; convert "
            "the column, or call it categorical."
        )


def called(table: TableRows | None, number: int) -> str:
    """Return what a column is called in messages: its title, or its number."""
    titles = None if table is None else table.titles
    return f"column {number if titles is None else titles[number]!r}"


def listed(names: Sequence[Any]) -> str:
    """Return the first of some names for a message."""
    return ", ".join(repr(name) for name in names[:SHOWN]) + (", ..." * (len(names) > SHOWN))
