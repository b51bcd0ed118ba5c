"""Image folders: which files, in what order, with which classes and which pixels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentmix.data import load
from latentmix.data.pixels import FORMATS


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]


def grey(value: int, shape: tuple[int, int] = (4, 4)) -> np.ndarray:
    return np.full(shape, value, dtype=np.uint8)


def test_subfolders_are_classes_and_the_rest_is_unlabelled(tmp_path: Path) -> None:
    save(tmp_path / "dog" / "1.png", grey(3))
    save(tmp_path / "cat" / "2.png", grey(1))
    save(tmp_path / "cat" / "deeper" / "1.png", grey(2))
    save(tmp_path / "stray.png", grey(4))

    dataset = load(tmp_path)

    assert dataset.row_ids == ("cat/2.png", "cat/deeper/1.png", "dog/1.png", "stray.png")
    assert dataset.X[:, 0].tolist() == [1, 2, 3, 4]
    assert dataset.class_names == ("cat", "dog")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 0, 1, -1]


def test_a_flat_folder_has_no_labels_and_hidden_or_other_files_do_not_count(tmp_path: Path) -> None:
    save(tmp_path / "b.png", grey(2))
    save(tmp_path / "a.PNG", grey(1))
    save(tmp_path / ".thumbnails" / "c.png", grey(9))
    (tmp_path / "._a.png").write_bytes(b"metadata")
    (tmp_path / "notes.txt").write_text("not an image")

    dataset = load(tmp_path)

    assert dataset.row_ids == ("a.PNG", "b.png")
    assert dataset.labels is None
    assert dataset.image_shape == (4, 4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"image{suffix}", np.full((6, 5, 3), 200, dtype=np.uint8))

    dataset = load(tmp_path)

    assert dataset.image_shape == (6, 5, 3)
    # GIF and JPEG round.
    np.testing.assert_allclose(dataset.X, 200, atol=2)


def test_photos_of_any_size_and_kind_become_rows_on_request(tmp_path: Path) -> None:
    save(tmp_path / "wide.jpg", np.full((40, 90, 3), 120, dtype=np.uint8))
    save(tmp_path / "small.png", grey(120, (7, 3)))
    save(tmp_path / "clear.png", np.full((9, 9, 4), (120, 120, 120, 255), dtype=np.uint8))
    save(tmp_path / "deep.png", np.full((5, 5), 120 * 257, dtype=np.uint16))

    for channels, shape in ((1, (8, 8)), (3, (8, 8, 3))):
        dataset = load(tmp_path, size=8, channels=channels)
        assert dataset.image_shape == shape
        np.testing.assert_allclose(dataset.X, 120, atol=2)


def test_what_is_transparent_turns_white(tmp_path: Path) -> None:
    save(tmp_path / "clear.png", np.zeros((4, 4, 4), dtype=np.uint8))

    assert (load(tmp_path, channels=3).X == 255).all()


def test_resizing_crops_about_the_centre_and_does_not_stretch(tmp_path: Path) -> None:
    pixels = grey(0, (8, 16))
    pixels[:, 4:12] = 255
    save(tmp_path / "bar.png", pixels)

    assert (load(tmp_path, size=8).X == 255).all()


def test_photos_are_turned_as_the_camera_was_held(tmp_path: Path) -> None:
    pixels = grey(0, (16, 16))
    pixels[:8] = 255  # white on top, to be shown on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photo.jpg", pixels, exif=exif)

    image = load(tmp_path).X.reshape(16, 16)

    assert (image[:, 10:] > 200).all()
    assert (image[:, :6] < 50).all()


def test_reading_changes_no_warning_filter(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(1))
    before = list(warnings.filters)

    load(tmp_path)

    assert warnings.filters == before
