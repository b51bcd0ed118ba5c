"""What is done with a finished run: named again, asked about new rows, scored."""

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import latentmix
from latentmix.errors import InputError, IntegrityError, MissingError, WriteError
from latentmix.runs.evaluate import evaluate_run
from latentmix.runs.label import label_run
from latentmix.runs.predict import COLUMNS, predict_run
from latentmix.storage.manifest import open_sealed

# Rows 0 to 82 and 101 of the official split train, 83 to 100 validate, 102 to 119 test.
KINDS = ("bar", "pillar", "square")


def draw_nothing(folder):
    """Draw no pictures."""


def json_of(path):
    return json.loads(path.read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=str):
    return np.array([kind(row[name]) for row in rows])


@pytest.fixture
def mine(unnamed, tmp_path):
    """Return a copy, to be changed, of a finished run without labels."""
    return shutil.copytree(unnamed, tmp_path / "runs" / "mine")


@pytest.fixture
def label_file(tmp_path):
    """Return a function that writes a label file: true kinds, or those given."""

    def write(rows, names=KINDS):
        path = tmp_path / "labels.csv"
        path.write_text("row,label\n" + "".join(f"{row},{names[row % 3]}\n" for row in rows))
        return path

    return write


# Naming later


def test_naming_later_is_naming_at_once(split_shapes, carry_out, mine, label_file, bytes_in):
    """Everything that holds names has the bits of a run that had the labels from the start."""
    at_once = mine.parent.parent / "at-once"
    expected = carry_out(at_once, dataset=split_shapes)
    metrics = label_run(mine, label_file(range(120)), draw=draw_nothing)
    one, other = bytes_in(at_once), bytes_in(mine)
    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    # The request says with which labels a run was asked for; times differ.
    assert differing <= {"request.json", "metrics.json", "manifest.json"}
    assert json_of(mine / "metrics.json") == metrics
    assert metrics["naming"] == expected["naming"]
    assert metrics["scores"][0] == expected["scores"][0]
    assert metrics["validation_scores"][0] == expected["validation_scores"][0]
    assert metrics["test"] == expected["test"]
    assert metrics["trust"] == expected["trust"]


def test_a_few_labels_name_all_rows(mine, label_file, split_shapes):
    metrics = label_run(mine, label_file([0, 1, 2, 90, 91, 110]), draw=draw_nothing)
    assert metrics["naming"] == {
        "rows": 5,
        "parts": ["train", "validation"],
        "classes": [*KINDS],
    }
    assert metrics["scores"][0]["labelled_rows"] == 1
    assert metrics["validation_scores"][0]["labelled_rows"] == 2
    named = latentmix.load(mine).predict_class(split_shapes.X)
    np.testing.assert_array_equal(named, np.array(KINDS)[np.arange(120) % 3])
    rows = table(mine / "rows.csv")
    np.testing.assert_array_equal(column(rows, "label"), named)
    assert [int(row["row"]) for row in rows if row["known_label"]] == [0, 1, 2, 90, 91, 110]


def test_new_names_replace_the_old_and_change_nothing_that_was_trained(mine, label_file, bytes_in):
    label_run(mine, label_file(range(0, 90)), draw=draw_nothing)
    before = bytes_in(mine)
    label_run(mine, label_file(range(0, 90), ("x", "y", "z")), draw=draw_nothing)
    after = bytes_in(mine)
    assert latentmix.load(mine).classes_.tolist() == ["x", "y", "z"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "metrics.json",
        "manifest.json",
        "rows.csv",
        "model/model.json",
        "figures/clusters.csv",
        "figures/latent_space.csv",
        "figures/samples.csv",
        "figures/class_samples.csv",
    }
    assert before.keys() == after.keys()


def test_labels_of_test_rows_are_scored_and_name_nothing(mine, label_file, bytes_in):
    right = shutil.copytree(mine, mine.with_name("right"))
    few = label_file([0, 1, 2, 102, 103, 104])
    metrics = label_run(right, few, draw=draw_nothing)
    assert metrics["scores"][0]["accuracy_named"] == 1
    few.write_text("0,bar\n1,pillar\n2,square\n102,pillar\n103,square\n104,bar\n")
    metrics = label_run(mine, few, draw=draw_nothing)
    assert metrics["scores"][0]["accuracy_named"] == 0
    for name in ("model/model.json", "model/mixture.safetensors"):
        assert bytes_in(mine)[name] == bytes_in(right)[name]


def test_tables_of_classes_come_and_go_with_labelled_test_rows(mine, label_file):
    label_run(mine, label_file([0, 1, 2, 110]), draw=draw_nothing)
    counts = table(mine / "figures" / "confusion.csv")
    assert [row["true"] for row in counts if row["count"] != "0"] == ["square"]
    (answered,) = table(mine / "figures" / "risk_coverage.csv")
    assert (float(answered["coverage"]), float(answered["error"])) == (1, 0)
    label_run(mine, label_file([0, 1, 2]), draw=draw_nothing)
    for name in ("confusion", "risk_coverage"):
        assert not (mine / "figures" / f"{name}.csv").exists()
        assert f"figures/{name}.csv" not in open_sealed(mine, "run").names


