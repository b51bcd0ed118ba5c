"""What somebody new does first: doctor, demo, completion, and errors that name a page."""

import os
import re
import shutil
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

import pytest

from latentmix import errors
from latentmix.apps.cli import cli
from latentmix.apps.commands import demo, doctor, self_check
from latentmix.apps.commands.self_check import Found
from latentmix.runs.recipe import load_recipe

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-m", "latentmix"]


def test_doctor_says_in_aligned_lines_what_is_there(latentmix):
    start = time.monotonic()
    code, out, err = latentmix("doctor")
    assert (code, err) == (0, [])
    assert out[-1] == "All is well."
    found = {line[:14].strip(): line[14:] for line in out[:-1]}
    assert {"latentmix", "python", "jax", "cores", "device", "write", "self-check"} <= set(found)
    assert all(line[13] == " " and line[14] != " " for line in out[:-1])
    assert "100% of 240 images" in found["self-check"] and "not told" not in found["self-check"]
    said = float(re.search(r"in ([\d.]+) s", found["self-check"])[1])  # to a tenth
    assert said <= time.monotonic() - start + 0.05


@pytest.mark.parametrize("found", [Found(0.6, True), Found(1.0, False)])
def test_doctor_ends_with_1_where_the_check_fails(latentmix, monkeypatch, found):
    monkeypatch.setattr(self_check, "found_heaps", lambda: found)
    code, out, _ = latentmix("doctor")
    assert code == 1
    assert next(line for line in out if "to be mended" in line).startswith("self-check")


def test_doctor_goes_on_past_what_is_broken(latentmix, monkeypatch, tmp_path):
    def broken():
        raise OSError("It is broken.")
        yield

    monkeypatch.setattr(doctor, "LOOKS", (broken, doctor._data))
    monkeypatch.setenv("LATENTMIX_DATA", str(tmp_path / "gone"))
    code, out, _ = latentmix("doctor")
    assert code == 1
    assert out[0].startswith("broken") and "OSError: It is broken." in out[0]
    assert out[1].startswith("data") and "to be mended" in out[1]


def test_doctor_notices_a_folder_that_cannot_be_written(latentmix, monkeypatch):
    def refused(path, content):
        raise errors.WriteError("No.")

    monkeypatch.setattr("latentmix.storage.files.write_bytes", refused)
    monkeypatch.setattr(doctor, "LOOKS", (doctor._write,))
    code, out, _ = latentmix("doctor")
    assert code == 1 and out[0].startswith("write") and "WriteError: No." in out[0]


@pytest.fixture
def opened(monkeypatch):
    """Return the addresses that a browser was asked to open."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_a_demo_leaves_a_run_and_opens_its_report(latentmix, monkeypatch, tmp_path, opened):
    quick = ("vae.hidden_dims=[16]", "vae.max_epochs=1", "vae.min_steps=0")
    monkeypatch.setattr(demo, "SETTINGS", (*quick, "refinement.n_rounds=0", "report.draws=1"))
    monkeypatch.setattr("latentmix.runs.tables.FEWEST_OF_UMAP", 10_000)
    code, out, err = latentmix("demo", "-o", tmp_path / "demo")
    assert (code, err) == (0, [])
    assert out[0] == f"Reading digits, writing to {tmp_path / 'demo'}"
    assert opened == [(tmp_path / "demo" / "report.html").as_uri()]
    assert "latentmix explore" in out[-1]
    before = (tmp_path / "demo" / "manifest.json").read_bytes()
    assert latentmix("demo", "-o", tmp_path / "demo", "--no-browser")[0] == 0
    assert len(opened) == 1 and (tmp_path / "demo" / "manifest.json").read_bytes() == before


def test_the_demos_settings_are_a_recipes():
    recipe = load_recipe("default", demo.SETTINGS)
    assert recipe.refinement.n_rounds == 3 and recipe.mixture.n_components == "classes"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(latentmix, shell):
    code, out, _ = latentmix("completion", shell)
    assert code == 0 and any("_LATENTMIX_COMPLETE" in line for line in out)


def test_bash_completes_commands_and_options(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    command = tmp_path / "latentmix"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m latentmix "$@"\n')
    command.chmod(0o755)
    script = """
source <(latentmix completion bash)
COMP_WORDS=(latentmix exp); COMP_CWORD=1; _latentmix_completion latentmix exp latentmix
printf '%s\\n' "${COMPREPLY[@]}"
COMPREPLY=()
COMP_WORDS=(latentmix export --f); COMP_CWORD=2; _latentmix_completion latentmix --f export
printf '%s\\n' "${COMPREPLY[@]}"
"""
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run(
        [bash, "-c", script], env={**os.environ, **path}, capture_output=True, text=True, check=True
    )
    # Each line is a kind and a word.
    assert [line.split(",")[-1] for line in found.stdout.split()] == [
        *("explore", "export", "--format")
    ]


def every_error():
    kinds = [errors.LatentmixError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return [kind for kind in kinds if kind.__module__ == "latentmix.errors"]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_names_a_page_that_is_there(kind):
    assert (ROOT / kind.page).is_file()


def test_an_error_of_the_command_line_names_its_page(latentmix, unnamed, tmp_path):
    code, _, err = latentmix("predict", tmp_path / "gone", "digits", "-o", tmp_path / "p.csv")
    assert code == 66 and err[0].endswith(". See docs/errors.md.")
    code, _, err = latentmix("sample", unnamed, "--label", "3", "-o", tmp_path / "s.png")
    assert code == 65 and err[0].endswith(". See docs/how-to-labels.md.")


def test_the_page_of_errors_lists_every_class():
    text = (ROOT / "docs" / "errors.md").read_text()
    for kind in every_error():
        assert f"`{kind.__name__}`" in text
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / target).exists()


def test_every_command_helps(latentmix):
    for name in cli.commands:
        code, out, _ = latentmix(name, "--help")
        assert code == 0 and out[0].startswith(f"Usage: latentmix {name}")
