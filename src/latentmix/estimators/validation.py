"""What every estimator checks before it works: rows, parameters, seeds."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from latentmix.data import Rows, RowView, load
from latentmix.data.columns import TableRows, codes_of
from latentmix.data.frames import as_table, titles_of
from latentmix.errors import InputError, ParameterError, unknown_name

# Floats first: what is neither float nor byte becomes float64.
ROW_DTYPES = (np.float64, np.float32, np.uint8)

# All the values of an array that is no matrix, which scikit-learn's sentence would give.
_TEXT = re.compile(r"could not convert string to float: (.*)")
_VALUES = re.compile(r":\narray=.*\.\n(?=Reshape)", re.DOTALL)


def check_rows(
    estimator: Any, X: Any, *, reset: bool, min_rows: int = 1, missing: bool = False
) -> np.ndarray:
    """Return X as an (N, D) array of a dtype in `ROW_DTYPES`, with every value finite.

    It is C-contiguous, unless entries may be missing (NaN): then it is not copied for that.

    Raises
    ------
    InputError
        If a value is NaN or infinite (says where the first one stands), or, in scikit-learn's
        words, for a wrong shape or width.
    """
    with _in_one_sentence(X):
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=list(ROW_DTYPES),
            order=None if missing else "C",
            ensure_all_finite=False,
            ensure_min_samples=min_rows,
        )
    if not missing:
        check_finite(X, "X")
    return np.asarray(X)


@contextmanager
def _in_one_sentence(X: Any) -> Iterator[None]:
    """Raise scikit-learn's complaint about X as ours, without all of X's values."""
    try:
        yield
    except ValueError as error:
        text = _TEXT.search(str(error))
        if text is not None:
            raise InputError(
                f"X holds the text {text[1]}. Expected numbers; drop columns of text, or fit a VAE "
                "or LatentMixture, which take them as categories."
            ) from error
        raise InputError(_VALUES.sub(f": its shape is {np.shape(X)}. ", str(error))) from error


def check_readable(estimator: Any, X: Any, *, reset: bool) -> Rows:
    """Return rows that can be read by number, (N, D), with every value finite.

    A path is read by :func:`latentmix.data.load`, large files as memory maps; a `RowView` stays
    what it is, and so do a table's rows and an array in memory or mapped. A data frame becomes a
    table's rows, and so does whatever has text in it.

    Raises
    ------
    InputError
        As `check_rows`, and if a file cannot be used.
    """
    if isinstance(X, str | Path):
        X = load(X).rows
    if isinstance(X, RowView | TableRows):
        with warnings.catch_warnings():
            # Titles were looked at when the frame was; its rows alone have none.
            warnings.simplefilter("ignore", UserWarning)
            check_rows(estimator, codes_of(X)[:1], reset=reset)
        return X
    titles, table = titles_of(X), as_table(X)
    if table is None:
        rows = check_rows(estimator, X, reset=reset)
        return rows if titles is None else TableRows(rows, titles=titles)
    # A frame's titles have to be those that were fitted; its values were looked at.
    with _in_one_sentence(X):
        named = table.source if titles is None else X
        validate_data(estimator, named, reset=reset, skip_check_array=True)
    return table


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


def check_image_shape(who_needs: str, image_shape: Sequence[int] | None, n_features: int) -> None:
    """Refuse a shape, (height, width) or (height, width, channels), that is not that of a row."""
    if image_shape is None:
        raise ParameterError(
            f"{who_needs} images, but image_shape=None. Give the shape of a row's image, such as "
            "image_shape=(28, 28)."
        )
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or math.prod(shape) != n_features:
        raise ParameterError(
            f"image_shape={shape} has {math.prod(shape)} values but X has {n_features} features. "
            "Give the shape of one row's image, (height, width) or (height, width, channels)."
        )


def check_flag(parameter: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{parameter}={value!r} is no switch. Expected True or False.")


def check_verbosity(value: object) -> None:
    """Refuse a `verbose` that is neither a switch nor a number from 0."""
    if not isinstance(value, bool | np.bool_):
        check_number("verbose", value, kind=Integral, least=0)


def random_of(random_state: Any) -> np.random.RandomState:
    """Return scikit-learn's generator for a `random_state`."""
    try:
        return check_random_state(random_state)  # type: ignore[no-any-return]
    except ValueError as error:
        raise ParameterError(
            f"random_state={random_state!r} is no seed. Expected None, an integer from 0 to "
            f"{2**32 - 1}, or a numpy.random.RandomState."
        ) from error


def draw_seeds(random_state: Any, n_seeds: int) -> list[int]:
    """Return integer seeds drawn from scikit-learn's `random_state`."""
    return [int(seed) for seed in random_of(random_state).randint(2**31 - 1, size=n_seeds)]


def as_floats(values: Any) -> np.ndarray:
    """Return an array of float64, but none of complex numbers, which NumPy would cut in half."""
    if np.asarray(values).dtype.kind == "c":
        raise TypeError("it holds complex numbers")
    return np.asarray(values, np.float64)


def check_weights(weights: Any, n_rows: int) -> np.ndarray:
    """Return sample weights as (N,) float64: finite, not negative, not all 0."""
    try:
        array = as_floats(weights)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"sample_weight is no array of numbers ({error}). Give one number for each row."
        ) from error
    if array.shape != (n_rows,):
        raise InputError(
            f"sample_weight has shape {array.shape} but X has {n_rows} rows. Give one weight for "
            "each row."
        )
    if not np.isfinite(array).all() or (array < 0).any():
        row = int(np.flatnonzero(~(np.isfinite(array) & (array >= 0)))[0])
        raise InputError(
            f"sample_weight holds {array[row]} at row {row}. Expected finite weights of 0 and "
            "above; give 0 to leave a row out."
        )
    if not array.any():
        raise InputError(
            "sample_weight is zero for every row. Expected at least one row with a weight above 0."
        )
    return array
