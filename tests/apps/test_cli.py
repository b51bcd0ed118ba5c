"""The command line: what it says, what it writes, and the exit code of each way to fail."""

import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentmix.apps import signals
from latentmix.apps.cli import EXIT_CODES, cli
from latentmix.errors import LatentmixError
from latentmix.runs.predict import COLUMNS
from latentmix.storage.manifest import open_sealed


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def assert_one_clear_line(code, expected, err):
    assert code == expected
    assert len(err) == 1
    assert err[0].startswith("latentmix: ")
    assert "Traceback" not in err[0]
    assert len(err[0].split(". ")) >= 2, "received, expected, remedy"


def test_run_says_first_what_it_reads_and_where_it_writes(latentmix, shapes_file, small, tmp_path):
    code, out, err = latentmix("run", shapes_file, "--out", tmp_path / "out", *small)
    assert (code, err) == (0, [])
    assert out[0] == f"Reading {shapes_file}, writing to {tmp_path / 'out'}"
    assert sum(line.startswith("epoch ") for line in out) == 30, "a line an epoch"
    assert any("named" in line and "Hungarian" in line for line in out)


def test_a_run_draws_a_picture_for_every_table(run_folder):
    tables = {path.stem for path in (run_folder / "figures").glob("*.csv")}
    pictures = {path.stem for path in (run_folder / "figures").glob("*.png")}
    # Rings of the latent map are no picture of their own, and of these rows none is mistaken.
    assert tables - {"ellipses", "mistakes"} == pictures
    assert pictures == {
        *("reconstructions", "samples", "class_samples", "gallery", "strange"),
        *("traversals", "interpolation", "latent_space", "clusters", "confusion"),
        *("reliability", "risk_coverage", "labels_spent", "loss", "kl", "em"),
    }
    for name in pictures:
        with Image.open(run_folder / "figures" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) >= 150
        assert pixels.std() > 5, f"{name}.png is blank"
    assert {f"figures/{name}.png" for name in pictures} <= set(open_sealed(run_folder, "run").names)


