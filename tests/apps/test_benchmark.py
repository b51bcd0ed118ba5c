"""`latentmix benchmark`: what it writes and says, and the exit code of each way to fail."""

import re
import sys

import numpy as np
import pytest
from PIL import Image

from latentmix.apps.benchmark import accuracy, time, write_page
from latentmix.comparison.table import TUNED, UNSUPERVISED, Row, RowFile, read_rows


def row(**values):
    numbers = {"n_components": 3, "seed": 0, "naming_labels": 18, "tuning_labels": 0}
    scores = {"accuracy": 0.5, "nmi": 0.5, "ari": 0.5, "named_accuracy": 0.5, "nll": None}
    costs = {"fit_seconds": 0.5, "predict_seconds": 0.1, "peak_memory": 1e8}
    known = {
        "group": UNSUPERVISED,
        "method": "kmeans",
        "data": "digits",
        "chosen": "",
        "criterion": "",
    }
    texts = {name: name for name in Row.__dataclass_fields__ if name.endswith("sha256")}
    about = {"density": "", "versions": "python 3", "machine": "Linux"}
    return Row(**{**numbers, **scores, **costs, **known, **texts, **about, **values})


def test_digits_are_compared_and_the_page_needs_no_other_file(latentmix, tmp_path):
    out = tmp_path / "out"
    methods = ["kmeans:n_init=1", "--tune", "kmeans:n_init=1+pca-mixture:dims=5:n_init=1"]
    args = ["benchmark", *methods, "--data", "digits", "--seeds", 1, "--out", out]
    code, said, err = latentmix(*args)
    assert (code, err) == (0, [])
    assert said[0].startswith("Reading digits, comparing kmeans:n_init=1, ")
    assert said[1] == f"Writing to {out}"
    assert "1/2 kmeans:n_init=1 on digits, seed 0" in said
    assert any(line.startswith("kmeans:n_init=1 ") and "±" not in line for line in said)
    rows = read_rows(out / "rows.csv")
    assert [one.group for one in rows] == [UNSUPERVISED, TUNED]
    assert all(0.6 < one.accuracy < 0.95 for one in rows)
    assert all(0.6 < one.named_accuracy < 0.95 and one.naming_labels == 270 for one in rows)
    assert rows[1].tuning_labels == 270
    assert len(list((out / "fits").iterdir())) == 2, "a method that stands twice is fitted once"
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert "No label had a say in a fit, or in a choice made here." in page
    assert "Chosen for each seed by 270 validation labels" in page
    for name in ("accuracy", "time"):
        with Image.open(out / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5, f"{name}.png is blank"
    assert "### digits, validation-tuned" in (out / "summary.md").read_text()
    _, said, _ = latentmix(*args)
    assert said.count("    there already") == 2


@pytest.mark.parametrize("draw", [accuracy, time])
def test_a_picture_shows_every_seed_of_every_method(draw, tmp_path):
    rows = [
        row(method=method, data=data, seed=seed, group=group, accuracy=0.1 * seed + 0.2)
        for data in ("digits", "mnist", "fashion-mnist", "shapes")
        for group, method in [(UNSUPERVISED, f"method-{n}") for n in range(12)] + [(TUNED, "x")]
        for seed in range(3)
    ]
    figure = draw(rows)
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == ["digits", "mnist", "fashion-mnist", "shapes"]
    for axes in shown:
        dots = [line for line in axes.lines if line.get_linestyle() == "None"]
        assert sum(len(line.get_xdata()) for line in dots) == 39


@pytest.mark.parametrize(("draw", "axis"), [(accuracy, "x"), (time, "x"), (time, "y")])
def test_ticks_tell_values_near_each_other_apart(draw, axis):
    found = [(0.969, 228.0), (0.979, 240.0), (0.982, 303.0)]
    rows = [
        row(seed=seed, accuracy=accuracy, fit_seconds=seconds)
        for seed, (accuracy, seconds) in enumerate(found)
    ]
    figure = draw(rows)
    figure.draw_without_rendering()
    (one,) = [axes for axes in figure.axes if axes.get_visible()]
    low, high = one.get_xlim() if axis == "x" else one.get_ylim()
    ticks = one.xaxis.get_major_ticks() if axis == "x" else one.yaxis.get_major_ticks()
    said = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high]
    assert len(said) == len(set(said)) >= 3


