"""Two runs and one folder: the second is refused, the first does not notice."""

import os
import shutil
import subprocess
import sys

import pytest

from latentmix.errors import WriteError
from latentmix.runs.label import label_run
from latentmix.storage.files import alone_in, hold_folder
from latentmix.training.events import Stage, Steps

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")

AGAIN = "from latentmix.apps.cli import main; main()"


def in_training(event):
    return isinstance(event, Steps) and event.epoch == 5


def at_scoring(event):
    return isinstance(event, Stage) and "Scoring" in event.message


@pytest.mark.parametrize("moment", [in_training, at_scoring])
def test_a_second_run_of_this_process_is_refused(carry_out, finished, tmp_path, bytes_in, moment):
    tries = []

    def listener(event):
        if moment(event) and not tries:
            before = bytes_in(tmp_path)
            tries.append(event)
            with pytest.raises(WriteError, match="is in use: another run is writing there"):
                carry_out(tmp_path / "run")
            assert bytes_in(tmp_path) == before

    carry_out(tmp_path / "run", listener=listener)
    assert tries
    kept, theirs = bytes_in(tmp_path / "run"), bytes_in(finished)
    assert kept.keys() == theirs.keys()
    assert kept["model/vae.safetensors"] == theirs["model/vae.safetensors"]


def test_a_second_process_is_refused_in_one_line(carry_out, shapes_file, tmp_path, bytes_in):
    found = []

    def listener(event):
        if in_training(event) and not found:
            before = bytes_in(tmp_path)
            args = ["run", str(shapes_file), "--out", str(tmp_path / "run")]
            found.append(
                subprocess.run(
                    [sys.executable, "-c", AGAIN, *args],
                    capture_output=True,
                    text=True,
                    check=False,
                )
            )
            assert bytes_in(tmp_path) == before

    carry_out(tmp_path / "run", listener=listener)
    assert found[0].returncode == 74
    assert found[0].stderr.count("\n") == 1
    assert "is in use" in found[0].stderr


def test_a_run_is_not_named_twice_at_once(finished, tmp_path, bytes_in):
    run, labels = tmp_path / "run", tmp_path / "labels.csv"
    shutil.copytree(finished, run)
    labels.write_text("row,label\n" + "".join(f"{row},x\n" for row in range(120)))
    before = bytes_in(run)
    with alone_in(run), pytest.raises(WriteError, match="is in use"):
        label_run(run, labels, draw=lambda folder: None)
    assert bytes_in(run) == before


def test_a_stopped_run_has_let_go_of_its_folder(carry_out, tmp_path):
    def listener(event):
        if at_scoring(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", listener=listener)
    with alone_in(tmp_path / "run"):
        pass


def test_a_folder_that_was_replaced_meanwhile_is_not_held_for_the_new_one(tmp_path, monkeypatch):
    folder, open_folder = tmp_path / "run", os.open
    folder.mkdir()

    def opened_too_early(path, flags):
        descriptor = open_folder(path, flags)
        folder.rename(tmp_path / "old")
        folder.mkdir()
        return descriptor

    monkeypatch.setattr(os, "open", opened_too_early)
    with pytest.raises(BlockingIOError):
        hold_folder(folder)
