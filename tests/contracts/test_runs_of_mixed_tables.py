"""A run of a table with text: categories are kept, and other files are read by them."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas
import pytest

import latentmix
from latentmix.apps.figures import draw_figures
from latentmix.apps.samples import check_kind, write_samples
from latentmix.comparison.protocol import separate
from latentmix.data import load, split
from latentmix.errors import InputError, ParameterError
from latentmix.runs.evaluate import evaluate_run
from latentmix.runs.label import label_run
from latentmix.runs.opened import open_run
from latentmix.runs.predict import predict_run
from latentmix.runs.recipe import load_recipe
from latentmix.runs.request import Source, request_of

N = 200
TITLES = ["name", "age", "visits", "smokes", "colour", "kind"]
COLUMNS = {"visits": "count", "smokes": "binary"}
OPTIONS = {"id_column": "name", "label_column": "kind", "columns": COLUMNS}
SETTINGS = (
    "data.id_column=name",
    "data.label_column=kind",
    'data.columns={visits="count", smokes="binary"}',
    "vae.max_epochs=60",
    "vae.kl_weight=0.3",
    "mixture.n_components=2",
    "report.n_components=[2]",
)


def lines():
    random = np.random.RandomState(0)
    for row in range(N):
        kind = row % 2
        colour = random.choice(["red", "green"]) if kind else "blue"
        yield [
            f"n{row}",
            f"{40 + 20 * kind + 2 * random.randn():.2f}",
            str(random.poisson(2 + 8 * kind)),
            str(int(random.rand() < 0.1 + 0.8 * kind)),
            colour,
            ["young", "old"][kind],
        ]


def write(path, rows, order=range(6)):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[row[i] for i in order] for row in [TITLES, *rows]])
    return path


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("table") / "people.csv", list(lines()))


@pytest.fixture(scope="module")
def run(table_file, carry_out, tmp_path_factory):
    """Return the folder of a finished run, pictures drawn: to be read, never changed."""
    folder = tmp_path_factory.mktemp("runs") / "people"
    carry_out(folder, *SETTINGS, dataset=load(table_file, **OPTIONS), draw=draw_figures)
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_clustered_and_says_what_its_columns_hold(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["scores"][0]["accuracy_named"] > 0.9
    request = json.loads((run / "request.json").read_text())
    assert request["data"]["columns"] == [
        {"kind": "continuous", "categories": []},
        {"kind": "count", "categories": []},
        {"kind": "binary", "categories": []},
        {"kind": "categorical", "categories": ["blue", "green", "red"]},
    ]
    assert latentmix.load(run).vae_.likelihood_ == "mixed"


def test_its_tables_hold_text_and_its_pictures_a_column_for_each_category(run):
    shown = read(run / "figures" / "reconstructions.csv") + read(run / "figures" / "samples.csv")
    assert {row["v3"] for row in shown} <= {"blue", "green", "red"}
    assert all(float(row["v0"]) > 0 for row in shown)
    about = json.loads((run / "figures" / "figures.json").read_text())
    assert about["categories"] == [[], [], [], ["blue", "green", "red"]]
    assert (run / "figures" / "samples.png").stat().st_size > 1000


def test_other_files_are_read_by_the_runs_categories(run, table_file, tmp_path):
    predict_run(run, str(table_file), tmp_path / "all.csv")
    few = write(tmp_path / "few.csv", list(lines())[1:4], order=(4, 3, 2, 1, 0))
    predict_run(run, str(few), tmp_path / "few-found.csv")
    expected, found = read(tmp_path / "all.csv")[1:4], read(tmp_path / "few-found.csv")
    names = ("id", "cluster", "label", "probability", "anomaly_score")
    assert [[row[name] for name in names] for row in found] == [
        [row[name] for name in names] for row in expected
    ]


def test_a_parquet_file_is_read_by_them_too(run, table_file, tmp_path):
    pytest.importorskip("pyarrow")
    pandas.read_csv(table_file).iloc[5:8].to_parquet(tmp_path / "some.parquet")
    predict_run(run, str(table_file), tmp_path / "all.csv")
    predict_run(run, str(tmp_path / "some.parquet"), tmp_path / "some.csv")
    found = [{**row, "row": ""} for row in read(tmp_path / "some.csv")]
    assert found == [{**row, "row": ""} for row in read(tmp_path / "all.csv")[5:8]]


def test_an_unseen_category_is_one_sentence_and_nothing_is_written(run, tmp_path):
    rows = [["n", "40", "1", "0", "violet", "old"]]
    path = write(tmp_path / "new.csv", rows)
    with pytest.raises(InputError, match=r"row 0 \(line 2\), column 'colour': 'violet'.*'blue', "):
        predict_run(run, str(path), tmp_path / "out.csv")
    path = write(tmp_path / "new.csv", [["n", "forty", "1", "0", "red", "old"]])
    with pytest.raises(InputError, match=r"column 'age': 'forty'. Expected a number"):
        predict_run(run, str(path), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_its_own_table_is_scored_on_the_test_rows(run, table_file, tmp_path):
    metrics = json.loads((run / "metrics.json").read_text())
    for path in (table_file, write(tmp_path / "t.csv", list(lines()), order=(5, 4, 3, 2, 1, 0))):
        scores = evaluate_run(run, str(path))
        assert scores["part"] == "test"
        assert scores["density"] == metrics["test"]


def test_draws_are_written_with_text(run, tmp_path):
    opened = open_run(run)
    assert opened.has_text
    drawn = opened.model.sample(20)
    write_samples(drawn, None, opened.feature_names, tmp_path / "new.csv")
    rows = read(tmp_path / "new.csv")
    assert list(rows[0]) == TITLES[1:5]
    assert {row["colour"] for row in rows} <= {"blue", "green", "red"}
    assert {row["smokes"] for row in rows} <= {"0", "1"}
    with pytest.raises(ParameterError, match=r"rows of a table with text. Expected .* \.csv"):
        check_kind(tmp_path / "new.npy", None, has_text=True)


def test_it_is_named_later(table_file, carry_out, tmp_path):
    dataset = replace(load(table_file, **OPTIONS), labels=None, class_names=())
    carry_out(tmp_path / "run", *SETTINGS, dataset=dataset)
    (tmp_path / "labels.csv").write_text("".join(f"n{i},k{i % 2}\n" for i in range(0, N, 3)))
    label_run(tmp_path / "run", tmp_path / "labels.csv", draw=draw_figures)
    model = latentmix.load(tmp_path / "run")
    found = model.predict_class(dataset.rows)
    assert np.mean(found == [f"k{i % 2}" for i in range(N)]) > 0.9


def test_it_goes_on_with_the_same_table_alone(table_file, carry_out, tmp_path):
    class StopError(Exception):
        pass

    def stop(event):
        if type(event).__name__ == "EpochEnd":
            raise StopError

    recipe = load_recipe("default", SETTINGS)
    data = Source(str(table_file)).read(recipe)
    with pytest.raises(StopError):
        carry_out(tmp_path / "run", *SETTINGS, dataset=data, listener=stop)
    record = json.loads((tmp_path / "run" / "request.json").read_text())
    record["source"] = Source(str(table_file)).to_json()
    (tmp_path / "run" / "request.json").write_text(json.dumps(record))
    assert request_of(tmp_path / "run").dataset.columns == data.columns
    record["data"]["columns"][3]["categories"][0] = "azure"
    (tmp_path / "run" / "request.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="its rows are others"):
        request_of(tmp_path / "run")


def test_a_category_of_test_rows_alone_is_known(table_file, carry_out, tmp_path):
    dataset = load(table_file, **OPTIONS)
    test = split(dataset, seed=0).test
    rows = list(lines())
    rows[test[0]][4] = "violet"
    path = write(tmp_path / "rare.csv", rows)
    metrics = carry_out(
        tmp_path / "run", *SETTINGS, "vae.max_epochs=2", dataset=load(path, **OPTIONS)
    )
    assert np.isfinite(metrics["test"]["elbo"])


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("vae.likelihood=gaussian", "likelihood='gaussian', which tells all columns alike"),
        ("data.unit_interval=true", "in \\[0, 1\\], and its columns are of several kinds"),
    ],
)
def test_settings_that_contradict_its_columns(table_file, carry_out, tmp_path, setting, match):
    with pytest.raises(ParameterError, match=match):
        carry_out(tmp_path / "run", *SETTINGS, setting, dataset=load(table_file, **OPTIONS))
    assert not (tmp_path / "run").exists()


def test_methods_are_compared_on_numbers_alone(table_file):
    dataset = load(table_file, **OPTIONS)
    with pytest.raises(InputError, match="columns of several kinds, and methods are compared on"):
        separate(dataset, split(dataset, seed=0))
