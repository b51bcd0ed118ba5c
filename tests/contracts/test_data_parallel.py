"""Several devices, or processes, that train as one: what one device comes to, to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("trained_by_several.py")


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def trained(folder, *words, n_processes=1, n_devices=1):
    """Return what the script came to, with so many processes of so many devices each."""
    out, address = folder / "found.npz", free_address()
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    several = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(n_processes)}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), *words],
            env={**os.environ, "XLA_FLAGS": flags, **several, "JAX_PROCESS_ID": str(number)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(n_processes)
    ]
    said = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0] * n_processes, said
    return dict(np.load(out))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("alone"))


def off(found, alone, name):
    return np.abs(found[name] - alone[name]).max() / np.abs(alone[name]).max()


def assert_same_steps(found, alone):
    assert off(found, alone, "one") < 1e-5
    assert off(found, alone, "hundred") < 1e-3
    assert off(found, alone, "objective") < 1e-3
    assert abs(found["elbo"] - alone["elbo"]) < 0.3


@pytest.mark.parametrize(("n_processes", "n_devices"), [(1, 4), (2, 1)], ids=["4 devices", "2"])
def test_several_come_to_what_one_device_does(alone, tmp_path, n_processes, n_devices):
    found = trained(tmp_path, n_processes=n_processes, n_devices=n_devices)
    assert (alone["n_devices"], found["n_devices"]) == (1, n_processes * n_devices)
    assert_same_steps(found, alone)
    assert off(found, alone, "convolved") < 1e-3
    assert abs(found["drawn"] - alone["drawn"]) < 0.3
    assert abs(found["best_epoch"] - alone["best_epoch"]) <= 5
    assert abs(found["rounds"] - alone["rounds"]) < 0.3
    assert np.mean(found["components"] == alone["components"]) > 0.98


def test_four_processes_take_the_steps_of_one(alone, tmp_path):
    found = trained(tmp_path, "--dense", n_processes=4)
    assert found["n_devices"] == 4
    assert_same_steps(found, alone)


def test_some_hundred_steps_have_changed_the_weights(alone):
    assert np.abs(alone["hundred"] - alone["one"]).max() > 0.01
    assert len(set(alone["components"].tolist())) == 3
