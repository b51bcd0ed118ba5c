"""Collections of Dask: fitted where their blocks are, and answered about block by block, lazily."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from latentmix.errors import InputError
from latentmix.estimators.validation import check_weights
from latentmix.training.elsewhere import cluster_in_use
from latentmix.training.sources import ArraySource, Source

# Of a matrix that is sent to a cluster: rows of a block at least, and blocks at most.
ROWS_PER_BLOCK = 10_000
MOST_BLOCKS = 256

Method = TypeVar("Method", bound=Callable[..., Any])


def is_dask(X: Any) -> bool:
    """Say whether X is an array or a data frame of Dask, without importing it."""
    return any(kind.__module__.partition(".")[0] in ("dask", "dask_expr") for kind in type(X).mro())


@dataclass(frozen=True)
class DaskRows:
    """What `fit` is given as a collection: an array of known chunks, and each block's weights."""

    array: Any
    weights: list[Any]
    dtype: np.dtype

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of rows of each block."""
        lengths: tuple[int, ...] = self.array.chunks[0]
        return lengths

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return some rows; they come here."""
        from latentmix.training.cluster import computed  # noqa: PLC0415  # an extra

        (found,) = computed(self.array[rows])
        return np.asarray(found)

    def source(
        self, numbers: np.ndarray | None, n_classes: int, check: Callable[[np.ndarray], None]
    ) -> Source:
        """Return the rows as EM reads them; `numbers`, (N,), are those of known classes."""
        from latentmix.training.dask_source import Block, DaskSource  # noqa: PLC0415

        blocks, before = [], 0
        for x, n_rows, weights in zip(
            self.array.to_delayed().ravel(), self.lengths, self.weights, strict=True
        ):
            labels = None if numbers is None else numbers[before : before + n_rows]
            blocks.append(Block(x, weights, labels, n_rows, before))
            before += n_rows
        return DaskSource(blocks, self.array.shape[1], n_classes, check)


def dask_rows(estimator: Any, X: Any, sample_weight: Any) -> DaskRows:
    """Return a collection as rows for `fit`; the estimator's `n_features_in_` is set.

    Raises
    ------
    InputError
        If X is no matrix of numbers, its chunks are of unknown sizes, or the weights do not fit.
    """
    names = getattr(X, "columns", None)
    array = as_array(X, known=True)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"X is a collection of {array.dtype} of shape {array.shape}. Expected numbers, (N, D)."
        )
    if np.isnan(array.shape[0]):
        raise InputError(
            "X has chunks of unknown sizes. Expected known ones: call X.compute_chunk_sizes() "
            "before, or give a data frame, whose rows are counted."
        )
    if len(array.chunks[1]) > 1:
        array = array.rechunk({1: -1})
    estimator.n_features_in_ = array.shape[1]
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    if names is not None and all(isinstance(name, str) for name in names):
        estimator.feature_names_in_ = np.array(list(names), dtype=object)
    floats = array.dtype.kind == "f"
    dtype = np.dtype(array.dtype) if floats else np.dtype(np.float64)
    return DaskRows(array, _weights_of(sample_weight, array), dtype)


