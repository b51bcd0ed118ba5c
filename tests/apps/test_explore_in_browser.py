"""The explorer in a real browser: map, lasso, names, undo, files, keys; and its screenshots.

With LATENTMIX_RUN=a run and LATENTMIX_SCREENSHOTS=a folder it is that run that is shown, and the
README's pictures are written there.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="extra [explore]")
pytest.importorskip("uvicorn", reason="extra [explore]")

SIZE = {"width": 1400, "height": 900}
# The middle of the map by shares of its width and height, and a path around all of it.
AROUND = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]


@pytest.fixture
def folder(run_folder, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(run_folder, copied)
    return copied


def open_page(watched, explorer, **options):
    """Return a page of the explorer once it can be used."""
    seen = watched(viewport=SIZE, **options)
    seen.page.goto(explorer.link.group(0))
    seen.page.wait_for_selector("body[data-ready]")
    assert seen.page.url == f"http://127.0.0.1:{explorer.port}/", "the ticket leaves the address"
    return seen


def places(page, shares):
    box = page.locator("#map").bounding_box()
    return [(box["x"] + a * box["width"], box["y"] + b * box["height"]) for a, b in shares]


def drag(page, shares):
    first, *others = places(page, shares)
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def pixels(page):
    page.wait_for_timeout(120)
    return page.evaluate("document.getElementById('map').toDataURL()")


def figure(page, name):
    """Return one of the head's figures, as text."""
    return page.locator("#figures div", has_text=name).locator("dd").inner_text()


def settled(page, name, value):
    page.locator("#figures div", has_text=name).locator("dd", has_text=value).wait_for()


def test_look_choose_name_undo_and_take_out(folder, watched, explore):
    explorer = explore(folder)
    seen = open_page(watched, explorer)
    page = seen.page
    whole = pixels(page)
    drag(page, [(0.4, 0.4), (0.6, 0.5)])
    moved = pixels(page)
    page.mouse.wheel(0, -600)
    assert len({whole, moved, pixels(page)}) == 3, "it pans and zooms"
    page.click("#fit")

    # Names are given to a cluster by a key, and are undone.
    page.click("text=Names and files")
    page.click("#forget")
    settled(page, "with a name", "0")
    page.locator("#cluster-list li").first.click()
    page.keyboard.press("7")
    page.locator("#said.error", has_text="No class has the key 7").wait_for()
    page.keyboard.press("1")
    page.locator("#cluster-list li b", has_text="pillar").wait_for()
    named = figure(page, "with a name")
    assert float(named.split("\u00a0")[0]) > 20
    page.keyboard.press("Control+z")
    settled(page, "with a name", "0")
    page.keyboard.press("Control+y")
    settled(page, "with a name", named)

    # Rows within a lasso are labelled by a name that is markup, and is shown as text.
    page.keyboard.press("Escape")
    page.click("#lasso")
    drag(page, AROUND)
    page.locator("#chosen", has_text="120 chosen").wait_for()
    markup = "<b onclick=alert(1)>=x"
    page.locator("#panel-selection input").fill(markup)
    page.keyboard.press("Enter")
    page.locator("#legend li", has_text=markup).wait_for()
    assert page.locator("#legend b").count() == 0

    # What is chosen leaves as a file, its cells inert.
    page.click("text=Names and files")
    with page.expect_download() as download:
        page.click("#take-rows")
    table = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(table) == 120
    assert {row["given"] for row in table} == {markup}
    assert "&" not in table[0]["given"]

    # The server dies; started again, it has all names.
    explorer.end(signal.SIGKILL)
    page.keyboard.press("Control+z")
    page.locator("#said.error", has_text="all names are kept").wait_for()
    assert [line for line in seen.said if "ERR_CONNECTION_REFUSED" not in line] == []
    assert [url for url in seen.asked if not url.startswith(("http://127.0.0.1:", "blob:"))] == []
    explorer = explore(folder)
    seen = open_page(watched, explorer)
    assert seen.page.locator("#legend li", has_text=markup).count() == 1
    assert seen.said == []
    explorer.end()


