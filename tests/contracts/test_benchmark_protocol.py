"""The protocol of comparisons: no label reaches a method, no test label reaches a choice."""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from latentmix.comparison import execute as driver
from latentmix.comparison import fits, worker
from latentmix.comparison.execute import execute
from latentmix.comparison.methods import METHODS
from latentmix.comparison.plans import FromRecipe, sha256_of_record
from latentmix.comparison.protocol import (
    PARTS,
    ScoringLabels,
    Training,
    ValidationLabels,
    sealed,
    separate,
    write_rows,
)
from latentmix.comparison.request import request_of
from latentmix.comparison.table import TUNED, UNSUPERVISED, read_rows
from latentmix.comparison.tuning import choose
from latentmix.data import split
from latentmix.errors import InputError, MissingError, ParameterError, WriteError


def asked_for(out, methods, data, **more):
    return request_of([methods], [str(data)], n_seeds=2, out=out, **more)


def quiet(line):
    """Say nothing."""


@pytest.fixture
def in_process(monkeypatch):
    """Fit here, by the same files: a process takes a second to start."""
    monkeypatch.setattr(fits, "run_process", run_here)


def run_here(command, log):
    log.write_text("")
    return worker.carry_out_request(Path(command[-1]))


def test_a_method_is_given_rows_and_nothing_that_says_what_they_are():
    assert {field.name for field in fields(Training)} == {
        *("X", "n_components", "seed", "image_shape", "unit_interval"),
    }
    for method in (*METHODS.values(), FromRecipe):
        assert list(inspect.signature(method.fit).parameters) == ["self", "training"]


CHEAT = """
import json, sys
from pathlib import Path
from types import ModuleType
import numpy as np

request = json.loads(Path(sys.argv[1]).read_text())
n_train = len(np.load(request["rows"]["train"]))
folder = Path(request["rows"]["train"]).parents[1]
for path in [*folder.rglob("*"), *Path(sys.argv[1]).parent.iterdir()]:
    if path.suffix not in (".npy", ".npz"):
        if path.is_file() and any(name in path.read_text() for name in ("pillar", "square")):
            sys.exit(f"found a class name in {path}")
        continue
    loaded = np.load(path)
    for array in loaded.values() if path.suffix == ".npz" else [loaded]:
        if array.ndim == 1 and len(array) == n_train:
            np.savez(request["answer"], validation=[], test=[], fit_seconds=0)
            sys.exit(f"found the training labels in {path}")
sys.exit("found no labels to learn from")
"""


def test_a_method_that_wants_labels_finds_none_and_fails(shapes_file, tmp_path):
    script = tmp_path / "cheat.py"
    script.write_text(CHEAT)
    asked = asked_for(tmp_path / "out", f"kmeans,{script}", shapes_file, peer_python=sys.executable)
    outcome = execute(asked, quiet)
    assert [row.method for row in outcome.rows] == ["kmeans", "kmeans"]
    assert len(outcome.failures) == 2
    assert all("found no labels to learn from" in failure for failure in outcome.failures)
    kept = list((tmp_path / "out" / "fits").glob("*cheat*.failed.txt"))
    assert len(kept) == 2


