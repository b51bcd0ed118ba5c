"""Files are written whole or not at all, and a sealed folder is read only if it is as sealed."""

import errno
import hashlib
import json
import os
import struct
import sys
import tempfile
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest

import latentmix
from latentmix import VAE, GaussianMixture
from latentmix.errors import IntegrityError, MissingError, WriteError
from latentmix.models.vae import Architecture, Network
from latentmix.storage.files import (
    claim_folder,
    replace_folder,
    write_bytes,
    write_csv,
    write_json,
    write_tensors,
)
from latentmix.storage.manifest import LARGEST_MANIFEST, MANIFEST, open_sealed, seal

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(2.5)}


@pytest.fixture
def folder(tmp_path):
    """Return a sealed folder of three files, one of them in a folder of its own."""
    path = tmp_path / "sealed"
    write_json(path / "model.json", {"answer": 42})
    write_tensors(path / "deep" / "weights.safetensors", TENSORS)
    write_csv(path / "rows.csv", ("row", "label"), [(0, "cat"), (1, 'a "dog", or so')])
    seal(path, "model")
    return path


def manifest_of(folder):
    return json.loads((folder / MANIFEST).read_text())


def rewrite(folder, **changes):
    (folder / MANIFEST).write_text(json.dumps({**manifest_of(folder), **changes}))


def entry(content):
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(folder, match):
    with pytest.raises(IntegrityError, match=match) as caught:
        open_sealed(folder, "model")
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert message.endswith(".")


# A sealed folder


def test_what_was_sealed_is_read_back(folder):
    sealed = open_sealed(folder, "model")
    assert sealed.kind == "model"
    assert sealed.names == ("deep/weights.safetensors", "model.json", "rows.csv")
    assert sealed.json("model.json") == {"answer": 42}
    assert sealed.csv("rows.csv") == [
        {"row": "0", "label": "cat"},
        {"row": "1", "label": 'a "dog", or so'},
    ]
    tensors = sealed.tensors("deep/weights.safetensors")
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


def test_the_manifest_says_format_kind_size_and_sha256(folder):
    record = manifest_of(folder)
    assert (record["format"], record["kind"]) == (1, "model")
    assert record["files"] == {
        name: entry(content) for name, content in snapshot(folder).items() if name != MANIFEST
    }


def test_hidden_files_and_those_excluded_are_not_sealed(folder):
    for name in (".DS_Store", ".rows.csv.k3j2h1", "deep/.hidden", "checkpoint.json"):
        (folder / name).write_text("still changing")
    seal(folder, "model", exclude=["checkpoint.json"])
    assert open_sealed(folder, "model").names == (
        "deep/weights.safetensors",
        "model.json",
        "rows.csv",
    )


def test_every_changed_bit_is_noticed(folder):
    for name in open_sealed(folder, "model").names:
        path = folder / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(
                whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :]
            )
            refused(folder, f"{name} was changed: its SHA-256")
        path.write_bytes(whole)
    open_sealed(folder, "model")


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_another_size_is_noticed_before_the_file_is_read(folder, monkeypatch, change):
    path = folder / "rows.csv"
    path.write_bytes(change(path.read_bytes()))
    read = reads(monkeypatch)
    refused(folder, r"rows\.csv has \d+ bytes, but the manifest says")
    assert path not in read


def test_a_missing_file_is_named(folder):
    (folder / "rows.csv").unlink()
    refused(folder, r"rows\.csv is missing, but the manifest names it")


def test_a_file_that_changes_after_the_check_is_noticed_as_it_is_read(folder):
    sealed = open_sealed(folder, "model")
    path = folder / "model.json"
    path.write_bytes(path.read_bytes().replace(b"42", b"43"))
    with pytest.raises(IntegrityError, match="was changed"):
        sealed.json("model.json")


def test_a_file_that_the_manifest_does_not_name_is_never_read(folder, monkeypatch):
    extra = folder / "extra.pkl"
    extra.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    read = reads(monkeypatch)
    sealed = open_sealed(folder, "model")
    with pytest.raises(IntegrityError, match=r"has no extra\.pkl in its manifest"):
        sealed.read("extra.pkl")
    assert extra not in read
    assert folder / "rows.csv" in read


