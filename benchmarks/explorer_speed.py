"""How fast the explorer is in headless Chromium without a GPU, on a run as large as one likes.

    python benchmarks/explorer_speed.py runs/mnist-default-seed0
    python benchmarks/explorer_speed.py --rows 1000000 --csv explorer_speed.csv

`--rows` makes the run first: normal clusters of four columns, a small network, one epoch. The page
is the explorer's own. First paint is from the beginning of navigation until the frame with all
points. Panning moves the map in every animation frame for three seconds. The lasso is drawn with
the mouse around about half of the points, and its time is that of finding its rows. A label on
1,000 points is timed until all rows' classes are there again and the map is drawn with them.

Needs Playwright (the extra `browser`), and its Chromium or another one that --chromium names.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from playwright.sync_api import Page, sync_playwright

from reporting import add_row, processor

SIZE = {"width": 1300, "height": 900}
PAN_SECONDS = 3
LASSO_CORNERS = 100
N_LABELLED = 1000
TIMES = 5
COLUMNS = ["what", "points", "value", "unit", "target", "met", "processor"]

PAN = """async (seconds) => {
  const { map } = explorer, nextFrame = () => new Promise(requestAnimationFrame);
  const frames = map.stats.frames, gaps = [], start = await nextFrame();
  let last = start;
  while (last - start < 1000 * seconds) {
    const angle = (last - start) / 400;
    map.panBy(6 * Math.cos(angle), 6 * Math.sin(angle));
    const now = await nextFrame();
    gaps.push(now - last);
    last = now;
  }
  return { frames: map.stats.frames - frames, seconds: (last - start) / 1000, gaps };
}"""

LABEL = """async ([count, name]) => {
  const { app, map } = explorer, nextFrame = () => new Promise(requestAnimationFrame);
  const every = Math.floor(app.about.rows / count);
  const rows = Array.from({ length: count }, (_, at) => at * every);
  const start = performance.now(), frames = map.stats.frames;
  await app.act({ do: "label", rows, names: rows.map(() => name) });
  while (map.stats.frames === frames) await nextFrame();
  return performance.now() - start;
}"""


class Figure(NamedTuple):
    """One measured figure, and the bound that it is to keep."""

    what: str
    points: int
    value: float
    unit: str
    target: float
    at_least: bool = False  # the target is a floor, not a ceiling

    @property
    def met(self) -> bool:
        """Whether the target is reached; frames are counted to within half of one a second."""
        return self.value >= self.target - 0.5 if self.at_least else self.value <= self.target

    def row(self) -> str:
        """Return the figure as a line of the table."""
        bound = f"{'>=' if self.at_least else '<='} {self.target:,g} {self.unit}"
        value = f"{self.value:,.1f} {self.unit}"
        return (
            f"{self.points:>10,}  {self.what:<28}{value:>14}   {bound:<14}"
            f"{'met' if self.met else 'MISSED'}"
        )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "latentmix", *words]


def made_run(n_rows: int, folder: Path) -> Path:
    """Return a run of so many rows in 40 clusters."""
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(40, 4)) * 3
    X = centres[rng.randint(40, size=n_rows)] + 0.4 * rng.normal(size=(n_rows, 4))
    np.save(folder / "rows.npy", X.astype(np.float32))
    settings = [
        "mixture.n_components=10",
        "report.n_components=[]",
        "vae.hidden_dims=[32]",
        "vae.latent_dim=4",
        "vae.max_epochs=1",
        "vae.batch_size=1024",
        "vae.kl_weight=0.1",
    ]
    words = [str(folder / "rows.npy"), "--recipe", "quick", "--out", str(folder / "run")]
    subprocess.run(command("run", *words, "--set", *settings), check=True)
    return folder / "run"


@contextmanager
def explorer_of(run: Path) -> Iterator[str]:
    """Serve a copy of a run, so that its journal stays as it is, and give the link."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / run.name
        shutil.copytree(run, copied)
        words = command("explore", str(copied), "--no-browser")
        server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            said = ""
            while "ticket=" not in said:
                line = server.stdout.readline()
                if not line:
                    raise SystemExit(f"The explorer ended: {said}")
                said += line
            yield re.search(r"http\S+", said).group(0)
        finally:
            server.terminate()
            server.wait()


def first_paint(page: Page, link: str) -> Figure:
    page.goto(link)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    points = page.evaluate("explorer.app.about.rows")
    value = page.evaluate("performance.getEntriesByName('first-paint-of-points')[0].startTime")
    return Figure("first paint", points, value, "ms", 2000 if points <= 100_000 else 6000)


def panning(page: Page, points: int) -> list[Figure]:
    page.wait_for_timeout(1000)
    told = page.evaluate(PAN, PAN_SECONDS)
    gaps = sorted(told["gaps"])
    slow = gaps[math.ceil(0.95 * len(gaps)) - 1]
    rate = 60 if points <= 100_000 else 30
    return [
        Figure("panning", points, told["frames"] / told["seconds"], "fps", rate, at_least=True),
        Figure("panning, slow frame (95%)", points, slow, "ms", round(1250 / rate)),
    ]


def lasso(page: Page, points: int) -> Figure:
    page.click("#fit")
    page.click("#lasso")
    box = page.locator("#map").bounding_box()
    for corner in range(LASSO_CORNERS + 1):
        angle = 2 * math.pi * corner / LASSO_CORNERS
        wobble = 0.3 * (1 + 0.02 * math.sin(9 * angle))
        x, y = math.cos(angle) * wobble, math.sin(angle) * wobble
        page.mouse.move(box["x"] + box["width"] * (0.5 + x), box["y"] + box["height"] * (0.5 + y))
        if corner == 0:
            page.mouse.down()
    page.mouse.up()
    page.locator("#chosen", has_text="chosen").wait_for()
    share = page.evaluate("explorer.app.nChosen") / points
    value = page.evaluate("explorer.map.stats.lastLassoMs")
    page.keyboard.press("Escape")
    return Figure(f"lasso around {share:.0%}", points, value, "ms", 100)


def label(page: Page, points: int) -> Figure:
    values = sorted(page.evaluate(LABEL, [N_LABELLED, f"name {turn}"]) for turn in range(TIMES))
    return Figure(f"a label on {N_LABELLED:,} points", points, values[TIMES // 2], "ms", 200)


def measure(page: Page, link: str) -> Iterator[Figure]:
    """Take the figures of one page, one after the other."""
    paint = first_paint(page, link)
    yield paint
    yield from panning(page, paint.points)
    yield lasso(page, paint.points)
    yield label(page, paint.points)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", help="finished runs")
    parser.add_argument("--rows", type=int, nargs="*", default=[], help="runs of so many to make")
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--csv", type=Path, help="a table that the figures are added to")
    options = parser.parse_args()
    print(f"{processor()}, {SIZE['width']} x {SIZE['height']} pixels, headless, no GPU")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as browsers:
        made = [made_run(n_rows, Path(folder)) for n_rows in options.rows]
        browser = browsers.chromium.launch(
            executable_path=options.chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for run in [*options.runs, *made]:
            with explorer_of(run) as link:
                page = browser.new_page(viewport=SIZE)
                page.on("pageerror", lambda error: print(f"the page failed: {error}"))
                page.on("console", lambda message: print(f"the page says: {message.text}"))
                for figure in measure(page, link):
                    print(figure.row(), flush=True)
                    if options.csv:
                        row = figure._asdict() | {"met": figure.met, "processor": processor()}
                        row["value"] = round(figure.value, 1)
                        add_row(options.csv, COLUMNS, {name: row[name] for name in COLUMNS})
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