def test_other_labels_change_no_prediction(split_shapes, in_process, tmp_path, monkeypatch):
    def run(dataset, out):
        monkeypatch.setattr(driver.Source, "read", lambda source, recipe: dataset)
        return execute(asked_for(out, "kmeans,pca-mixture:dims=3", "digits"), quiet).rows

    others = replace(split_shapes, labels=np.roll(split_shapes.labels, 1) // 2)
    true, changed = run(split_shapes, tmp_path / "a"), run(others, tmp_path / "b")
    for one, other in zip(true, changed, strict=True):
        assert one.predictions_sha256 == other.predictions_sha256
        assert one.train_sha256 == other.train_sha256
        assert one.accuracy != other.accuracy
        assert one.request_sha256 != other.request_sha256, "it is another run"


def test_the_order_of_rows_tells_no_label(split_shapes):
    by_class = np.argsort(split_shapes.labels, kind="stable")
    sorted_shapes = replace(
        split_shapes,
        X=split_shapes.X[by_class],
        labels=split_shapes.labels[by_class],
        fixed_split=None,
    )
    parts = split(sorted_shapes, seed=0)
    assert (np.diff(sorted_shapes.labels[parts.train]) >= 0).all(), "as it was read"
    rows, _ = separate(sorted_shapes, parts)
    given = sorted_shapes.labels[rows.parts["train"].numbers]
    assert (np.diff(given) < 0).sum() > 10


def test_rows_are_written_as_they_are(split_shapes, tmp_path):
    rows, _ = separate(split_shapes, split_shapes.fixed_split)
    files = write_rows(rows, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{p}.npy" for p in PARTS)
    for part in PARTS:
        found = np.load(files.paths[part])
        np.testing.assert_array_equal(found, rows.parts[part][:])
        assert found.dtype == np.uint8


@pytest.mark.parametrize(
    "found", [[0.0, 1.0], [0, 3], [-1, 0], [[0], [1]]], ids=["floats", "above", "below", "2-d"]
)
def test_predictions_are_components_or_refused(found):
    with pytest.raises(InputError, match="whole numbers from 0 to 2"):
        sealed(np.array(found), np.zeros(2, int), 3)


def test_a_set_without_validation_rows_has_no_names_and_no_choice(
    split_shapes, in_process, tmp_path, monkeypatch
):
    own = split_shapes.fixed_split
    bare = replace(split_shapes, fixed_split=replace(own, validation=own.validation[:0]))
    monkeypatch.setattr(driver.Source, "read", lambda source, recipe: bare)
    rows = execute(asked_for(tmp_path / "a", "kmeans", "digits"), quiet).rows
    assert [(row.named_accuracy, row.naming_labels) for row in rows] == [(None, 0), (None, 0)]
    assert all(row.accuracy > 0.5 for row in rows)
    with pytest.raises(InputError, match="leave --tune out"):
        execute(asked_for(tmp_path / "b", "kmeans", "digits", tune=["kmeans+mixture"]), quiet)


def test_a_run_is_scored_once(split_shapes):
    _, scorer = separate(split_shapes, split_shapes.fixed_split)
    predictions = sealed(np.zeros(18, int), np.zeros(18, int), 3)
    scorer.score("a", predictions)
    scorer.score("b", predictions)
    with pytest.raises(RuntimeError, match="scored once"):
        scorer.score("a", predictions)


def test_data_without_labels_are_refused(split_shapes):
    bare = replace(split_shapes, labels=None, class_names=())
    with pytest.raises(InputError, match="no labelled test rows"):
        separate(bare, bare.fixed_split)


class Untouchable:
    """Test labels that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"a choice looked at {name} of the test labels")


def test_a_choice_is_made_by_validation_labels_alone(split_shapes):
    hints = {
        name: str(one.annotation) for name, one in inspect.signature(choose).parameters.items()
    }
    assert hints == {"validation": "Sequence[np.ndarray]", "labels": "ValidationLabels"}
    assert not issubclass(ScoringLabels, ValidationLabels)
    assert not issubclass(ValidationLabels, ScoringLabels)
    labels = ValidationLabels(np.array([0, 0, 1, 1, -1]), 2)
    right, wrong = np.array([1, 1, 0, 0, 0]), np.array([0, 1, 0, 1, 0])
    assert choose([wrong, right], labels) == 1
    assert choose([right, right], labels) == 0, "the first of several"
    with pytest.raises(InputError, match="leave --tune out"):
        choose([wrong, right], ValidationLabels(np.full(5, -1), 2))


def test_no_test_label_has_a_say_in_a_choice(split_shapes, in_process, tmp_path, monkeypatch):
    chosen_among = []

    def watched(validation, labels):
        # Whoever asks for the choice does not have the scorer; who asks that one has.
        asking = inspect.currentframe().f_back
        assert "scorer" not in asking.f_locals
        scorer = asking.f_back.f_locals["scorer"]
        hidden, scorer._test = scorer._test, Untouchable()
        at = choose(validation, labels)
        scorer._test = hidden
        chosen_among.append(len(validation))
        return at

    def tuned(dataset, out):
        monkeypatch.setattr(driver.Source, "read", lambda source, recipe: dataset)
        tune = ["pca-mixture:dims=1,3+kmeans:n_init=10"]
        rows = execute(asked_for(out, "kmeans", "digits", tune=tune), quiet).rows
        assert [row.tuning_labels for row in rows if row.group != TUNED] == [0, 0]
        return [row for row in rows if row.group == TUNED]

    monkeypatch.setattr(driver, "choose", watched)
    labels = split_shapes.labels.copy()
    labels[split_shapes.fixed_split.test] = np.arange(18) // 6
    true = tuned(split_shapes, tmp_path / "a")
    changed = tuned(replace(split_shapes, labels=labels), tmp_path / "b")
    assert chosen_among == [3, 3, 3, 3]
    for one, other in zip(true, changed, strict=True):
        assert one.tuning_labels == 18
        assert one.chosen in ("pca-mixture:dims=1", "pca-mixture:dims=3", "kmeans:n_init=10")
        assert (one.chosen, one.predictions_sha256) == (other.chosen, other.predictions_sha256)
        assert one.accuracy != other.accuracy


def test_likelihood_chooses_without_a_label(split_shapes, in_process, tmp_path, monkeypatch):
    rng = np.random.RandomState(0)
    kinds = split_shapes.labels
    X = rng.normal(size=(120, 2)) + 9.0 * np.stack([kinds == 1, kinds == 2], axis=1)
    table = replace(split_shapes, X=X, image_shape=None)

    def run(dataset, out, select):
        monkeypatch.setattr(driver.Source, "read", lambda source, recipe: dataset)
        return execute(asked_for(out, "kmeans", "digits", select=[select]), quiet)

    grid = "mixture:n_components=1,3"
    others = replace(table, labels=np.roll(table.labels, 1))
    for dataset, out in ((table, "a"), (others, "b")):
        rows = [row for row in run(dataset, tmp_path / out, grid).rows if row.criterion]
        assert {row.chosen for row in rows} == {"mixture:n_components=3"}
        assert {(row.group, row.tuning_labels) for row in rows} == {(UNSUPERVISED, 0)}
        assert {row.criterion for row in rows} == {"validation likelihood"}
    failures = run(table, tmp_path / "a", "mixture+kmeans").failures
    assert len(failures) == 2
    assert all("densities are of the kinds density, none" in failure for failure in failures)


def rows_without_costs(out):
    # What a process holds and has loaded is its own.
    costs = {"fit_seconds": 0.0, "predict_seconds": 0.0, "peak_memory": None, "versions": ""}
    return sorted((replace(row, **costs) for row in read_rows(out / "rows.csv")), key=repr)


# Jobs in the background are started deaf to SIGINT.
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
AGAIN = "from latentmix.apps.cli import main; main()"
METHODS_AT_ONCE = "kmeans,pca-mixture:dims=3"


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_a_killed_benchmark_goes_on_to_the_same_rows(shapes_file, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    args = ["benchmark", METHODS_AT_ONCE, "--data", str(shapes_file), "--seeds", "2", "--out", cut]
    process = subprocess.Popen(
        [sys.executable, "-c", AGAIN, *map(str, args)], stdout=subprocess.PIPE
    )
    while len(read_rows(cut / "rows.csv")) < 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = read_rows(cut / "rows.csv")
    assert 1 <= len(before) < 4
    monkeypatch.setattr(fits, "run_process", run_here)
    said = []
    execute(asked_for(cut, METHODS_AT_ONCE, shapes_file), said.append)
    assert sum("there already" in line for line in said) == len(before)
    execute(asked_for(whole, METHODS_AT_ONCE, shapes_file), quiet)
    assert rows_without_costs(cut) == rows_without_costs(whole)
    assert read_rows(cut / "rows.csv")[: len(before)] == before
    assert not list((cut / "fits").glob(".under-way-*"))
    assert not (cut / ".rows").exists()


SLEEPER = """
import os, sys, time
from pathlib import Path

Path(sys.argv[0]).with_suffix(".pid").write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_the_fit_under_way_and_says_how_to_go_on(number, code, shapes_file, tmp_path):
    script, pid, out = tmp_path / "sleeper.py", tmp_path / "sleeper.pid", tmp_path / "out"
    script.write_text(SLEEPER)
    args = [script, "--data", shapes_file, "--peer-python", sys.executable, "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEARING}{AGAIN}", "benchmark", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (pid.exists() and pid.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    said, complaint = process.communicate(timeout=20)
    assert process.returncode == code
    assert complaint.strip() == "latentmix: Stopped."
    assert f"What was done is kept in {out}. To go on, repeat the command." in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not list((out / "fits").iterdir())


def test_more_seeds_and_methods_go_on_in_the_same_folder(shapes_file, in_process, tmp_path):
    out = tmp_path / "out"
    execute(asked_for(out, "kmeans", shapes_file), quiet)
    said = []
    larger = request_of(["kmeans,mixture"], [str(shapes_file)], n_seeds=3, out=out)
    rows = execute(larger, said.append).rows
    assert len(rows) == 6
    assert sum("there already" in line for line in said) == 2
    shutil.rmtree(out / "fits")
    said.clear()
    execute(larger, said.append)
    assert sum("there already" in line for line in said) == 6, "what was scored is not scored again"


def test_two_benchmarks_in_one_folder_are_refused(shapes_file, tmp_path):
    if sys.platform == "win32":
        pytest.skip("has no such locks")
    from latentmix.storage.files import alone_in  # noqa: PLC0415

    asked = asked_for(tmp_path / "out", "kmeans", shapes_file)
    with alone_in(asked.out), pytest.raises(WriteError, match="is in use"):
        execute(asked, quiet)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine")
    with pytest.raises(WriteError, match="is not empty"):
        execute(replace(asked, out=tmp_path / "taken"), quiet)


PEER = """
import json, sys
from pathlib import Path
from types import ModuleType
import numpy as np

request = json.loads(Path(sys.argv[1]).read_text())
rows = {part: np.load(path) for part, path in request["rows"].items()}
left = {
    part: (X[:, :32].sum(axis=1) > X[:, 32:].sum(axis=1)).astype(int) for part, X in rows.items()
}
np.savez(
    request["answer"],
    validation=left["validation"] + request["settings"].get("add", 0),
    test=left["test"],
    fit_seconds=0.25,
    versions="peer 1.0",
)
"""


def test_a_script_of_another_interpreter_is_a_method(shapes_file, tmp_path):
    script = tmp_path / "halves.py"
    script.write_text(PEER)
    out = tmp_path / "out"
    asked = asked_for(out, f"{script},{script}:add=9", shapes_file, peer_python=sys.executable)
    outcome = execute(asked, quiet)
    first = outcome.rows[0]
    assert (first.method, first.fit_seconds, first.versions) == ("halves.py", 0.25, "peer 1.0")
    assert (first.nll, first.peak_memory) == (None, None)
    assert first.accuracy > 1 / 3
    assert all("halves.py:add=9" in failure for failure in outcome.failures)
    assert all("whole numbers from 0 to 2" in failure for failure in outcome.failures)
    with pytest.raises(ParameterError, match="--peer-python"):
        execute(asked_for(out, str(script), shapes_file), quiet)
    script.write_text(PEER.replace("0.25", "0.5"))
    assert execute(asked, quiet).rows[-1].fit_seconds == 0.5, "another script is another method"


def test_a_script_that_nothing_can_run_is_refused_before_other_methods_are_fitted(
    shapes_file, tmp_path
):
    script = tmp_path / "halves.py"
    script.write_text(PEER)
    out = tmp_path / "out"
    asked = asked_for(out, f"kmeans,{script}", shapes_file, peer_python="nowhere/python")
    with pytest.raises(MissingError, match="cannot be run as an interpreter"):
        execute(asked, quiet)
    assert not out.exists()


def test_a_script_stands_beside_the_method_whose_name_it_bears(shapes_file, tmp_path):
    script = tmp_path / "kmeans.py"
    script.write_text(PEER)
    asked = asked_for(tmp_path / "out", f"kmeans,{script}", shapes_file, peer_python=sys.executable)
    outcome = execute(asked, quiet)
    assert {row.method for row in outcome.rows} == {"kmeans", "kmeans.py"}
    assert not outcome.failures
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "kmeans.py"
    twin.write_text(PEER)
    both = asked_for(tmp_path / "two", f"{script},{twin}", shapes_file, peer_python=sys.executable)
    with pytest.raises(ParameterError, match=r"Two scripts are called 'kmeans\.py'"):
        execute(both, quiet)


def test_every_run_says_what_proves_it(shapes_file, tmp_path):
    out = tmp_path / "out"
    (row, _) = execute(asked_for(out, "kmeans", shapes_file), quiet).rows
    (fit,) = (out / "fits").glob("*seed0*")
    record = json.loads((fit / "fit.json").read_text())
    assert record["predictions_sha256"] == row.predictions_sha256
    methods = json.loads((out / "methods.json").read_text())
    assert methods == {row.method_sha256: record["method"]}
    assert sha256_of_record(record["method"]) == row.method_sha256
    (out / "methods.json").unlink()
    execute(asked_for(out, "kmeans", shapes_file), quiet)
    assert json.loads((out / "methods.json").read_text()) == methods, "rows are there already"
    assert record["rows_sha256"]["train"] == row.train_sha256
    with np.load(fit / "answer.npz") as answer:
        kept = sealed(answer["validation"], answer["test"], 3)
    assert kept.sha256 == row.predictions_sha256
    assert "scikit" in row.versions or "sklearn" in row.versions
    assert row.peak_memory is None or 2e7 < row.peak_memory < 4e9


def test_a_fit_whose_predictions_were_changed_is_done_anew(shapes_file, in_process, tmp_path):
    out = tmp_path / "out"
    asked = asked_for(out, "kmeans", shapes_file)
    (row, _) = execute(asked, quiet).rows
    (fit,) = (out / "fits").glob("*seed0*")
    with np.load(fit / "answer.npz") as file:
        answer = dict(file)
    answer["test"] = np.zeros_like(answer["test"])
    np.savez(fit / "answer.npz", **answer)
    (out / "rows.csv").unlink()
    again = execute(asked, quiet).rows[0]
    assert (again.accuracy, again.predictions_sha256) == (row.accuracy, row.predictions_sha256)