def test_keys_alone_do_all_of_it(folder, watched, explore):
    explorer = explore(folder)
    page = open_page(watched, explorer).page
    page.locator("#map").focus()
    before = pixels(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    assert pixels(page) != before
    page.keyboard.press("Home")
    page.keyboard.press("a")
    page.locator("#chosen", has_text="120 chosen").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("#cluster-list li[aria-selected=true]").count() == 1
    page.keyboard.press("n")
    page.keyboard.type("mine")
    page.keyboard.press("Enter")
    page.locator("#cluster-list li b", has_text="mine").wait_for()
    # A sheet of rows to label: two get a label, the second gives it back. A digit is the class
    # beside it in the legend, where classes are no digits.
    page.keyboard.press("q")
    page.locator("dialog[open] [aria-selected=true]").wait_for()
    page.keyboard.press("1")
    page.keyboard.press("2")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for(state="hidden")
    page.keyboard.press("Escape")  # then all rows are taken out
    page.click("text=Names and files")
    with page.expect_download() as download:
        page.click("#take-rows")
    rows = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
    assert [row["given"] for row in rows if row["given"]] == ["pillar"]
    page.keyboard.press("?")
    page.locator("#keys[open]").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("#figures div", has_text="with a name").count() == 1
    explorer.end()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_is_in_the_way_of_people_who_see_or_move_otherwise(
    folder, watched, explore, colours
):
    explorer = explore(folder)
    seen = open_page(watched, explorer, color_scheme=colours)
    page = seen.page
    assert seen.serious() == []
    page.locator("#cluster-list li").first.click()
    page.locator("#panel-selection canvas").first.wait_for()
    assert seen.serious() == []
    page.mouse.click(*places(page, [(0.5, 0.5)])[0])
    for tab in ("row", "next", "make"):
        page.click(f"#tab-{tab}")
        assert (tab, seen.serious()) == (tab, [])
    page.click("text=Filter")
    assert seen.serious() == []
    page.keyboard.press("q")
    page.locator("dialog[open] [aria-selected=true]").wait_for()
    assert seen.serious() == []
    explorer.end()


def test_an_image_is_dropped_on_the_page(folder, watched, explore, tmp_path):
    explorer = explore(folder)
    seen = open_page(watched, explorer)
    content = io.BytesIO()
    Image.new("L", (8, 8), 200).save(content, "PNG")
    page = seen.page
    data = page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "grey.png"));
            return transfer;
        }""",
        list(content.getvalue()),
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    page.locator("#drop:not([hidden])").wait_for()
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    page.locator("#panel-row h2", has_text="grey.png").wait_for()
    assert page.locator("#panel-row .pair canvas").count() == 2
    assert page.locator("#drop[hidden]").count() == 1
    assert seen.said == []
    explorer.end()


def test_screenshots(run_folder, watched, explore, tmp_path):
    """The README's: a map, a cluster's gallery beside it."""
    out = Path(os.environ.get("LATENTMIX_SCREENSHOTS", tmp_path))
    folder = tmp_path / "run"
    shutil.copytree(os.environ.get("LATENTMIX_RUN", run_folder), folder)
    explorer = explore(folder)
    page = open_page(watched, explorer).page
    clusters = page.locator("#cluster-list li")
    clusters.nth(min(5, clusters.count() - 1)).click()
    page.locator("#panel-selection section").nth(3).wait_for()
    page.wait_for_timeout(500)
    shot = (
        Image.open(io.BytesIO(page.screenshot()))
        .convert("RGB")
        .quantize(256, Image.Quantize.MAXCOVERAGE)
    )
    shot.save(out / "explorer.png", optimize=True)
    assert len(shot.getcolors()) > 20
    explorer.end()
