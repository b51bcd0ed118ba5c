"""CSV tables: numbers, and the two columns that may be something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latentmix.data import load


def test_ids_and_labels_leave_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "iris.csv"
    path.write_text(
        '\ufeffname,width,kind,height\na,1.5,tulip,2\n\nb, 1e3 ,"rose, red",-4\nc,0,,0.1\n',
        encoding="utf-8",
    )

    dataset = load(path, id_column="name", label_column="kind")

    assert dataset.name == "iris"
    assert dataset.row_ids == ("a", "b", "c")
    assert dataset.class_names == ("rose, red", "tulip")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [1, 0, -1]
    np.testing.assert_array_equal(dataset.X, [[1.5, 2], [1000, -4], [0, 0.1]])
    assert dataset.describe() == "3 rows of 2 columns, 2 classes, 2 rows labelled"


def test_without_options_every_column_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")

    dataset = load(tmp_path / "t.csv")

    assert dataset.X.tolist() == [[1, 2], [3, 4]]
    assert dataset.labels is None
    assert dataset.row_ids is None


def test_class_names_that_are_numbers_are_in_numeric_order(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,10\n3,9\n")

    assert load(tmp_path / "t.csv", label_column="y").class_names == ("9", "10")
