"""What `fit` takes for rows: a matrix, a file, or blocks that can be iterated again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse

from latentmix.data.arrays import read_npy
from latentmix.data.parquet import ParquetFile
from latentmix.errors import InputError
from latentmix.estimators.validation import ROW_DTYPES, check_rows
from latentmix.storage.remote import at_hand
from latentmix.training.sources import StreamSource


def matrix_of(X: Any) -> Any:
    """Return the matrix of a .npy file, mapped if it is large; whatever else X is as it is.

    Raises
    ------
    MissingError
        If the file is not there.
    InputError
        If it is no .npy file.
    """
    if not isinstance(X, str | Path) or not str(X).lower().endswith(".npy"):
        return X
    with at_hand(X) as path:
        return read_npy(Path(path))


def is_stream(X: Any) -> bool:
    """Say whether X is a file or an iterable of blocks, and not a matrix.

    Arrays, lists, tuples, tables and whatever has ``__array__`` are matrices.

    Raises
    ------
    InputError
        If X can be iterated over once only.
    """
    if isinstance(X, str | Path):
        return True
    if not _has_blocks(X):
        return False
    if iter(X) is iter(X):
        raise InputError(
            f"X is a {type(X).__name__}, which can be read once, and EM reads the rows many times. "
            "Give an object that can be iterated again (a class with __iter__), or call "
            "partial_fit with each block."
        )
    return True


def refuse_stream(X: Any) -> None:
    """Refuse a file or an iterable of blocks where rows have to be a matrix."""
    if isinstance(X, str | Path):
        what, remedy = f"the path {str(X)!r}", "Read the file"
    elif _has_blocks(X):
        what, remedy = f"a {type(X).__name__}", "Go through its blocks"
    else:
        return
    raise InputError(
        f"X is {what}, but only fit reads streams. Expected a matrix of rows, (N, D). {remedy}, "
        "and call this for each block."
    )


def _has_blocks(X: Any) -> bool:
    """Say whether X can be iterated over and is no matrix."""
    if isinstance(X, np.ndarray | list | tuple) or issparse(X) or hasattr(X, "__array__"):
        return False
    return hasattr(X, "__iter__") and not hasattr(X, "__dataframe__")


def stream_of(
    estimator: Any, X: Any, check_values: Callable[[np.ndarray], None]
) -> tuple[StreamSource, np.dtype]:
    """Return a stream as a source for EM, and the dtype of answers about its first block.

    The estimator's `n_features_in_` is set.

    Raises
    ------
    InputError
        For a block of a wrong shape, or one that `check_values` refuses.
    """
    blocks = _ParquetBlocks(X) if isinstance(X, str | Path) else X
    first = next(iter(blocks), None)
    if first is None:
        raise InputError("X holds no block. Expected at least one 2-D block of rows.")
    first = _block(first, 0, None)
    width = first.shape[1]
    estimator.n_features_in_ = width
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_

    def again() -> Iterator[np.ndarray]:
        for number, block in enumerate(blocks):
            rows = _block(block, number, width)
            check_values(rows)
            yield rows

    return StreamSource(again, width), float_type(first)


def check_matrix(estimator: Any, X: Any, *, reset: bool, min_rows: int = 1) -> np.ndarray:
    """Return X as an (N, D) array; entries may be missing (NaN), none may be infinite.

    Nothing is copied that is float64, float32 or bytes already, a memory-mapped file least.

    Raises
    ------
    InputError
        If X is a stream, or no such matrix.
    """
    refuse_stream(X)
    return check_rows(estimator, X, reset=reset, min_rows=min_rows, missing=True)


def float_type(X: np.ndarray) -> np.dtype:
    """Return the dtype of answers about X: its own, or float64 for integers."""
    return X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)


def _block(block: Any, number: int, width: int | None) -> np.ndarray:
    """Return a block of a stream as floats or bytes, (B, D), of the stream's width."""
    try:
        array = np.asarray(block)
        if array.dtype not in ROW_DTYPES:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Block {number} of X is no matrix of numbers ({error}). Expected 2-D blocks."
        ) from error
    if array.ndim != 2:
        raise InputError(
            f"Block {number} of X has shape {array.shape}. Expected 2-D blocks, (rows, features); "
            "a single row is a block of shape (1, features)."
        )
    if width is not None and array.shape[1] != width:
        raise InputError(
            f"Block {number} of X has {array.shape[1]} features, but the first had {width}. Every "
            "block needs the same columns."
        )
    return array


class _ParquetBlocks:
    """The rows of a Parquet file, block by block, as often as asked for; of an object a copy's."""

    def __init__(self, where: str | Path) -> None:
        copy = ExitStack()
        self._file = ParquetFile(Path(copy.enter_context(at_hand(where))))
        weakref.finalize(self, copy.close)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._file.blocks(self._file.titles)
