"""The report of a run: one page for the browser that needs nothing but itself.

Every picture of the run folder with its table, what was asked and what came out, and where the
decoder is small enough the decoder itself, so that a point dragged over the latent map is decoded
as one looks (`decoder`). The page asks the network for nothing: pictures, tables, style and script
stand in it, and its security policy forbids anything else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from PIL import Image

from latentmix import __version__
from latentmix.apps.figures import FIGURES
from latentmix.apps.report.decoder import live_decoder
from latentmix.apps.summary import summary_of
from latentmix.runs.opened import OpenRun, open_run
from latentmix.storage.files import write_bytes

REPORT: Final = "report.html"

# What an e-mail takes. Tables that do not fit stay in the run folder, the largest first.
MOST_BYTES: Final = 5_000_000

# Pictures of thousands of dots.
MAPS: Final = ("latent_space", "umap")

# The page's sections, and what is said of each picture. A picture that a run lacks is left out.
SECTIONS: Final[dict[str, dict[str, str]]] = {
    "What was found": {
        "latent_space": "Test rows on the two directions of latent space that vary most. "
        "Rings, of 20 components at most: two standard deviations of each, with its number.",
        "umap": "The same rows where UMAP puts them: neighbours stay together, while distances "
        "say little.",
        "clusters": "Training rows in each cluster; of its labelled test rows, how many are of "
        "one class.",
        "gallery": "Training rows of each cluster: those most like it, those it is least sure "
        "of, and some drawn at random.",
        "confusion": "Classes of the test rows, and what the model takes them for.",
        "selection": "How the number of clusters was chosen: how far halves of the rows agree.",
    },
    "What the model makes": {
        "samples": "New rows drawn from each component.",
        "class_samples": "New rows drawn from each class.",
        "reconstructions": "Test rows, and what is left of them after latent space.",
        "interpolation": "From a typical row of one cluster straight to one of the next.",
        "traversals": "One latent dimension moved at a time, from a typical row of the largest "
        "cluster; those that vary most come first.",
    },
    "How far to trust it": {
        "reliability": "Answers by how probable the model says they are. On the line it is right "
        "as often as it says.",
        "risk_coverage": "If only the surest answers are given, this many of them are wrong.",
        "labels_spent": "Had fewer labels named the clusters. Nothing is trained anew.",
        "mistakes": "Wrong, and sure of it: often a label that is wrong, or a row hard to read.",
        "strange": "Rows of the largest anomaly scores.",
    },
    "How training went": {
        "loss": "The objective and its two terms, by epoch.",
        "kl": "A dimension of no nats tells the decoder nothing.",
        "em": "Log-likelihood of mixtures by iteration of EM.",
    },
}


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a finished run, and return where.

    Parameters
    ----------
    folder : Path
        A finished run.
    out : Path, optional
        The page; ``report.html`` in the run folder unless given.

    Raises
    ------
    MissingError, IntegrityError
        As `open_run`.
    WriteError
        If the page cannot be written.
    """
    run = open_run(folder)
    out = folder / REPORT if out is None else out
    write_bytes(out, _page(run).encode())
    return out


