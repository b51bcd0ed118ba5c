"""The folder that Hugging Face's hub expects of a model: a card, and the model in every form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from latentmix.apps.export.files import write_graphs, write_pages
from latentmix.errors import WriteError, needing
from latentmix.estimators.store import save
from latentmix.runs.opened import OpenRun
from latentmix.storage.files import write_bytes

# Scores of metrics.json, and the names that the hub knows them by.
METRICS: Final = {
    "accuracy_named": "accuracy",
    "accuracy_hungarian": "accuracy_hungarian",
    "nmi": "nmi",
    "ari": "ari",
}
TAGS: Final = ("latentmix", "clustering", "variational-autoencoder", "gaussian-mixture", "onnx")
PICTURE: Final = "figures/samples.png"


def write_repository(run: OpenRun, out: Path) -> None:
    """Write the card, `model/` for latentmix, `numpy/` and `onnx/` for others, and the scores."""
    for name, write in (("numpy", write_pages), ("onnx", write_graphs)):
        (out / name).mkdir()
        write(run, out / name)
    save(run.model, out / "model")
    write_bytes(out / "metrics.json", run.sealed.read("metrics.json"))
    if PICTURE in run.sealed.names:
        write_bytes(out / "samples.png", run.sealed.read(PICTURE))
    write_bytes(out / "README.md", card_of(run).encode())


def push_folder(folder: Path, repository: str) -> None:
    """Send a folder to a repository of models, OWNER/NAME, which is made if need be.

    Raises
    ------
    ParameterError
        If the hub's client is not installed.
    WriteError
        If the hub refuses, or does not answer.
    """
    with needing("--push", "huggingface_hub", "latentmix[hub]"):
        from huggingface_hub import HfApi  # noqa: PLC0415
    try:
        hub = HfApi()
        hub.create_repo(repository, repo_type="model", exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=str(folder), repo_type="model")
    except (OSError, ValueError) as error:
        raise WriteError(
            f"{repository} cannot be pushed: {error}. Expected OWNER/NAME that you may write to; "
            f"log in with the hub's own client and push {folder} again."
        ) from error


def card_of(run: OpenRun) -> str:
    """Return the model card: YAML for the hub, and a page for people."""
    metrics = run.sealed.json("metrics.json")
    scores = metrics["scores"][0]
    return "\n".join(["---", *_front_matter(run, scores), "---", "", *_page(run, metrics)]) + "\n"


def _front_matter(run: OpenRun, scores: dict[str, Any]) -> Iterator[str]:
    """Yield lines of YAML; text in it is written as JSON, which YAML reads."""
    yield "library_name: latentmix"
    yield "license: other"
    yield "license_name: unspecified"
    yield f"tags: {json.dumps(list(TAGS))}"
    known = [name for name in METRICS if name in scores]
    if not known:
        return
    name = json.dumps(run.request["data"]["name"])
    yield f"metrics: {json.dumps([METRICS[name] for name in known])}"
    yield "model-index:"
    yield f"- name: {json.dumps(_title(run))}"
    yield "  results:"
    yield "  - task: {type: clustering, name: Clustering}"
    yield f"    dataset: {{type: {name}, name: {name}, split: test}}"
    yield "    metrics:"
    for each in known:
        yield f"    - {{type: {METRICS[each]}, name: {each}, value: {scores[each]:.4f}}}"


def _page(run: OpenRun, metrics: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that people read."""
    scores, n_rows = metrics["scores"][0], metrics["data"]["rows"]["train"]
    data, classes = run.request["data"], getattr(run.model, "classes_", ())
    yield f"# {_title(run)}"
    yield ""
    yield (
        f"A variational autoencoder and a Gaussian mixture of {scores['n_components']} components, "
        f"fitted by latentmix to {n_rows:,} rows of {data['name']} with "
        f"{data['shape'][1]:,} values each, recipe `{run.recipe.name}`, seed "
        f"{run.request['seed']}."
    )
    if len(classes):
        yield f"Classes: {', '.join(map(str, classes))}."
    yield ""
    if PICTURE in run.sealed.names:
        yield "![Draws from each component](samples.png)"
        yield ""
    known = [name for name in METRICS if name in scores]
    if known:
        yield "| on the test rows | |"
        yield "| --- | ---: |"
        for name in known:
            yield f"| {name} | {scores[name]:.4f} |"
        yield ""
    yield from _USE
    yield ""
    yield "The licence is for whoever owns the data to say: `license` at the head of this card."


_USE: Final = (
    "## Use",
    "",
    "```python",
    "from latentmix import load",
    "",
    'model = load("model")  # predict, predict_class, anomaly_scores, sample',
    "```",
    "",
    "`onnx/model.onnx` gives `latent_mean`, `component_proba`, `class_proba` and `anomaly_score` of"
    " rows `x`, `onnx/decoder.onnx` rows of latent places `z`. `numpy/reader.py` is the model in"
    " 100 lines of NumPy. All three are one model, whose SHA-256 stand in `numpy/model.json`.",
)


def _title(run: OpenRun) -> str:
    return f"latentmix-{run.request['data']['name']}-{run.recipe.name}"
