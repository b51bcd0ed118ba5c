"""One door to all data: a name from the registry, or a path whose kind decides who reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from latentmix.data.arrays import read_npy, read_npz
from latentmix.data.columns import Said
from latentmix.data.dataset import Dataset, plain_name
from latentmix.data.datasets import DATASETS
from latentmix.data.idx import is_idx, read_idx
from latentmix.data.idx_pack import is_idx_folder, read_idx_folder
from latentmix.data.image_folder import read_image_folder
from latentmix.data.labels import encode_values
from latentmix.data.limits import read_file
from latentmix.data.parquet import ParquetFile, read_parquet
from latentmix.data.pixels import FORMATS, convert_rows
from latentmix.data.rows import as_rows
from latentmix.data.tables import Table, read_csv, read_titles
from latentmix.errors import FormatError, MissingError, ParameterError, did_you_mean
from latentmix.storage.remote import at_hand, is_remote

_CHANNELS = (1, 3)
_LARGEST_SIZE = 4096
_TABLES = {".csv": read_csv, ".parquet": read_parquet}


def dataset_names() -> tuple[str, ...]:
    """Return the names `load` knows, sorted.

    Examples
    --------
    >>> from latentmix.data import dataset_names
    >>> dataset_names()
    ('digits', 'fashion-mnist', 'mnist')
    """
    return tuple(sorted(DATASETS))


def describe_dataset(name: str) -> str:
    """Return what a named data set says of itself, in one line.

    Examples
    --------
    >>> from latentmix.data import describe_dataset
    >>> describe_dataset("digits")
    '1,797 handwritten digits of 8x8, bundled: nothing to download'
    """
    return DATASETS[name].description


def load(
    name_or_path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    columns: Mapping[str, Said] | None = None,
) -> Dataset:
    """Return a data set by its name, or read one from a path.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `dataset_names`, or the path of an IDX file (also gzipped), a folder of the
        four IDX files of an MNIST-like set, a .npy or .npz file, an image folder, a CSV with a
        header, or a Parquet file; rows of 256 MiB and more are mapped, not held in memory.
        A file may also be an object, ``s3://bucket/rows.npy`` or ``gs://...``.
        ``./mnist`` is a path even though ``mnist`` is a name.
    size : int or None
        Scale and crop images to squares of that side, in pixels.
    channels : {1, 3} or None
        Convert images to grey or RGB.
    id_column, label_column : str or None
        Titles of the columns of a table that hold row ids and labels.
    columns : mapping, optional
        What other columns of a table hold, by title: ``"continuous"``, ``"count"``, ``"binary"``,
        ``"categorical"``, or a list of categories. Of those it leaves out, text that repeats is
        categorical.

    Returns
    -------
    Dataset
        With finite values only: NaN and infinity are refused here, where row and column can
        be named.

    Raises
    ------
    MissingError
        If there is no such set, file or folder.
    FormatError
        If a file is not what it claims to be, or of a kind that is not read.
    InputError
        If the data cannot be used as they are.
    ParameterError
        If an option is out of range, or does not apply to this kind of data.
    ClusterError
        If a server of objects does not answer.

    Examples
    --------
    >>> from latentmix.data import load
    >>> load("digits").describe()
    '1,797 images of 8x8, 10 classes'
    """
    _check_options(size, channels)
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        _refuse_columns(name_or_path, id_column, label_column, columns)
        return _converted(DATASETS[name_or_path].read(), size, channels)
    if is_remote(name_or_path):
        with at_hand(name_or_path) as copy:
            dataset = load(
                copy,
                size=size,
                channels=channels,
                id_column=id_column,
                label_column=label_column,
                columns=columns,
            )
        return replace(dataset, source=str(name_or_path))
    path = Path(name_or_path).expanduser()
    if not path.exists():
        names = dataset_names()
        raise MissingError(
            f"{str(name_or_path)!r} is neither a file or folder nor a known data set. Give a path "
            f"or one of {', '.join(names)}.{did_you_mean(name_or_path, names)}"
        )
    read_table = _TABLES.get(path.suffix.lower())
    if read_table is not None and path.is_file():
        table = read_table(path, id_column=id_column, label_column=label_column, columns=columns)
        return _converted(_from_table(path, table), size, channels)
    _refuse_columns(str(path), id_column, label_column, columns)
    if path.is_dir() and not is_idx_folder(path):
        return _read_images(path, size, channels)
    return _converted(_read_arrays(path), size, channels)


def titles_in(name_or_path: str | Path) -> tuple[str, ...]:
    """Return the titles of a table's columns, none for what is no table's file."""
    path = Path(name_or_path).expanduser()
    if name_or_path in DATASETS or not path.is_file():
        return ()
    match path.suffix.lower():
        case ".csv":
            return read_titles(path)
        case ".parquet":
            return ParquetFile(path).titles
    return ()


def _read_arrays(path: Path) -> Dataset:
    if path.is_dir():
        return read_idx_folder(path)
    match path.suffix.lower():
        case ".npy":
            return _from_arrays(path, read_npy(path), None)
        case ".npz":
            return _from_arrays(path, *read_npz(path))
        case suffix if suffix in FORMATS:
            raise FormatError(f"{path} is one image. Expected data; give the folder of the images.")
    if not is_idx(path):
        read_file(path)  # an unreadable or empty file says so itself
        raise FormatError(
            f"{path} is of no kind that is read. Expected an IDX file (also .gz), .npy, .npz, "
            ".csv, .parquet or an image folder; unpack an archive first."
        )
    labels = _idx_labels_beside(path)
    return _from_arrays(path, read_idx(path), None if labels is None else read_idx(labels))


def _idx_labels_beside(path: Path) -> Path | None:
    """Return the file of the labels that belong to a file of IDX images, if it is there."""
    labels = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    return labels if labels != path and labels.is_file() else None


def _from_arrays(path: Path, data: np.ndarray, values: np.ndarray | None) -> Dataset:
    X, image_shape = as_rows(data, str(path))
    labels = None if values is None else encode_values(values, str(path))
    return Dataset(
        name=name_of(path),
        source=str(path),
        X=X,
        labels=None if labels is None else labels.labels,
        class_names=() if labels is None else labels.class_names,
        image_shape=image_shape,
    )


def _from_table(path: Path, table: Table) -> Dataset:
    return Dataset(
        name=name_of(path),
        source=str(path),
        X=table.X,
        labels=None if table.labels is None else table.labels.labels,
        class_names=() if table.labels is None else table.labels.class_names,
        row_ids=table.row_ids,
        feature_names=table.titles,
        columns=table.columns,
    )


def _read_images(path: Path, size: int | None, channels: int | None) -> Dataset:
    images = read_image_folder(path, size=size, channels=channels)
    return Dataset(
        name=name_of(path),
        source=f"{path} ({len(images.row_ids):,} image files)",
        X=images.X,
        labels=None if images.labels is None else images.labels.labels,
        class_names=() if images.labels is None else images.labels.class_names,
        row_ids=images.row_ids,
        image_shape=images.image_shape,
    )


def name_of(name_or_path: str | Path) -> str:
    """Return what `load` calls a data set: its name, or a path's last part without its suffix.

    Examples
    --------
    >>> from latentmix.data import name_of
    >>> name_of("mnist"), name_of("scans/night shift.csv")
    ('mnist', 'night-shift')
    """
    if isinstance(name_or_path, str) and name_or_path in DATASETS:
        return name_or_path
    name = Path(name_or_path).expanduser().resolve().name
    for suffix in (".gz", ".npy", ".npz", *_TABLES):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return plain_name(name)


def _converted(dataset: Dataset, size: int | None, channels: int | None) -> Dataset:
    """Return the data set with its images resized and converted, if that was asked for."""
    if size is None and channels is None:
        return dataset
    if dataset.image_shape is None or dataset.X.dtype != np.uint8:
        what = "a table" if dataset.image_shape is None else f"images of {dataset.X.dtype}"
        raise ParameterError(
            f"data.size and data.channels are for images of 8-bit pixels, and {dataset.source} "
            f"holds {what}. Leave them out."
        )
    X, shape = convert_rows(dataset.X, dataset.image_shape, size=size, channels=channels)
    return replace(dataset, X=X, image_shape=shape)


def _check_options(size: int | None, channels: int | None) -> None:
    if size is not None and not 1 <= size <= _LARGEST_SIZE:
        raise ParameterError(
            f"data.size={size} is out of range. Expected pixels, from 1 to {_LARGEST_SIZE}."
        )
    if channels is not None and channels not in _CHANNELS:
        raise ParameterError(
            f"data.channels={channels} is unknown. Choose 1 for grey or 3 for colour."
        )


def _refuse_columns(source: str, *options: str | Mapping[str, Said] | None) -> None:
    if any(option is not None for option in options):
        raise ParameterError(
            "data.id_column, data.label_column and data.columns are of columns of a CSV or Parquet "
            f"file, and {source} is none. Leave them out."
        )