def _page(run: OpenRun) -> str:
    metrics = run.sealed.json("metrics.json")
    style, script = (_shipped(name) for name in ("report.css", "report.js"))
    live = live_decoder(run, MOST_BYTES // 2)
    parts = {
        "title": escape(f"{metrics['data']['name']}, {run.recipe.name}"),
        "version": __version__,
        "policy": f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'",
        "style": style,
        "script": script,
        "tiles": _tiles(metrics),
        "asked": _table(_asked(run, metrics)),
        "warnings": "".join(
            f'<p class="warning">{escape(said)}</p>' for said in metrics["warnings"]
        ),
        "summary": escape(summary_of(metrics, Path(run.path.name))),
        "scores": _scores(metrics["scores"]),
        "live": live.html,
        "live_data": live.data,
        "recipe": escape(json.dumps(run.sealed.json("recipe.json"), indent=1, sort_keys=True)),
    }
    frame = Template(_shipped("report.html"))
    room = MOST_BYTES - len(frame.substitute(parts, sections="").encode())
    return frame.substitute(parts, sections=_sections(run, room))


def _shipped(name: str) -> str:
    return (files("latentmix.apps.report") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _sections(run: OpenRun, room: int) -> str:
    """Return the pictures in their sections, with as many of their tables as there is room for."""
    names = [name for name in FIGURES if f"figures/{name}.png" in run.sealed.names]
    pictures = {name: _as_url(run, f"figures/{name}.png", "image/png") for name in names}
    room -= sum(map(len, pictures.values())) + 1000 * len(names)
    tables = {}
    every = {name: _as_url(run, f"figures/{name}.csv", "application/gzip") for name in names}
    for name in sorted(names, key=lambda name: len(every[name])):
        if len(every[name]) <= room:
            tables[name] = every[name]
            room -= len(every[name])
    html = []
    for section, captions in SECTIONS.items():
        shown = [
            _figure(name, pictures[name], tables.get(name), caption)
            for name, caption in captions.items()
            if name in pictures
        ]
        if shown:
            html.append(f"<h2>{section}</h2>\n<div class=figures>{''.join(shown)}</div>")
    return "\n".join(html)


def _figure(name: str, picture: str, table: str | None, caption: str) -> str:
    link = f"figures/{name}.csv in the run folder"
    if table is not None:
        link = f'<a download="{name}.csv.gz" href="{table}">the table behind it</a>'
    said = escape(caption)
    return (
        f'<figure id="{name}"><img alt="{said}" src="{picture}">'
        f"<figcaption>{said} <small>({link})</small></figcaption></figure>"
    )


def _as_url(run: OpenRun, name: str, kind: str) -> str:
    """Return a file of the run as a URL that holds it, a table compressed."""
    content = run.sealed.read(name)
    if kind == "application/gzip":
        content = gzip.compress(content, mtime=0)
    elif Path(name).stem in MAPS:
        content = _in_few_colours(content)
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _in_few_colours(picture: bytes) -> bytes:
    """Return a PNG in 256 colours: of thousands of dots in ten, a quarter of the bytes."""
    with Image.open(io.BytesIO(picture)) as image:
        plain = image.convert("RGB")
    few = plain.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    content = io.BytesIO()
    few.save(content, format="PNG", optimize=True)
    return content.getvalue()


def _asked(run: OpenRun, metrics: dict[str, Any]) -> list[tuple[str, str]]:
    environment, rows = run.sealed.json("environment.json"), metrics["data"]["rows"]
    naming = metrics["naming"]
    named = f"{naming['rows']:,} labelled rows" if naming["rows"] else "nobody yet"
    data = run.request["data"]
    shape = " × ".join(map(str, run.image_shape or data["shape"][1:]))
    versions = environment["versions"]
    return [
        ("Command", " ".join(environment["command"])),
        ("Data", f"{data['name']}, {data['shape'][0]:,} rows of {shape}"),
        ("Rows", ", ".join(f"{n:,} for {part}" for part, n in rows.items())),
        ("Recipe", f"{run.recipe.name}: {run.recipe.description}"),
        ("Seed", str(run.request["seed"])),
        ("Named by", named),
        ("Training", _cost(run, metrics)),
        (
            "Made by",
            ", ".join(f"{name} {versions[name]}" for name in ("latentmix", "jax", "numpy")),
        ),
        ("On", f"{environment['platform']}, {environment['cores']} cores"),
    ]


def _cost(run: OpenRun, metrics: dict[str, Any]) -> str:
    """Say what a step of the training took, and how much memory; earlier versions knew neither."""
    n_steps, memory = metrics.get("training_steps"), metrics.get("peak_memory_bytes")
    said = f"{metrics['training_seconds']:,.0f} seconds"
    if n_steps:
        each = 1000 * metrics["training_seconds"] / n_steps
        said = f"{n_steps:,} steps of {run.recipe.vae.batch_size} rows, {each:.1f} ms each"
    return said if memory is None else f"{said}; {memory / 1e9:.2f} GB of memory at most"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in rows)


def _tiles(metrics: dict[str, Any]) -> str:
    """Return the figures that are looked for first, each with how far it is known."""
    own, trust = metrics["scores"][0], metrics["trust"].get("test") or {}
    fitted_to = "draws z" if own["latents"] == "z" else "posterior means"
    tiles = [("components", str(own["n_components"]), f"over {fitted_to}")]
    if trust:
        surest = "wrong among the surest 90\N{NO-BREAK SPACE}%"
        between = f"{trust['low']:.1%} to {trust['high']:.1%} with 95 %"
        tiles += [
            ("right classes", f"{trust['accuracy']:.1%}", between),
            (surest, f"{trust['error_at_90']:.2%}", "of the test rows"),
            ("off in its probabilities", f"{trust['ece']:.3f}", "expected calibration error"),
        ]
    if "accuracy_hungarian" in own:
        agreement = f"NMI {own['nmi']:.3f}, ARI {own['ari']:.3f}"
        tiles.append(("right clusters, one a class", f"{own['accuracy_hungarian']:.1%}", agreement))
    bound = metrics["test"]["elbo_mixture_prior"]
    if bound is not None:
        tiles.append(("nats a test row", f"{bound:.1f}", "evidence lower bound"))
    minutes = metrics.get("wall_seconds", metrics["training_seconds"]) / 60
    training = f"{metrics['training_seconds'] / 60:.1f} of them training"
    tiles.append(("minutes", f"{minutes:.1f}", training))
    return "".join(
        f"<div class=tile><b>{escape(value)}</b><span>{escape(name)}</span>"
        f"<small>{escape(said)}</small></div>"
        for name, value, said in tiles
    )


def _scores(scores: list[dict[str, Any]]) -> str:
    """Return the table of all mixtures that were fitted to the latents."""
    columns = {
        "n_components": ("components", "d"),
        "latents": ("fitted to", "s"),
        "accuracy_hungarian": ("Hungarian", ".3f"),
        "accuracy_named": ("named", ".3f"),
        "nmi": ("NMI", ".3f"),
        "ari": ("ARI", ".3f"),
        "purity": ("purity", ".3f"),
        "log_likelihood": ("log-likelihood", ".2f"),
        "n_iter": ("iterations", "d"),
    }
    head = "".join(f"<th>{title}</th>" for title, _ in columns.values())
    lines = [
        "".join(
            f"<td>{format(score[name], form) if score.get(name) is not None else ''}</td>"
            for name, (_, form) in columns.items()
        )
        for score in scores
    ]
    return f"<tr>{head}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines)