def test_a_table_with_a_label_column_is_compared_and_has_densities(latentmix, tmp_path):
    rng = np.random.RandomState(0)
    kinds = np.arange(90) % 3
    rows = rng.normal(size=(90, 2)) * [1, 50] + np.array([[0, 0], [9, 0], [0, 450]])[kinds]
    lines = [f"{x:.4f},{y:.4f},{'abc'[kind]}" for (x, y), kind in zip(rows, kinds, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,kind", *lines]) + "\n")
    args = ["--data", tmp_path / "t.csv", "--set", "data.label_column=kind", "--seeds", 1]
    code, said, err = latentmix("benchmark", "mixture", *args, "--out", tmp_path / "out")
    assert (code, err) == (0, [])
    assert any("NLL" in line for line in said)
    (one,) = read_rows(tmp_path / "out" / "rows.csv")
    assert (one.data, one.n_components, one.accuracy, one.density) == ("t", 3, 1.0, "density")
    # The entropy of the rows' distribution.
    assert one.nll == pytest.approx(np.log(2 * np.pi * np.e) + np.log(50) + np.log(3), abs=0.6)


def test_a_page_says_names_as_text(tmp_path):
    file = RowFile(tmp_path / "rows.csv")
    file.put(row(method="<script>alert(1)</script>"))
    write_page(tmp_path)
    assert "<script>" not in (tmp_path / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["kmean", "--data", "digits"], 2, "Did you mean 'kmeans'"),
        (["kmeans", "--data", "digit"], 66, "Did you mean 'digits'"),
        (["kmeans", "--data", "digits", "nowhere.npy"], 66, "nowhere.npy"),
        (["kmeans", "--data", "digits,digits/"], 66, "digits/"),
        (["kmeans:n_init=0", "--data", "digits"], 2, "not accepted"),
        (["kmeans", "--data", "digits", "--seeds", "0"], 2, "range"),
        (["kmeans", "--data", "digits", "--tune", "default"], 2, "names one method"),
        (["kmeans", "--data", "digits", "--set", "vae.latent_dim=3"], 2, "default:vae.latent_dim"),
        (["kmeans:n_components=9999", "--data", "digits"], 65, "training rows"),
        (["--data", "digits"], 2, "Nothing is to be compared"),
        (["kmeans"], 2, "--data"),
        (["nowhere.py", "--data", "digits"], 66, "nowhere.py"),
    ],
)
def test_a_bad_call_gets_one_line_and_its_code(latentmix, args, code, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, _, err = latentmix("benchmark", *args)
    assert found == code
    assert len(err) == 1
    assert said in err[0]
    assert not list(tmp_path.rglob("rows.csv"))


def test_a_run_that_fails_is_said_and_the_others_are_kept(latentmix, shapes_file, tmp_path):
    script, out = tmp_path / "fails.py", tmp_path / "out"
    script.write_text("raise SystemExit('the peer is out of order')")
    args = [script, "kmeans:n_init=1", "--data", shapes_file, "--seeds", 1, "--out", out]
    code, _, err = latentmix("benchmark", *args)
    assert (code, len(err)) == (2, 1)
    assert "--peer-python" in err[0]
    code, said, err = latentmix("benchmark", *args, "--peer-python", sys.executable)
    assert (code, len(err)) == (70, 1)
    assert "1 run failed" in err[0]
    assert "the peer is out of order" in err[0]
    assert any("failed: fails.py ended with code 1" in line for line in said)
    assert [one.method for one in read_rows(out / "rows.csv")] == ["kmeans:n_init=1"]
