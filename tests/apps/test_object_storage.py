"""`s3://`: read, answered about and written to, against a server on this machine."""

import contextlib
import gc
import io
import json
import os
import socket
import threading
import time

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("s3fs", reason="extra [storage]")

import fsspec

from latentmix import GaussianMixture
from latentmix.apps import figures
from latentmix.data import load, room
from latentmix.errors import ClusterError, FormatError, InputError, MissingError, WriteError
from latentmix.storage import remote

N_FILES = 3


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return the user's cache folder, one of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latentmix"


@pytest.fixture
def rows(bucket, shapes):
    """Return the address of files of shapes, and their rows."""
    files, address = bucket
    parts = [np.roll(shapes.X, n, axis=0)[: 50 + n].reshape(-1, 8, 8) for n in range(N_FILES)]
    for number, part in enumerate(parts):
        files.pipe_file(f"{address}/x/part{number}.npy", npy(part))
    return f"{address}/x", parts


# Reading


def test_an_object_is_read_as_a_file_is_and_no_copy_stays(rows, cache, tmp_path):
    address, parts = rows
    np.save(tmp_path / "part1.npy", parts[1])
    there, here = load(f"{address}/part1.npy"), load(tmp_path / "part1.npy")
    np.testing.assert_array_equal(there.X, here.X)
    assert (there.name, there.image_shape) == (here.name, here.image_shape) == ("part1", (8, 8))
    assert there.source == f"{address}/part1.npy"
    assert list(cache.iterdir()) == []


def test_a_large_one_is_mapped_though_its_copy_is_gone(rows, cache, monkeypatch):
    monkeypatch.setattr(room, "LARGE", 1000)
    address, parts = rows
    X = load(f"{address}/part0.npy").X
    assert any(isinstance(each, np.memmap) for each in (X.base, getattr(X.base, "base", None)))
    assert list(cache.iterdir()) == []
    np.testing.assert_array_equal(X, parts[0].reshape(50, 64))


def test_tables_have_their_options(bucket):
    files, address = bucket
    table = pd.DataFrame({"id": ["x", "y", "z"], "a": [1.0, 2.0, 3.0], "kind": ["p", "q", "p"]})
    files.pipe_file(f"{address}/t.csv", table.to_csv(index=False).encode())
    files.pipe_file(f"{address}/t.parquet", table.to_parquet())
    for suffix in ("csv", "parquet"):
        found = load(f"{address}/t.{suffix}", id_column="id", label_column="kind")
        assert (found.row_ids, found.class_names) == (("x", "y", "z"), ("p", "q"))
        assert found.X.ravel().tolist() == [1, 2, 3]


def test_what_is_wrong_with_an_object_is_said_of_its_address(bucket):
    files, address = bucket
    files.pipe_file(f"{address}/cut.npy", npy(np.zeros((9, 9)))[:-20])
    with pytest.raises(FormatError, match=f"^{address}/cut.npy is truncated"):
        load(f"{address}/cut.npy")
    files.pipe_file(f"{address}/holes.npy", npy(np.full((9, 2), np.nan)))
    with pytest.raises(InputError, match=f"^{address}/holes.npy contains NaN"):
        load(f"{address}/holes.npy")


def test_an_object_that_changes_while_it_is_read_is_not_read(rows, bucket, cache, monkeypatch):
    address, parts = rows
    files = remote._files(address)
    get_file = files.get_file

    def and_meanwhile(source, target):
        get_file(source, target)
        bucket[0].pipe_file(source, npy(parts[0] + 1))

    monkeypatch.setattr(files, "get_file", and_meanwhile)
    with pytest.raises(ClusterError, match="changed while it was read"):
        load(f"{address}/part0.npy")
    assert list(cache.iterdir()) == []


def test_an_object_that_has_no_room_is_refused_before(rows, cache, monkeypatch):
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda folder: type("", (), {"free": 100}))
    with pytest.raises(WriteError, match=r"and .* has room for"):
        load(f"{rows[0]}/part0.npy")
    assert list(cache.iterdir()) == []


def test_dask_reads_objects_by_itself_and_a_mixture_is_fitted(bucket, object_server):
    dd = pytest.importorskip("dask.dataframe", reason="extra [dask]")
    files, address = bucket
    random = np.random.RandomState(0)
    X = 6 * np.eye(3)[random.randint(3, size=900)] + random.randn(900, 3)
    for number in range(3):
        frame = pd.DataFrame(X[300 * number : 300 * (number + 1)], columns=list("abc"))
        files.pipe_file(f"{address}/rows/{number}.parquet", frame.to_parquet())
    collection = dd.read_parquet(f"{address}/rows/*.parquet")
    there = GaussianMixture(3, random_state=0).fit(collection)
    here = GaussianMixture(3, random_state=0).fit(X)
    np.testing.assert_allclose(there.means_, here.means_, rtol=1e-9)
    assert there.predict(collection).compute().tolist() == here.predict(X).tolist()


