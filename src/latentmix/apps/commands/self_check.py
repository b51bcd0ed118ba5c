"""A fit of a few seconds with a known outcome: three heaps of images, found and told apart."""

from __future__ import annotations

import warnings
from typing import Final, NamedTuple

import numpy as np

from latentmix import VAE, LatentMixture, metrics

N_ROWS: Final = 240


class Found(NamedTuple):
    """What share of the rows is in its heap's cluster, and whether a strange row is told."""

    accuracy: float
    strange_first: bool

    @property
    def is_well(self) -> bool:
        """Whether all that is known beforehand was found."""
        return self.accuracy > 0.95 and self.strange_first

    def __str__(self) -> str:
        """Return it as a line."""
        strange = "a strange row told" if self.strange_first else "a strange row not told"
        return f"{self.accuracy:.0%} of {N_ROWS} images in their 3 heaps, {strange},"


def found_heaps() -> Found:
    """Fit images of bars, pillars and squares, and say what was found."""
    random = np.random.RandomState(0)
    heaps = np.arange(N_ROWS) % 3
    bright = np.zeros((3, 8, 8))
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 220
    X = (bright[heaps] + random.randint(0, 30, (N_ROWS, 8, 8))).astype(np.uint8).reshape(N_ROWS, -1)
    vae = VAE(latent_dim=2, hidden_dims=[16], max_epochs=30, min_steps=0, learning_rate=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = LatentMixture(3, vae=vae, random_state=0).fit(X)
    inverted = 255 - X[:1]
    scores = model.anomaly_scores(np.vstack([X, inverted]))
    table = metrics.contingency_table(model.predict(X), heaps, 3, 3)
    return Found(metrics.hungarian_accuracy(table), bool(scores.argmax() == N_ROWS))
