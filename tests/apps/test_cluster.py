"""`--scheduler` and `--workers`: the answers of one process, and nothing lost when a part fails."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("distributed", reason="extra [dask]")

import distributed

from latentmix.apps import cluster as clusters
from latentmix.errors import ClusterError
from latentmix.estimators import dask_rows
from latentmix.models import blocks
from latentmix.runs import execute
from latentmix.runs.predict import predict_parts
from latentmix.training import cluster as checks
from latentmix.training.dask_source import DaskSource

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own, at start and end

N_FILES = 6
TIMES = {"training_seconds", "wall_seconds", "peak_memory_bytes"}


class Dask:
    """A scheduler and workers, processes of their own."""

    def __init__(self, folder, n_workers):
        self.file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0")
        self.workers = [
            self._start("worker", "--nthreads", "1", "--no-nanny") for _ in range(n_workers)
        ]
        with distributed.Client(scheduler_file=str(self.file), timeout=60) as client:
            self.address = client.scheduler.address
            if n_workers:
                client.wait_for_workers(n_workers, timeout=60)

    def _start(self, what, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard"]
        command += ["--scheduler-file", str(self.file), *words]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def end(self):
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """Return a cluster of two workers that all look at and none kills."""
    cluster = Dask(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.end()


@pytest.fixture
def of_its_own(tmp_path):
    """Return what starts a cluster that may be killed."""
    started = []

    def start(n_workers):
        started.append(Dask(tmp_path, n_workers))
        return started[-1]

    yield start
    for cluster in started:
        cluster.end()


@pytest.fixture(scope="module")
def files(shapes, tmp_path_factory):
    """Return a pattern that finds files of shapes."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(N_FILES):
        rows = np.roll(shapes.X, number, axis=0)[: 50 + number].reshape(-1, 8, 8)
        np.save(folder / f"part{number}.npy", rows)
    return folder / "part*.npy"


@pytest.fixture
def predict(latentmix, run_folder, files):
    """Return what answers for all files, into a folder, with further words."""

    def ask(out, *words):
        return latentmix("predict", run_folder, files, "-o", out, *words)

    return ask


@pytest.fixture
def run(latentmix, shapes_file, small):
    """Return what runs the small recipe, into a folder, with further words."""

    def begin(out, *words):
        return latentmix("run", shapes_file, "--out", out, *small, *words)

    return begin


@pytest.fixture(scope="module")
def alone(run_folder, files, tmp_path_factory):
    """Return the parts that one process writes, by name."""
    out = tmp_path_factory.mktemp("alone")
    assert predict_parts(run_folder, str(files), out) == N_FILES
    return parts_in(out)


def parts_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def marks_in(folder):
    """Return what is marked as done; a line that is being written is no mark yet."""
    file = folder / "done.jsonl"
    *whole, _ = file.read_text().split("\n") if file.exists() else [""]
    return [json.loads(line) for line in whole if line]


def soon(condition, act):
    """Act in another thread as soon as something is so; return that thread."""

    def wait():
        while not condition():
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


# Answers


def test_new_workers_write_the_parts_that_one_process_writes(predict, alone, tmp_path):
    code, said, err = predict(tmp_path, "--workers", 2)
    assert (code, err) == (0, [])
    assert said[1].startswith("2 workers of Dask; dashboard: http://")
    assert sum("rows/s in all" in line for line in said) == N_FILES
    assert said[-1] == f"{N_FILES} parts in {tmp_path}"
    assert parts_in(tmp_path) == alone
    assert sorted(mark["rows"] for mark in marks_in(tmp_path)) == [50, 51, 52, 53, 54, 55]


def test_parts_that_are_there_are_not_made_again(predict, dask, alone, tmp_path):
    words = (tmp_path, "--scheduler", dask.address)
    assert predict(*words, "--shard", "1/3")[0] == 0
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.csv")}
    assert [path.name for path in sorted(first)] == ["part0.csv", "part3.csv"]
    code, said, _ = predict(*words)
    assert (code, said[2]) == (0, f"2 of {N_FILES} parts are there already")
    assert parts_in(tmp_path) == alone
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert len(marks_in(tmp_path)) == N_FILES


def test_paths_are_those_of_this_process_and_not_of_the_workers(
    latentmix, dask, run_folder, files, alone, monkeypatch
):
    monkeypatch.chdir(files.parent)
    words = ("predict", run_folder, files.name, "-o", "answers", "--scheduler", dask.address)
    assert latentmix(*words)[0] == 0
    assert parts_in(files.parent / "answers") == alone


