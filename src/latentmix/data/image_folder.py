"""A folder of images: one row a file, in the order of their paths, classes from subfolders.

Hidden files and folders, and files that are no images by their suffix, are passed over.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix.data.labels import Labels, encode_names
from latentmix.data.limits import unreadable
from latentmix.data.pixels import FORMATS, REMEDY, read_pixels
from latentmix.data.room import room_for
from latentmix.errors import FormatError


class ImageRows(NamedTuple):
    """Images (N, D) of uint8, their shape, their paths in the folder, and their classes."""

    X: np.ndarray
    image_shape: tuple[int, ...]
    row_ids: tuple[str, ...]
    labels: Labels | None


def read_image_folder(folder: Path, *, size: int | None, channels: int | None) -> ImageRows:
    """Return the images of a folder and all its subfolders.

    The class of a file is the subfolder of `folder` it lies in; files outside any are
    unlabelled, and a single subfolder names no classes.

    Parameters
    ----------
    folder : Path
    size, channels : int or None
        As for `latentmix.data.pixels.read_pixels`; without them all images must agree.

    Raises
    ------
    MissingError
        If the folder cannot be read.
    FormatError
        If it holds no image, a bad one, or images of unequal size or channels.
    """
    names = find_images(folder)
    first = read_pixels(folder / names[0], size=size, channels=channels)
    source = f"{folder} ({len(names):,} images of {_say(first.shape)})"
    X = room_for((len(names), *first.shape), np.dtype(np.uint8), source)
    X[0] = first
    for row, name in enumerate(names[1:], start=1):
        pixels = read_pixels(folder / name, size=size, channels=channels)
        if pixels.shape != first.shape:
            raise FormatError(
                f"{folder / name} is {_say(pixels.shape)}, but {names[0]} is {_say(first.shape)}. "
                f"Expected images of one size and kind; resize and convert them with {REMEDY}."
            )
        X[row] = pixels
    return ImageRows(X.reshape(len(names), -1), first.shape, names, _classes(names))


def find_images(folder: Path) -> tuple[str, ...]:
    """Return the paths of all images in a folder, relative to it, POSIX, sorted.

    Raises
    ------
    MissingError
        If the folder cannot be read.
    FormatError
        If it holds no image.
    """
    if not folder.is_dir():
        raise unreadable(folder, NotADirectoryError(20, "it is not a folder"))
    found: list[str] = []
    n_others = 0
    for where, subfolders, files in os.walk(folder, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = Path(where).relative_to(folder)
        for name in files:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in FORMATS:
                found.append((inside / name).as_posix())
            else:
                n_others += 1
    if not found:
        raise FormatError(
            f"{folder} holds no image ({n_others} other files). Expected files ending in "
            f"{', '.join(FORMATS)}, or the four IDX files of an MNIST-like set."
        )
    return tuple(sorted(found))


def _raise(error: OSError) -> None:
    raise unreadable(Path(error.filename), error) from error


def _classes(names: tuple[str, ...]) -> Labels | None:
    labels = encode_names(name.split("/")[0] if "/" in name else None for name in names)
    return labels if len(labels.class_names) > 1 else None


def _say(shape: tuple[int, ...]) -> str:
    kind = "grey" if len(shape) == 2 else "colour"
    return f"{shape[0]}x{shape[1]} {kind}"
