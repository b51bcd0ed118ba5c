"""A run of a table: numbers in any units, columns by title, rows by id."""

import json
from dataclasses import replace

import numpy as np
import pytest

import latentmix
from latentmix import VAE
from latentmix.data import load
from latentmix.errors import InputError
from latentmix.runs.evaluate import evaluate_run
from latentmix.runs.label import label_run
from latentmix.runs.predict import predict_run

TITLES = ("length", "width", "price", "always")
SETTINGS = ("data.id_column=name", "data.label_column=kind", "vae.max_epochs=200")
N = 120


def rows():
    """Return a table of three kinds in units far apart, with a column that never changes."""
    rng = np.random.RandomState(0)
    kinds = np.arange(N) % 3
    centres = np.array([[-3.0, 0, 3], [3, -3, 0], [0, 3, -3]])[kinds]
    X = (centres + 0.1 * rng.randn(N, 3)) * [1e-3, 1.0, 1e5] + [0.5, 0.0, 1e6]
    return np.column_stack([X, np.full(N, 7.0)]), np.array(["ant", "bee", "cat"])[kinds]


def write(path, order=range(4), columns=("name", "kind"), chosen=range(N)):
    X, kinds = rows()
    lines = [[*columns, *(TITLES[i] for i in order)]]
    for row in chosen:
        special = {"name": f"n{row:03d}", "kind": kinds[row]}
        lines.append(
            [*(special[name] for name in columns), *(repr(float(X[row, i])) for i in order)]
        )
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("table") / "animals.csv")


@pytest.fixture(scope="module")
def run_of_table(table_file, carry_out, tmp_path_factory):
    """Return the folder of a finished run of the table: to be read, never changed."""
    folder = tmp_path_factory.mktemp("runs") / "animals"
    dataset = load(table_file, id_column="name", label_column="kind")
    carry_out(folder, *SETTINGS, dataset=dataset)
    return folder


def predictions(run, data, out):
    predict_run(run, str(data), out)
    lines = [line.split(",") for line in out.read_text().splitlines()]
    return {name: list(values) for name, *values in zip(*lines, strict=True)}


def test_a_table_is_clustered_in_its_own_units(run_of_table):
    metrics = json.loads((run_of_table / "metrics.json").read_text())
    assert metrics["scores"][0]["accuracy_named"] == 1
    X, _ = rows()
    model = latentmix.load(run_of_table)
    assert model.vae_.likelihood_ == "gaussian"
    reconstructed = model.reconstruct(X)
    spread = X[:, :3].std(axis=0)
    assert np.all(np.abs(reconstructed[:, :3] - X[:, :3]).mean(axis=0) < spread)
    np.testing.assert_allclose(reconstructed[:, 3], 7, atol=0.1)
    drawn = model.sample(500)
    np.testing.assert_allclose(
        drawn.mean(axis=0)[:3], X[:, :3].mean(axis=0), atol=0.5 * spread.max()
    )


def test_rows_are_called_by_their_ids(run_of_table):
    lines = (run_of_table / "rows.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(i), f"n{i:03d}"] for i in range(N)]
    request = json.loads((run_of_table / "request.json").read_text())
    assert request["data"]["has_ids"] is True
    assert request["data"]["feature_names"] == list(TITLES)


def test_columns_are_found_by_their_titles_whatever_their_order(run_of_table, table_file, tmp_path):
    expected = predictions(run_of_table, table_file, tmp_path / "a.csv")
    assert expected["id"][:2] == ["n000", "n001"]
    other = write(tmp_path / "other.csv", order=(3, 1, 0, 2), columns=())
    found = predictions(run_of_table, other, tmp_path / "b.csv")
    assert found["id"] == [str(i) for i in range(N)]
    for name in ("cluster", "label", "probability", "anomaly_score"):
        assert found[name] == expected[name]


@pytest.mark.parametrize(
    ("order", "match"),
    [((0, 1, 2), r"lacks 'always'.*4 columns"), ((0, 1, 2, 3, 3), "more than once")],
)
def test_a_table_of_other_columns_is_refused_and_nothing_written(
    run_of_table, tmp_path, order, match
):
    other = write(tmp_path / "other.csv", order=order)
    with pytest.raises(InputError, match=match):
        predict_run(run_of_table, str(other), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_column_too_many_is_named(run_of_table, tmp_path):
    path = tmp_path / "wide.csv"
    path.write_text(",".join([*TITLES, "colour"]) + "\n1,2,3,4,5\n")
    with pytest.raises(InputError, match="has 'colour' besides"):
        evaluate_run(run_of_table, str(path))


def test_text_in_a_column_of_numbers_is_said_where_it_stands(run_of_table, tmp_path):
    path = tmp_path / "text.csv"
    path.write_text(",".join(TITLES) + "\n" + "low,2,3,4\n" * 4)
    with pytest.raises(
        InputError, match=r"row 0 \(line 2\), column 'length': 'low'. Expected a num"
    ):
        evaluate_run(run_of_table, str(path))


def test_its_own_table_is_scored_on_the_test_rows(run_of_table, table_file):
    scores = evaluate_run(run_of_table, str(table_file))
    metrics = json.loads((run_of_table / "metrics.json").read_text())
    assert (scores["part"], scores["rows"]) == ("test", 18)
    assert scores["density"] == metrics["test"]


def test_columns_in_another_order_are_still_its_own_table(run_of_table, tmp_path):
    other = write(tmp_path / "turned.csv", order=(3, 1, 0, 2))
    scores = evaluate_run(run_of_table, str(other))
    assert (scores["part"], scores["rows"]) == ("test", 18)


def test_a_label_file_may_call_rows_by_id(run_of_table, carry_out, table_file, tmp_path):
    dataset = load(table_file, id_column="name", label_column="kind")
    carry_out(tmp_path / "run", *SETTINGS, dataset=replace(dataset, labels=None, class_names=()))
    _, kinds = rows()
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"n{i:03d},{kinds[i].upper()}\n" for i in range(0, N, 2)))
    label_run(tmp_path / "run", labels, draw=lambda folder: None)
    model = latentmix.load(tmp_path / "run")
    np.testing.assert_array_equal(model.predict_class(rows()[0]), np.char.upper(kinds))


# The likelihood that 'auto' stands for


@pytest.mark.parametrize(
    ("image_shape", "largest", "settings", "expected"),
    [
        ((8, 8), 1, (), "bernoulli"),
        ((8, 8), 2, (), "auto"),
        (None, 1, (), "auto"),
        (None, 1, ("data.unit_interval=true",), "bernoulli"),
        ((8, 8), 1, ("vae.likelihood=gaussian",), "gaussian"),
    ],
    ids=["images in [0, 1]", "images beyond 1", "a table", "a declared table", "asked for"],
)
def test_floats_in_the_unit_interval_are_bernoulli_if_images_or_declared(
    *, shapes, carry_out, tmp_path, monkeypatch, image_shape, largest, settings, expected
):
    asked = []

    def fit(vae, X, **keywords):
        asked.append(vae.likelihood)
        raise KeyboardInterrupt

    monkeypatch.setattr(VAE, "fit", fit)
    X = np.linspace(0, largest, shapes.X.size, dtype=np.float32).reshape(shapes.X.shape)
    with pytest.raises(KeyboardInterrupt):
        carry_out(
            tmp_path / "run", *settings, dataset=replace(shapes, X=X, image_shape=image_shape)
        )
    assert asked == [expected]