def source_of(
    X: np.ndarray,
    weights: np.ndarray | None,
    numbers: np.ndarray | None,
    check: Callable[[np.ndarray], None],
) -> Source:
    """Return a matrix as EM reads it: here, or in blocks that the cluster in use has."""
    here_ = ArraySource(X, weights, numbers)
    if cluster_in_use() is None:
        return here_
    from dask.base import persist  # noqa: PLC0415  # an extra
    from dask.delayed import delayed  # noqa: PLC0415

    from latentmix.models.blocks import blocks as cut  # noqa: PLC0415  # brings JAX
    from latentmix.training.cluster import one_error  # noqa: PLC0415
    from latentmix.training.dask_source import Block, DaskSource  # noqa: PLC0415

    blocks = []
    with one_error():
        # As many whatever the workers: the same bits.
        for rows in cut(len(X), max(ROWS_PER_BLOCK, -(-len(X) // MOST_BLOCKS))):
            (x,) = persist(delayed(np.asarray)(X[rows]))  # type: ignore[no-untyped-call]
            w, classes = (None if each is None else each[rows] for each in (weights, numbers))
            blocks.append(Block(x, w, classes, rows.stop - rows.start, rows.start))
    return DaskSource(blocks, X.shape[1], here_.n_classes, check)


def as_array(X: Any, *, known: bool) -> Any:
    """Return a collection as an array of Dask; a data frame's rows are counted where asked."""
    if not hasattr(X, "to_dask_array"):
        return X
    return X.to_dask_array(lengths=True if known else None)


def here(values: Any) -> Any:
    """Return a collection's values in this process, and whatever is none as it is."""
    return np.asarray(as_array(values, known=True).compute()) if is_dask(values) else values


def by_blocks(method: Method) -> Method:
    """Let a method that answers row by row take collections of Dask: the answer is lazy.

    It is an array of Dask, whose blocks are worked out where those of X are.
    """

    @wraps(method)
    def answer(self: Any, X: Any, *args: Any, **options: Any) -> Any:
        if not is_dask(X):
            return method(self, X, *args, **options)
        return _lazily(self, method.__name__, X, args, options)

    return answer  # type: ignore[return-value]


def _lazily(estimator: Any, name: str, X: Any, args: tuple[Any, ...], options: Any) -> Any:
    from dask.delayed import delayed  # noqa: PLC0415  # an extra

    array = as_array(X, known=False)
    if array.ndim != 2:
        raise InputError(f"X is a collection of shape {array.shape}. Expected rows, (N, D).")
    estimator = _without_names(estimator, getattr(X, "columns", None))
    if len(array.chunks[1]) > 1:
        array = array.rechunk({1: -1})
    # What an answer looks like is asked of a row of zeros, which every domain has.
    like = np.asarray(
        getattr(estimator, name)(np.zeros((1, array.shape[1]), array.dtype), *args, **options)
    )
    shape: dict[str, Any] = {"drop_axis": 1}
    if like.ndim == 2:
        shape = {"chunks": (array.chunks[0], (like.shape[1],))}
    return array.map_blocks(
        _answered,
        delayed(estimator, traverse=False),
        name,
        args,
        options,
        dtype=like.dtype,
        meta=like[:0],
        **shape,
    )


def _without_names(estimator: Any, columns: Any) -> Any:
    """Return the estimator as one of arrays: titles are checked here, and blocks have none."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return estimator
    if columns is not None and list(columns) != list(names):
        raise InputError(
            f"X has the columns {', '.join(map(str, columns))}. Expected those of the fit, in "
            f"their order: {', '.join(map(str, names))}."
        )
    nameless = copy.copy(estimator)
    del nameless.feature_names_in_
    return nameless


def _answered(
    block: np.ndarray, estimator: Any, name: str, args: tuple[Any, ...], options: Any
) -> np.ndarray:
    """Answer about one block; about none of no rows, which Dask asks about to see the shape."""
    rows = np.asarray(block)
    if len(rows):
        return np.asarray(getattr(estimator, name)(rows, *args, **options))
    one = np.zeros((1, rows.shape[1]), rows.dtype)
    return np.asarray(getattr(estimator, name)(one, *args, **options))[:0]


def _weights_of(sample_weight: Any, array: Any) -> list[Any]:
    """Return the weights of each block, None where there are none."""
    lengths = array.chunks[0]
    if sample_weight is None:
        return [None] * len(lengths)
    if not is_dask(sample_weight):
        weights = check_weights(sample_weight, sum(lengths))
        return np.split(weights, np.cumsum(lengths)[:-1])
    from dask.delayed import delayed  # noqa: PLC0415  # an extra

    column = as_array(sample_weight, known=True)
    if column.shape != (sum(lengths),):
        raise InputError(
            f"sample_weight is a collection of shape {column.shape}. Expected a weight for each "
            f"of the {sum(lengths)} rows."
        )
    blocks = column.rechunk((lengths,)).to_delayed().ravel()
    return [delayed(check_weights)(w, n) for w, n in zip(blocks, lengths, strict=True)]
