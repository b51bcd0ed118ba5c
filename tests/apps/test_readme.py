"""What the README says is run: its Python blocks, and that its commands are ours."""

import re
from pathlib import Path

import numpy as np
import pytest

from latentmix.apps.cli import cli
from latentmix.comparison.table import read_rows, summarise

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


def test_the_table_of_methods_is_that_of_the_committed_runs():
    runs = summarise(read_rows(README.parent / "benchmarks" / "results" / "clustering.csv"))
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.findall(r"^\| \**`.*\|$", TEXT, flags=re.MULTILINE)
    ]
    shown = {re.search(r"`(.+?)`", line[0])[1]: line[1:] for line in lines}
    several = [one for one in runs if one.data == "mnist" and one.seeds > 1]
    assert shown == {one.method: cells_of(one) for one in several}


def cells_of(summary):
    def spread(name):
        return f"{summary.scores[name].mean:.3f} ± {summary.scores[name].sd:.3f}"

    return [
        str(summary.seeds),
        spread("accuracy"),
        f"{summary.scores['accuracy'].worst:.3f}",
        spread("named_accuracy"),
        spread("nmi"),
        f"{summary.scores['fit_seconds'].best / 60:.1f}",
    ]
