# SPDX-License-Identifier: Apache-2.0
"""How strange rows are, in NumPy alone: what reader.py's Model knows, and six numbers of a row.

-log p(x|z)       what the decoder does not tell of the row, in nats
H[x]              what no decoder tells: the entropy of grey pixels; 0 for other rows
|x - E[x|z]|^2    how far off the decoder is
log p(z)          how usual the place in latent space is
log |Sigma|       how sure the encoder is of it
H[p(k|z)]         how far it lies between the components

The score is minus the log density that the six have among the training rows'.
"""

import numpy as np


def anomaly_scores(model, x):
    """Return how strange rows (B, D) are, (B,): the larger, the stranger."""
    x = model.prepared(x)
    seen = model.seen(x)
    z, spread = model.network("encoder", seen), model.network("spread", seen)
    if model.about["heads"] == "relu":
        spread = 2 * np.log(spread + np.float32(1e-3))
    joint = model.log_joint(z, "mixture")
    log_density = np.logaddexp.reduce(joint, axis=1, keepdims=True)
    doubt = -np.exp(joint - log_density) * (joint - log_density)
    numbers = (*told(model, x.astype(np.float64), z), log_density, spread, doubt)
    six = np.concatenate([each.sum(axis=1, keepdims=True) for each in numbers], axis=1)
    joint = model.log_joint((six - model.t["usual.shift"]) / model.t["usual.scale"], "usual")
    scores = -np.logaddexp.reduce(joint, axis=1)
    return np.where(np.isnan(scores), np.inf, scores)  # what overflows is as strange as can be


def told(model, x, z):
    """Return -log p(x|z), the entropy of grey pixels and (x - E[x|z])^2 of prepared rows."""
    o = model.network("decoder", z).astype(np.float64)
    losses = []
    for part, (kind, of, at, s) in zip(model.about["parts"], model.parts, strict=True):
        spread = model.t[part["spread"]] if part["spread"] else None
        losses.append(-LOG_P[kind](x[:, of], o[:, at], s, spread))
    grey = entropy(x) + entropy(1 - x) if model.about["grey"] else 0 * x
    return np.concatenate(losses, axis=1), grey, (x - model.means(o)) ** 2


def entropy(p):
    """Return -p log p, 0 where p is."""
    return -p * np.log(np.maximum(p, 1e-300))


def number(x, o, _, variance):
    """Return log N(x; o, variance)."""
    return -0.5 * ((x - o) ** 2 / variance + np.log(2 * np.pi * variance))


def bit(x, o, *_):
    """Return log p(x) of logits o; for grey pixels minus the cross entropy."""
    return x * o - np.logaddexp(0, o)


def clipped(x, o, *_):
    """Return the same of probabilities o."""
    p = np.minimum(np.maximum(o, 0.001), 0.999)
    return x * np.log(p) + (1 - x) * np.log(1 - p)


def intensity(x, o, least, _):
    """Return log p(x) of the continuous Bernoulli: the same with what makes it a density."""
    size = np.maximum(np.abs(o), least)
    return bit(x, o) + np.log(size / np.tanh(size / 2))


def level(x, o, twice_scale, _):
    """Return log P of bytes over 255 under the discretised logistic."""
    k, scale = np.rint(x * 255), twice_scale / 2
    below = -np.logaddexp(0, (o - (k + 0.5) / 255) / scale)
    above = -np.logaddexp(0, ((k - 0.5) / 255 - o) / scale)
    between = below + above + np.log(-np.expm1(-1 / (255 * scale)))
    return np.where(k <= 0, below, np.where(k >= 255, above, between))


def count(x, o, _, dispersion):
    """Return the log-probability of counts, of variance mean + dispersion mean^2, or Poisson's."""
    log_mean = np.minimum(o, 20)
    if dispersion is None:
        return x * log_mean - np.exp(log_mean) - log_gamma(x + 1)
    r, odds = 1 / dispersion, log_mean + np.log(dispersion)
    ways = log_gamma(x + r) - log_gamma(r) - log_gamma(x + 1)
    return ways - r * np.logaddexp(0, odds) - x * np.logaddexp(0, -odds)


def log_gamma(a):
    """Return log Gamma(a) for a > 0: Stirling's series eight steps further on."""
    b, steps = a + 8, a
    for step in range(1, 8):
        steps = steps * (a + step)
    series = 1 / (12 * b) - 1 / (360 * b * b * b) + 1 / (1260 * b * b * b * b * b)
    return (b - 0.5) * np.log(b) - b + 0.5 * np.log(2 * np.pi) + series - np.log(steps)


def category(x, o, all_of_them, _):
    """Return log p of positions under the softmax of o."""
    log_p = o - np.logaddexp.reduce(o, axis=1, keepdims=True)
    return np.sum((x == all_of_them) * log_p, axis=1, keepdims=True)


LOG_P = {
    "number": number,
    "bit": bit,
    "clipped": clipped,
    "intensity": intensity,
    "level": level,
    "count": count,
    "category": category,
}
