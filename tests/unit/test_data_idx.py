"""IDX files: what is written is read, of every type, gzipped or not."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from latentmix.data import load
from latentmix.data.idx import read_idx

TYPE_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">4B", 0, 0, TYPE_CODES[array.dtype.str[1:]], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("code", TYPE_CODES)
@pytest.mark.parametrize("gzipped", [False, True])
def test_every_type_is_read_back_in_native_order(tmp_path: Path, code: str, gzipped: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(code)
    content = idx_bytes(array)
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(content) if gzipped else content)

    read = read_idx(path)

    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


def test_gzip_is_told_by_content_and_may_come_in_several_members(tmp_path: Path) -> None:
    array = np.arange(200, dtype=np.uint8).reshape(2, 10, 10)
    content = idx_bytes(array)
    path = tmp_path / "no-suffix"
    path.write_bytes(gzip.compress(content[:50]) + gzip.compress(content[50:]))

    np.testing.assert_array_equal(read_idx(path), array)


def test_images_bring_the_labels_that_lie_beside_them(tmp_path: Path) -> None:
    images = np.zeros((3, 4, 5), dtype=np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([7, 2, 7], dtype="u1")))

    dataset = load(tmp_path / "t10k-images-idx3-ubyte")

    assert dataset.image_shape == (4, 5)
    assert dataset.X.shape == (3, 20)
    assert dataset.class_names == ("2", "7")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, 1]


def test_a_folder_of_four_files_is_a_set_with_the_official_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, n_rows in (("train", 24), ("t10k", 6)):
        images = rng.integers(0, 256, size=(n_rows, 4, 4)).astype(np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        labels = (np.arange(n_rows) % 3).astype(np.uint8)
        (tmp_path / f"{part}-labels.idx1-ubyte").write_bytes(idx_bytes(labels))

    dataset = load(tmp_path)

    assert dataset.describe() == "30 images of 4x4, 3 classes"
    assert dataset.fixed_split is not None
    # The last twelfth of the training rows validates, as 5,000 of 60,000 do.
    assert dataset.fixed_split.train.tolist() == list(range(22))
    assert dataset.fixed_split.validation.tolist() == [22, 23]
    assert dataset.fixed_split.test.tolist() == list(range(24, 30))
