"""Flat rows as images again, laid out side by side in one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# White pixels between images, as a share of an image's side; one at least.
GAP = 1 / 14


def in_unit_interval(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return arrays scaled together into [0, 1]; those that lie in it already stay as they are."""
    low = min(float(array.min()) for array in arrays if array.size)
    high = max(float(array.max()) for array in arrays if array.size)
    if low >= 0 and high <= 1:
        return arrays
    return tuple((array - low) / ((high - low) or 1.0) for array in arrays)


def mosaic(
    rows: Sequence[np.ndarray], image_shape: tuple[int, ...], *, least_lines: int = 0
) -> np.ndarray:
    """Return one white-bordered picture with a line of images for each array of `rows`.

    Parameters
    ----------
    rows : sequence of (n, D) arrays
        Intensities in [0, 1]; a line of fewer images ends in white.
    image_shape : (H, W) or (H, W, 3)
    least_lines : int
        White lines below make up for missing ones.

    Returns
    -------
    (height, width) or (height, width, 3) array in [0, 1]
    """
    height, width = image_shape[:2]
    gap = max(1, round(GAP * max(height, width)))
    longest = max(len(images) for images in rows)
    size = (max(len(rows), least_lines) * (height + gap) + gap, longest * (width + gap) + gap)
    sheet = np.ones((*size, *image_shape[2:]))
    for i, images in enumerate(rows):
        for j, image in enumerate(images):
            top, left = i * (height + gap) + gap, j * (width + gap) + gap
            sheet[top : top + height, left : left + width] = image.reshape(image_shape)
    return np.clip(sheet, 0, 1)
