"""The report: one page with everything in it, that runs nobody else's script and asks nobody."""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from latentmix import load, plots
from latentmix.apps import report
from latentmix.errors import MissingError
from latentmix.runs import tables


@pytest.fixture(scope="module")
def page(run_folder):
    return (run_folder / "report.html").read_text(encoding="utf-8")


class Elements(HTMLParser):
    """The elements of a page: names and attributes, and the text of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.texts, self.at = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.at = (tag, dict(attrs).get("id"))

    def handle_endtag(self, tag):
        self.at = None

    def handle_data(self, data):
        if self.at:
            self.texts[self.at] = self.texts.get(self.at, "") + data

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def shown_in(elements):
    """Return the names of the pictures in their order."""
    return [attributes["id"] for attributes in elements.of("figure")]


def test_a_run_ends_with_a_page_of_all_its_pictures(run_folder, page):
    pictures = {path.stem: path for path in (run_folder / "figures").glob("*.png")}
    assert len(pictures) > 12
    elements = Elements(page)
    assert set(shown_in(elements)) == pictures.keys()
    head = "data:image/png;base64,"
    images = [each["src"].removeprefix(head) for each in elements.of("img")]
    images = {
        name: base64.b64decode(image)
        for name, image in zip(shown_in(elements), images, strict=True)
    }
    for name, path in pictures.items():
        if name not in report.MAPS:
            assert images[name] == path.read_bytes()
            continue
        # Dots in few colours: smaller, and the same to the eye.
        with Image.open(path) as one, Image.open(io.BytesIO(images[name])) as other:
            pixels = [np.asarray(each.convert("RGB"), float) for each in (one, other)]
        assert np.abs(pixels[0] - pixels[1]).mean() < 1
        assert len(images[name]) < path.stat().st_size
    assert all(attributes["alt"] for attributes in elements.of("img"))
    links = {attributes["download"]: attributes["href"] for attributes in elements.of("a")}
    assert links.keys() == {f"{name}.csv.gz" for name in pictures}
    table = gzip.decompress(base64.b64decode(links["clusters.csv.gz"].partition(",")[2]))
    assert table == (run_folder / "figures" / "clusters.csv").read_bytes()


def test_it_says_what_was_asked_and_what_came_out(run_folder, page):
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert f"{metrics['trust']['test']['accuracy']:.1%}" in page
    assert "120 rows of 8 × 8" in page
    asked, _, _ = page.partition("<h2>All mixtures")
    assert str(run_folder.parent) not in asked.rpartition("<tr><th>Data")[2]


def test_nothing_in_it_leads_outside(page):
    elements = Elements(page)
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert not name.startswith("on"), "no handler in markup"
            assert name != "style"
            if name in ("src", "href", "action", "data"):
                assert value.startswith("data:"), f"{tag} reads {value[:60]}"
    (policy,) = [a["content"] for a in elements.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        digest = hashlib.sha256(elements.texts[tag, None].encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert "http" not in elements.texts["script", None] + elements.texts["style", None]


def decoded(live, z):
    """Return what the page's decoder makes of latents (N, L)."""
    x = np.asarray(z, np.float32)

    def array(layer, name, dtype):
        return np.frombuffer(base64.b64decode(layer[name]), dtype)

    for at, layer in enumerate(live["layers"]):
        weights = array(layer, "weights", np.int8).reshape(layer["inputs"], layer["outputs"])
        scaled = weights * array(layer, "scales", np.float32)
        x = x @ scaled + array(layer, "biases", np.float32)
        if at < len(live["layers"]) - 1:
            x = np.maximum(x, 0)
    return 1 / (1 + np.exp(-x))


def test_its_decoder_is_the_models_to_the_error_it_states(run_folder, page):
    live = json.loads(Elements(page).texts["script", "live"])
    model = load(run_folder)
    rows = (live["latents"]["rows"], live["latents"]["dimensions"])
    steps = np.frombuffer(base64.b64decode(live["latents"]["steps"]), np.uint8).reshape(rows)
    low, high = np.array(live["low"]), np.array(live["high"])
    z = low + steps / 255 * (high - low)
    off = np.abs(decoded(live, z) - model.inverse_transform(z))
    mean, most = (
        float(number)
        for number in re.search(
            r"pixels are ([\d.]+) off on average, ([\d.]+) at most", page
        ).groups()
    )
    # Measured at the exact latents, which are a step of 255 away.
    assert abs(off.mean() - mean) < 1e-3
    assert off.max() < 2 * most + 1e-3
    assert 0 < most < 0.1
    axes = np.array(live["axes"])
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-6)


