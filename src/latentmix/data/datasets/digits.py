"""scikit-learn's digits: comes with the installation, so it works with nothing downloaded."""

from __future__ import annotations

import numpy as np

from latentmix.data.dataset import Dataset
from latentmix.data.spec import DatasetSpec

_BRIGHTEST = 16


def read() -> Dataset:
    """Return the 1,797 images, their 17 levels spread over [0, 255]."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (1 s that other sets need not pay)

    digits = load_digits()
    return Dataset(
        name="digits",
        source="scikit-learn's bundled digits",
        X=np.round(digits.data * 255 / _BRIGHTEST).astype(np.uint8),
        labels=digits.target.astype(np.int64),
        class_names=tuple("0123456789"),
        image_shape=(8, 8),
    )


SPEC = DatasetSpec("digits", "1,797 handwritten digits of 8x8, bundled: nothing to download", read)
