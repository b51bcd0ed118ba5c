"""Runs that are killed and disks that fail: a sample; the scripts beside this do all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills and failures as POSIX has them")


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("failing_disk.py", ["--sample", "4"]),
        ("killed_runs.py", ["--kills", "12"]),
        ("killed_runs.py", ["--rounds", "--kills", "12"]),
    ],
)
def test_what_was_done_is_never_lost(script, options):
    command = [sys.executable, str(Path(__file__).with_name(script)), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
