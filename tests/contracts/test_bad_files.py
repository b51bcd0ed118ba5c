"""Bad input: each gets one clear sentence and the right class, and costs no memory.

Where NaN and infinity are refused: in `latentmix.data` for everything read from a file, where
row and column have names; in the estimators for arrays handed to them.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentmix.data import load, read_label_rows
from latentmix.errors import FormatError, InputError, LatentmixError, MissingError, ParameterError


def idx_header(*shape: int) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)


def npy_bytes(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    buffer = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def zip_bytes(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size and whose data are next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def lying_npz() -> bytes:
    """Return a zip whose directory understates how far its member unpacks."""
    content = npy_bytes(np.zeros((100, 100), dtype=np.uint8))
    raw = zip_bytes(X=content)
    return raw.replace(struct.pack("<I", len(content)), struct.pack("<I", 200))


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("images-idx3-ubyte", b"", r"is empty \(0 bytes\)"),
    "empty gz": ("images.gz", gzip.compress(b""), "no kind that is read"),
    "empty npy": ("a.npy", b"", r"is empty \(0 bytes\)"),
    "empty npz": ("a.npz", b"", "cannot be read as .npz"),
    "empty csv": ("a.csv", b"", "is empty"),
    "not IDX": ("a.bin", b"hello, this is no data", "no kind that is read"),
    "archive": ("a.zip", zip_bytes(X=b"x"), "unpack an archive first"),
    "truncated header": ("images", idx_header(3, 4, 5)[:9], "ends within its IDX header"),
    "truncated": ("images", idx_header(10, 4, 5) + b"\0" * 100, "truncated.*Expected 216"),
    "too long": ("images", idx_header(1, 2, 2) + b"\0" * 9, "longer than its header says"),
    "truncated gz": ("a.gz", gzip.compress(idx_header(9, 9, 9) + bytes(729))[:-9], "truncated"),
    "damaged gz": (
        "a.gz",
        gzip.compress(idx_header(9, 9, 9) + bytes(729))[:-8] + b"\1" * 8,
        "damaged gzip",
    ),
    "gzip bomb": ("a.gz", gzip.compress(idx_header(2**20, 2**12, 2**12)), "decompression bomb"),
    "gzip of more than claimed": (
        "a.gz",
        gzip.compress(idx_header(1, 2, 2) + bytes(10**7)),
        "longer than its header says",
    ),
    "labels alone": ("labels", idx_header(3) + b"\1\2\3", "a file of labels"),
    "no rows": ("images", idx_header(0, 4, 4), "at least one row"),
    "pickled npy": (
        "a.npy",
        npy_bytes(np.array([{}, 1], dtype=object), allow_pickle=True),
        "pickled Python objects, which are never loaded",
    ),
    "truncated npy": ("a.npy", npy_bytes(np.zeros((9, 99)))[:-1000], "is truncated"),
    "npy of a terabyte": ("a.npy", npy_header((2**20, 2**20)) + b"\0" * 64, "is truncated"),
    "negative npy": ("a.npy", npy_header((-3, 4)) + b"\0" * 64, r"claims shape \(-3, 4\)"),
    "not npy": ("a.npy", b"P5 1 1 255 x" * 9, "is no .npy array"),
    "text npy": ("a.npy", npy_bytes(np.array(["a", "b"])), "Expected real numbers"),
    "complex npy": ("a.npy", npy_bytes(np.ones((2, 2), dtype=complex)), "Expected real numbers"),
    "five axes": ("a.npy", npy_bytes(np.ones((1, 2, 2, 2, 2))), r"Expected \(N, D\)"),
    "channels first": ("a.npy", npy_bytes(np.ones((2, 3, 8, 8))), "move that axis to the end"),
    "NaN": ("a.npy", npy_bytes(np.array([[0.0], [np.nan]])), "nan at row 1, column 0"),
    "infinite": ("a.npy", npy_bytes(np.array([[0.0, -np.inf]])), "-inf at row 0, column 1"),
    "zip bomb": ("a.npz", zip_bytes(X=npy_header((3 * 10**8,)) + bytes(3 * 10**8)), "bomb"),
    "npz of a terabyte": ("a.npz", zip_bytes(X=npy_header((2**20, 2**20))), "is truncated"),
    "lying npz": ("a.npz", lying_npz(), "cannot be read as .npz"),
    "damaged npz": ("a.npz", zip_bytes(X=npy_bytes(np.ones(99)))[:-30], "cannot be read as .npz"),
    "pickled npz": (
        "a.npz",
        zip_bytes(X=npy_bytes(np.array([None], dtype=object), allow_pickle=True)),
        "never loaded",
    ),
    "npz of other names": (
        "a.npz",
        zip_bytes(x_train=npy_bytes(np.ones((2, 2))), x_test=npy_bytes(np.ones((2, 2)))),
        "holds the arrays x_test, x_train. Expected the data under",
    ),
    "labels of another length": (
        "a.npz",
        zip_bytes(X=npy_bytes(np.ones((3, 2))), y=npy_bytes(np.arange(4))),
        "4 labels for 3 rows",
    ),
    "labels of two axes": (
        "a.npz",
        zip_bytes(X=npy_bytes(np.ones((3, 2))), y=npy_bytes(np.ones((3, 2)))),
        r"labels of shape \(3, 2\)",
    ),
    "one image": ("a.png", png_claiming(2, 2), "give the folder of the images"),
    "ragged csv": ("a.csv", b"a,b\n1,2\n3\n", r"row 1 \(line 3\) has 1 cells. Expected 2"),
    "word in csv": (
        "a.csv",
        b"a,b\n1,2\n\n3,four\n",
        r"row 1 \(line 4\), column 'b': 'four'. Expected a number.*--set data.label_column=b",
    ),
    "blank in csv": ("a.csv", b"a,b\n,2\n", r"row 0 \(line 2\), column 'a': a blank cell"),
    "NaN in csv": ("a.csv", b"a,b\n1,nan\n", "nan at row 0, column 'b'"),
    "csv of a header alone": ("a.csv", b"a,b\n", "0 rows and 2 columns of data"),
    "csv without a header": ("a.csv", b"1,2\n3,4\n", "begins with a line of numbers"),
    "csv with semicolons": ("a.csv", b"a;b\n1;2\n", "semicolons or tabs"),
    "csv with a title twice": ("a.csv", b"a,a\n1,2\n", "'a' stands more than once"),
    "binary csv": ("a.csv", gzip.compress(b"a,b\n1,2\n"), "no UTF-8 text"),
    "csv with an open quote": ("a.csv", b'a,b\n1,"2\n', "is no CSV"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, kind: str) -> None:
    name, content, expected = BAD_FILES[kind]
    path = tmp_path / name
    path.write_bytes(content)

    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"(?s){expected}") as caught:
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith(".")
    assert peak < 8e6


def test_every_cut_of_a_gzipped_file_is_noticed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, size=400).astype(np.uint8).tobytes()
    whole = gzip.compress(idx_header(4, 10, 10) + pixels)
    path = tmp_path / "images.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load(path)


def grey(path: Path, shape: tuple[int, ...] = (4, 4)) -> None:
    Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(path)


def unequal(folder: Path) -> None:
    grey(folder / "a.png")
    grey(folder / "b.png", (4, 5))


def one_in_colour(folder: Path) -> None:
    grey(folder / "a.png")
    grey(folder / "b.png", (4, 4, 3))


def transparent(folder: Path) -> None:
    grey(folder / "a.png", (4, 4, 4))


def bomb(folder: Path) -> None:
    (folder / "a.png").write_bytes(png_claiming(50_000, 50_000))


def terabyte(folder: Path) -> None:
    (folder / "a.png").write_bytes(png_claiming(2**30, 2**10))


def text_bomb(folder: Path) -> None:
    from PIL import PngImagePlugin  # noqa: PLC0415

    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 10**7, zip=True)
    Image.new("L", (4, 4)).save(folder / "a.png", pnginfo=notes)


def truncated(folder: Path) -> None:
    rng = np.random.default_rng(0)
    whole = io.BytesIO()
    pixels = rng.integers(0, 256, size=(64, 64)).astype(np.uint8)
    Image.fromarray(pixels).save(whole, "PNG")
    (folder / "a.png").write_bytes(whole.getvalue()[:2000])


def not_an_image(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(b"<html>404</html>")


def empty_image(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"")


def postscript(folder: Path) -> None:
    # Pillow would start Ghostscript for this one.
    (folder / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")


def floating(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(folder / "a.tif")


def no_image(folder: Path) -> None:
    (folder / "readme.txt").write_text("nothing here")


REMEDY = r"--set data\.size=28 --set data\.channels=1"
BAD_FOLDERS: list[tuple[Callable[[Path], None], str]] = [
    (unequal, rf"b\.png is 4x5 grey, but a\.png is 4x4 grey.*{REMEDY}"),
    (one_in_colour, rf"b\.png is 4x4 colour, but a\.png is 4x4 grey.*{REMEDY}"),
    (transparent, rf"transparency channel.*{REMEDY}"),
    (bomb, "decompression bomb"),
    (terabyte, "decompression bomb"),
    (text_bomb, r"a\.png cannot be read as an image"),
    (truncated, r"a\.png cannot be read as an image"),
    (not_an_image, r"a\.jpg cannot be read as an image"),
    (empty_image, r"a\.png cannot be read as an image"),
    (postscript, r"a\.png cannot be read as an image"),
    (floating, "Expected 8 bits a channel"),
    (no_image, r"holds no image \(1 other files\)"),
]


@pytest.mark.parametrize(("make", "expected"), BAD_FOLDERS)
def test_a_bad_image_folder_is_one_clear_sentence(
    tmp_path: Path, make: Callable[[Path], None], expected: str
) -> None:
    make(tmp_path)

    with pytest.raises(FormatError, match=expected) as caught:
        load(tmp_path)

    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_remedy_for_unequal_images_works_as_it_is_written(tmp_path: Path) -> None:
    unequal(tmp_path)
    with pytest.raises(FormatError) as caught:
        load(tmp_path)
    options = dict(re.findall(r"--set data\.(\w+)=(\d+)", str(caught.value)))

    dataset = load(tmp_path, **{option: int(value) for option, value in options.items()})

    assert dataset.describe() == "2 images of 28x28, no labels"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,a\n0,b\n", "labelled 'b', but 'a' in line 1"),
        ("9,a\n", "'9' is no row of the data. Expected a row number from 0 to 2"),
        ("-1,a\n", "'-1' is no row"),
        ("x.png,a\n", "'x.png' is no row"),
        ("row,label\n0,\n", "holds no label"),
        ("", "holds no label"),
        ("0,a,b\n", "line 1 has 3 cells"),
        ('0,"a\n', "is no CSV"),
    ],
)
def test_a_bad_label_file_is_one_clear_sentence(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)

    with pytest.raises(InputError, match=expected):
        read_label_rows(path, None, 3)


def test_what_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"neither a file.*Did you mean 'mnist'\?"):
        load("minst")
    with pytest.raises(MissingError, match="No such file"):
        read_label_rows(tmp_path / "labels.csv", None, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": 0}, "data.size=0 is out of range"),
        ({"channels": 2}, "Choose 1 for grey or 3 for colour"),
        ({"label_column": "colour"}, "no column of .* Did you mean 'color'"),
        ({"size": 28}, "holds a table. Leave them out"),
    ],
)
def test_options_that_do_not_apply(tmp_path: Path, options: dict[str, int], expected: str) -> None:
    (tmp_path / "t.csv").write_text("a,color\n1,2\n")

    with pytest.raises(ParameterError, match=expected):
        load(tmp_path / "t.csv", **options)  # type: ignore[arg-type]


def test_columns_are_for_csv_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 2)))

    with pytest.raises(ParameterError, match="columns of a CSV"):
        load(tmp_path / "a.npy", label_column="y")


def test_the_same_id_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,a\nx,1\nx,2\n")

    with pytest.raises(InputError, match="'x' stands more than once"):
        load(tmp_path / "t.csv", id_column="id")


def test_random_bytes_raise_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seeds = {
        ".npy": npy_bytes(np.ones((4, 4))),
        ".npz": zip_bytes(X=npy_bytes(np.ones((4, 4))), y=npy_bytes(np.arange(4))),
        ".csv": b"a,b\n1,2\n3,4\n",
        ".gz": gzip.compress(idx_header(2, 3, 3) + bytes(18)),
        "": idx_header(2, 3, 3) + bytes(18),
    }
    for suffix, good in seeds.items():
        path = tmp_path / f"file{suffix}"
        for _ in range(60):
            changed = bytearray(good)
            for place in rng.integers(0, len(good), size=3):
                changed[place] = rng.integers(256)
            path.write_bytes(changed)
            try:
                load(path)
            except LatentmixError as error:
                assert str(path) in str(error)
