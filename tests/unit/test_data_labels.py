"""Label files: a row number, file name or id, and what people call it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentmix.data import Dataset, read_label_rows, read_labels
from latentmix.data.labels import encode_values
from latentmix.errors import InputError

FILES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png")


def label_file(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_by_number_with_a_header_blanks_and_gaps(tmp_path: Path) -> None:
    path = label_file(tmp_path, "row,label\n3,seven\n0, two \n1,\n")

    labels, class_names = read_label_rows(path, None, 5)

    assert class_names == ("seven", "two")
    assert labels.tolist() == [1, -1, -1, 0, -1]


def test_the_first_line_may_be_a_row(tmp_path: Path) -> None:
    path = label_file(tmp_path, "0,2\n1,10\n")

    labels, class_names = read_label_rows(path, None, 2)

    assert class_names == ("2", "10")
    assert labels.tolist() == [0, 1]


def test_files_by_path_by_unmistakable_last_part_or_by_number(tmp_path: Path) -> None:
    path = label_file(tmp_path, "file,label\ncat/1.png,a\n2.png,b\n3,c\n")

    assert read_label_rows(path, FILES, 4).labels.tolist() == [0, 1, -1, 2]


def test_a_file_name_that_stands_twice_is_no_row(tmp_path: Path) -> None:
    path = label_file(tmp_path, "1.png,a\n")

    with pytest.raises(InputError, match=r"'1\.png' is no row of the data"):
        read_label_rows(path, FILES, 4)


def test_where_ids_are_numbers_a_number_is_an_id(tmp_path: Path) -> None:
    path = label_file(tmp_path, "1,a\n")
    assert read_label_rows(path, ("2", "1"), 2).labels.tolist() == [-1, 0]

    path = label_file(tmp_path, "0,a\n")
    with pytest.raises(InputError, match="'0' is no row of the data"):
        read_label_rows(path, ("2", "1"), 2)


def test_saying_the_same_twice_is_fine_and_a_blank_contradicts_nothing(tmp_path: Path) -> None:
    path = label_file(tmp_path, "0,a\n0,a\n0,\n1,\n1,b\n")

    assert read_label_rows(path, None, 2).labels.tolist() == [0, 1]


def test_a_label_file_replaces_the_labels_of_a_data_set_and_nothing_else(tmp_path: Path) -> None:
    before = Dataset("d", "d", np.ones((2, 3)), np.array([0, 1]), ("x", "y"), ("p", "q"))

    after = read_labels(label_file(tmp_path, "q,new\n"), before)

    assert after.class_names == ("new",)
    assert after.labels is not None
    assert after.labels.tolist() == [-1, 0]
    assert after.X is before.X
    assert after.row_ids == before.row_ids
    assert before.class_names == ("x", "y")


@pytest.mark.parametrize(
    "values",
    [
        np.array([5, -1, 3]),
        np.array([[5], [-1], [3]], dtype=np.int8),
        np.array([5.0, np.nan, 3.0]),
        np.array(["5", "", "3"]),
        np.array([b"5", b"", b"3"]),
    ],
)
def test_arrays_of_labels(values: np.ndarray) -> None:
    labels, class_names = encode_values(values, "y")

    assert class_names == ("3", "5")
    assert labels.tolist() == [1, -1, 0]


def test_fractions_are_no_labels() -> None:
    with pytest.raises(InputError, match="no whole numbers"):
        encode_values(np.array([0.5]), "y")