def test_one_file_is_dealt_out_in_pieces_to_the_same_bytes(
    latentmix, dask, run_folder, shapes, tmp_path, monkeypatch
):
    monkeypatch.setattr(blocks, "BYTES_PER_PIECE", 1)
    rows = np.tile(shapes.X.reshape(-1, 8, 8), (40, 1, 1))
    assert len(list(blocks.pieces(rows.reshape(len(rows), -1)))) == 3
    np.save(tmp_path / "rows.npy", rows)
    words = ("predict", run_folder, tmp_path / "rows.npy", "-o")
    assert latentmix(*words, tmp_path / "here.csv")[0] == 0
    code, said, _ = latentmix(*words, tmp_path / "there.csv", "--scheduler", dask.address)
    assert (code, said[-1]) == (0, f"Wrote 4,800 rows to {tmp_path / 'there.csv'}")
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_a_file_that_cannot_be_read_says_so_as_in_one_process(
    latentmix, dask, run_folder, shapes, tmp_path, assert_one_clear_line
):
    np.save(tmp_path / "a.npy", shapes.X.reshape(-1, 8, 8))
    np.save(tmp_path / "b.npy", np.zeros((5, 65)))
    words = ("predict", run_folder, tmp_path / "*.npy", "-o", tmp_path / "out")
    answer = latentmix(*words, "--scheduler", dask.address)
    assert_one_clear_line(answer, 65, "holds rows of 65 columns")
    assert answer[2] == latentmix(*words)[2]


# What fails


def test_a_worker_that_is_killed_loses_nothing(predict, of_its_own, alone, tmp_path):
    cluster, out = of_its_own(2), tmp_path / "out"
    killer = soon(lambda: parts_in(out), cluster.workers[0].kill)
    code, _, err = predict(out, "--scheduler", cluster.address)
    killer.join(timeout=10)
    assert cluster.workers[0].wait(timeout=10) == -signal.SIGKILL
    assert (code, err) == (0, [])
    assert parts_in(out) == alone