def reads(monkeypatch):
    """Return a list that grows by every path whose bytes are read from now on."""
    read = []
    read_bytes = Path.read_bytes

    def recording(path):
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", recording)
    return read


def test_a_link_to_the_same_bytes_is_refused(folder, tmp_path):
    path = folder / "rows.csv"
    path.rename(tmp_path / "elsewhere.csv")
    path.symlink_to(tmp_path / "elsewhere.csv")
    refused(folder, r"rows\.csv is a link")


def test_a_linked_folder_on_the_way_to_a_file_is_refused(folder, tmp_path):
    (folder / "deep").rename(tmp_path / "elsewhere")
    (folder / "deep").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    refused(folder, "deep is a link")


def test_a_linked_manifest_is_refused(folder, tmp_path):
    (folder / MANIFEST).rename(tmp_path / "elsewhere.json")
    (folder / MANIFEST).symlink_to(tmp_path / "elsewhere.json")
    refused(folder, r"manifest\.json is a link")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.txt",
        "deep/../../secret.txt",
        "..",
        ".",
        "",
        "/etc/hostname",
        "./rows.csv",
        "deep//weights.safetensors",
        "rows.csv/",
        "deep\\..\\secret.txt",
        "C:\\secret.txt",
        "rows.csv\0",
        "rows.csv\n",
        "~/secret.txt",
        ".hidden",
    ],
)
def test_a_name_that_is_not_plain_is_refused_and_nothing_read(folder, monkeypatch, name):
    content = b"not yours"
    (folder.parent / "secret.txt").write_bytes(content)
    rewrite(folder, files={name: entry(content)})
    read = reads(monkeypatch)
    refused(folder, "Expected plain names inside the folder")
    assert read == [folder / MANIFEST]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "rows.csv",
        {},
        {"bytes": 3},
        {"sha256": "0" * 64},
        {"bytes": -1, "sha256": "0" * 64},
        {"bytes": True, "sha256": "0" * 64},
        {"bytes": 3.0, "sha256": "0" * 64},
        {"bytes": 3, "sha256": "0" * 63},
        {"bytes": 3, "sha256": "G" * 64},
        {"bytes": 3, "sha256": None},
    ],
)
def test_an_entry_without_size_and_sha256_is_refused(folder, wrong):
    rewrite(folder, files={"rows.csv": wrong})
    refused(folder, r"gives no size and SHA-256 for rows\.csv")


@pytest.mark.parametrize("number", [0, 2, None, "1", [1]])
def test_another_format_number_says_which_version_reads_it(folder, number):
    rewrite(folder, format=number)
    refused(folder, r"Expected 1; read it with the version of latentmix that wrote it")


@pytest.mark.parametrize("kind", ["run", "MODEL", None, ["model"], {}])
def test_another_kind_is_refused(folder, kind):
    rewrite(folder, kind=kind)
    refused(folder, "Expected model; give another folder")


def test_either_of_two_kinds_is_accepted(folder):
    assert open_sealed(folder, ("run", "model")).kind == "model"


@pytest.mark.parametrize("files", [None, [], "rows.csv", 3])
def test_a_manifest_that_lists_no_files_is_refused(folder, files):
    rewrite(folder, files=files)
    refused(folder, "lists no files")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"no JSON",
        b"\xff\xfe\x00",
        b'{"format": 1, "kind": "model", "files": {}} again',
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "words", "no text", "twice", "deep"],
)
def test_a_manifest_that_is_no_json_is_refused(folder, content):
    (folder / MANIFEST).write_bytes(content)
    refused(folder, "is no valid JSON")


@pytest.mark.parametrize("content", [b"[]", b"1", b"null", b'"text"'])
def test_a_manifest_that_is_no_object_is_refused(folder, content):
    (folder / MANIFEST).write_bytes(content)
    refused(folder, "has format None")