def test_a_mixture_is_fitted_to_an_object_block_by_block(bucket, cache):
    files, address = bucket
    X = np.random.RandomState(0).randn(300, 3)
    files.pipe_file(f"{address}/x.parquet", pd.DataFrame(X, columns=list("abc")).to_parquet())
    there = GaussianMixture(2, random_state=0).fit(f"{address}/x.parquet")
    np.testing.assert_allclose(there.means_, GaussianMixture(2, random_state=0).fit(X).means_)
    gc.collect()
    assert list(cache.iterdir()) == []


# Commands


def test_a_run_reads_an_object_and_goes_on_from_its_address(
    latentmix, bucket, shapes_file, small, run_folder, tmp_path
):
    files, address = bucket
    files.pipe_file(f"{address}/shapes.npz", shapes_file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_figures", interrupted)
        code, said, _ = latentmix("run", f"{address}/shapes.npz", "--out", tmp_path / "run", *small)
    assert code == 130
    assert said[0] == f"Reading {address}/shapes.npz, writing to {tmp_path / 'run'}"
    source = json.loads((tmp_path / "run" / "request.json").read_text())["source"]
    assert source["data"] == f"{address}/shapes.npz"
    assert latentmix("run", "--resume", tmp_path / "run")[0] == 0
    found, same = (
        json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "run", run_folder)
    )
    assert (found["scores"], found["test"]) == (same["scores"], same["test"])


def interrupted(*_):
    raise KeyboardInterrupt


def test_many_objects_are_answered_into_a_folder_or_a_bucket(
    latentmix, run_folder, rows, bucket, tmp_path
):
    (files, address), (source, parts) = bucket, rows
    for number, part in enumerate(parts):
        np.save(tmp_path / f"part{number}.npy", part)
    assert latentmix("predict", run_folder, tmp_path / "*.npy", "-o", tmp_path / "here")[0] == 0
    expected = {path.name: path.read_bytes() for path in (tmp_path / "here").glob("*.csv")}
    assert len(expected) == N_FILES

    code, _, err = latentmix(
        "predict", run_folder, f"{source}/*.npy", "-o", tmp_path / "out", "--shard", "2/2"
    )
    assert (code, err) == (0, [])
    assert [path.name for path in (tmp_path / "out").glob("*.csv")] == ["part1.csv"]
    for out in (tmp_path / "out", f"{address}/out"):
        assert latentmix("predict", run_folder, f"{source}/*.npy", "-o", out)[0] == 0
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.csv")}
    stored = {name: files.cat_file(f"{address}/out/{name}") for name in expected}
    assert found == stored == expected


def test_of_a_bucket_what_is_done_is_not_done_again(latentmix, run_folder, rows, bucket):
    (files, address), (source, parts) = bucket, rows
    words = ("predict", run_folder, f"{source}/*.npy", "-o", f"{address}/out/")
    assert latentmix(*words)[1][-1] == f"{N_FILES} parts in {address}/out/"
    assert latentmix(*words)[1][1] == f"{N_FILES} of {N_FILES} parts are there already"
    files.pipe_file(f"{source}/part0.npy", npy(parts[0][:7]))
    files.rm_file(f"{address}/out/part1.csv")
    files.pipe_file(f"{address}/out/done/part2.csv.json", b'{"part": "part2.c')
    code, said, _ = latentmix(*words)
    assert code == 0
    assert [line.rpartition(": ")[2].partition(";")[0] for line in said[1:-1]] == [
        *("7 rows", "51 rows", "52 rows")
    ]
    assert latentmix(*words)[1][1] == f"{N_FILES} of {N_FILES} parts are there already"


def test_workers_read_and_write_objects(latentmix, run_folder, rows, bucket, monkeypatch):
    pytest.importorskip("distributed", reason="extra [dask]")
    (files, address), (source, _) = bucket, rows
    words = ("predict", run_folder, f"{source}/*.npy", "-o")
    assert latentmix(*words, f"{address}/here")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("warnings.filters", [])
        code, _, err = latentmix(*words, f"{address}/there", "--workers", 2)
    assert (code, err) == (0, [])
    for number in range(N_FILES):
        one, other = (files.cat_file(f"{address}/{w}/part{number}.csv") for w in ("here", "there"))
        assert one == other


