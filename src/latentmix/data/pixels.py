"""One image file to one uint8 array: bounded, upright, grey or RGB, resized on request."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from latentmix.data.limits import unreadable
from latentmix.data.room import room_for
from latentmix.errors import FormatError

FORMATS: Final = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
REMEDY: Final = "--set data.size=28 --set data.channels=1 (3 for colour)"
_MOST_PIXELS: Final = 100_000_000
_GREY_MODES: Final = {"1", "L"}
_COLOUR_MODES: Final = {"P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"}
_TURNED: Final = 0x0112  # the EXIF tag that says how the camera was held


def read_pixels(
    path: Path, *, size: int | None, channels: int | None, content: bytes | None = None
) -> np.ndarray:
    """Return an image as uint8, (H, W) if grey and (H, W, 3) if RGB.

    Parameters
    ----------
    path : Path
        Of an animation, the first frame is read.
    size : int or None
        Scale and crop (about the centre) to a square of that side.
    channels : {1, 3} or None
        Convert to grey or RGB, with white behind whatever is transparent.
    content : bytes, optional
        The file's, where it is not on disk: the path is then what it is called.

    Raises
    ------
    FormatError
        If the file is damaged, no such image, or has more than 100 million pixels; or if it
        has transparency or more than 8 bits and no `channels` asked for its conversion.
    """
    file = path if content is None else io.BytesIO(content)
    with _one_error(path), Image.open(file, formats=tuple(set(FORMATS.values()))) as image:
        _check_size(image, path)
        if size is not None:
            # JPEG can decode at 1/2, 1/4 or 1/8 of its size; twice the wanted is enough.
            image.draft(None, (2 * size, 2 * size))
        upright = _upright(image)
        plain = _plain(upright, path, channels)
        return np.asarray(_fit(plain, size))


def convert_rows(
    X: np.ndarray, shape: tuple[int, ...], *, size: int | None, channels: int | None
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return uint8 images (N, D) of `shape` resized and converted, and their new shape."""
    mode = {1: "L", 3: "RGB", None: "L" if len(shape) == 2 else "RGB"}[channels]
    height, width = (size, size) if size is not None else shape[:2]
    new_shape = (height, width) if mode == "L" else (height, width, 3)
    converted = room_for((len(X), *new_shape), np.dtype(np.uint8), "The converted images")
    for row, pixels in zip(converted, X, strict=True):
        row[...] = np.asarray(_fit(Image.fromarray(pixels.reshape(shape)).convert(mode), size))
    return converted.reshape(len(X), -1), new_shape


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    """Turn whatever Pillow says of a bad file, its warnings of bombs included, into one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which nothing here reads
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except FormatError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FormatError(
            f"{path} claims more pixels than an image should, as a decompression bomb does. "
            f"Expected at most {_MOST_PIXELS:,}; remove it."
        ) from error
    except Exception as error:  # its decoders raise nearly anything on damaged data
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "BytesIO" in reason:
            reason = "it is of no kind that is known"
        raise FormatError(
            f"{path} cannot be read as an image: {reason}. Expected a whole "
            f"{FORMATS.get(path.suffix.lower(), 'image')} file; replace or remove it."
        ) from error


def _check_size(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise FormatError(
            f"{path} claims {width:,} x {height:,} pixels, as a decompression bomb does. Expected "
            f"at most {_MOST_PIXELS:,} in all; remove it or make it smaller."
        )


def _upright(image: Image.Image) -> Image.Image:
    # PNG, BMP and GIF seldom carry EXIF; looking for it would decode them twice.
    if image.format in {"JPEG", "WEBP", "TIFF"} and image.getexif().get(_TURNED, 1) != 1:
        return ImageOps.exif_transpose(image)
    return image


def _plain(image: Image.Image, path: Path, channels: int | None) -> Image.Image:
    """Return the image in mode L or RGB."""
    mode = image.mode
    if mode.startswith("I;16"):
        # Pillow's own conversion clips at 255; the upper byte is the picture.
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        if channels is None:
            raise FormatError(
                f"{path} has a transparency channel ({mode}). Expected grey or RGB; convert with "
                f"{REMEDY}."
            )
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
        if mode in {"LA", "La"}:
            image = image.convert("L")
    elif mode not in _GREY_MODES | _COLOUR_MODES:
        raise FormatError(
            f"{path} stores pixels as {mode} (32 bits). Expected 8 bits a channel; save it as "
            "8-bit PNG."
        )
    grey = channels == 1 if channels is not None else image.mode in _GREY_MODES
    wanted = "L" if grey else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _fit(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
