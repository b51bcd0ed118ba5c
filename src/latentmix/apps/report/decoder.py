"""The decoder in the page: its weights in 8 bits, and the test rows that one drags a point over."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.special import expit

from latentmix.apps import drawing
from latentmix.models.mlp import Dense
from latentmix.models.vae import Network
from latentmix.runs.opened import OpenRun
from latentmix.runs.parts import Latents, answers_at, evenly, read_latents
from latentmix.runs.tables import map_of

# What the outputs of a decoder are turned into by, for those likelihoods whose mean is so simple.
MEANS: Final = {"bernoulli": "sigmoid", "binarised": "sigmoid", "relu-bernoulli": "clip"}

# Test rows on the map, and those that the error is measured on.
MOST_POINTS: Final = 2000
MOST_MEASURED: Final = 200


class Live(NamedTuple):
    """Markup of the map and its image, and the JSON that the script reads; or why there is none."""

    html: str
    data: str


class Quantised(NamedTuple):
    """A layer: weights (I, O) as int8, one scale for each output, and biases (O,)."""

    weights: np.ndarray
    scales: np.ndarray
    biases: np.ndarray

    @classmethod
    def of(cls, layer: Dense) -> Quantised:
        """Return a layer whose largest weight to each output is 127 steps."""
        weights = np.asarray(layer.weight, np.float32)
        scales = np.maximum(np.abs(weights).max(axis=0), 1e-12) / 127
        steps = np.rint(weights / scales).astype(np.int8)
        return cls(steps, scales.astype(np.float32), np.asarray(layer.bias, np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return what it makes of rows, as the page computes it."""
        made: np.ndarray = (x @ self.weights.astype(np.float32)) * self.scales + self.biases
        return made

    def to_json(self) -> dict[str, Any]:
        """Return its arrays as text."""
        arrays = {"weights": self.weights, "scales": self.scales, "biases": self.biases}
        return {
            "inputs": self.weights.shape[0],
            "outputs": self.weights.shape[1],
            **{name: _text(array) for name, array in arrays.items()},
        }


def live_decoder(run: OpenRun, most_bytes: int) -> Live:
    """Return the live map of a run, or a sentence that says why there is none."""
    vae, shape = run.model.vae_, run.image_shape
    network = vae.network_
    if shape is None:
        return _none("The rows are no images, so no point is decoded here.")
    layers = _layers(network)
    if layers is None or vae.likelihood_ not in MEANS:
        return _none("This decoder's kind is not computed in the page; the pictures show its work.")
    if sum(layer.weights.size for layer in layers) * 4 / 3 > most_bytes:
        return _none("This decoder is too large for a page; the pictures show its work.")
    latents, _ = read_latents(run.sealed)
    z, names, clusters = _points(run, latents)
    error = _error(layers, MEANS[vae.likelihood_], z, vae.inverse_transform(z[:MOST_MEASURED]))
    low, high = z.min(axis=0), z.max(axis=0)
    steps = np.rint(255 * (z - low) / np.maximum(high - low, 1e-12)).astype(np.uint8)
    axes = _axes(run, latents)
    data = {
        "shape": list(shape),
        "mean": MEANS[vae.likelihood_],
        "layers": [layer.to_json() for layer in layers],
        "latents": {"rows": len(z), "dimensions": z.shape[1], "steps": _text(steps)},
        "low": low.tolist(),
        "high": high.tolist(),
        "centre": axes[0].tolist(),
        "axes": axes[1:].tolist(),
        "names": names,
        "clusters": clusters,
        "colours": drawing.colours(len(set(names))),
    }
    said = (
        f"{len(z):,} test rows. The decoder stands in this page with 8 bits a weight: on "
        f"{min(len(z), MOST_MEASURED)} of them its pixels are {error.mean():.4f} off on average, "
        f"{error.max():.3f} at most, where black is 0 and white is 1."
    )
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    return Live(_MARKUP.format(said=escape(said)), text)


_MARKUP: Final = """<h2>Drag through latent space</h2>
<div class=live>
<canvas id=map width=1120 height=820 tabindex=0 role=application
aria-label="Map of latent space: drag, or use the arrow keys, to move the point that is decoded">
</canvas>
<div><canvas id=image role=img aria-label="What the decoder makes of the point"></canvas>
<p id=place aria-live=polite></p></div>
</div>
<p><small>{said} Between rows the point takes the directions that the map does not show from those
nearby.</small></p>"""


def _none(why: str) -> Live:
    return Live(f"<p><small>{escape(why)}</small></p>", "null")


def _layers(network: Network) -> list[Quantised] | None:
    """Return the decoder's layers; None if one is not dense."""
    layers = (*network.decoder.layers, network.output)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    return [Quantised.of(layer) for layer in dense] if len(dense) == len(layers) else None


def _points(run: OpenRun, latents: Latents) -> tuple[np.ndarray, list[str], list[int]]:
    """Return posterior means of test rows, their classes or else clusters, and their clusters."""
    means = latents.means["test"]
    z = means[evenly(len(means), MOST_POINTS)].astype(np.float32)
    answers = answers_at(run.model, z)
    clusters: list[int] = answers.components.tolist()
    named = hasattr(run.model, "classes_")
    return z, answers.classes.tolist() if named else [f"cluster {k}" for k in clusters], clusters


def _axes(run: OpenRun, latents: Latents) -> np.ndarray:
    """Return the centre and the two axes of the latent map, (3, L)."""
    pca = map_of(latents.train(run.model.latents))
    axes = np.zeros((3, len(pca.mean_)))
    axes[0], axes[1 : 1 + pca.n_components_] = pca.mean_, pca.components_
    return axes


def _error(layers: list[Quantised], mean: str, z: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return how far the page's images are from the model's, pixel by pixel."""
    x = z[: len(exact)]
    for layer in layers[:-1]:
        x = np.maximum(layer(x), 0)
    x = layers[-1](x)
    x = np.clip(x, 1e-3, 1 - 1e-3) if mean == "clip" else expit(x)
    off: np.ndarray = np.abs(x - exact)
    return off


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