def test_pictures_are_drawn_again_and_sealed(mine, label_file):
    def draw(folder):
        assert folder != mine
        (folder / "figures" / "clusters.png").write_bytes(b"new picture")

    label_run(mine, label_file([0, 1, 2]), draw=draw)
    assert open_sealed(mine, "run").read("figures/clusters.png") == b"new picture"


def test_mixtures_that_were_not_kept_lose_what_labels_decide(finished, label_file, tmp_path):
    mine = shutil.copytree(finished, tmp_path / "runs" / "mine")
    before = json_of(mine / "metrics.json")["scores"]
    after = label_run(mine, label_file(range(0, 120, 2)), draw=draw_nothing)["scores"]
    assert after[0].keys() == before[0].keys()
    assert after[1] == {
        key: before[1][key]
        for key in ("n_components", "latents", "n_rounds", "log_likelihood", "n_iter", "converged")
    }


def test_a_link_to_a_run_stays_a_link(mine, label_file, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(mine, target_is_directory=True)
    label_run(link, label_file([0, 1, 2]), draw=draw_nothing)
    assert link.is_symlink()
    assert latentmix.load(mine).classes_.tolist() == [*KINDS]


BAD_LABELS = {
    "a row that is not there": ("120,bar\n", InputError, "'120' is no row of the data"),
    "no label": ("row,label\n0,\n", InputError, "holds no label"),
    "test rows only": ("102,bar\n119,pillar\n", InputError, r"test rows only.*rows\.csv"),
    "two labels for a row": ("0,bar\n0,pillar\n", InputError, "labelled 'pillar', but 'bar'"),
    "no CSV": ('0,"bar\n', InputError, "is no CSV"),
    "no file": (None, MissingError, "No such file"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_a_bad_label_file_leaves_every_byte_as_it_was(mine, tmp_path, bytes_in, kind):
    text, error, match = BAD_LABELS[kind]
    if text is not None:
        (tmp_path / "labels.csv").write_text(text)
    before = bytes_in(tmp_path)
    with pytest.raises(error, match=match):
        label_run(mine, tmp_path / "labels.csv", draw=draw_nothing)
    assert bytes_in(tmp_path) == before
    assert [*mine.parent.iterdir()] == [mine]


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt, RuntimeError("no fonts"), WriteError("disk full")]
)
def test_naming_that_stops_half_way_leaves_the_run_as_it_was(mine, label_file, bytes_in, raised):
    def draw(folder):
        raise raised

    before, labels = bytes_in(mine), label_file([0, 1, 2])
    with pytest.raises(type(raised) if isinstance(raised, Exception) else raised):
        label_run(mine, labels, draw=draw)
    assert bytes_in(mine) == before
    assert [*mine.parent.iterdir()] == [mine]


def test_naming_on_a_full_disk_leaves_the_run_as_it_was(mine, label_file, bytes_in, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before, labels = bytes_in(mine), label_file([0, 1, 2])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=os.strerror(errno.ENOSPC)):
        label_run(mine, labels, draw=draw_nothing)
    assert bytes_in(mine) == before
    assert [*mine.parent.iterdir()] == [mine]


def test_a_changed_run_is_neither_named_nor_asked(mine, label_file, shapes_file, tmp_path):
    path = mine / "latents.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for use in (
        lambda: label_run(mine, label_file([0, 1, 2]), draw=draw_nothing),
        lambda: predict_run(mine, str(shapes_file), tmp_path / "out.csv"),
        lambda: evaluate_run(mine, str(shapes_file)),
    ):
        with pytest.raises(IntegrityError, match=r"latents\.safetensors was changed"):
            use()
    assert not (tmp_path / "out.csv").exists()


def test_a_run_that_did_not_end_is_no_run(mine, label_file):
    (mine / "manifest.json").unlink()
    with pytest.raises(MissingError, match="no finished run folder"):
        label_run(mine, label_file([0, 1, 2]), draw=draw_nothing)


# Asking about rows


@pytest.fixture
def new_shapes(tmp_path):
    """Return the path of three new shapes and a row of noise, and their rows."""
    rng = np.random.RandomState(1)
    X = np.zeros((4, 8, 8), np.uint8)
    X[0, :4] = X[1, :, :4] = X[2, 2:6, 2:6] = 225
    X[3] = rng.randint(0, 256, (8, 8))
    np.save(tmp_path / "new.npy", X)
    return tmp_path / "new.npy", X.reshape(4, 64)


def test_predictions_are_the_models_answers(finished, new_shapes, tmp_path):
    path, X = new_shapes
    out = tmp_path / "deep" / "out.csv"
    assert predict_run(finished, str(path), out) == 4
    rows, model = table(out), latentmix.load(finished)
    assert list(rows[0]) == [*COLUMNS]
    assert column(rows, "row", int).tolist() == column(rows, "id", int).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(column(rows, "cluster", int), model.predict(X))
    np.testing.assert_array_equal(column(rows, "label"), model.predict_class(X))
    assert column(rows, "label")[:3].tolist() == [*KINDS]
    np.testing.assert_allclose(
        column(rows, "probability", float), model.predict_class_proba(X).max(axis=1), atol=1e-4
    )
    scores = column(rows, "anomaly_score", float)
    np.testing.assert_allclose(scores, model.anomaly_scores(X), atol=1e-3)
    assert scores[3] > scores[:3].max()
    p_values = column(rows, "p_value", float)
    np.testing.assert_allclose(p_values, model.anomaly_p_values(X), atol=1e-6)


