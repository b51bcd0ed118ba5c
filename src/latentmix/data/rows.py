"""From any array to rows: which shapes are images, which are tables, and their dtypes.

(N, H, W) and (N, H, W, 1 or 3) are images, (N, D) is a table. One exception, because so
many pixel sets are stored flat: (N, D) of uint8 is square grey images if D is a square.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from latentmix.data.room import as_type
from latentmix.errors import FormatError, InputError

_SMALLEST_FLAT_SIDE = 8  # 64 bytes a row and more are pixels, fewer may well be counts
_EXACT_IN_FLOAT32 = 2**24


class Rows(NamedTuple):
    """X, C-contiguous of shape (N, D), and the shape of an image, None for a table."""

    X: np.ndarray
    image_shape: tuple[int, ...] | None


def as_rows(array: np.ndarray, source: str) -> Rows:
    """Return `array` as rows; `source` is for messages.

    Images of whole numbers in [0, 255] become uint8 and other numbers float32; float64, and
    whole numbers beyond float32's 24 bits, become float64. Booleans are 0 and 255 in an image,
    0 and 1 in a table.

    Raises
    ------
    FormatError
        If the shape is that of neither images nor a table, or the values are not numbers.
    InputError
        If a value is NaN or infinite.
    """
    if array.dtype.kind not in "buif":
        raise FormatError(
            f"{source} holds values of type {array.dtype}. Expected real numbers; convert them."
        )
    image_shape = _image_shape(array, source)
    values = _pixels(array, source) if image_shape is not None else _numbers(array, source)
    X = np.ascontiguousarray(values.reshape(len(array), -1 if array.size else 0))
    check_finite(X, source)
    return Rows(X, image_shape)


def check_finite(X: np.ndarray, source: str, columns: tuple[str, ...] | None = None) -> None:
    """Refuse NaN and infinity, saying where the first one stands."""
    if X.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # no temporary as large as X
            return
    bad = np.argwhere(~np.isfinite(X))
    if len(bad):
        row, column = (int(index) for index in bad[0])
        name = repr(columns[column]) if columns else str(column)
        raise InputError(
            f"{source} contains NaN or infinity: {X[row, column]} at row {row}, column {name}, "
            f"and {len(bad):,} such values in all. Expected finite numbers; fill in or drop those "
            "rows."
        )


def _image_shape(array: np.ndarray, source: str) -> tuple[int, ...] | None:
    """Return (H, W) or (H, W, 3), None for a table."""
    shape = array.shape
    match len(shape):
        case 2:
            side = math.isqrt(shape[1])
            square = side >= _SMALLEST_FLAT_SIDE and side * side == shape[1]
            return (side, side) if square and array.dtype == np.uint8 else None
        case 3:
            return shape[1:]
        case 4 if shape[3] == 1:
            return shape[1:3]
        case 4 if shape[3] == 3:
            return shape[1:]
        case 4 if shape[1] in (1, 3):
            raise FormatError(
                f"{source} has shape {shape}, with the channels before height and width. Expected "
                "(N, H, W, channels); move that axis to the end."
            )
        case 1:
            raise FormatError(
                f"{source} holds one number a row, of shape {shape}, as a file of labels does. "
                "Expected images or a table; give the file of the data itself."
            )
    raise FormatError(
        f"{source} has shape {shape}. Expected (N, D) for a table, (N, H, W) or (N, H, W, 3) for "
        "images."
    )


def _pixels(array: np.ndarray, source: str) -> np.ndarray:
    """Return images as uint8 where their values are bytes, else as numbers."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        pixels = as_type(array, np.uint8, source)
        pixels *= np.uint8(255)
        return pixels
    if array.dtype.kind in "ui" and array.size and array.min() >= 0 and array.max() <= 255:
        return as_type(array, np.uint8, source)
    return _numbers(array, source)


def _numbers(array: np.ndarray, source: str) -> np.ndarray:
    """Return values as float32, or as float64 where that would lose digits."""
    if array.dtype.kind == "f":
        return as_type(array, np.float64 if array.dtype.itemsize > 4 else np.float32, source)
    small = array.dtype.itemsize <= 2 or not array.size
    if not small:
        small = max(-int(array.min()), int(array.max())) <= _EXACT_IN_FLOAT32
    return as_type(array, np.float32 if small else np.float64, source)