def test_ctrl_c_of_a_terminal_is_one_line_and_what_is_done_is_kept(run_folder, files, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(600):
        (many / f"{number}.npy").symlink_to(files.parent / "part0.npy")
    words = ("predict", run_folder, many / "*.npy", "-o", tmp_path / "out", "--workers", 2)
    command = [sys.executable, "-m", "latentmix", *map(str, words)]
    # In a session of its own, all of which is sent what a terminal sends to all.
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        stopper = soon(lambda: marks_in(tmp_path / "out"), lambda: interrupt_all(process))
        _, said = process.communicate(timeout=120)
        stopper.join()
    assert process.returncode == 130
    assert said.decode().split() == ["latentmix:", "Stopped."]
    assert marks_in(tmp_path / "out")


def interrupt_all(process):
    os.killpg(process.pid, signal.SIGINT)


def test_a_scheduler_that_is_killed_is_a_sentence_and_what_is_done_is_kept(
    predict, of_its_own, alone, tmp_path, monkeypatch, assert_one_clear_line
):
    monkeypatch.setattr(clusters, "SECONDS_TO_ANSWER", 3)
    cluster, out = of_its_own(1), tmp_path / "out"
    killer = soon((out / "done.jsonl").exists, cluster.scheduler.kill)
    answer = predict(out, "--scheduler", cluster.address)
    killer.join(timeout=10)
    assert_one_clear_line(answer, 75, "could not finish what was dealt out to it")
    n_done = len(marks_in(out))
    assert 1 <= n_done < N_FILES
    code, said, _ = predict(out)
    there = "1 of 6 parts are there already" if n_done == 1 else f"{n_done} of 6 parts"
    assert code == 0
    assert said[1].startswith(there)
    assert parts_in(out) == alone


@pytest.mark.parametrize("command", ["predict", "run"])
def test_a_scheduler_that_does_not_answer_is_a_sentence_soon(
    predict, run, command, tmp_path, monkeypatch, assert_one_clear_line
):
    monkeypatch.setattr(clusters, "SECONDS_TO_ANSWER", 1)
    ask = {"predict": predict, "run": run}[command]
    with contextlib.closing(socket.socket()) as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for port in (9, mute.getsockname()[1]):
            address = f"tcp://127.0.0.1:{port}"
            began = time.monotonic()
            answer = ask(tmp_path / "out", "--scheduler", address)
            assert time.monotonic() - began < 15
            assert_one_clear_line(answer, 75, f"The scheduler at {address} does not answer")
    assert not (tmp_path / "out").exists()


def test_a_scheduler_without_workers_is_a_sentence(
    predict, of_its_own, tmp_path, monkeypatch, assert_one_clear_line
):
    monkeypatch.setattr(clusters, "SECONDS_FOR_A_WORKER", 1)
    address = of_its_own(0).address
    answer = predict(tmp_path / "out", "--scheduler", address)
    assert_one_clear_line(answer, 75, f"The scheduler at {address} has no worker after 1 s")


def test_a_part_on_a_disk_of_the_workers_alone_is_not_taken_for_done(run_folder, files, tmp_path):
    def elsewhere(task, shared, items):
        return ((item, 50) for item in items)

    with pytest.raises(ClusterError, match="is not here: its disk is not this one's"):
        predict_parts(run_folder, str(files), tmp_path, deal=elsewhere)
    assert not list(tmp_path.iterdir())


def test_on_a_terminal_one_bar_shows_rows_a_second(predict, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, said, err = predict(tmp_path)
    assert code == 0
    assert not any("part0.csv" in line for line in said)
    assert f"{N_FILES}/{N_FILES}" in err[-1] and "rows/s" in err[-1]


@pytest.mark.parametrize("address", ["nowhere", "ftp://127.0.0.1:9", "tcp://127.0.0.1"])
def test_what_is_no_address_of_a_scheduler_is_a_sentence(
    predict, tmp_path, address, assert_one_clear_line
):
    answer = predict(tmp_path / "out", "--scheduler", address)
    assert_one_clear_line(answer, 2, f"--scheduler={address!r} is no address")


def test_workers_of_another_version_are_refused(
    predict, dask, tmp_path, monkeypatch, assert_one_clear_line
):
    known = checks.version
    monkeypatch.setattr(checks, "version", lambda name: "0.1" if name == "jax" else known(name))
    answer = predict(tmp_path, "--scheduler", dask.address)
    assert_one_clear_line(answer, 75, "has jax ")
    assert not list(tmp_path.iterdir())


def test_two_clusters_are_one_too_many(predict, tmp_path, assert_one_clear_line):
    answer = predict(tmp_path, "--scheduler", "tcp://a:1", "--workers", 2)
    assert_one_clear_line(answer, 2, "Expected one")


# Runs


@pytest.fixture(scope="module")
def blocks_of_a_dozen():
    """Have even a small matrix cut in several blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask_rows, "ROWS_PER_BLOCK", 12)
        yield


def assert_same_metrics(one, other):
    """Compare what two runs found: numbers to 1e-9, all else as it is."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - TIMES:
            assert_same_metrics(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same_metrics(a, b)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9)
    else:
        assert one == other


def read_json(path):
    return json.loads(path.read_text())


@pytest.mark.usefixtures("blocks_of_a_dozen")
def test_a_run_on_a_cluster_finds_what_one_process_finds(run, dask, run_folder, tmp_path):
    sums = []
    with pytest.MonkeyPatch.context() as patch:
        added_up = DaskSource.added_up

        def counted(self, *args):
            sums.append(len(self.blocks))
            return added_up(self, *args)

        patch.setattr(DaskSource, "added_up", counted)
        code, said, err = run(tmp_path / "run", "--scheduler", dask.address)
    assert (code, err) == (0, [])
    assert said[2].startswith("2 workers of Dask")
    assert len(sums) > 4 and set(sums) == {-(-84 // dask_rows.ROWS_PER_BLOCK)}
    assert_same_metrics(
        read_json(tmp_path / "run" / "metrics.json"), read_json(run_folder / "metrics.json")
    )
    kept = read_json(tmp_path / "run" / "environment.json")
    assert kept["cluster"] == {"scheduler": dask.address, "workers": 2}
    assert read_json(run_folder / "environment.json")["cluster"] is None
    both = [read_json(each / "request.json") for each in (tmp_path / "run", run_folder)]
    assert both[0] == both[1]


@pytest.mark.usefixtures("blocks_of_a_dozen")
def test_a_run_whose_scheduler_is_killed_goes_on_without(
    *, latentmix, run, of_its_own, run_folder, tmp_path, monkeypatch, assert_one_clear_line
):
    monkeypatch.setattr(clusters, "SECONDS_TO_ANSWER", 2)
    cluster, out = of_its_own(1), tmp_path / "run"
    siblings = execute._siblings

    def killed_before(*args):
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        cluster.scheduler.wait()
        return siblings(*args)

    with monkeypatch.context() as patch:
        patch.setattr(execute, "_siblings", killed_before)
        answer = run(out, "--scheduler", cluster.address)
    assert_one_clear_line(answer, 75, "The cluster could not finish")
    assert answer[1][-1] == (
        f"What was done is kept in {out}. To go on: latentmix run --resume {out}"
    )
    assert not (out / "manifest.json").exists()
    code, said, err = latentmix("run", "--resume", out)
    assert (code, err) == (0, [])
    assert not any(line.startswith("epoch") for line in said), "the training had ended"
    assert_same_metrics(read_json(out / "metrics.json"), read_json(run_folder / "metrics.json"))
