"""A sitting: names go into p(y|k), actions can be undone, and the journal brings all of it back."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from latentmix.errors import InputError, IntegrityError
from latentmix.kernels.naming import name_components
from latentmix.runs import sitting as module
from latentmix.runs.opened import open_run, own_data
from latentmix.runs.sitting import JOURNAL, Sitting


@pytest.fixture(scope="module")
def run(finished):
    return open_run(finished)


@pytest.fixture
def sitting(run, tmp_path):
    return Sitting(run, tmp_path)


def again(sitting):
    """Return the sitting that the journal comes to."""
    return Sitting(sitting.run, sitting.path.parent)


def lines_of(sitting):
    return {line["cluster"]: line for line in sitting.state.record["clusters"]}


def test_it_begins_with_the_names_of_the_run(sitting, run):
    record, trust = sitting.state.record, run.sealed.json("metrics.json")
    assert record["classes"] == ["bar", "pillar", "square"]
    assert record["accuracy"] == pytest.approx(trust["scores"][0]["accuracy_named"])
    assert record["named"] == 1
    model, rows = run.model, sitting.rows
    proba = model.mixture_.predict_proba(rows.means)
    np.testing.assert_array_equal(sitting.state.found.clusters, proba.argmax(axis=1))
    said = model.classes_of(model.class_proba_of(proba)).tolist()
    assert [record["classes"][at] for at in sitting.state.found.classes] == said
    assert not (sitting.can_undo or sitting.can_redo)


def test_clusters_named_one_by_one_come_to_the_accuracy_of_the_run(sitting):
    whole = sitting.state.record["accuracy"]
    known = {cluster: line["name"] for cluster, line in lines_of(sitting).items()}
    sitting.act({"do": "forget"})
    assert sitting.state.record["accuracy"] == 0
    assert sitting.state.record["named"] == 0
    accuracies = []
    for cluster, name in known.items():
        sitting.act({"do": "name", "clusters": [cluster], "name": name})
        accuracies.append(sitting.state.record["accuracy"])
        assert lines_of(sitting)[cluster]["name"] == name
    assert accuracies == sorted(accuracies)
    assert accuracies[-1] == pytest.approx(whole)
    assert [n for n, _ in sitting.curve] == [0, 0, 1, 2, 3]


def test_the_name_of_a_cluster_counts_as_that_of_all_its_rows(sitting):
    sitting.act({"do": "forget"})
    state = sitting.act({"do": "name", "clusters": [0], "name": "a"})
    state = sitting.act({"do": "label", "rows": [0, 1, 2], "names": ["b", "c", "b"]})
    responsibilities = state.seen.responsibilities
    size = (responsibilities.argmax(axis=1) == 0).sum()
    counts = np.zeros((3, 3))
    counts[0, 0] = size
    one_hot = np.eye(3)[[1, 2, 1]]
    expected = name_components(responsibilities[:3].astype(float), one_hot, 1.0, counts)
    np.testing.assert_allclose(state.model.class_probs_, expected.class_probs)
    assert state.model.labelled_rows_.sum() == pytest.approx(size + 3)


def test_a_label_is_one_more_labelled_row_and_its_row_shows_it(sitting, run):
    (row,) = sitting.rows.naming[:1].tolist()
    before = sitting.state.model.labelled_rows_.sum()
    state = sitting.act({"do": "label", "rows": [row], "names": ["other"]})
    assert state.model.labelled_rows_.sum() == pytest.approx(before)  # in place of the data's
    found = state.found
    assert found.names[found.classes[row]] == "other"
    assert found.probabilities[row] == 1
    state = sitting.act({"do": "label", "rows": [row], "names": [" "]})
    assert "other" not in state.found.names
    np.testing.assert_allclose(state.model.class_probs_, run.model.class_probs_)


def test_merging_adds_probabilities_up_and_splitting_parts_them_again(sitting):
    before = sitting.state
    state = sitting.act({"do": "merge", "clusters": [2, 0]})
    assert sorted(lines_of(sitting)) == [0, 1]
    sums = before.seen.responsibilities[:, [0, 2]].sum(axis=1)
    own = state.found.clusters == 0
    np.testing.assert_allclose(state.found.cluster_probabilities[own], sums[own], rtol=1e-6)
    np.testing.assert_array_equal(state.model.class_probs_, before.model.class_probs_)
    assert sitting.act({"do": "split", "cluster": 0}).record == before.record


def test_splitting_one_component_fits_two_inside_it(sitting):
    before = sitting.state
    state = sitting.act({"do": "split", "cluster": 1})
    mixture, whole = state.said.mixture, before.said.mixture
    assert mixture.n_components_ == 4
    assert mixture.weights_[[1, 3]].sum() == pytest.approx(whole.weights_[1], rel=1e-5)
    np.testing.assert_allclose(mixture.means_[[0, 2]], whole.means_[[0, 2]], rtol=1e-5)
    assert lines_of(sitting)[3]["rows"] > 0
    assert sitting.act({"do": "undo"}).record == before.record


def test_what_is_done_is_undone_and_done_again_and_all_of_it_is_in_the_journal(sitting):
    records = [sitting.state.record]
    actions = [
        {"do": "name", "clusters": [1], "name": "x"},
        {"do": "label", "rows": [3, 4], "names": ["y", "x"]},
        {"do": "split", "cluster": 2},
        {"do": "merge", "clusters": [0, 3]},
        {"do": "forget"},
    ]
    for action in actions:
        records.append(sitting.act(action).record)
        assert again(sitting).state.record == records[-1]
    for record in records[-2::-1]:
        assert sitting.act({"do": "undo"}).record == record
        assert again(sitting).state.record == record
    for record in records[1:4]:
        assert sitting.act({"do": "redo"}).record == record
    sitting.act({"do": "name", "clusters": [0], "name": "z"})
    assert not sitting.can_redo
    assert again(sitting).state.record == sitting.state.record
    with pytest.raises(InputError, match="nothing to redo"):
        sitting.act({"do": "redo"})


def test_a_journal_cut_in_mid_line_loses_no_name(sitting):
    for number, name in enumerate("abc"):
        sitting.act({"do": "name", "clusters": [number], "name": name})
    whole = sitting.path.read_bytes()
    sitting.path.write_bytes(whole + b'\n{"do":"name","clusters":[0],"na')
    back = again(sitting)
    assert back.state.said.names == {0: "a", 1: "b", 2: "c"}
    assert len(back.left_out) == 1 and "cut short" in back.left_out[0]
    back.act({"do": "name", "clusters": [0], "name": "d"})
    assert again(sitting).state.said.names == {0: "d", 1: "b", 2: "c"}


def test_nothing_is_done_that_is_not_in_the_journal(sitting, monkeypatch):
    def full(path, entry):
        raise OSError("full")

    before, content = sitting.state.record, sitting.path.read_bytes()
    monkeypatch.setattr(module, "append_entry", full)
    with pytest.raises(OSError, match="full"):
        sitting.act({"do": "name", "clusters": [0], "name": "d"})
    assert sitting.state.record == before
    assert sitting.path.read_bytes() == content


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"do": "name", "clusters": [9], "name": "x"}, "no cluster 9. Choose of 0, 1, 2"),
        ({"do": "name", "clusters": [0], "name": "x" * 81}, "at most 80 characters"),
        ({"do": "name", "clusters": [0], "name": "a\nb"}, "is no name"),
        ({"do": "name", "clusters": [], "name": "a"}, "No cluster was given"),
        ({"do": "name", "clusters": [0.0], "name": "a"}, "no cluster 0.0"),
        ({"do": "merge", "clusters": [True, 0]}, "no cluster True"),
        ({"do": "name", "cluster": 0}, "is no action"),
        ({"do": "name", "clusters": "0", "name": "x"}, "is no action"),
        ({"do": "label", "rows": [120], "names": ["x"]}, "row number from 0 to 119"),
        ({"do": "label", "rows": [-1], "names": ["x"]}, "row number from 0 to 119"),
        ({"do": "label", "rows": [True], "names": ["x"]}, "row number from 0 to 119"),
        ({"do": "label", "rows": [0, 1], "names": ["x"]}, "2 rows and 1 names"),
        ({"do": "label", "rows": [], "names": []}, "one row at least"),
        ({"do": "label", "rows": [0], "names": [7]}, "and text"),
        ({"do": "merge", "clusters": [1, 1]}, "two at least"),
        ({"do": "merge", "clusters": [1, None]}, "no cluster None"),
        ({"do": "split", "cluster": 5}, "no cluster 5"),
        ({"do": "undo"}, "nothing to undo"),
        ({"do": "erase"}, "is no action"),
        ({}, "is no action"),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_no_trace(sitting, action, said):
    content = sitting.path.read_bytes()
    with pytest.raises(InputError, match=said):
        sitting.act(action)
    assert sitting.path.read_bytes() == content
    assert not sitting.can_undo


def test_another_runs_journal_is_refused_and_kept(sitting, unnamed):
    other = open_run(unnamed)
    sitting.act({"do": "name", "clusters": [0], "name": "x"})
    content = sitting.path.read_bytes()
    with pytest.raises(IntegrityError, match="another run's clusters"):
        Sitting(other, sitting.path.parent)
    newer = json.loads(content.split(b"\n")[1]) | {"format": 2}
    sitting.path.write_text(json.dumps(newer) + "\n")
    with pytest.raises(IntegrityError, match="has format 2"):
        again(sitting)


def test_an_action_of_a_later_version_is_left_out_and_said(sitting):
    sitting.act({"do": "name", "clusters": [0], "name": "x"})
    with sitting.path.open("a") as file:
        file.write('\n{"do": "dance"}\n')
    back = again(sitting)
    assert back.state.said.names == {0: "x"}
    assert "no action" in back.left_out[0]


def test_a_run_without_labels_has_no_accuracy_and_takes_names(unnamed, tmp_path):
    sitting = Sitting(open_run(unnamed), tmp_path)
    record = sitting.state.record
    assert (record["classes"], record["accuracy"], record["named"]) == ([], None, 0)
    assert sitting.curve == []
    record = sitting.act({"do": "name", "clusters": [2], "name": "x"}).record
    assert record["classes"] == ["x"]
    assert record["named"] == pytest.approx(lines_of(sitting)[2]["rows"] / 120)


def test_data_that_moved_or_changed_are_not_taken_for_the_runs_own(finished, shapes_file, tmp_path):
    run = open_run(finished)
    own = run.request.get("source")
    assert own_data(run) is None or own["data"] == str(shapes_file)
    other = tmp_path / "other.npz"
    shutil.copy(shapes_file, other)
    run.request["source"] = {"data": str(other), "labels": None}
    np.testing.assert_array_equal(own_data(run).X, np.load(other)["X"].reshape(120, -1))
    np.savez(other, X=np.zeros((120, 8, 8), np.uint8))
    assert own_data(run) is None
    other.unlink()
    assert own_data(run) is None


def test_the_journal_lies_beside_the_run(run, tmp_path):
    assert Sitting(run, tmp_path).path == tmp_path / JOURNAL


def test_names_of_any_letters_are_kept_and_spaces_are_one_kind(sitting):
    names = ["नमस्\u200cते", "👩\u200d🔬", "a\u00a0 b"]
    sitting.act({"do": "label", "rows": [0, 1, 2], "names": names})
    assert [sitting.state.said.label_of(row) for row in range(4)] == [*names[:2], "a b", None]


def test_a_column_of_other_things_is_no_column_of_labels(sitting, monkeypatch):
    monkeypatch.setattr(module, "MOST_CLASSES", 100)
    with pytest.raises(InputError, match="would be 120 classes"):
        sitting.act(
            {"do": "label", "rows": list(range(120)), "names": [f"n{i}" for i in range(120)]}
        )
    assert not sitting.can_undo


def test_several_clusters_are_named_and_undone_at_once(sitting):
    before = sitting.state.record
    sitting.act({"do": "name", "clusters": [0, 2], "name": "x"})
    assert sitting.state.said.names == {0: "x", 2: "x"}
    assert sitting.act({"do": "undo"}).record == before


def test_a_journal_that_somebody_made_up_does_no_harm(sitting, tmp_path):
    with sitting.path.open("ab") as file:
        file.write(
            b"\n".join([b"[" * 200_000, *[b"junk"] * 500, b'{"do":"split","cluster":1e400}'])
        )
    back = again(sitting)
    assert len(back.left_out) == 11 and back.left_out[-1] == "and so were 492 more"
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    sitting.path.unlink()
    sitting.path.symlink_to(target)
    with pytest.raises(IntegrityError, match="no plain file"):
        again(sitting)
    assert target.read_text() == "mine"
