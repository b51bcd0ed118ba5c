"""Draws from a model as a file: a sheet of images, or a table."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from latentmix.apps.images import in_unit_interval, mosaic
from latentmix.errors import ParameterError
from latentmix.storage.files import write_bytes, write_csv

# Small images are shown in blocks of whole pixels, so that a digit can be seen.
LEAST_SIDE = 56


def check_kind(path: Path, image_shape: tuple[int, ...] | None, *, has_text: bool = False) -> None:
    """Refuse a file name whose suffix says nothing that can be written.

    Raises
    ------
    ParameterError
        If the suffix is unknown, or a table is to be a picture.
    """
    kinds: tuple[str, ...] = (".csv",) if has_text else (".csv", ".npy")
    kinds = kinds if image_shape is None else (".png", *kinds)
    if path.suffix.lower() not in kinds:
        what = "rows of a table" if image_shape is None else "images"
        what += " with text" if has_text else ""
        raise ParameterError(
            f"-o {path} ends in {path.suffix!r}, and the run's draws are {what}. Expected a name "
            f"that ends in {' or '.join(kinds)}."
        )


def write_samples(
    drawn: np.ndarray,
    image_shape: tuple[int, ...] | None,
    feature_names: Sequence[str] | None,
    path: Path,
) -> None:
    """Write draws (N, D) as .png (images only), .csv or .npy.

    Raises
    ------
    WriteError
        If the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        titles = feature_names or [f"v{i}" for i in range(drawn.shape[1])]
        write_csv(path, titles, ([_short(value) for value in row] for row in drawn))
        return
    images = drawn if image_shape is None else drawn.reshape(-1, *image_shape)
    if suffix == ".npy":
        content = io.BytesIO()
        np.save(content, images.astype(np.float32), allow_pickle=False)
        write_bytes(path, content.getvalue())
    else:
        write_bytes(path, _sheet(images))


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _sheet(images: np.ndarray) -> bytes:
    """Return a PNG of images (N, H, W) or (N, H, W, 3), about as wide as high."""
    (images,) = in_unit_interval(images)
    n_images, shape = len(images), images.shape[1:]
    zoom = max(1, math.ceil(LEAST_SIDE / max(shape[:2])))
    columns = math.ceil(math.sqrt(n_images))
    lines = [images[start : start + columns] for start in range(0, n_images, columns)]
    sheet = np.rint(mosaic(lines, shape) * 255).astype(np.uint8)
    content = io.BytesIO()
    enlarged = Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1))
    enlarged.save(content, format="PNG", optimize=True)
    return content.getvalue()
