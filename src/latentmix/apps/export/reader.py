# SPDX-License-Identifier: Apache-2.0
"""A latentmix model in NumPy alone; weights.npz and model.json stand beside this page.

k ~ Categorical(weights)            which component
z | k ~ Normal(mean_k, cov_k)       where in latent space
x | z ~ Likelihood(decoder(z))      what it looks like
y | k ~ Categorical(class_probs_k)  what people call it
"""

import json
from pathlib import Path

import numpy as np


class Model:
    """``model = Model("."); model.answers(model.rows(X))["class_proba"]; model.decode(z)``."""

    def __init__(self, folder):
        self.about = json.loads(Path(folder, "model.json").read_text("utf-8"))
        self.t = dict(np.load(Path(folder, "weights.npz")))
        parts = self.about["parts"]  # where columns x of a kind and their outputs o stand, and s
        self.parts = [(p["kind"], slice(*p["x"]), slice(*p["o"]), self.t[p["s"]]) for p in parts]

    def rows(self, table):
        """Return rows as numbers: in place of a category its position in the column's list."""
        table, lists = np.array(table), self.about["categories"]
        for d, names in enumerate(lists):
            table[:, d] = [names.index(value) for value in table[:, d]] if names else table[:, d]
        return table.astype(self.about["input"], casting="unsafe" if lists else "same_kind")

    def answers(self, x):
        """Return what is said of rows (B, D): z, p(k|x), and p(y|x) once there are names."""
        z = self.network("encoder", self.seen(self.prepared(x)))
        joint = self.log_joint(z, "mixture")
        k = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        if "class_probs" not in self.t:
            return {"latent_mean": z, "component_proba": k}
        y = np.log(np.maximum(k @ self.t["class_probs"], 1e-12)) / self.about["temperature"]
        y = np.exp(y - np.logaddexp.reduce(y, axis=1, keepdims=True))
        return {"latent_mean": z, "component_proba": k, "class_proba": y}

    def prepared(self, x):
        """Return rows in the network's units, columns of a kind beside each other."""
        return ((x - self.t["shift"]) / self.t["scale"])[:, self.t["order"]].astype(np.float32)

    def seen(self, x):
        """Return what the encoder sees: numbers, logarithms of counts, a bit for each category."""
        parts = [(SEEN.get(kind, lambda x, _: x), x[:, of], s) for kind, of, _, s in self.parts]
        return np.concatenate([as_seen(own, s) for as_seen, own, s in parts], axis=1)

    def network(self, name, x):
        """Return what the layers of the encoder or the decoder make of rows."""
        for layer in self.about[name]:
            weight, bias = (self.t[f"{layer['name']}.{each}"] for each in ("weight", "bias"))
            x = LAYERS[layer["kind"]](x.reshape(-1, *layer["shape"]), weight, layer) + bias
            x = np.maximum(x, 0) if layer["relu"] else x
        return x.reshape(-1, layer["outputs"])

    def decode(self, z):
        """Return E[x|z], (B, D); of a category the position of the most probable one."""
        x = self.means(self.network("decoder", z).astype(np.float64))[:, self.t["places"]]
        return x * self.t["output.scale"] + self.t["output.shift"]

    def means(self, o):
        """Return E[x|z] in the network's units from the decoder's outputs."""
        return np.concatenate([MEAN[kind](o[:, at], s) for kind, _, at, s in self.parts], axis=1)

    def log_joint(self, z, name):
        """Return log p(z, k) of a mixture: constants less half the squared whitened distances."""
        means, factors = self.t[f"{name}.means"], self.t[f"{name}.factors"]
        d = z @ np.hstack(factors) - np.hstack(means[:, None] @ factors)
        return self.t[f"{name}.constants"] - 0.5 * np.sum(d.reshape(-1, *means.shape) ** 2, axis=2)


def convolution(x, weight, layer):
    """Return 3 x 3 convolutions of images (B, height, width, channels)."""
    x, step = np.pad(x, layer["pad"]), layer["stride"]
    h, w = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, i : i + h : step, j : j + w : step] @ weight[i, j] for i, j in np.ndindex(3, 3))


def doubling(x, weight, layer):
    """Return images twice as high and wide: a convolution tells four pixels for each."""
    (h, w, _), (height, width, n) = layer["shape"], layer["larger"]
    x = convolution(x, weight, layer).reshape(-1, h, w, 2, 2, n).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, 2 * h, 2 * w, n)[:, :height, :width]


LAYERS = {"dense": lambda x, w, _: x @ w, "convolution": convolution, "doubling": doubling}
SEEN = {"count": lambda x, s: np.log1p(x) - s, "category": lambda x, s: x == s}
MEAN = {  # E[x|z] from the decoder's outputs o, and numbers s that each kind has besides
    "number": lambda o, s: o,
    "bit": lambda o, s: 0.5 + 0.5 * np.tanh(o / 2),
    "clipped": lambda o, s: np.minimum(np.maximum(o, 0.001), 0.999),
    "intensity": lambda o, s: 0.5 + 0.5 / np.tanh((t := np.where(np.abs(o) < s, s, o)) / 2) - 1 / t,
    "level": lambda o, s: 0.5 + sum(np.tanh((o - (k + 0.5) / 255) / s) for k in range(255)) / 510,
    "count": lambda o, s: np.exp(np.minimum(o, 20)),
    "category": lambda o, s: np.argmax(o, axis=1, keepdims=True),
}
