"""The explorer's server: what it answers, and what it does not."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import socket

import numpy as np
import pytest
from PIL import Image

from latentmix.runs.opened import open_run
from latentmix.runs.sitting import JOURNAL

pytest.importorskip("fastapi", reason="extra [explore]")
pytest.importorskip("uvicorn", reason="extra [explore]")

from latentmix.data.text import active, inert


@pytest.fixture(scope="module")
def folder(run_folder, tmp_path_factory):
    copied = tmp_path_factory.mktemp("explored") / "run"
    shutil.copytree(run_folder, copied)
    return copied


@pytest.fixture(scope="module")
def explorer(folder, explore):
    one = explore(folder)
    yield one
    assert one.end() == 0, "Ctrl-C is how one leaves"


@pytest.fixture(scope="module")
def run(folder):
    return open_run(folder)


def test_all_rows_are_told_in_columns(explorer, run):
    about = explorer.of("/about")
    assert (about["rows"], about["image_shape"], about["shown"]) == (120, [8, 8], "data")
    fixed, of_clusters, of_classes = (
        explorer.of(path) for path in ("/fixed", "/clusters", "/classes")
    )
    known, part = np.frombuffer(fixed[:240], "<u2"), np.frombuffer(fixed[240:], np.uint8)
    rows = sorted(run.sealed.csv("rows.csv"), key=lambda row: int(row["row"]))
    assert [about["known"][k] for k in known] == [row["known_label"] for row in rows]
    assert [about["parts"][k] for k in part] == [row["part"] for row in rows]
    clusters, classes = (np.frombuffer(c[:240], "<u2") for c in (of_clusters, of_classes))
    density, sure = (np.frombuffer(c[240:], np.uint8) for c in (of_clusters, of_classes))
    names = explorer.of("/state")["classes"]
    assert clusters.tolist() == [int(row["cluster"]) for row in rows]
    assert [names[k] for k in classes] == [row["label"] for row in rows]
    np.testing.assert_allclose(sure / 255, [float(row["probability"]) for row in rows], atol=0.003)
    assert (density.min(), density.max()) == (0, 255)


def test_the_map_has_axes_to_choose_from(explorer, run):
    def places(axes):
        return np.frombuffer(explorer.of(f"/points?axes={axes}"), "<f4").reshape(2, 120)

    pca, flipped = places("pca"), places("1,0")
    np.testing.assert_array_equal(places("0,1"), flipped[::-1])
    shown = {(row["pc1"], row["pc2"]) for row in run.sealed.csv("figures/latent_space.csv")}
    assert shown <= {(f"{x:.5f}", f"{y:.5f}") for x, y in pca.T}
    for axes in ("0,2", "x", "0,1,1", "-1,0", ""):
        status, _, found = explorer.ask(f"/points?axes={axes}")
        assert (status, "are no axes" in found["error"]) == (422, True)


def test_a_row_is_shown_with_all_that_is_known_of_it(explorer, shapes, run):
    row = explorer.of("/row/7")
    assert row["clusters"][0][0] == row["cluster"]
    assert sum(p for _, p in row["clusters"]) == pytest.approx(1)
    assert row["classes"][0][0] == row["known"] == "pillar"
    assert 0 <= row["density"] <= 1 and row["given"] is None
    assert 7 not in row["neighbours"] and len(set(row["neighbours"])) == 12
    looks = np.frombuffer(explorer.of("/looks", {"rows": [7, 0]}), np.uint8).reshape(2, 64)
    np.testing.assert_array_equal(looks, shapes.X[[7, 0]])
    seen = np.frombuffer(explorer.of("/reconstructions", {"rows": [7]}), np.uint8)
    np.testing.assert_allclose(seen / 255, run.model.reconstruct(shapes.X[7:8])[0], atol=0.003)
    decoded = np.frombuffer(explorer.of("/decode", {"z": [row["latents"]]}), np.uint8)
    np.testing.assert_allclose(decoded.astype(int), seen, atol=1)


def test_clusters_have_galleries_and_draws(explorer):
    line = explorer.of("/state")["clusters"][0]
    gallery = explorer.of(f"/gallery/{line['cluster']}")
    clusters = np.frombuffer(explorer.of("/clusters")[:240], "<u2")
    for rows in gallery.values():
        assert len(rows) == 12
        assert (clusters[rows] == line["cluster"]).all()
    drawn = [explorer.of("/draws", {"n": 3, "cluster": 1, "seed": seed}) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(explorer.of("/draws", {"n": 5, "label": "bar"})) == 5 * 64


def test_rows_to_label_are_none_of_the_test_part(explorer):
    asked = explorer.of("/query", {"n": 20})["rows"]
    part = np.frombuffer(explorer.of("/fixed")[240:], np.uint8)
    assert len(set(asked)) == 20
    assert (part[asked] != 2).all()


def test_an_image_is_dropped_and_told(explorer, shapes):
    def png(array, mode=None):
        content = io.BytesIO()
        Image.fromarray(array, mode).save(content, "PNG")
        return content.getvalue()

    row = explorer.of("/row/4")
    image = shapes.X[4].reshape(8, 8)
    found = explorer.of("/drop?name=four.png&axes=0,1", png(image))
    assert found["cluster"] == row["cluster"]
    np.testing.assert_allclose(found["place"], row["latents"][:2], atol=1e-3)
    assert found["image"] == image.reshape(-1).tolist()
    assert 0 <= found["p_value"] <= 1
    inverted = explorer.of("/drop?name=four.png&inverted=true", png(255 - image))
    assert inverted["classes"] == found["classes"]
    # Larger and in colour: it is scaled and made grey.
    large = np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)
    coloured = np.stack([large] * 3, axis=2)
    assert explorer.of("/drop?name=l.png", png(coloured))["cluster"] == row["cluster"]
    for content, said in ((b"no image", "cannot be read as an image"), (png(image)[:60], "l.png")):
        status, _, answer = explorer.ask("/drop?name=l.png", content)
        assert (status, said in answer["error"]) == (422, True)


def test_labels_leave_and_come_back(explorer):
    rows, names = [3, 5, 8], ["=1+1", "@x", "a,b"]
    explorer.of("/act", {"do": "forget"})
    explorer.of("/act", {"do": "label", "rows": rows, "names": names})
    content = explorer.of("/labels.csv")
    table = list(csv.reader(io.StringIO(content.decode())))
    assert table == [["row", "label"], ["3", "'=1+1"], ["5", "'@x"], ["8", "a,b"]]
    exported = {
        kind: explorer.of("/export", {"rows": [8, 3, 9], "format": kind})
        for kind in ("csv", "parquet")
    }
    lines = list(csv.DictReader(io.StringIO(exported["csv"].decode())))
    assert [(line["row"], line["given"]) for line in lines] == [
        ("8", "a,b"),
        ("3", "'=1+1"),
        ("9", ""),
    ]
    explorer.of("/act", {"do": "undo"})
    assert explorer.of("/row/3")["given"] is None
    for file, there in ((content, rows), (exported["csv"], [8, 3]), (exported["parquet"], [8, 3])):
        explorer.of("/labels", file)
        given = {row: explorer.of(f"/row/{row}")["given"] for row in rows}
        assert given == {r: n if r in there else None for r, n in zip(rows, names, strict=True)}
        explorer.of("/act", {"do": "undo"})
    explorer.of("/act", {"do": "undo"})  # forgetting
    for file, said in (
        (b"row,label\n999,x\n", "'999' is no row of the data"),
        (b"\xff\xfe\x00", "no CSV in UTF-8"),
        (b"PAR1 and no more", "no whole Parquet file"),
        (b"row,label\n", "holds no label"),
        (b"row,given\n5\n", "line 2: cells are missing"),
    ):
        status, _, answer = explorer.ask("/labels", file)
        assert (status, said in answer["error"]) == (422, True), answer


def test_what_was_said_is_taken_over_into_the_run(run_folder, explore, latentmix, tmp_path):
    folder, file = tmp_path / "run", tmp_path / "labels.csv"
    shutil.copytree(run_folder, folder)
    explorer = explore(folder)
    state = explorer.of("/state")
    for line in state["clusters"]:
        name = f"={line['name']}"
        explorer.of("/act", {"do": "name", "clusters": [line["cluster"]], "name": name})
    file.write_bytes(explorer.of("/labels.csv"))
    explorer.of("/act", {"do": "name", "clusters": [0], "name": "later"})
    explorer.end()
    code, _, err = latentmix("label", folder, file)
    assert (code, err) == (0, [])
    model = open_run(folder).model
    # Of the rows that named the run, and are in no cluster that was named: none is left.
    assert {"=bar", "=pillar", "=square"} <= set(model.classes_)
    # Test rows keep what the data call them, and are scored by that alone.
    rows = open_run(folder).sealed.csv("rows.csv")
    assert {row["known_label"] for row in rows if row["part"] == "test"} == {
        *("bar", "pillar", "square")
    }
    # The journal came along.
    again = explore(folder)
    assert "later" in again.of("/state")["classes"]
    again.end()


@pytest.mark.parametrize(
    "name", ["=1", "+1", "-1", "@a", "\tx", "\r", "'=1", "'tis", "plain", "", "7"]
)
def test_cells_are_inert_and_come_back(name):
    assert not inert(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert active(inert(name)) == name


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/row/120", None, "no such row"),
        ("/row/-1", None, "greater than or equal to 0"),
        ("/row/99999999999999999999", None, "less than 2147483648"),
        ("/looks", {"rows": [2**70]}, "body.rows"),
        ("/row/..%2Fmanifest.json", None, "Not Found"),
        ("/gallery/99", None, "no cluster 99"),
        ("/looks", {"rows": [0, 500]}, "no such row"),
        ("/looks", {"rows": []}, "body.rows"),
        ("/looks", {"rows": ["../manifest.json"]}, "body.rows"),
        ("/decode", {"z": [[1.0, 2.0], [1.0]]}, "Expected 2 numbers each"),
        ("/draws", {"cluster": 77}, "no cluster 77"),
        ("/draws", {"label": "nothing"}, "nothing"),
        ("/query", {"n": 1000}, "are without a label"),
        ("/export", {"format": "xls"}, "csv or parquet"),
        ("/export", {"rows": [500]}, "no such row"),
        ("/act", {"do": "erase"}, "is no action"),
        ("/page/..%2Froutes.py", None, "Not Found"),
        ("/page/routes.py", None, "no such file"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(explorer, path, body, said):
    status, _, answer = explorer.ask(path, body)
    assert status in (404, 422)
    told = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    assert said in told.decode()


def test_strangers_see_nothing(explorer):
    explorer.of("/about")
    assert explorer.ask("/about", headers={"Cookie": "none=1"})[0] == 401
    assert explorer.ask("/about", headers={"Host": f"evil.example:{explorer.port}"})[0] == 421
    assert explorer.ask("/act", {"do": "undo"}, {"Origin": "http://evil.example"})[0] == 403
    assert explorer.ask("/act", {"do": "undo"}, write=False)[0] == 403
    link = explorer.link.group(0).partition(str(explorer.port))[2]
    assert explorer.ask(link, headers={"Cookie": ""})[0] == 403, "the ticket was used"


def test_names_outlive_a_kill_and_nobody_else_writes_meanwhile(
    run_folder, latentmix, tmp_path, explore
):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    explorer = explore(folder)
    for cluster, name in enumerate("abc"):
        explorer.of("/act", {"do": "name", "clusters": [cluster], "name": name})
    code, _, err = latentmix("explore", folder, "--no-browser")
    assert code == 74 and "in use" in err[0]
    explorer.end(signal.SIGKILL)
    with (folder / JOURNAL).open("ab") as file:
        file.write(b'\n{"do":"name","clu')
    explorer = explore(folder)
    assert "was cut short, and is left out; all else is there" in explorer.said
    assert explorer.of("/state")["classes"] == ["a", "b", "bar", "c", "pillar", "square"]
    assert explorer.end(signal.SIGTERM) == 143
    # The run is what it was, the journal aside.
    assert open_run(folder).model.classes_.tolist() == ["bar", "pillar", "square"]


def test_data_that_are_gone_are_shown_as_they_are_decoded(
    shapes_file, small, latentmix, tmp_path, explore
):
    data = tmp_path / "shapes.npz"
    shutil.copy(shapes_file, data)
    code, _, _ = latentmix("run", data, "--out", tmp_path / "run", *small)
    assert code == 0
    data.unlink()
    explorer = explore(tmp_path / "run")
    assert explorer.of("/about")["shown"] == "decoded"
    looks = explorer.of("/looks", {"rows": [0, 1]})
    assert looks == explorer.of("/reconstructions", {"rows": [0, 1]})
    explorer.end()


def test_a_table_is_explored_as_values(small, latentmix, tmp_path, explore):
    rng = np.random.RandomState(0)
    lines = [f"{a:.3f},{b:.3f},{'xy'[i % 2]}" for i, (a, b) in enumerate(rng.normal(size=(60, 2)))]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind", *lines]) + "\n")
    code, _, err = latentmix("run", tmp_path / "t.csv", *small, "--out", tmp_path / "run")
    assert (code, err) == (0, [])
    explorer = explore(tmp_path / "run")
    about = explorer.of("/about")
    assert (about["image_shape"], about["columns"]) == (None, ["a", "b", "kind"])
    values = explorer.of("/looks", {"rows": [0, 1]})["rows"]
    assert values == [[float(v) if "." in v else v for v in line.split(",")] for line in lines[:2]]
    assert len(explorer.of("/draws", {"n": 2})["rows"][0]) == 3
    assert "trained on a table" in explorer.ask("/drop?name=a.png", b"x")[2]["error"]
    explorer.end()


def test_a_gigabyte_is_cut_off_before_it_is_read(explorer):
    for path in ("/drop?name=a.png", "/labels", "/act"):
        status, _, said = explorer.ask(path, b"{}", {"Content-Length": str(1 << 30)})
        assert status == 413
        assert b"64 MiB" in said


def test_a_port_in_use_is_named(latentmix, run_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = latentmix("explore", run_folder, "--port", port, "--no-browser")
    assert code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in err[0]


def test_what_is_no_run_is_not_explored(latentmix, run_folder, tmp_path):
    code, _, err = latentmix("explore", tmp_path / "nothing")
    assert (code, len(err)) == (66, 1)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run_folder, unfinished)
    (unfinished / "manifest.json").unlink()
    code, _, err = latentmix("explore", unfinished)
    assert code == 66 and "no finished run" in err[0]
    damaged = tmp_path / "damaged"
    shutil.copytree(run_folder, damaged)
    with (damaged / "latents.safetensors").open("ab") as file:
        file.write(b"x")
    code, _, err = latentmix("explore", damaged)
    assert code == 65 and "latents.safetensors" in err[0]
    manifest = json.loads((run_folder / "manifest.json").read_text())
    newer = tmp_path / "newer"
    shutil.copytree(run_folder, newer)
    (newer / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    code, _, err = latentmix("explore", newer)
    assert code == 65 and "version" in err[0]
