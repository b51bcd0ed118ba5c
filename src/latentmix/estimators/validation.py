"""What every estimator checks before it works: rows, parameters, seeds."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from latentmix.errors import InputError, ParameterError, unknown_name

# Floats first: what is neither float nor byte becomes float64.
ROW_DTYPES = (np.float64, np.float32, np.uint8)


def check_rows(
    estimator: Any, X: Any, *, dtypes: Collection[type], reset: bool, min_rows: int = 1
) -> np.ndarray:
    """Return X as a C-contiguous (N, D) array of one of `dtypes`, with every value finite.

    Raises
    ------
    InputError
        If a value is NaN or infinite (says where the first one stands), or, in scikit-learn's
        words, for a wrong shape or width.
    """
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=list(dtypes),
            order="C",
            ensure_all_finite=False,
            ensure_min_samples=min_rows,
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    check_finite(X, "X")
    return np.asarray(X)


def check_finite(X: np.ndarray, name: str) -> None:
    """Refuse NaN and infinity, saying where the first one stands."""
    if not np.issubdtype(X.dtype, np.floating):
        return
    # One sum is finite if all values are, and costs no temporary array.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(X)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{name} contains NaN or infinity: {X[row, column]} at row {row}, column {column}, and "
            f"{int(bad.sum())} such values in all. Expected finite numbers; fill in or drop "
            "those rows."
        )


def check_choice(parameter: str, value: object, known: Collection[str]) -> None:
    """Refuse a name outside a registry."""
    if not isinstance(value, str) or value not in known:
        raise ParameterError(unknown_name(parameter, value, known))


def check_number(
    parameter: str,
    value: object,
    *,
    kind: type = Real,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Refuse a value that is not a number of that kind, or not within its bounds."""
    bound = f"> {above}" if above is not None else f">= {least}"
    bound += f" and <= {most}" if most is not None else ""
    what = "an integer" if kind is Integral else "a number"
    valid = isinstance(value, kind) and not isinstance(value, bool)
    valid = valid and (above is None or value > above) and (least is None or value >= least)  # type: ignore[operator]
    valid = valid and (most is None or value <= most)  # type: ignore[operator]
    if not (valid and np.isfinite(float(value))):  # type: ignore[arg-type]
        raise ParameterError(f"{parameter}={value!r} is out of range. Expected {what} {bound}.")


def check_flag(parameter: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{parameter}={value!r} is no switch. Expected True or False.")


def draw_seeds(random_state: Any, n_seeds: int) -> list[int]:
    """Return integer seeds drawn from scikit-learn's `random_state`."""
    return [int(seed) for seed in check_random_state(random_state).randint(2**31 - 1, size=n_seeds)]
