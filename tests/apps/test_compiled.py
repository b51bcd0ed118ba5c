"""Compiled programs in the user's cache folder: kept, mended, and never in the way."""

import json
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager

import numpy as np
import pytest

from latentmix.apps import compiled
from latentmix.apps.cli import cli, guarded

# Computes with two programs, and tells how many it found, in the way of a command.
COMMAND = """
import json, sys, warnings
warnings.simplefilter("always")
from latentmix.apps.compiled import programs_kept
PREPARE
with programs_kept():
    import jax
    from jax import monitoring
    events = []
    monitoring.register_event_listener(lambda name, **_: events.append(name))
    answer = float(jax.jit(lambda x: (x * x).sum())(jax.numpy.arange(4.0)))
    warnings.warn("news of another kind")
found = sum(name == "/jax/compilation_cache/cache_hits" for name in events)
print(json.dumps({"answer": answer, "found": found}))
"""


@pytest.fixture
def computed(tmp_path, monkeypatch):
    """Return a function that computes in a process of its own, with a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiled, "_root", lambda: tmp_path / "latentmix" / "compiled")

    def compute(prepare=""):
        done = subprocess.run(
            [sys.executable, "-c", COMMAND.replace("PREPARE", prepare)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        )
        lines = [line for line in done.stderr.splitlines() if "Warning" in line]
        assert len(lines) == 1, done.stderr
        assert "news of another kind" in lines[0], "and only that"
        told = json.loads(done.stdout)
        assert told["answer"] == 14
        return told["found"]

    return compute


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="where the cache lies on Linux")


def test_a_second_start_finds_every_program(computed):
    assert computed() == 0
    kept = sorted(compiled.programs_folder().iterdir())
    assert len(kept) >= 1
    assert computed() == len(kept)
    assert sorted(compiled.programs_folder().iterdir()) == kept


@pytest.mark.parametrize(
    "damage",
    [
        lambda program: b"garbage",
        lambda program: b"",
        lambda program: program[: len(program) // 2],
        lambda program: zlib.compress(b"\0" * 1000),
    ],
)
def test_damaged_programs_are_compiled_and_kept_anew(computed, damage):
    computed()
    kept = {path: path.read_bytes() for path in compiled.programs_folder().iterdir()}
    for path, program in kept.items():
        path.write_bytes(damage(program))
    computed()
    assert computed() == len(kept)


def test_a_folder_that_cannot_be_made_is_done_without(computed, tmp_path):
    (tmp_path / "latentmix").write_text("no folder")
    assert computed() == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_read(computed):
    computed()
    folder = compiled.programs_folder()
    folder.chmod(0o500)
    try:
        assert computed() == len(list(folder.iterdir()))
    finally:
        folder.chmod(0o700)


def test_programs_that_cannot_be_written_are_no_news(computed):
    full = """
import errno, pathlib
def full(path, content):
    raise OSError(errno.ENOSPC, "No space left on device")
pathlib.Path.write_bytes = full
"""
    assert computed(full) == 0
    assert not list(compiled.programs_folder().iterdir())


@pytest.mark.parametrize(
    ("name", "other"),
    [("_instructions", "sse avx512f"), ("_n_cores", 1000), ("version", "0.0")],
)
def test_machines_and_versions_have_folders_of_their_own(monkeypatch, name, other):
    ours = compiled.kind_of_machine()
    assert ours == compiled.kind_of_machine()
    monkeypatch.setattr(compiled, name, lambda *_: other)
    assert compiled.kind_of_machine() != ours


def test_what_was_used_longest_ago_goes_first(tmp_path):
    for folder, name, when in [("a", "old", 1), ("b", "new", 3), ("a", "middle", 2)]:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (when, when))
    compiled._drop_the_oldest(tmp_path, 250)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"middle", "new"}
    compiled._drop_the_oldest(tmp_path, 0)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def entered(monkeypatch):
    """Return a list that grows each time a command asks for kept programs."""
    asked = []

    @contextmanager
    def programs_kept():
        asked.append(True)
        yield

    monkeypatch.setattr(compiled, "programs_kept", programs_kept)
    return asked


@pytest.mark.parametrize("no_cache", [False, True])
def test_no_cache_does_without(entered, finished, tmp_path, no_cache):
    np.save(tmp_path / "rows.npy", np.zeros((2, 64), np.uint8))
    out, rows = str(tmp_path / "out"), str(tmp_path / "rows.npy")
    run = str(finished)
    commands = (
        ["predict", run, rows, "-o", f"{out}.csv"],
        ["sample", run, "-o", f"{out}.npy", "-n", "2"],
    )
    for command in commands:
        words = [*command, "--no-cache"] if no_cache else command
        assert guarded(lambda words=words: cli.main(words, standalone_mode=False)) == 0
    assert len(entered) == (0 if no_cache else len(commands))


@pytest.mark.parametrize("command", ["run", "predict", "sample", "evaluate"])
def test_commands_that_compute_take_no_cache(capsys, command):
    guarded(lambda: cli.main([command, "--help"], standalone_mode=False))
    assert "--no-cache" in capsys.readouterr().out
