"""`latentmix launch`: processes that train as one, are stopped together and lost together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from latentmix.apps import launch
from latentmix.errors import ParameterError

ROUNDS = (
    "refinement.n_rounds=3",
    "refinement.epochs=10",
    "refinement.min_steps=0",
    "refinement.classifier_rounds=0",
    "mixture.covariance_type=diag",
)


@pytest.fixture(scope="module")
def words(shapes_file, small_settings):
    """Return the words of a run in rounds, but for its folder."""
    settings = [word for each in (*small_settings, *ROUNDS) for word in ("--set", each)]
    return ["run", str(shapes_file), "--labels", *labels_of(shapes_file), *settings]


def labels_of(shapes_file):
    names = np.array(["bar", "pillar", "square"])[np.arange(120) % 3]
    path = shapes_file.with_name("names.csv")
    path.write_text("\n".join(["row,label", *(f"{i},{name}" for i, name in enumerate(names))]))
    return [str(path)]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def started(*args, n_processes=2):
    command = [sys.executable, "-m", "latentmix", "launch", "--processes", str(n_processes)]
    return subprocess.Popen(
        [*command, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def heard(process, text):
    """Read what the first of the processes says until a text is in it."""
    lines = []
    while not lines or text not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    return lines


def ended(process, seconds=120):
    """Return the exit code, and what was said on either side by then."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err.splitlines()


def children(process):
    """Return the ids of the processes that were launched, in their order."""
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True, check=True
    )
    return sorted(map(int, found.stdout.split()))


def is_there(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def same(one, other):
    names = [path.name for path in (one / "model").iterdir()]
    assert names
    for name in [*(f"model/{name}" for name in names), "rows.csv"]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def undisturbed(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched") / "run"
    code, out, err = ended(started(*words, "--out", folder))
    assert (code, [line for line in err if "Gloo" not in line]) == (0, [])
    assert out.count("Scoring the test rows") == 1, "one speaks for all"
    return folder


def test_two_processes_come_to_what_one_does(undisturbed, words, tmp_path):
    alone = subprocess.run(
        [sys.executable, "-m", "latentmix", *words, "--out", tmp_path / "run"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert alone.stdout
    one, two = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (tmp_path / "run", undisturbed)
    )
    assert two["test"]["elbo"] == pytest.approx(one["test"]["elbo"], abs=0.3)
    assert json.loads((undisturbed / "environment.json").read_text())["device"]["count"] == 2


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_killed_ends_the_job_which_goes_on_to_the_same_bits(
    undisturbed, words, tmp_path, which
):
    process = started(*words, "--out", tmp_path / "run")
    heard(process, "Round 3 of 3")
    os.kill(children(process)[which], signal.SIGKILL)
    began = time.monotonic()
    code, _, err = ended(process)
    assert code == 75
    assert time.monotonic() - began < 30
    said = [line for line in err if line.startswith("latentmix: ")]
    assert len(said) == 1
    assert "goes on from the last checkpoint" in said[0]
    assert [*(tmp_path / "run").glob("checkpoint-round2-*")]
    assert ended(started(*words, "--out", tmp_path / "run"))[0] == 0
    same(tmp_path / "run", undisturbed)


def test_a_signal_stops_all_with_a_checkpoint(undisturbed, words, tmp_path):
    process = started(*words, "--out", tmp_path / "run")
    heard(process, "epoch 3/")
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert code == 143
    assert err[-1] == "latentmix: Stopped."
    again = f"latentmix launch --processes 2 run --resume {tmp_path / 'run'}"
    assert again in out
    assert [*(tmp_path / "run").glob("checkpoint-*")]
    assert ended(started("run", "--resume", tmp_path / "run"))[0] == 0
    same(tmp_path / "run", undisturbed)


def test_those_whose_parent_is_killed_stop_too(words, tmp_path):
    process = started(*words, "--out", tmp_path / "run")
    heard(process, "epoch 3/")
    left = children(process)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(is_there(child) for child in left) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_there(child) for child in left)
    assert [*(tmp_path / "run").glob("checkpoint-*")]


def test_what_is_wrong_is_said_once_and_has_its_own_exit_code(tmp_path):
    code, _, err = ended(started("run", tmp_path / "nothing.npy", "--out", tmp_path / "run"))
    assert code == 66
    assert len([line for line in err if "nothing.npy" in line]) == 1
    assert not (tmp_path / "run").exists()


def test_nothing_but_run_is_launched(latentmix):
    code, _, err = latentmix("launch", "--processes", 2, "predict", "runs/1", "rows.npy")
    assert code == 2
    assert "launch starts no 'predict'. Expected run" in err[0]
    assert "launch starts no 'nothing'" in latentmix("launch", "--processes", 2)[2][0]


def test_launchers_say_who_one_is():
    assert launch.place({}) is None
    assert launch.place({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None
    assert launch.place({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}) == (3, 4, None)
    by_torch = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "12"}
    assert launch.place(by_torch) == (1, 2, "a:12")
    by_jax = {
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
        "JAX_COORDINATOR_ADDRESS": "10.0.0.1:99",
    }
    assert launch.place(by_jax) == (0, 2, "10.0.0.1:99")


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES='two'"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID='2'"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}, "JAX_COORDINATOR_ADDRESS say ''"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a"}, "MASTER_ADDR and MASTER_PORT"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(variables, text):
    with pytest.raises(ParameterError) as refused:
        launch.place(variables)
    assert text in str(refused.value)
    assert "Expected" in str(refused.value)


def test_others_that_do_not_come_are_waited_for_so_long_and_no_longer(shapes_file, tmp_path):
    code = "from latentmix.apps import launch; launch.JOIN_SECONDS = 2\n"
    code += "from latentmix.apps.cli import main; main()"
    alone = {
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "0",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(shapes_file), "--out", str(tmp_path / "run")],
        env={**os.environ, **alone},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found, _, err = ended(process)
    assert found == 75, err
    assert "found no others" in err[-1]
    assert not (tmp_path / "run").exists()


def test_cores_are_dealt_out_as_far_as_they_go():
    cores = os.sched_getaffinity(0)
    shares = launch.shares_of_cores(len(cores))
    assert set.union(*shares) == cores
    assert {len(share) for share in shares} == {1}
    assert launch.shares_of_cores(len(cores) + 1) == [set()] * (len(cores) + 1)
