"""A run that ends but is of little use: rows that no model fits, a training that learned little."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from latentmix.apps.figures import draw_figures
from latentmix.apps.summary import summary_of
from latentmix.data import Split, load
from latentmix.runs.evaluate import evaluate_run


@pytest.fixture(scope="module")
def table_with(tmp_path_factory):
    """Return a function that makes a table of 120 rows, of which one value is 1e25."""

    def make(far_row):
        X = np.random.RandomState(0).randn(120, 4) + 5 * (np.arange(120) % 3)[:, None]
        X[far_row, 0] = 1e25
        path = tmp_path_factory.mktemp("data") / "table.npz"
        np.savez(path, X=X, y=np.arange(120) % 3)
        parts = np.split(np.arange(120), [80, 100])
        return replace(load(path), fixed_split=Split(*parts)), path

    return make


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_a_validation_row_far_from_all_others_loses_no_run(carry_out, table_with, tmp_path):
    out = tmp_path / "run"
    carry_out(out, "vae.max_epochs=3", dataset=table_with(90)[0], draw=draw_figures)
    lines = (out / "history.jsonl").read_text().splitlines()
    records = [json.loads(line, parse_constant=no_constant) for line in lines]
    assert [record["validation"]["objective"] for record in records] == [None] * 3
    assert all(math.isfinite(record["train"]["objective"]) for record in records)
    with (out / "figures" / "loss.csv").open(newline="") as file:
        held_out = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    assert [row["objective"] for row in held_out] == ["inf"] * 3


def test_a_test_row_far_from_all_others_loses_no_run(carry_out, table_with, tmp_path):
    out = tmp_path / "run"
    dataset, path = table_with(110)
    metrics = carry_out(out, "vae.max_epochs=3", dataset=dataset)
    written = (out / "metrics.json").read_text()
    assert json.loads(written, parse_constant=no_constant) == metrics
    assert metrics["test"]["elbo"] is None
    assert "ELBO not finite nats a row" in summary_of(metrics, out)
    assert evaluate_run(out, str(path), None)["density"]["elbo"] is None