def test_names_are_told_as_text_whatever_is_in_them(latentmix, small, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    rng = np.random.RandomState(0)
    X = rng.randint(0, 60, (90, 8, 8)).astype(np.uint8)
    X[::2, :4] += 180
    np.savez(tmp_path / "evil.npz", X=X, y=np.where(np.arange(90) % 2, evil, "plain"))
    code, _, err = latentmix("run", tmp_path / "evil.npz", *small, "--out", tmp_path / "run")
    assert (code, err) == (0, [])
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    assert all("onerror" not in attributes for attributes in elements.of("img"))
    assert evil in json.loads(elements.texts["script", "live"])["names"]


def test_tables_that_do_not_fit_stay_in_the_run_folder(run_folder, tmp_path, monkeypatch):
    most = (run_folder / "report.html").stat().st_size - 2000
    monkeypatch.setattr(report, "MOST_BYTES", most)
    out = report.write_report(run_folder, tmp_path / "page.html")
    assert out.stat().st_size <= most
    elements = Elements(out.read_text(encoding="utf-8"))
    kept = {attributes["download"] for attributes in elements.of("a")}
    assert "kl.csv.gz" in kept
    left = {attributes["id"] for attributes in elements.of("figure")} - {
        name.removesuffix(".csv.gz") for name in kept
    }
    assert left
    said = out.read_text(encoding="utf-8")
    assert all(f"figures/{name}.csv in the run folder" in said for name in left)


def test_other_names_make_another_page(latentmix, run_folder, tmp_path):
    later = tmp_path / "later"
    shutil.copytree(run_folder, later)
    names = "\n".join(f"{row},{'abc'[row % 3]}" for row in range(80))
    (tmp_path / "names.csv").write_text(f"row,label\n{names}\n")
    code, out, err = latentmix("label", later, tmp_path / "names.csv")
    assert (code, err) == (0, [])
    assert out[-1] == f"Report: {later / 'report.html'}"
    live = json.loads(Elements((later / "report.html").read_text()).texts["script", "live"])
    assert set(live["names"]) <= set("abc")


def test_mistakes_under_other_names_are_shown_while_the_data_are_there(
    latentmix, shapes_file, small, tmp_path
):
    data, run, labels = (tmp_path / name for name in ("shapes.npz", "run", "names.csv"))
    shutil.copy(shapes_file, data)
    assert latentmix("run", data, *small, "--out", run)[0] == 0
    # A class that no shape has: some test rows are wrong.
    labels.write_text("".join(f"{row},{'ab'[row % 7 == 0]}\n" for row in range(120)))
    picture = run / "figures" / "mistakes.png"
    for is_there in (True, False):
        code, _, err = latentmix("label", run, labels)
        assert (code, err) == (0, [])
        assert picture.is_file() == is_there
        assert ('id="mistakes"' in (run / "report.html").read_text()) == is_there
        data.unlink(missing_ok=True)


def test_a_table_has_a_page_without_a_live_map(latentmix, small, tmp_path):
    rng = np.random.RandomState(0)
    lines = [",".join(f"{v:.3f}" for v in row) for row in rng.normal(size=(60, 4))]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d", *lines]) + "\n")
    code, _, err = latentmix("run", tmp_path / "t.csv", *small, "--out", tmp_path / "run")
    assert (code, err) == (0, [])
    elements = Elements((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert not elements.of("canvas")
    assert json.loads(elements.texts["script", "live"]) is None


def test_no_page_is_made_of_what_is_no_run_folder(latentmix, run_folder, tmp_path):
    code, _, err = latentmix("report", tmp_path / "nowhere")
    assert code == 66
    assert len(err) == 1
    damaged = tmp_path / "damaged"
    shutil.copytree(run_folder, damaged)
    with (damaged / "rows.csv").open("ab") as file:
        file.write(b"x")
    before = (damaged / "report.html").read_bytes()
    code, _, err = latentmix("report", damaged)
    assert code == 65
    assert "rows.csv" in err[0]
    assert (damaged / "report.html").read_bytes() == before


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_point_dragged_in_a_browser_is_decoded(run_folder, watched, colours):
    """No console message, no request, the image follows the mouse and the arrow keys."""
    seen = watched(viewport={"width": 1300, "height": 900}, color_scheme=colours)
    page = seen.page
    page.goto((run_folder / "report.html").as_uri())

    def pixels():
        page.wait_for_timeout(100)
        return page.evaluate("document.getElementById('image').toDataURL()")

    box = page.locator("#map").bounding_box()
    images = {pixels()}
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    images.add(pixels())
    page.mouse.up()
    page.locator("#map").focus()
    for _ in range(8):
        page.keyboard.press("Shift+ArrowLeft")
    images.add(pixels())
    assert len(images) == 3
    assert "Nearest row: " in page.locator("#place").inner_text()
    assert seen.serious() == []
    assert seen.said == []
    assert [url for url in seen.asked if not url.startswith(("data:", "file:"))] == []


def test_screenshots(run_folder, watched, tmp_path):
    """The README's: the top of the page; run and folder are those that the environment names."""
    out = Path(os.environ.get("LATENTMIX_SCREENSHOTS", tmp_path))
    run = Path(os.environ.get("LATENTMIX_RUN", run_folder))
    page = watched(viewport={"width": 1200, "height": 940}).page
    page.goto(report.write_report(run, tmp_path / "page.html").as_uri())
    page.wait_for_timeout(500)
    shot = (
        Image.open(io.BytesIO(page.screenshot()))
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE)
    )
    shot.save(out / "report.png", optimize=True)
    assert len(shot.getcolors()) > 10


def test_umap_shows_the_latent_map_once_more_where_its_extra_is(run_folder, tmp_path):
    pytest.importorskip("umap", reason="extra [umap]")
    means = np.random.RandomState(0).normal(size=(60, 2)).astype(np.float32)
    shutil.copytree(run_folder / "figures", tmp_path / "figures")
    tables._write_umap(means, tmp_path / "figures" / "umap.csv")
    first = (tmp_path / "figures" / "umap.csv").read_bytes()
    tables._write_umap(means, tmp_path / "figures" / "umap.csv")
    assert (tmp_path / "figures" / "umap.csv").read_bytes() == first
    lines = (tmp_path / "figures" / "umap.csv").read_text().splitlines()
    (tmp_path / "figures" / "umap.csv").write_text("\n".join(lines[:19]) + "\n")
    axes = plots.umap(tmp_path)
    assert [one.get_title() for one in axes] == ["Predicted class", "True class"]
    assert len(axes[0].collections[0].get_offsets()) == 18
    tables._write_umap(means[:40], tmp_path / "few.csv")
    assert not (tmp_path / "few.csv").exists()


def test_pictures_are_axes_for_a_paper(run_folder, tmp_path):
    for name in plots.names():
        table = run_folder / "figures" / f"{name}.png"
        if table.is_file():
            first, *_ = getattr(plots, name)(run_folder)
            assert isinstance(first, Axes)
    axes = plots.confusion(run_folder)
    axes[0].set_title("Mine")
    axes[0].figure.savefig(tmp_path / "mine.pdf")
    assert (tmp_path / "mine.pdf").stat().st_size > 1000
    assert "confusion" in dir(plots)


def test_a_picture_that_is_not_there_is_named(run_folder, tmp_path):
    with pytest.raises(MissingError, match=r"nothing to draw as 'selection'.*name the clusters"):
        plots.selection(run_folder)
    with pytest.raises(MissingError, match=r"none of a run's pictures. Expected one of latent_"):
        plots.draw(run_folder, "nothing")
    with pytest.raises(MissingError, match="holds no pictures"):
        plots.loss(tmp_path)
    with pytest.raises(AttributeError):
        _ = plots.nothing
