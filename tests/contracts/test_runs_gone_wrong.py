"""A run that ends but is of little use: rows that no model fits, a training that learned little."""

import csv
import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from latentmix.apps.figures import draw_figures
from latentmix.apps.progress import progress
from latentmix.apps.summary import summary_of
from latentmix.data import Split, load
from latentmix.runs.evaluate import evaluate_run
from latentmix.training.events import EpochEnd, Warned


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


def test_a_collapsed_posterior_is_said_and_kept(*, carry_out, shapes, tmp_path, capfd):
    out, heard = tmp_path / "run", []
    # Fewer training rows would not be judged.
    parts = Split(*np.split(np.arange(120), [104, 112]))
    metrics = carry_out(
        out,
        "vae.kl_weight=1000",
        "vae.max_epochs=15",
        dataset=replace(shapes, fixed_split=parts),
        listener=heard.append,
    )
    said = [event.message for event in heard if isinstance(event, Warned)]
    assert len(said) >= 1
    assert said[0].startswith("The posterior has collapsed: 0 of latent_dim=2 dimensions")
    assert "Lower kl_weight=1e+03" in said[0]
    assert metrics["warnings"] == said
    assert json.loads((out / "metrics.json").read_text())["warnings"] == said
    assert f"Warning: {said[0]}" in summary_of(metrics, out).splitlines()
    assert capfd.readouterr().err == ""


def test_other_warnings_are_shown_as_they_were(carry_out, tmp_path):
    def warn(event):
        if isinstance(event, EpochEnd):
            warnings.warn("something else", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        metrics = carry_out(tmp_path / "run", "vae.max_epochs=1", listener=warn)
    assert "something else" not in metrics["warnings"]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_warning_is_a_line_of_what_a_run_prints(terminal, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    with progress() as listener:
        listener(Warned("A layer is dead. Lower learning_rate."))
    assert capsys.readouterr().out == "Warning: A layer is dead. Lower learning_rate.\n"


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
