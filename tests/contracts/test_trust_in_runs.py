"""How far a run says that its classes and densities can be believed."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import latentmix
from latentmix import metrics as ours
from latentmix.apps.summary import scores_text, summary_of
from latentmix.data import Split, load
from latentmix.runs.evaluate import evaluate_run
from latentmix.runs.label import label_run
from latentmix.runs.opened import open_run
from latentmix.runs.parts import parts_of, read_latents
from latentmix.runs.trust import trust_of

N = 600
SPLIT = Split(np.arange(300), np.arange(300, 450), np.arange(450, N))
KINDS = ("ant", "bee", "cat")


def draw_nothing(folder):
    """Draw no pictures."""


def overlapping(seed=0):
    """Return rows of three kinds that overlap, and what they are called."""
    random = np.random.RandomState(seed)
    kinds = random.randint(3, size=N)
    centres = np.array([[0.0, 0, 0, 0], [2, 0, 2, 0], [0, 2, 0, 2]])
    return centres[kinds] + random.randn(N, 4), np.array(KINDS)[kinds]


def json_of(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def kinds_file(tmp_path_factory):
    X, names = overlapping()
    path = tmp_path_factory.mktemp("kinds") / "kinds.npz"
    np.savez(path, X=X, y=names)
    return path


@pytest.fixture(scope="module")
def kinds(kinds_file):
    return replace(load(kinds_file), fixed_split=SPLIT)


@pytest.fixture(scope="module")
def doubtful(kinds, carry_out, tmp_path_factory):
    """Return the folder of a run of rows whose classes overlap: to be read, never changed."""
    folder = tmp_path_factory.mktemp("trust") / "run"
    carry_out(folder, dataset=kinds)
    return folder


def named(dataset, part):
    return np.asarray(dataset.class_names)[dataset.labels[getattr(dataset.fixed_split, part)]]


def rows(dataset, part):
    return dataset.X[getattr(dataset.fixed_split, part)]


# By labels


def test_the_rows_that_named_calibrate_and_give_the_interval(doubtful, kinds):
    model, trust = latentmix.load(doubtful), json_of(doubtful / "metrics.json")["trust"]
    by = rows(kinds, "validation"), named(kinds, "validation")
    interval = model.accuracy_interval(*by)
    assert trust["naming"] == {
        "temperature": model.temperature_,
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
    }
    assert trust["level"] == 0.95
    assert model.temperature_ != 1
    kept = model.temperature_
    assert model.label(*by).calibrate(*by).temperature_ == pytest.approx(kept, rel=1e-6)


def test_test_rows_say_how_well_that_went(doubtful, kinds):
    model, trust = latentmix.load(doubtful), json_of(doubtful / "metrics.json")["trust"]
    X, truth = rows(kinds, "test"), kinds.labels[SPLIT.test]
    proba = model.predict_class_proba(X)
    right = float(np.mean(proba.argmax(axis=1) == truth))
    interval = ours.wilson_interval(right, len(truth))
    expected = {
        "rows": 150,
        "accuracy": right,
        "low": interval.low,
        "high": interval.high,
        "ece": ours.expected_calibration_error(proba, truth),
        "error_at_90": ours.error_at_coverage(proba, truth, 0.9),
        "area_under_risk_coverage": ours.area_under_risk_coverage(proba, truth),
    }
    model.temperature_ = 1.0
    before = ours.expected_calibration_error(model.predict_class_proba(X), truth)
    assert trust["test"] == pytest.approx({**expected, "ece_uncalibrated": before}, abs=1e-6)
    assert 0.6 < right < 0.97
    assert trust["test"]["ece"] != trust["test"]["ece_uncalibrated"]


def test_no_label_of_a_test_row_calibrates(doubtful, kinds, carry_out, tmp_path, bytes_in):
    wrong = kinds.labels.copy()
    wrong[SPLIT.test] = (wrong[SPLIT.test] + 1) % 3
    other = carry_out(tmp_path / "run", dataset=replace(kinds, labels=wrong))["trust"]
    before = json_of(doubtful / "metrics.json")["trust"]
    assert other["naming"] == before["naming"]
    assert other["test"]["ece"] > before["test"]["ece"]
    name = "model/model.json"
    assert bytes_in(doubtful)[name] == bytes_in(tmp_path / "run")[name]


def test_labels_that_come_later_calibrate_as_those_from_the_start(
    doubtful, kinds, carry_out, tmp_path
):
    mine = tmp_path / "run"
    carry_out(mine, dataset=replace(kinds, labels=None, class_names=()))
    assert json_of(mine / "metrics.json")["trust"] == {}
    path = tmp_path / "labels.csv"
    names = np.asarray(kinds.class_names)[kinds.labels]
    path.write_text("".join(f"{row},{name}\n" for row, name in enumerate(names)))
    found = label_run(mine, path, draw=draw_nothing)["trust"]
    assert found == json_of(doubtful / "metrics.json")["trust"]
    # With labels of fewer than 50 rows p(y|x) stays as it is.
    path.write_text("".join(f"{row},{names[row]}\n" for row in [*range(300, 349), 500]))
    found = label_run(mine, path, draw=draw_nothing)["trust"]
    assert found["naming"] == {"temperature": 1.0}
    assert found["test"]["rows"] == 1
    assert found["test"]["ece"] == found["test"]["ece_uncalibrated"]


def test_labels_that_taught_give_no_interval(doubtful, kinds):
    run = open_run(doubtful)
    latents, split = read_latents(run.sealed)
    parts = parts_of(kinds, split)
    taught = trust_of(run.model, latents, parts, taught=True)
    before = trust_of(run.model, latents, parts, taught=False)
    assert taught["naming"] == {"temperature": run.model.temperature_}
    assert taught["test"] == before["test"]


def test_its_own_rows_are_doubted_as_the_run_did_and_others_by_their_labels(
    doubtful, kinds_file, tmp_path
):
    # The file has no split of its own: the run says which of its rows are for scoring.
    scores = evaluate_run(doubtful, str(kinds_file))
    assert scores["trust"] == json_of(doubtful / "metrics.json")["trust"]["test"]
    assert "Accuracy on these rows: " in scores_text(scores)
    X, names = overlapping(seed=1)
    names[:60] = "dog"  # which no component is named by
    np.savez(tmp_path / "others.npz", X=X, y=names)
    found = evaluate_run(doubtful, str(tmp_path / "others.npz"))
    assert found["trust"]["rows"] == N
    assert found["trust"]["accuracy"] == pytest.approx(found["accuracy_named"])
    assert found["trust"]["accuracy"] < scores["trust"]["accuracy"]


def test_the_curve_ends_in_the_error_of_all_and_holds_that_of_ninety_percent(doubtful):
    trust = json_of(doubtful / "metrics.json")["trust"]["test"]
    with (doubtful / "figures" / "risk_coverage.csv").open(newline="") as file:
        curve = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["coverage"] for row in curve] == pytest.approx(np.arange(1, 151) / 150, abs=1e-6)
    assert curve[-1]["error"] == pytest.approx(1 - trust["accuracy"], abs=1e-6)
    assert curve[134]["error"] == pytest.approx(trust["error_at_90"], abs=1e-6)
    confidence = [row["confidence"] for row in curve]
    assert confidence == sorted(confidence, reverse=True)


def test_the_end_of_a_run_says_it(doubtful):
    metrics = json_of(doubtful / "metrics.json")
    text = summary_of(metrics, doubtful)
    naming, test = metrics["trust"]["naming"], metrics["trust"]["test"]
    for part, title in ((naming, "the labels that named the clusters"), (test, "the test rows")):
        said = f"{part['accuracy']:.3f} (95 %: {part['low']:.3f} to {part['high']:.3f})"
        assert f"{title}: {said}" in text
    assert f"{test['ece']:.3f} from accuracy on average (ECE" in text
    # Runs of earlier versions knew nothing of it.
    earlier = {**metrics, "test": dict(metrics["test"])}
    del earlier["trust"], earlier["test"]["log_likelihood"]
    assert "95 %" not in summary_of(earlier, doubtful)


# Densities


def test_the_log_likelihood_is_the_estimators_with_its_error(doubtful, kinds):
    found = json_of(doubtful / "metrics.json")["test"]["log_likelihood"]
    weighted = latentmix.load(doubtful).log_likelihood(rows(kinds, "test"), 100)
    assert (found["rows"], found["draws"]) == (150, 100)
    assert found["mean"] == pytest.approx(weighted.log_likelihood.mean(), rel=1e-5)
    error = np.sqrt(np.sum(weighted.standard_error**2)) / 150
    assert found["standard_error"] == pytest.approx(error, rel=1e-3)
    spread = weighted.log_likelihood.std() / np.sqrt(150)
    assert found["standard_error_of_rows"] == pytest.approx(spread, rel=1e-4)
    assert found["mean"] > json_of(doubtful / "metrics.json")["test"]["elbo_mixture_prior"]


def test_a_cross_entropy_of_grey_pixels_stands_under_its_own_name(finished, unnamed):
    for folder in (finished, unnamed):
        metrics = json_of(folder / "metrics.json")
        assert "log_likelihood" not in metrics["test"]
        assert metrics["test"]["cross_entropy"]["mean"] > 0
        text = summary_of(metrics, folder)
        assert "Cross entropy of grey pixels, no likelihood" in text
        assert "Log-likelihood" not in text


def test_bits_have_a_likelihood(shapes, carry_out, tmp_path):
    bits = replace(shapes, X=np.where(shapes.X > 100, np.uint8(255), np.uint8(0)))
    test = carry_out(tmp_path / "run", "vae.max_epochs=2", dataset=bits)["test"]
    assert "cross_entropy" not in test
    assert test["log_likelihood"]["mean"] < 0


def test_so_many_rows_at_most_are_weighed_from_all_over(doubtful, kinds_file, monkeypatch):
    monkeypatch.setattr("latentmix.runs.scores.WEIGHTED_ROWS", 3)
    found = evaluate_run(doubtful, str(kinds_file))["density"]["log_likelihood"]
    model, X = latentmix.load(doubtful), load(kinds_file).X[SPLIT.test]
    expected = model.log_likelihood(X[[0, 74, 149]], 100).log_likelihood.mean()
    assert found["rows"] == 3
    assert found["mean"] == pytest.approx(expected, rel=1e-5)
