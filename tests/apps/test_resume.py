"""`latentmix run --resume RUN`: a run that did not end goes on from what its folder says."""

import json
import shutil

import numpy as np
import pytest

from latentmix.apps import figures
from latentmix.apps.cli import cli, guarded

TIMES = {"metrics.json", "environment.json", "manifest.json", "report.html"}


def interrupted(*_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def small(small_settings):
    return [
        word for setting in (*small_settings, "vae.max_epochs=3") for word in ("--set", setting)
    ]


@pytest.fixture(scope="module")
def stopped(shapes_file, small, tmp_path_factory):
    """Return a folder that holds data, labels and a run of them that was stopped: not to change."""
    folder = tmp_path_factory.mktemp("resume")
    shutil.copy(shapes_file, folder / "shapes.npz")
    names = np.array(["eins", "zwei", "drei"])[np.arange(120) % 3]
    lines = [f"{row},{name}" for row, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["row,label", *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(figures, "draw_figures", interrupted)
        args = ["run", "shapes.npz", "--labels", "labels.csv", "--out", "run", "--seed", "3"]
        assert guarded(lambda: cli.main([*args, *small], standalone_mode=False)) == 130
    return folder


@pytest.fixture
def place(stopped, tmp_path):
    """Return a copy of that folder, to change, whose run reads the copied data."""
    folder = tmp_path / "place"
    shutil.copytree(stopped, folder)
    path = folder / "run" / "request.json"
    path.write_text(path.read_text().replace(str(stopped), str(folder)))
    return folder


def test_a_run_goes_on_from_its_own_request_to_the_same_bits(
    latentmix, place, small, tmp_path, bytes_in
):
    args = ("--labels", place / "labels.csv", "--out", tmp_path / "whole", "--seed", 3, *small)
    assert latentmix("run", place / "shapes.npz", *args)[0] == 0
    code, out, err = latentmix("run", "--resume", place / "run")
    assert (code, err) == (0, [])
    assert out[0] == f"Reading what {place / 'run'} was asked for, going on there"
    assert not any(line.startswith("epoch") for line in out), "the training had ended"
    ours, theirs = bytes_in(place / "run"), bytes_in(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} <= TIMES
    assert json.loads(ours["metrics.json"])["naming"]["classes"] == ["drei", "eins", "zwei"]


def test_a_finished_run_is_left_as_it_is(latentmix, place, bytes_in, assert_one_clear_line):
    assert latentmix("run", "--resume", place / "run")[0] == 0
    before = bytes_in(place)
    assert_one_clear_line(latentmix("run", "--resume", place / "run"), 74, "is finished")
    assert bytes_in(place) == before


def lose_data(place):
    (place / "shapes.npz").unlink()


def lose_labels(place):
    (place / "labels.csv").unlink()


def change_data(place):
    with np.load(place / "shapes.npz") as file:
        X, y = file["X"], file["y"]
    X[0, 0, 0] ^= 1
    np.savez(place / "shapes.npz", X=X, y=y)


def change_labels(place):
    path = place / "labels.csv"
    path.write_text(path.read_text().replace("0,eins", "0,zwei", 1))


def damage_request(place):
    (place / "run" / "request.json").write_text('{"recipe": ')


def another_record(place):
    (place / "run" / "request.json").write_text('{"recipe": {"name": "x"}}')


def forget_source(place):
    path = place / "run" / "request.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "source": None}))


def begin_nothing(place):
    (place / "run" / "request.json").unlink()


def take_away(place):
    shutil.rmtree(place / "run")


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lose_data, 66, "shapes.npz, which is not there any more"),
        (lose_labels, 66, "labels.csv, which is not there any more"),
        (change_data, 65, "its rows are others"),
        (change_labels, 65, "its labels are others"),
        (damage_request, 65, "no valid JSON"),
        (another_record, 65, "no request that this version reads"),
        (forget_source, 66, "does not say where its data are"),
        (begin_nothing, 66, "no run began there"),
        (take_away, 66, "is no folder"),
    ],
)
def test_what_cannot_go_on_is_refused_and_left_as_it_is(
    *, latentmix, place, bytes_in, change, code, text, assert_one_clear_line
):
    change(place)
    before = bytes_in(place)
    assert_one_clear_line(latentmix("run", "--resume", place / "run"), code, text)
    assert bytes_in(place) == before


def test_data_that_moved_are_named_anew_by_the_runs_own_command(latentmix, place, small):
    (place / "moved").mkdir()
    (place / "shapes.npz").rename(place / "moved" / "shapes.npz")
    args = ("--labels", place / "labels.csv", "--out", place / "run", "--seed", 3, *small)
    assert latentmix("run", place / "moved" / "shapes.npz", *args)[0] == 0
    source = json.loads((place / "run" / "request.json").read_text())["source"]
    assert source["data"] == str(place / "moved" / "shapes.npz")


@pytest.mark.parametrize(
    "beside", [["digits"], ["--seed", "1"], ["--out", "x"], ["--set", "a.b=1"]]
)
def test_other_options_beside_resume_are_refused(
    latentmix, place, beside, bytes_in, assert_one_clear_line
):
    before = bytes_in(place)
    answer = latentmix("run", "--resume", place / "run", *beside)
    assert_one_clear_line(answer, 2, "stands beside --resume")
    assert bytes_in(place) == before


def test_a_run_killed_at_its_first_write_leaves_a_usable_folder(latentmix, place, small, tmp_path):
    out = tmp_path / "new"
    out.mkdir()
    for name in (".probe", "..probe.k3j2h1aa", ".request.json.k3j2h1aa"):
        (out / name).write_bytes(b'{"reci')
    assert latentmix("run", place / "shapes.npz", "--out", out, *small)[0] == 0
    assert [path for path in out.rglob(".*") if path.is_file()] == []
