"""NumPy files and arrays: which shapes are images, and which dtypes come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentmix.data import load
from latentmix.data.rows import as_rows


@pytest.mark.parametrize(
    ("shape", "dtype", "image_shape", "result"),
    [
        ((5, 6, 7), "u1", (6, 7), "u1"),
        ((5, 6, 7, 1), "u1", (6, 7), "u1"),
        ((5, 6, 7, 3), "u1", (6, 7, 3), "u1"),
        ((5, 6, 7), "i8", (6, 7), "u1"),  # whole numbers within a byte are pixels
        ((5, 6, 7), "f8", (6, 7), "f8"),
        ((5, 6), "f2", None, "f4"),
        ((5, 6), "f4", None, "f4"),
        ((5, 6), ">f8", None, "f8"),
        ((5, 6), "i4", None, "f4"),
        ((5, 6), "u1", None, "f4"),
        ((5, 784), "u1", (28, 28), "u1"),  # flat pixels
        ((5, 784), "f4", None, "f4"),
    ],
)
def test_shapes_and_dtypes(
    shape: tuple[int, ...], dtype: str, image_shape: tuple[int, ...] | None, result: str
) -> None:
    array = (np.arange(np.prod(shape)) % 100).reshape(shape).astype(dtype)

    rows = as_rows(array, "array")

    assert rows.image_shape == image_shape
    assert rows.X.dtype == np.dtype(result)
    assert rows.X.flags.c_contiguous
    np.testing.assert_array_equal(rows.X, array.reshape(len(array), -1))


def test_whole_numbers_too_long_for_float32_become_float64() -> None:
    array = np.array([[2**24 + 1], [0]])

    assert as_rows(array, "array").X[0, 0] == 2**24 + 1


def test_boolean_images_are_black_and_white() -> None:
    array = np.eye(4, dtype=bool).reshape(1, 4, 4)

    assert set(as_rows(array, "array").X.ravel().tolist()) == {0, 255}


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_either_memory_order(tmp_path: Path, order: str) -> None:
    array = np.asarray(np.arange(24.0).reshape(6, 4), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "my table!.npy", array)

    dataset = load(tmp_path / "my table!.npy")

    np.testing.assert_array_equal(dataset.X, array)
    assert dataset.X.flags.c_contiguous
    assert dataset.name == "my-table"
    assert dataset.describe() == "6 rows of 4 columns, no labels"


@pytest.mark.parametrize("data_name", ["X", "x", "images", "data", "whatever"])
@pytest.mark.parametrize("label_name", ["y", "labels"])
def test_npz_finds_data_and_labels_by_name(tmp_path: Path, data_name: str, label_name: str) -> None:
    arrays = {data_name: np.ones((3, 4, 4), dtype=np.uint8), label_name: np.array([10, -1, 9])}
    np.savez_compressed(tmp_path / "set.npz", **arrays)  # type: ignore[arg-type]

    dataset = load(tmp_path / "set.npz")

    assert dataset.class_names == ("9", "10")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, -1, 0]
    assert dataset.describe() == "3 images of 4x4, 2 classes, 2 rows labelled"


def test_labels_may_be_strings_and_blank_ones_are_unknown(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", X=np.ones((3, 2)), y=np.array(["cat", "", "ape"]))

    dataset = load(tmp_path / "set.npz")

    assert dataset.class_names == ("ape", "cat")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, -1, 0]


def test_images_of_an_array_are_resized_and_converted_on_request(tmp_path: Path) -> None:
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    images[0] = (255, 0, 0)
    np.save(tmp_path / "red.npy", images)

    dataset = load(tmp_path / "red.npy", size=4, channels=1)

    assert dataset.image_shape == (4, 4)
    assert dataset.X[0].tolist() == [76] * 16  # the luma of pure red, 0.299 of 255
    assert dataset.X[1].tolist() == [0] * 16
