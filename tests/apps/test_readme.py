"""What the README says is run: its Python blocks, and that its commands are ours."""

import re
from pathlib import Path

import numpy as np
import pytest

from latentmix.apps.cli import cli

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


# Last bits differ between versions of JAX, and with them whether every component gets a label.
@pytest.mark.filterwarnings("ignore:No labelled row reached")
def test_the_python_block_runs_and_names_most_digits(tmp_path, monkeypatch, capsys):
    block = BLOCKS[0]
    assert len(block.splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(compile(block, str(README), "exec"), scope)
    assert scope["accuracy"] > 0.6
    assert scope["threes"].shape == (16, 64)
    assert "(2, 20)" in capsys.readouterr().out


def test_the_block_of_the_mixture_names_rows_with_missing_entries():
    assert len(BLOCKS) == 2
    scope = {}
    exec(compile(BLOCKS[1], str(README), "exec"), scope)
    assert (scope["named"] == scope["kinds"]).mean() > 0.9
    assert not np.isnan(scope["filled"]).any()


def test_every_command_named_exists():
    named = set(re.findall(r"^ {4}latentmix (\w+)", TEXT, flags=re.MULTILINE))
    assert {"run", "label", "predict", "sample", "evaluate", "recipes"} <= named
    assert named <= set(cli.commands)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert "://" in target or (README.parent / target).exists()