def test_a_table_is_drawn_too(latentmix, small, tmp_path):
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(90, 5)) + 6 * (np.arange(90) % 3)[:, None]
    names = ["low", "mid", "high"]
    lines = [",".join([*(f"{v:.4f}" for v in row), names[i % 3]]) for i, row in enumerate(rows)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d,e,kind", *lines]) + "\n")
    args = ("--set", "data.label_column=kind", "--out", tmp_path / "run")
    code, _, err = latentmix("run", tmp_path / "t.csv", *small, *args)
    assert (code, err) == (0, [])
    drawn = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert len(drawn) == 16
    assert "mistakes" not in drawn, "of tables it is no picture"
    code, _, _ = latentmix("sample", tmp_path / "run", "-o", tmp_path / "new.csv", "-n", 4)
    assert code == 0
    assert list(table(tmp_path / "new.csv")[0]) == ["a", "b", "c", "d", "e"]
    code, _, err = latentmix("sample", tmp_path / "run", "-o", tmp_path / "new.png")
    assert_one_clear_line(code, 2, err)


def test_a_table_with_text_is_clustered_and_drawn_in_its_own_words(latentmix, small, tmp_path):
    rng = np.random.RandomState(0)
    kinds = np.arange(90) % 3
    lines = [
        f"{6 * kind + rng.randn():.3f},{rng.poisson(2 + 9 * kind)},{['red', 'lime', 'blue'][kind]}"
        for kind in kinds
    ]
    (tmp_path / "t.csv").write_text("\n".join(["size,visits,colour", *lines]) + "\n")
    columns = ("--set", 'data.columns={visits = "count"}')
    args = ("run", tmp_path / "t.csv", *small, *columns, "--out", tmp_path / "run")
    code, out, err = latentmix(*args)
    assert (code, err) == (0, [])
    assert "Read 90 rows of 3 columns (1 categorical: colour), no labels" in out[1]
    code, _, _ = latentmix("sample", tmp_path / "run", "-o", tmp_path / "new.csv", "-n", 40)
    drawn = table(tmp_path / "new.csv")
    assert code == 0 and {row["colour"] for row in drawn} <= {"red", "lime", "blue"}
    assert all(row["visits"].isdigit() for row in drawn)
    code, _, _ = latentmix(
        "predict", tmp_path / "run", tmp_path / "t.csv", "-o", tmp_path / "p.csv"
    )
    assert code == 0 and len(table(tmp_path / "p.csv")) == 90
    (tmp_path / "u.csv").write_text("size,visits,colour\n1,2,violet\n")
    code, _, err = latentmix("predict", tmp_path / "run", tmp_path / "u.csv", "-o", tmp_path / "q")
    assert_one_clear_line(code, 65, err)
    code, _, err = latentmix("sample", tmp_path / "run", "-o", tmp_path / "new.npy")
    assert_one_clear_line(code, 2, err)
    (tmp_path / "m.csv").write_text("size,colour\n1,red\n2,3\n3,red\n4,red\n")
    code, _, err = latentmix("run", tmp_path / "m.csv", "--out", tmp_path / "other")
    assert_one_clear_line(code, 65, err)
    assert "data.columns={colour" in err[0] and not (tmp_path / "other").exists()


def test_convolutions_are_for_images_alone(latentmix, small, shapes_file, tmp_path):
    settings = [*small, "--set", "vae.channels=[4]"]
    assert latentmix("run", shapes_file, *settings, "--out", tmp_path / "run")[0] == 0
    kept = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert kept["vae"]["architecture"]["channels"] == [4]
    path = tmp_path / "table.csv"
    rows = np.random.RandomState(0).normal(size=(60, 3))
    np.savetxt(path, rows, delimiter=",", header="a,b,c", comments="")
    code, _, err = latentmix("run", path, *settings, "--out", tmp_path / "refused")
    assert_one_clear_line(code, 65, err)
    assert "vae.channels=[4] asks for convolutions, but" in err[0]
    assert not (tmp_path / "refused").exists()


def test_a_table_without_classes_is_run_with_as_many_components_as_it_calls_for(
    latentmix, small, tmp_path
):
    rng = np.random.RandomState(0)
    rows = rng.normal(size=(120, 4)) + 12 * np.eye(4)[np.arange(120) % 4]
    lines = [",".join(f"{v:.4f}" for v in row) for row in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d", *lines]) + "\n")
    args = ("--set", "mixture.n_components=classes", "--out", tmp_path / "run")
    code, out, err = latentmix("run", tmp_path / "t.csv", *small, *args)
    assert (code, err) == (0, [])
    said = [line for line in out if line.startswith("Chose ")]
    assert len(said) == 2, "once when it is chosen, once at the end"
    assert "components (tried 2 to " in said[0]
    assert f"{said[0].split()[1]} clusters found" in out
    with Image.open(tmp_path / "run" / "figures" / "selection.png") as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_predict_answers_for_many_files_once(latentmix, run_folder, shapes, tmp_path):
    for number in range(3):
        rows = shapes.X[40 * number : 40 * (number + 1)].reshape(-1, 8, 8)
        np.save(tmp_path / f"part{number}.npy", rows)
    pattern, out = tmp_path / "part*.npy", tmp_path / "answers"
    code, said, err = latentmix("predict", run_folder, pattern, "-o", out, "--shard", "2/2")
    assert (code, err) == (0, [])
    assert [path.name for path in sorted(out.glob("*.csv"))] == ["part1.csv"]
    code, said, _ = latentmix("predict", run_folder, pattern, "-o", out)
    assert code == 0
    assert said[1] == "1 of 3 parts are there already"
    assert parts_in(said) == [("2/3", "40 rows"), ("3/3", "40 rows")]
    whole = tmp_path / "whole.csv"
    np.save(tmp_path / "all.npy", shapes.X.reshape(-1, 8, 8))
    latentmix("predict", run_folder, tmp_path / "all.npy", "-o", whole)
    labels = [row["label"] for n in range(3) for row in table(out / f"part{n}.csv")]
    assert labels == [row["label"] for row in table(whole)]
    # A file that changed, and a part that is gone, are done again; what was cut off counts not.
    np.save(tmp_path / "part0.npy", shapes.X[:7].reshape(-1, 8, 8))
    (out / "part2.csv").unlink()
    with (out / "done.jsonl").open("ab") as file:
        file.write(b'\n{"part":"part1.c')
    code, said, _ = latentmix("predict", run_folder, pattern, "-o", out)
    assert parts_in(said) == [("2/3", "7 rows"), ("3/3", "40 rows")]
    assert_one_clear_line(*latentmix_error(latentmix, run_folder, tmp_path / "no*.npy", out))


def parts_in(said):
    """Return how far it was and how many rows, of each line of a part."""
    found = (re.match(r"(\d/\d) .*: ([\d,]+ rows); [\d,]+ rows/s in all$", line) for line in said)
    return [match.groups() for match in found if match]


def latentmix_error(latentmix, run_folder, pattern, out):
    code, _, err = latentmix("predict", run_folder, pattern, "-o", out)
    return code, 66, err


@pytest.mark.parametrize("shard", ["0/3", "4/3", "x", "1/", "-1/2"])
def test_a_share_that_is_none_is_refused(latentmix, run_folder, tmp_path, shard):
    code, _, err = latentmix("predict", run_folder, "*.npy", "-o", tmp_path, "--shard", shard)
    assert_one_clear_line(code, 2, err)


def test_predict_writes_a_line_a_row(latentmix, run_folder, shapes_file, shapes, tmp_path):
    code, _, _ = latentmix("predict", run_folder, shapes_file, "-o", tmp_path / "found.csv")
    rows = table(tmp_path / "found.csv")
    assert code == 0
    assert len(rows) == len(shapes.X)
    assert list(rows[0]) == [*COLUMNS]
    named = np.array([row["label"] for row in rows])
    assert (named == np.asarray(shapes.class_names)[shapes.labels]).mean() > 0.95


def test_sample_draws_the_class_asked_for(latentmix, run_folder, shapes_file, tmp_path):
    code, _, _ = latentmix(
        "sample", run_folder, "--label", "pillar", "-o", tmp_path / "p.npy", "-n", 20
    )
    assert code == 0
    latentmix("predict", run_folder, tmp_path / "p.npy", "-o", tmp_path / "p.csv")
    drawn = np.load(tmp_path / "p.npy")
    assert drawn.shape == (20, 8, 8)
    assert drawn[:, :, :4].mean() > 4 * drawn[:, :, 4:].mean(), "a pillar is bright on the left"
    code, _, _ = latentmix("sample", run_folder, "-o", tmp_path / "sheet.png")
    assert code == 0
    with Image.open(tmp_path / "sheet.png") as image:
        assert min(image.size) > 400
    code, _, err = latentmix("sample", run_folder, "--label", "circle", "-o", tmp_path / "c.png")
    assert_one_clear_line(code, 2, err)
    assert "pillar" in err[0]


def test_evaluate_repeats_the_runs_own_test_scores(latentmix, run_folder, shapes_file, tmp_path):
    code, out, _ = latentmix("evaluate", run_folder, shapes_file, "-o", tmp_path / "s.json")
    assert code == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    recorded = json.loads((run_folder / "metrics.json").read_text())
    assert scores["accuracy_named"] == recorded["scores"][0]["accuracy_named"]
    assert scores["density"]["elbo"] == recorded["test"]["elbo"]
    assert any("accuracy of p(y|x)" in line for line in out)


def test_label_names_a_run_and_its_pictures_anew(latentmix, run_folder, shapes, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    before = {path.name: path.read_bytes() for path in (run / "figures").glob("*.png")}
    new = {"bar": "eins", "pillar": "zwei", "square": "drei"}
    names = [new[shapes.class_names[label]] for label in shapes.labels]
    lines = [f"{row},{name}" for row, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["row,label", *lines]) + "\n")
    code, out, _ = latentmix("label", run, tmp_path / "labels.csv")
    assert code == 0
    assert {row["label"] for row in table(run / "rows.csv")} == set(new.values())
    after = {path.name: path.read_bytes() for path in (run / "figures").glob("*.png")}
    assert after["confusion.png"] != before["confusion.png"]
    assert after["loss.png"] == before["loss.png"], "the same numbers make the same picture"
    assert any("named by" in line for line in out)


def test_without_labels_the_run_says_how_to_name_its_clusters(latentmix, shapes, small, tmp_path):
    np.save(tmp_path / "plain.npy", shapes.X.reshape(-1, 8, 8))
    code, out, _ = latentmix("run", tmp_path / "plain.npy", "--out", tmp_path / "run", *small)
    assert code == 0
    assert any(f"latentmix label {tmp_path / 'run'} FILE.csv" in line for line in out)
    assert not (tmp_path / "run" / "figures" / "confusion.png").exists()
    code, _, err = latentmix("sample", tmp_path / "run", "--label", "1", "-o", tmp_path / "x.png")
    assert_one_clear_line(code, 65, err)


def test_lists(latentmix):
    code, out, _ = latentmix("recipes")
    assert code == 0
    assert [line.split()[0] for line in out][:1] == ["default"]
    assert {"seed", "seed-literal"} <= {line.split()[0] for line in out}
    code, out, _ = latentmix("datasets")
    assert [line.split()[0] for line in out] == ["digits", "fashion-mnist", "mnist"]


def test_every_error_of_ours_has_an_exit_code():
    def leaves(kind):
        below = kind.__subclasses__()
        return [leaf for child in below for leaf in leaves(child)] if below else [kind]

    for kind in leaves(LatentmixError):
        assert any(issubclass(kind, known) for known, _ in EXIT_CODES), kind


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["run", "digits", "--recipe", "sead"], 2),
        (["run", "digits", "--set", "vae.latent_dims=3"], 2),
        (["run", "digits", "--set", "vae.latent_dim=many"], 2),
        (["run", "digits", "--seed", "-1"], 2),
        (["run", "digits", "--set", "mixture.n_components=5000"], 65),
        (["run", "nowhere.npy"], 66),
        (["run", "digits", "--labels", "nowhere.csv"], 66),
        (["run", "digits", "--recipe", "nowhere.toml"], 66),
        (["predict", "nowhere", "digits", "-o", "x.csv"], 66),
        (["evaluate", "nowhere", "digits"], 66),
        (["fly", "digits"], 2),
        (["run"], 2),
    ],
)
def test_a_bad_call_gets_one_line_its_code_and_leaves_nothing(
    latentmix, args, code, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found, _, err = latentmix(*args)
    assert_one_clear_line(found, code, err)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 65),
        (b"a,b\n1,nan\n2,3\n", 65),
        (b"a,b\n1,2\n", 65),
        (b"a;b\n1;2\n", 65),
    ],
)
def test_bad_data_is_65(latentmix, content, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_bytes(content)
    found, _, err = latentmix("run", "data.csv", "--out", "out")
    assert_one_clear_line(found, code, err)
    assert not (tmp_path / "out").exists()


def test_a_changed_byte_is_65_and_a_taken_folder_74(latentmix, run_folder, small, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    code, _, err = latentmix("run", "digits", "--out", run, *small)
    assert_one_clear_line(code, 74, err)
    weights = run / "model" / "vae.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, _, err = latentmix("predict", run, "digits", "-o", tmp_path / "x.csv")
    assert_one_clear_line(code, 65, err)
    assert not (tmp_path / "x.csv").exists()


def test_a_folder_that_cannot_be_written_is_74(latentmix, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = latentmix("run", "digits", "--out", tmp_path / "file" / "run")
    assert_one_clear_line(code, 74, err)


def test_help_of_every_command(latentmix):
    for command in ([], *([name] for name in cli.commands)):
        code, out, _ = latentmix(*command, "--help")
        assert code == 0
        assert out[0].startswith("Usage: latentmix")


def test_help_imports_neither_jax_nor_scikit_learn_nor_plotting():
    code = "import sys; from latentmix.apps.cli import cli; cli.main(['--help'])"
    watch = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{watch}; {code}"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"latentmix", "click"} <= loaded
    assert not loaded & {"jax", "sklearn", "matplotlib", "numpy", "scipy", "equinox"}


# Jobs in the background are started deaf to SIGINT.
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from latentmix.apps.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_and_does(
    number, code, shapes_file, small, tmp_path, bytes_in
):
    def start(out):
        command = ["run", str(shapes_file), "--out", str(out), *small]
        more = ["--set", "vae.max_epochs=400"]
        return subprocess.Popen(
            [sys.executable, "-c", HEARING, *command, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = start(stopped)
    for line in process.stdout:
        if line.startswith("epoch 20/"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert err.split("\n", 1)[-1] == "latentmix: Stopped.\n", "click ends the line of ^C first"
    assert "To go on: latentmix run" in out
    assert list(stopped.glob("checkpoint-*.safetensors"))
    for folder in (stopped, whole):
        process = start(folder)
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    ours, theirs = bytes_in(stopped), bytes_in(whole)
    differing = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert differing <= {"metrics.json", "environment.json", "manifest.json", "report.html"}


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda: signal.raise_signal(signal.SIGTERM), 143),
        (lambda: signal.default_int_handler(signal.SIGINT, None), 130),
    ],
)
def test_outside_of_training_a_signal_has_its_code_too(latentmix, monkeypatch, stop, code):
    @cli.command("wait")
    def wait():
        stop()

    monkeypatch.setitem(cli.commands, "wait", cli.commands.pop("wait"))
    before = signal.signal(signal.SIGTERM, signals.terminate)
    try:
        assert latentmix("wait")[0] == code
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_falls_into_a_callback_of_the_collector_is_not_lost(monkeypatch, number):
    def call_back(phase, info):
        gc.callbacks.remove(call_back)
        signal.raise_signal(number)

    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signals.terminate}
    before = signal.signal(number, handlers[number])
    monkeypatch.setattr(sys, "unraisablehook", signals.interrupt_again)
    gc.callbacks.append(call_back)
    try:
        gc.collect()
        with pytest.raises(KeyboardInterrupt) as stop:
            time.sleep(30)
    finally:
        signal.signal(number, before)
    assert signals.is_sigterm(stop.value) == (number == signal.SIGTERM)
