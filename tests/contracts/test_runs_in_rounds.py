"""Runs whose network and mixture are trained together: stopped in a round, resumed, kept."""

import csv
import json
import signal
from dataclasses import replace

import numpy as np
import pytest

import latentmix
from latentmix.apps.summary import summary_of
from latentmix.errors import InputError
from latentmix.runs.label import label_run
from latentmix.training import vae_loop
from latentmix.training.events import ClassifierSteps, EpochEnd, Stage, Steps

ROUNDS = (
    "vae.max_epochs=8",
    "mixture.covariance_type=diag",
    "refinement.n_rounds=2",
    "refinement.epochs=2",
    "refinement.classifier_rounds=1",
    "refinement.classifier_steps=40",
    "refinement.min_steps=0",
    "mixture.n_components=classes",
)
# Eight epochs and two rounds of two.
EPOCHS = 12


@pytest.fixture(scope="module")
def finished(carry_out, tmp_path_factory):
    """Return the folder of a finished run: to be read, never changed."""
    folder = tmp_path_factory.mktemp("rounds") / "run"
    carry_out(folder, *ROUNDS)
    return folder


def json_of(path):
    return json.loads(path.read_text())


def results(bytes_in, folder):
    """Return what a run's files hold, wall times aside."""
    found = bytes_in(folder)
    metrics = json.loads(found.pop("metrics.json"))
    manifest = json.loads(found.pop("manifest.json"))
    del metrics["wall_seconds"], metrics["training_seconds"], metrics["peak_memory_bytes"]
    del manifest["files"]["metrics.json"]
    return {**found, "metrics": metrics, "manifest": manifest}


def assert_same_bits(bytes_in, one, other):
    one, other = results(bytes_in, one), results(bytes_in, other)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_a_set_of_even_classes_has_groups_of_like_size_and_the_run_says_so(
    finished, shapes, carry_out, tmp_path
):
    heard = []
    even = replace(shapes, even_classes=True)
    carry_out(tmp_path / "even", *ROUNDS, dataset=even, listener=heard.append)
    said = [event.message for event in heard if isinstance(event, Stage)]
    assert "Classes are taken to have about equally many rows, and so are groups" in said
    assert latentmix.load(tmp_path / "even").refinement.evenness == 0.8
    assert latentmix.load(finished).refinement.evenness == 0
    assert json_of(tmp_path / "even/request.json")["data"]["even_classes"]


def test_shapes_are_found_and_the_run_says_how(finished):
    metrics = json_of(finished / "metrics.json")
    own = metrics["scores"][0]
    assert (own["n_components"], own["n_rounds"], own["n_iter"]) == (3, 2, 0)
    assert own["accuracy_hungarian"] == own["accuracy_named"] == 1
    assert np.isfinite(own["log_likelihood"])
    assert {entry["n_rounds"] for entry in metrics["scores"][1:]} == {0}
    text = summary_of(metrics, finished)
    assert "Network and 3 components trained together in 2 rounds" in text
    assert "EM of" not in text
    once = {**own, "n_rounds": 1}
    text = summary_of({**metrics, "scores": [once]}, finished)
    assert "3 components trained together in 1 round\n" in text
    plain = {key: value for key, value in own.items() if key != "n_rounds"}
    text = summary_of({**metrics, "scores": [plain]}, finished)
    assert "EM of the run's own 3 components converged after 0 iterations" in text


def test_the_history_is_of_all_trainings_and_no_checkpoint_is_left(finished):
    lines = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["n_epochs"]) for line in lines] == [
        (epoch, EPOCHS) for epoch in range(1, EPOCHS + 1)
    ]
    assert all(line["validation"] for line in lines)
    used = [line["components"] for line in lines]
    assert used[0] is None and len(used[-1]["shares"]) == 3
    assert not list(finished.glob("checkpoint*"))
    assert not (finished / "events.jsonl").exists()


def test_the_kept_model_answers_as_the_run_did(finished, shapes):
    model = latentmix.load(finished)
    assert model.refinement.n_rounds == 2
    assert model.refinement.image_shape == (8, 8)
    with (finished / "rows.csv").open(newline="") as file:
        components = [int(row["cluster"]) for row in csv.DictReader(file)]
    np.testing.assert_array_equal(model.predict(shapes.X), components)


