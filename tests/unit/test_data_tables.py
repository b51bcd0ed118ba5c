"""Tables in files: numbers, text that repeats, and the two columns that are something else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from latentmix.data import load
from latentmix.data.columns import Column
from latentmix.errors import InputError, ParameterError
from latentmix.runs.recipe import load_recipe


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


# Columns of text

PETS = "size,colour,legs\n1.5,red,4\n2,blue,2\n3,red,4\n0,blue,2\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_text_that_repeats_is_categories(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "pets.csv", PETS))

    assert dataset.columns == (
        Column("continuous"),
        Column("categorical", ("blue", "red")),
        Column("continuous"),
    )
    np.testing.assert_array_equal(dataset.X[:, 1], [1, 0, 1, 0])
    assert dataset.rows[1].tolist() == [2, "blue", 2]
    assert dataset.rows[np.array([True, False, False, True])][:, 1].tolist() == ["red", "blue"]
    assert dataset.describe() == "4 rows of 3 columns (1 categorical: colour), no labels"
    turned = dataset.of_columns([2, 1])
    assert turned.titles == ("legs", "colour") and turned[:1].tolist() == [[4, "red"]]


def test_what_is_said_of_columns_is_how_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "pets.csv", PETS.replace("red", "01"))

    dataset = load(
        path, columns={"colour": ["blue", "01", "green"], "legs": "categorical", "size": "count"}
    )

    assert dataset.columns == (
        Column("count"),
        Column("categorical", ("blue", "01", "green")),
        Column("categorical", ("2", "4")),
    )
    assert dataset.rows[0].tolist() == [1.5, "01", "4"]


def test_a_table_of_numbers_says_nothing_of_its_columns(tmp_path: Path) -> None:
    assert load(write(tmp_path / "t.csv", "a,b\n1,2\n3,4\n")).columns is None


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("a,b\n1,x\n1,x\n1,2\n", None, r"row 2 \(line 4\), column 'b': '2'. Expected text, as in"),
        (
            "a,b\n1,2\n1,x\n1,x\n",
            None,
            r"row 1 \(line 3\), column 'b': 'x'. Expected a number.*lab",
        ),
        ("a,b\n1,x\n1,\n1,x\n", None, r"row 1 .*'b': a blank cell. Expected text; fill in"),
        ("a,b\n1,x\n1,y\n1,z\n", None, "'b', holds 3 different texts in 3 rows.*which repeat"),
        ("a,class\n1,x\n1,x\n", None, "'class' holds text, and such a title is one of labels"),
        ("a,b\n1,x\n1,y\n", {"b": ["x"]}, "row 1 .*'y'. Expected one of the categories .*: 'x'"),
        ("a,b\n1,x\n1,y\n", {"b": "count"}, "row 0 .*'x'. Expected a number"),
        ("a,b\n1,x\n1,y\n", {"c": "count"}, "columns='c' is no column of .*Choose one of: a, b"),
    ],
)
def test_text_that_cannot_be_told_is_one_sentence(
    tmp_path: Path, text: str, columns: dict[str, str | list[str]] | None, expected: str
) -> None:
    with pytest.raises((InputError, ParameterError), match=expected) as caught:
        load(write(tmp_path / "t.csv", text), columns=columns)

    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_the_remedy_can_be_copied(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b\n1,2\n1,x\n1,x\n")

    with pytest.raises(InputError, match="categor") as caught:
        load(path)

    found = re.search(r"--set 'data\.columns=(.*)'\.", str(caught.value))
    assert found is not None
    columns = load_recipe("default", [f"data.columns={found[1]}"]).data.columns
    assert columns == {"b": "categorical"}
    assert load(path, columns=columns).columns == (
        Column("continuous"),
        Column("categorical", ("2", "x")),
    )


def test_parquet_says_itself_which_columns_are_text_and_truth(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "size": np.array([1.5, 2.5, 3, 4]),
        "kind": pyarrow.array(["a", "b", "a", "b"]).dictionary_encode(),
        "tame": [True, False, True, True],
        "zip": [10, 20, 10, 20],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")

    dataset = load(tmp_path / "t.parquet", columns={"zip": "categorical"})

    assert dataset.columns == (
        Column("continuous"),
        Column("categorical", ("a", "b")),
        Column("binary"),
        Column("categorical", ("10", "20")),
    )
    assert dataset.rows[1].tolist() == [2.5, "b", 0, "20"]
    columns["kind"] = ["a", None, "b", "b"]
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with pytest.raises(
        InputError, match=r"row 1, column 'kind': no value\. Expected text; fill in"
    ):
        load(tmp_path / "t.parquet")