def test_a_key_that_stands_twice_is_refused(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"kind"', '"kind": "run", "kind"', 1))
    refused(folder, "a key stands twice")


def test_a_file_listed_twice_is_refused(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text().replace('"rows.csv": {', '"rows.csv": {}, "rows.csv": {', 1))
    refused(folder, "a key stands twice")


def test_a_manifest_of_megabytes_is_not_read(folder, monkeypatch):
    with (folder / MANIFEST).open("ab") as file:
        file.truncate(LARGEST_MANIFEST + 1)
    read = reads(monkeypatch)
    refused(folder, "Expected at most 4,194,304")
    assert read == []


def test_a_folder_without_a_manifest_is_no_finished_one(folder, tmp_path):
    (folder / MANIFEST).unlink()
    with pytest.raises(MissingError, match="it is no finished run folder"):
        open_sealed(folder, "run")
    with pytest.raises(MissingError, match="nowhere is no model or run folder"):
        open_sealed(tmp_path / "nowhere", ("model", "run"))


# What a sealed file holds


def safetensors_bytes(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


TERABYTE = 2**40
BAD_TENSORS = {
    "a header of a terabyte": struct.pack("<Q", TERABYTE) + b"{}",
    "a header of 2^64 bytes": b"\xff" * 8 + b"{}",
    "an array of a terabyte": safetensors_bytes(
        {"a": {"dtype": "U8", "shape": [TERABYTE], "data_offsets": [0, TERABYTE]}}, b"\0" * 16
    ),
    "a shape of a terabyte over 16 bytes": safetensors_bytes(
        {"a": {"dtype": "U8", "shape": [TERABYTE], "data_offsets": [0, 16]}}, b"\0" * 16
    ),
    "a shape that overflows": safetensors_bytes(
        {"a": {"dtype": "F64", "shape": [2**32, 2**32], "data_offsets": [0, 16]}}, b"\0" * 16
    ),
    "an unknown type": safetensors_bytes(
        {"a": {"dtype": "O8", "shape": [2], "data_offsets": [0, 16]}}, b"\0" * 16
    ),
    "no header": b"\0" * 4,
    "no JSON": safetensors_bytes(b"hello"),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_bad_tensors_are_refused_before_memory_is_taken(tmp_path, kind):
    (tmp_path / "weights.safetensors").write_bytes(BAD_TENSORS[kind])
    seal(tmp_path, "model")
    sealed = open_sealed(tmp_path, "model")
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="is no valid safetensors file"):
            sealed.tensors("weights.safetensors")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e6


@pytest.fixture
def saved(tmp_path):
    """Return the folder of a saved mixture, whose parameters are known without a fit."""
    mixture = GaussianMixture(2, covariance_type="diag")
    mixture.weights_, mixture.means_ = np.array([0.25, 0.75]), np.array([[0.0, 1.0], [4.0, 5.0]])
    mixture.covariances_ = np.full((2, 2), 0.25)
    mixture.precisions_cholesky_ = np.full((2, 2), 2.0)
    mixture.converged_, mixture.lower_bounds_, mixture.n_iter_ = True, [-2.0, -1.5], 2
    mixture.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_model_answers_as_its_parameters_say(saved):
    mixture = latentmix.load(saved)
    np.testing.assert_array_equal(mixture.means_, [[0.0, 1.0], [4.0, 5.0]])
    np.testing.assert_allclose(mixture.precisions_, np.full((2, 2), 4.0), rtol=1e-15)
    assert (mixture.n_iter_, mixture.lower_bound_, mixture.converged_) == (2, -1.5, True)
    # At the second mean: 0.75 of N(0; 0.25), twice; the other component is 16 sigmas off.
    expected = np.log(0.75) - np.log(2 * np.pi * 0.25)
    np.testing.assert_allclose(mixture.score_samples([[4.0, 5.0]]), [expected], rtol=1e-12)


def changed_tensors(saved, **changes):
    path = saved / "mixture.safetensors"
    tensors = {**open_sealed(saved, "model").tensors(path.name), **changes}
    write_tensors(path, {name: array for name, array in tensors.items() if array is not None})


def changed_record(saved, **changes):
    record = json.loads((saved / "model.json").read_text())
    write_json(saved / "model.json", {**record, **changes})


CONTRADICTIONS = {
    "a class it does not know": (
        lambda saved: changed_record(saved, **{"class": "os.system"}),
        r"names the class 'os\.system'",
    ),
    "a record that is a list": (
        lambda saved: write_json(saved / "model.json", []),
        "names the class None",
    ),
    "no parameters": (lambda saved: changed_record(saved, mixture={}), "is incomplete"),
    "unknown parameters": (
        lambda saved: changed_record(saved, mixture={"parameters": {"n_compnents": 2}}),
        "is incomplete",
    ),
    "no means": (lambda saved: changed_tensors(saved, means=None), "is incomplete"),
    "covariances of another family": (
        lambda saved: changed_tensors(saved, covariances=np.ones((2, 2, 2))),
        "covariances of shape",
    ),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_model_that_contradicts_itself_is_refused_though_its_seal_is_whole(saved, kind):
    change, match = CONTRADICTIONS[kind]
    change(saved)
    seal(saved, "model")
    with pytest.raises(IntegrityError, match=match):
        latentmix.load(saved)


@pytest.fixture
def saved_vae(tmp_path):
    """Return the folder of a saved VAE of four inputs that was never trained."""
    vae = VAE(hidden_dims=(4, 3), latent_dim=2)
    vae.architecture_ = Architecture(4, (4, 3), 2, "linear", "gaussian")
    vae.network_ = Network(vae.architecture_, np.zeros(4), jax.random.key(0))
    vae.shift_, vae.scale_ = np.zeros(4), np.ones(4)
    vae.save(tmp_path / "saved")
    return tmp_path / "saved"


def most_memory():
    """Return the most bytes this process has held so far; 0 on systems that say it otherwise."""
    if sys.platform != "linux":
        return 0
    import resource  # noqa: PLC0415

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize(
    "claim",
    [
        {"n_features": 2**40},
        {"latent_dim": 2**40},
        # A gigabyte, were it believed; larger claims would cost whoever breaks this too much.
        {"hidden_dims": [4, 2**14, 2**14]},
        {"hidden_dims": [4] * 1000},
        {"hidden_dims": []},
        {"heads": "relu"},
        {"likelihood": "bernoulli"},
        {"heads": "cubic"},
    ],
    ids=str,
)
def test_an_architecture_that_the_arrays_do_not_bear_out_is_refused(saved_vae, claim):
    assert latentmix.load(saved_vae).architecture_.hidden_dims == (4, 3)
    record = json.loads((saved_vae / "model.json").read_text())
    record["vae"]["architecture"] |= claim
    write_json(saved_vae / "model.json", record)
    seal(saved_vae, "model")
    before = most_memory()
    with pytest.raises(IntegrityError):
        latentmix.load(saved_vae)
    assert most_memory() - before < 200e6


def test_a_changed_byte_in_a_saved_model_is_refused(saved):
    path = saved / "mixture.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"mixture\.safetensors was changed"):
        latentmix.load(saved)


# Writing

WRITERS = {
    "bytes": lambda path: write_bytes(path, b"new"),
    "json": lambda path: write_json(path, {"new": 1}),
    "csv": lambda path: write_csv(path, ("new",), [(1,)]),
    "tensors": lambda path: write_tensors(path, TENSORS),
}
FAILURES = {
    "no temporary file": (tempfile, "mkstemp", errno.EACCES),
    "disk full": (os, "fsync", errno.ENOSPC),
    "no rights": (Path, "chmod", errno.EPERM),
    "no rename": (Path, "replace", errno.ENOSPC),
}


def failing(code):
    def fail(*args, **keywords):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, writer, failure
):
    where, name, code = FAILURES[failure]
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(where, name, failing(code))
    with pytest.raises(WriteError, match=f"file cannot be written: {os.strerror(code)}"):
        WRITERS[writer](path)
    assert snapshot(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_new_file_that_cannot_be_written_is_not_there(tmp_path, monkeypatch, failure):
    where, name, code = FAILURES[failure]
    monkeypatch.setattr(where, name, failing(code))
    with pytest.raises(WriteError):
        write_bytes(tmp_path / "file", b"new")
    assert snapshot(tmp_path) == {}


def test_a_file_is_flushed_whole_before_it_takes_the_old_ones_place(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    happened = []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor):
        happened.append(("flush", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def rename(source, target):
        happened.append(("rename", source.stat().st_ino))
        assert (source.parent, source.read_bytes()) == (path.parent, b"new")
        assert path.read_bytes() == b"old"
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    write_bytes(path, b"new")
    new = path.stat().st_ino
    assert happened[:2] == [("flush", new), ("rename", new)]
    assert path.read_bytes() == b"new"


def test_a_file_is_readable_by_others_and_its_folder_is_made(tmp_path):
    path = tmp_path / "one" / "two" / "file"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_in_the_place_of_a_folder_cannot_be_written_into(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(WriteError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "inside", b"new")
    assert snapshot(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_holds_no_nan_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"elbo": value})
    assert snapshot(tmp_path) == {"metrics.json": b"old"}


def test_the_same_content_gives_the_same_bytes(tmp_path):
    write_tensors(tmp_path / "a", TENSORS)
    write_tensors(tmp_path / "b", dict(reversed(TENSORS.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    write_json(tmp_path / "a", {"x": 1, "y": 2})
    write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arrays_in_any_memory_order_keep_their_values(tmp_path):
    rows = np.arange(24.0).reshape(4, 6)
    arrays = {"transposed": rows.T, "strided": rows[::2, ::3], "fortran": np.asfortranarray(rows)}
    write_tensors(tmp_path / "arrays.safetensors", arrays)
    seal(tmp_path, "run")
    read = open_sealed(tmp_path, "run").tensors("arrays.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array, strict=True)


# Folders


@pytest.mark.parametrize("path", ["new", "new/deep", "empty"])
def test_a_new_or_empty_folder_is_claimed_and_left_empty(tmp_path, path):
    (tmp_path / "empty").mkdir()
    claim_folder(tmp_path / path)
    assert list((tmp_path / path).iterdir()) == []


def test_a_folder_that_holds_something_is_not_claimed(tmp_path):
    (tmp_path / ".hidden").write_bytes(b"old")
    with pytest.raises(WriteError, match=r"is not empty: it holds '\.hidden'"):
        claim_folder(tmp_path)
    assert snapshot(tmp_path) == {".hidden": b"old"}


def test_a_file_is_not_claimed_as_a_folder(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for taken in (path, path / "inside"):
        with pytest.raises(WriteError, match="cannot be made or read as a folder"):
            claim_folder(taken)
    assert snapshot(tmp_path) == {"file": b"old"}


def test_a_folder_that_cannot_be_written_is_not_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "mkstemp", failing(errno.EROFS))
    with pytest.raises(WriteError, match=os.strerror(errno.EROFS)):
        claim_folder(tmp_path / "new")


def test_the_first_error_of_a_failing_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", failing(errno.EIO))
    with pytest.raises(WriteError, match=f"file cannot be written: {os.strerror(errno.ENOSPC)}"):
        write_bytes(tmp_path / "file", b"new")


@pytest.fixture
def two_folders(tmp_path):
    old, new = tmp_path / "run", tmp_path / "beside" / "run"
    write_bytes(old / "file", b"old")
    write_bytes(new / "deep" / "file", b"new")
    return old, new


def test_a_folder_takes_the_place_of_another(two_folders, tmp_path):
    replace_folder(*two_folders)
    assert snapshot(tmp_path) == {"run/deep/file": b"new"}


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_folder_that_cannot_be_replaced_stays(two_folders, tmp_path, monkeypatch, failing_call):
    before = snapshot(tmp_path)
    rename, calls = Path.rename, []

    def sometimes(path, target):
        calls.append(path)
        if len(calls) == failing_call:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", sometimes)
    with pytest.raises(WriteError, match=f"run cannot be replaced: {os.strerror(errno.EACCES)}"):
        replace_folder(*two_folders)
    assert len(calls) >= failing_call
    assert snapshot(tmp_path) == before