@pytest.fixture
def step_by_step(monkeypatch):
    """Make every compiled call one step, so that an epoch can be stopped in its midst."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        patch.setattr(vae_loop._Pace, "learn", lambda self, seconds: None)
        patch.setattr(vae_loop._Pace, "__init__", lambda self, limit: setattr(self, "steps", 1))
        yield patch
    signal.signal(signal.SIGINT, before)


def in_the_first_training(event):
    return isinstance(event, Steps) and (event.epoch, event.step) == (8, 2)


def at_the_second_graph(event):
    return isinstance(event, Stage) and event.message.startswith("Round 2 of 2")


def in_the_second_round(event):
    return isinstance(event, Steps) and (event.epoch, event.step) == (11, 2)


def in_the_second_opinion(event):
    return isinstance(event, ClassifierSteps) and event.step == 20


def after_the_rounds(event):
    return isinstance(event, Stage) and event.message.startswith("Fitting")


@pytest.mark.parametrize(
    ("moment", "first_step", "rounds"),
    [
        (in_the_first_training, (8, 3), set()),
        (at_the_second_graph, (11, 1), {"round1"}),
        (in_the_second_opinion, (11, 1), {"round1"}),
        (in_the_second_round, (11, 3), {"round1", "round2"}),
        (after_the_rounds, None, {"round1", "round2"}),
    ],
)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(
    *, finished, carry_out, tmp_path, bytes_in, step_by_step, moment, first_step, rounds
):
    heard = []

    def listener(event):
        if moment(event):
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        carry_out(out, *ROUNDS, listener=listener)
    kept = {path.name.split("-")[1] for path in out.glob("checkpoint-*")}
    assert {name for name in kept if name.startswith("round")} == rounds
    carry_out(out, *ROUNDS, listener=heard.append)
    steps = [(event.epoch, event.step) for event in heard if isinstance(event, Steps)]
    assert (steps[0] if steps else None) == first_step
    assert {event.n_epochs for event in heard if isinstance(event, Steps | EpochEnd)} <= {EPOCHS}
    assert not [*out.glob("checkpoint*"), *out.glob("opinion*")]
    # Who has given an opinion is not asked again.
    asked = any(isinstance(event, ClassifierSteps) for event in heard)
    assert asked == ("round2" not in rounds)
    assert_same_bits(bytes_in, finished, out)


def test_a_damaged_second_opinion_is_asked_for_anew(
    finished, carry_out, tmp_path, bytes_in, step_by_step
):
    def listener(event):
        if in_the_second_round(event):
            signal.raise_signal(signal.SIGINT)

    out, heard = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        carry_out(out, *ROUNDS, listener=listener)
    (kept,) = out.glob("opinion-round2-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    carry_out(out, *ROUNDS, listener=heard.append)
    assert [event.step for event in heard if isinstance(event, ClassifierSteps)] == [20, 40]
    assert_same_bits(bytes_in, finished, out)


def test_a_damaged_newest_checkpoint_of_a_round_is_said_and_the_one_before_taken(
    finished, carry_out, tmp_path, bytes_in, step_by_step
):
    def listener(event):
        if isinstance(event, Steps) and (event.epoch, event.step) in {(11, 2), (12, 2)}:
            signal.raise_signal(signal.SIGINT)

    out, heard = tmp_path / "run", []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            carry_out(out, *ROUNDS, listener=listener)
    newest = max(out.glob("checkpoint-round2-*"), key=lambda path: path.name)
    newest.write_bytes(newest.read_bytes()[:-9])
    carry_out(out, *ROUNDS, listener=heard.append)
    said = [event.message for event in heard if isinstance(event, Stage)]
    assert any(newest.name in message and "is damaged" in message for message in said)
    assert_same_bits(bytes_in, finished, out)


def test_naming_later_is_naming_at_once(split_shapes, carry_out, tmp_path):
    """The number of components is given: it is all that labels would decide."""
    shapes = split_shapes
    settings = (*ROUNDS, "mixture.n_components=3")
    at_once, later = tmp_path / "at-once", tmp_path / "later"
    expected = carry_out(at_once, *settings, dataset=shapes)
    unlabelled = replace(shapes, labels=None, class_names=())
    before = carry_out(later, *settings, dataset=unlabelled)["scores"][0]
    labels = tmp_path / "labels.csv"
    names = [shapes.class_names[label] for label in shapes.labels]
    labels.write_text("row,label\n" + "".join(f"{i},{name}\n" for i, name in enumerate(names)))
    own = label_run(later, labels, draw=lambda folder: None)["scores"][0]
    assert own == expected["scores"][0]
    assert own["log_likelihood"] == before["log_likelihood"]


def test_without_a_class_the_number_of_components_is_chosen(shapes, carry_out, tmp_path):
    unlabelled = replace(shapes, labels=None, class_names=())
    metrics = carry_out(tmp_path / "run", *ROUNDS, dataset=unlabelled)
    # The shapes are of three kinds.
    assert metrics["selection"]["n_components"] == 3
    assert metrics["scores"][0]["n_components"] == 3
    assert latentmix.load(tmp_path / "run").mixture_.means_.shape == (3, 2)


# Labels that teach


def test_so_many_labels_of_training_rows_are_shown_and_no_other(carry_out, tmp_path):
    metrics = carry_out(tmp_path / "nine", *ROUNDS, "labels.n_rows=9")
    assert metrics["naming"]["rows"] == 9
    assert metrics["naming"]["parts"] == ["train", "validation"]
    assert metrics["scores"][0]["accuracy_named"] == 1
    with pytest.raises(InputError, match=r"labels.n_rows=9999 but \d+ training rows have a label"):
        carry_out(tmp_path / "many", *ROUNDS, "labels.n_rows=9999")
    assert not (tmp_path / "many").exists()


def test_labels_that_teach_change_what_is_learned(carry_out, tmp_path):
    """Two labels count for a twentieth of all rows, so that the mixture is another."""
    two = (*ROUNDS, "labels.n_rows=2")
    means = []
    for teach in ("false", "true"):
        carry_out(tmp_path / teach, *two, f"labels.teach={teach}")
        means.append(latentmix.load(tmp_path / teach).mixture_.means_)
    assert not np.array_equal(*means)


def test_labels_that_teach_need_not_be_of_every_row(carry_out, split_shapes, tmp_path):
    """Where some rows have a label, those outside the test part teach and name."""
    known = np.arange(len(split_shapes.X)) % 4 == 0
    dataset = replace(split_shapes, labels=np.where(known, split_shapes.labels, -1))
    metrics = carry_out(tmp_path / "some", *ROUNDS, "labels.teach=true", dataset=dataset)
    outside = np.concatenate([dataset.fixed_split.train, dataset.fixed_split.validation])
    assert metrics["naming"]["rows"] == known[outside].sum()
    assert metrics["scores"][0]["accuracy_named"] == 1
    # Without any label it is a run like any other.
    dataset = replace(split_shapes, labels=None, class_names=())
    unlabelled = (*ROUNDS, "mixture.n_components=3", "labels.teach=true")
    assert carry_out(tmp_path / "none", *unlabelled, dataset=dataset)["naming"]["rows"] == 0
