"""Large data are mapped: the same rows, the same refusals, and not in memory."""

import gzip
import mmap
import struct

import numpy as np
import pytest
from PIL import Image

from latentmix.data import RowView, load, room
from latentmix.errors import FormatError, InputError, WriteError
from latentmix.estimators.units import PreparedRows


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latentmix"


def large(monkeypatch):
    """Let every array count as large."""
    monkeypatch.setattr(room, "LARGE", 1)


PIXELS = np.random.RandomState(0).randint(0, 256, (30, 8, 8)).astype(np.uint8)
NUMBERS = np.random.RandomState(0).normal(size=(30, 3))


def idx(array, code):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def save_npy(folder):
    np.save(folder / "a.npy", PIXELS)
    return folder / "a.npy"


def save_whole_numbers(folder):
    np.save(folder / "a.npy", PIXELS.astype(np.int64))
    return folder / "a.npy"


def save_fortran(folder):
    np.save(folder / "a.npy", np.asfortranarray(NUMBERS))
    return folder / "a.npy"


def save_npz(folder):
    np.savez_compressed(folder / "a.npz", X=PIXELS, y=np.arange(30) % 3)
    return folder / "a.npz"


def save_idx(folder):
    (folder / "a-images").write_bytes(idx(PIXELS, 8))
    return folder / "a-images"


def save_idx_of_doubles(folder):
    (folder / "a-images").write_bytes(idx(NUMBERS.astype(">f8"), 14))
    return folder / "a-images"


def save_gzip(folder):
    (folder / "a.gz").write_bytes(gzip.compress(idx(PIXELS, 8)))
    return folder / "a.gz"


def save_pack(folder):
    for part, rows in (("train", PIXELS[:20]), ("t10k", PIXELS[20:])):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(rows, 8))
        labels = (np.arange(len(rows)) % 2).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels, 8))
    return folder


def save_images(folder):
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def save_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {f"c{number}": column for number, column in enumerate(NUMBERS.T)}
    parquet.write_table(pyarrow.table(columns), folder / "a.parquet", row_group_size=7)
    return folder / "a.parquet"


KINDS = [
    save_npy,
    save_whole_numbers,
    save_fortran,
    save_npz,
    save_idx,
    save_idx_of_doubles,
    save_gzip,
    save_pack,
    save_images,
    save_parquet,
]


@pytest.mark.parametrize("save", KINDS)
def test_large_data_are_the_same_rows_mapped(save, tmp_path, monkeypatch, cache):
    (tmp_path / "data").mkdir()
    path = save(tmp_path / "data")
    in_memory = load(path)
    large(monkeypatch)
    mapped = load(path)
    np.testing.assert_array_equal(mapped.X, in_memory.X)
    assert mapped.X.dtype == in_memory.X.dtype
    assert mapped.X.flags.c_contiguous
    assert mapped.image_shape == in_memory.image_shape
    assert mapped.class_names == in_memory.class_names
    if save is not save_fortran:  # which is put in order in memory
        assert is_mapped(mapped.X)
    assert not cache.exists() or not [*cache.iterdir()], "its file has a name"


def is_mapped(array):
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return array is not None and type(array).__name__ == "mmap"


def test_large_images_are_converted_in_a_map(tmp_path, monkeypatch):
    path = save_images(tmp_path)
    expected = load(path, size=4, channels=3)
    large(monkeypatch)
    np.testing.assert_array_equal(load(path, size=4, channels=3).X, expected.X)
    np.savez(tmp_path / "a.npz", X=PIXELS)
    converted = load(tmp_path / "a.npz", size=4)
    assert converted.image_shape == (4, 4)
    assert is_mapped(converted.X)


@pytest.mark.parametrize(
    ("cut", "complaint"), [(-9, "truncated|damaged"), (20, "IDX|truncated"), (200, "truncated")]
)
def test_a_cut_large_gzip_is_noticed(cut, complaint, tmp_path, monkeypatch):
    large(monkeypatch)
    path = save_gzip(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match=complaint):
        load(path)


def test_large_idx_of_another_length_is_noticed(tmp_path, monkeypatch):
    large(monkeypatch)
    for content, complaint in (
        (idx(PIXELS, 8)[:-1], "is truncated: it holds 1,935 bytes"),
        (idx(PIXELS, 8) + b"x", "is longer than its header says"),
    ):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(FormatError, match=complaint):
            load(tmp_path / "a")
        (tmp_path / "a").write_bytes(gzip.compress(content))
        with pytest.raises(FormatError, match=complaint):
            load(tmp_path / "a")


def test_a_disk_without_room_is_said(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    path = save_gzip(tmp_path)
    large(monkeypatch)
    monkeypatch.setattr(room.os, "posix_fallocate", full)
    with pytest.raises(WriteError, match=r"a\.gz needs .* No space left on device\. Free some"):
        load(path)


def test_a_map_that_outgrows_memory_is_not_read_ahead(tmp_path, monkeypatch):
    class Map:
        def __init__(self):
            self.advised = []

        def __len__(self):
            return 1000

        def madvise(self, advice):
            self.advised.append(advice)

    for memory, advised in ((1500, [mmap.MADV_RANDOM, mmap.MADV_NORMAL]), (2500, []), (None, [])):
        monkeypatch.setattr(room, "physical_memory", lambda memory=memory: memory)
        mapped = Map()
        monkeypatch.setattr(room, "_map_of", lambda rows, mapped=mapped: mapped)
        with room.read_at_random("rows"):
            assert mapped.advised == advised[:1]
        assert mapped.advised == advised


def test_the_map_is_found_through_views(tmp_path):
    mapped = np.load(save_npy(tmp_path), mmap_mode="r")
    view = RowView(np.asarray(mapped).reshape(30, 64), np.arange(5))
    for rows in (mapped, view, PreparedRows(view, np.negative, np.dtype(np.float32))):
        assert room._map_of(rows) is mapped._mmap
        with room.read_at_random(rows):
            pass
    assert room._map_of(PIXELS) is None


# Parquet


def write_parquet(path, **columns):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), path)
    return path


def test_parquet_is_a_table_with_ids_and_labels(tmp_path):
    path = write_parquet(
        tmp_path / "shop items.parquet",
        name=["a", "b", "c"],
        price=np.array([1, 2.5, 3], np.float32),
        kind=["x", None, "y"],
        size=np.array([1, 2, 3], np.int8),
    )
    data = load(path, id_column="name", label_column="kind")
    np.testing.assert_array_equal(data.X, [[1, 1], [2.5, 2], [3, 3]])
    assert data.X.dtype == np.float32
    assert data.feature_names == ("price", "size")
    assert data.row_ids == ("a", "b", "c")
    assert data.class_names == ("x", "y")
    assert data.labels.tolist() == [0, -1, 1]
    assert data.name == "shop-items"


@pytest.mark.parametrize(
    ("columns", "options", "complaint"),
    [
        ({"a": [1.0, None]}, {}, "NaN or infinity: nan at row 1, column 'a'"),
        ({"a": [1.0], "b": ["x"]}, {}, "1 different texts in 1 rows. Expected categories, which"),
        ({"a": np.zeros(0)}, {}, "has 0 rows"),
        ({"a": [1.0]}, {"label_column": "b"}, "label_column='b' is no column"),
        ({"a": [1.0, 2], "b": ["x", "x"]}, {"id_column": "b"}, "'x' stands more than once"),
    ],
)
def test_a_bad_parquet_file_is_one_sentence(columns, options, complaint, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", **columns)
    with pytest.raises((InputError, ValueError), match=complaint):
        load(path, **options)