# What fails


def test_each_way_to_fail_is_a_sentence(
    latentmix, run_folder, rows, bucket, tmp_path, assert_one_clear_line
):
    source, out = rows[0], tmp_path / "out"

    def predict(data, where=out):
        return latentmix("predict", run_folder, data, "-o", where)

    missing = "s3://no-such-bucket-of-ours"
    assert_one_clear_line(predict(f"{source}/none.npy"), 66, f"{source}/none.npy is not there")
    assert_one_clear_line(predict(f"{source}/none*.npy"), 66, "finds no file")
    assert_one_clear_line(predict(f"{source}/"), 66, "names no object")
    for data in (f"{missing}/x.npy", f"{missing}/*.npy"):
        assert_one_clear_line(predict(data), 66, f"There is no bucket {missing}")
    for data in ("s3:///x.npy", "s3://*/x.npy"):
        assert_one_clear_line(predict(data), 2, "names no bucket")
    for data in ("ftp://host/x.npy", "https://host/*.npy"):
        assert_one_clear_line(predict(data), 2, "Expected s3:// or gs://")
    assert_one_clear_line(predict(f"{source}/part0.npy", f"{missing}/p.csv"), 74, "no bucket")
    assert_one_clear_line(predict(f"{source}/*.npy", f"{missing}/out"), 66, "no bucket")
    assert not out.exists()
    run = latentmix("run", f"{source}/none.npy", "--out", out)
    assert_one_clear_line(run, 66, "is not there")
    assert not out.exists()


def test_without_credentials_it_is_said(latentmix, run_folder, rows, at_server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    at_server(os.environ["AWS_ENDPOINT_URL"])
    with pytest.raises(MissingError, match=r"no credentials were found .*AWS_ACCESS_KEY_ID"):
        load(f"{rows[0]}/part0.npy")


def test_what_is_forbidden_is_said(rows, monkeypatch):
    files = remote._files(rows[0])

    def forbidden(address):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "info", forbidden)
    with pytest.raises(MissingError, match="not open to these credentials: Access Denied"):
        load(f"{rows[0]}/part0.npy")


@pytest.mark.parametrize("kind", ["closed", "mute"])
def test_a_server_that_does_not_answer_is_a_sentence_soon(
    *, latentmix, run_folder, at_server, tmp_path, monkeypatch, kind, assert_one_clear_line
):
    monkeypatch.setattr(remote, "SECONDS_TO_ANSWER", 2)
    with contextlib.closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        if kind == "mute":
            server.listen()
        at_server(f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        answer = latentmix("predict", run_folder, "s3://bucket/*.npy", "-o", tmp_path / "out")
        assert time.monotonic() - began < 10
    assert_one_clear_line(answer, 75, "the server does not answer as it should")


def test_a_server_that_falls_silent_later_is_a_sentence_too(rows, at_server):
    with contextlib.closing(socket.socket()) as server, pytest.MonkeyPatch.context() as patch:
        server.bind(("127.0.0.1", 0))
        server.listen()
        at_server(f"http://127.0.0.1:{server.getsockname()[1]}")
        patch.setattr(remote, "SECONDS_TO_ANSWER", 1)
        patch.setattr(remote, "_reached", lambda scheme, name: remote._client(scheme))
        began = time.monotonic()
        with pytest.raises(ClusterError, match="does not answer"):
            load(f"{rows[0]}/part0.npy")
        assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("scheme", "package", "remedy"),
    [("s3", "s3fs", r"latentmix\[storage\]"), ("gs", "gcsfs", "install 'gcsfs'")],
)
def test_an_extra_that_is_not_installed_is_named(at_server, monkeypatch, scheme, package, remedy):
    def filesystem(scheme, **options):
        raise ImportError(f"Install {package}")

    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    with pytest.raises(ValueError, match=f"needs {package}, which is not installed.*{remedy}"):
        load(f"{scheme}://bucket/x.npy")


def test_nobody_else_sees_half_an_object(rows, bucket, latentmix, run_folder):
    """An object is the old one or the new one, however often it is looked at meanwhile."""
    (files, address), (source, _) = bucket, rows
    words = ("predict", run_folder, f"{source}/part0.npy", "-o", f"{address}/p.csv")
    assert latentmix(*words)[0] == 0
    whole, seen, done = files.cat_file(f"{address}/p.csv"), set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(files.cat_file(f"{address}/p.csv"))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(3):
            assert latentmix(*words)[0] == 0
    finally:
        done.set()
        looking.join()
    assert seen == {whole}