def test_before_naming_the_label_is_blank_and_the_probability_the_clusters(
    unnamed, new_shapes, tmp_path
):
    path, X = new_shapes
    predict_run(unnamed, str(path), tmp_path / "out.csv")
    rows = table(tmp_path / "out.csv")
    assert column(rows, "label").tolist() == [""] * 4
    expected = latentmix.load(unnamed).predict_proba(X).max(axis=1)
    np.testing.assert_allclose(column(rows, "probability", float), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "held"),
    [((5, 4, 4), "images of 4x4"), ((5, 65), "rows of 65 columns"), ((5, 8, 8, 3), "8x8x3")],
)
def test_data_of_another_shape_are_refused_and_the_old_file_stays(finished, tmp_path, shape, held):
    np.save(tmp_path / "other.npy", np.zeros(shape, np.uint8))
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(InputError, match=rf"{held}\. Expected images of 8x8"):
        predict_run(finished, str(tmp_path / "other.npy"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"


def test_what_is_not_there_is_missing(finished, shapes_file, tmp_path):
    with pytest.raises(MissingError, match="is no run folder"):
        predict_run(tmp_path / "none", str(shapes_file), tmp_path / "out.csv")
    with pytest.raises(MissingError, match="neither a file or folder"):
        predict_run(finished, str(tmp_path / "none.npy"), tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


# Scoring


def test_its_own_data_are_scored_on_the_test_rows_as_the_run_was(finished, shapes_file):
    scores, metrics = evaluate_run(finished, str(shapes_file)), json_of(finished / "metrics.json")
    assert (scores["part"], scores["rows"], scores["labelled_rows"]) == ("test", 18, 18)
    assert scores["density"] == metrics["test"]
    own = metrics["scores"][0]
    shared = scores.keys() & own.keys()
    assert shared >= {"accuracy_named", "accuracy_hungarian", "nmi", "ari", "purity"}
    assert {key: scores[key] for key in shared} == {key: own[key] for key in shared}


def test_other_data_are_scored_on_all_rows(finished, shapes, tmp_path):
    rows = np.arange(30)
    names = np.array(KINDS)[rows % 3]
    # Two of thirty labels are wrong on purpose.
    names[:2] = "square"
    np.savez(tmp_path / "other.npz", X=shapes.X[:30].reshape(-1, 8, 8), y=names)
    scores = evaluate_run(finished, str(tmp_path / "other.npz"))
    assert (scores["part"], scores["rows"], scores["labelled_rows"]) == ("all", 30, 30)
    assert scores["accuracy_named"] == pytest.approx(28 / 30)
    assert scores["accuracy_hungarian"] == pytest.approx(28 / 30)


def test_data_without_labels_have_a_density_and_no_accuracy(unnamed, new_shapes):
    scores = evaluate_run(unnamed, str(new_shapes[0]))
    assert scores["labelled_rows"] == 0
    assert "nmi" not in scores
    assert scores["density"]["elbo"] == pytest.approx(
        latentmix.load(unnamed).vae_.score(new_shapes[1]), rel=0.2
    )


def test_a_label_file_takes_the_place_of_the_datas_labels(finished, shapes_file, shapes, tmp_path):
    test = [row for row in table(finished / "rows.csv") if row["part"] == "test"]
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{row['row']},bar\n" for row in test))
    scores = evaluate_run(finished, str(shapes_file), labels)
    bars = np.mean([row["known_label"] == "bar" for row in test])
    assert scores["labelled_rows"] == 18
    assert scores["accuracy_named"] == pytest.approx(bars)


def test_scoring_changes_nothing(finished, shapes_file, bytes_in):
    before = bytes_in(finished)
    evaluate_run(finished, str(shapes_file))
    assert bytes_in(finished) == before


def test_files_of_others_in_a_run_stay(mine, label_file):
    (mine / "predictions.csv").write_text("precious")
    (mine / "notes").mkdir()
    (mine / "notes" / ".draft").write_text("precious too")
    label_run(mine, label_file([0, 1, 2]), draw=draw_nothing)
    assert (mine / "predictions.csv").read_text() == "precious"
    assert (mine / "notes" / ".draft").read_text() == "precious too"
    assert "predictions.csv" not in open_sealed(mine, "run").names


def test_a_run_can_be_named_from_within(mine, label_file, monkeypatch):
    labels = label_file([0, 1, 2])
    monkeypatch.chdir(mine)
    label_run(Path(), labels, draw=draw_nothing)
    assert open_sealed(mine, "run").json("metrics.json")["naming"]["rows"] == 3
