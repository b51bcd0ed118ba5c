"""What the how-to for exports shows is run, commands and blocks, and comes out as it says."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from latentmix import load
from latentmix.apps.cli import cli, guarded

PAGE = Path(__file__).parents[2] / "docs" / "how-to-export.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ {4}latentmix ((?:run|export) digits.*)$", TEXT, flags=re.MULTILINE)
# The page's run takes its time.
QUICKER = ["vae.hidden_dims=[32]", "vae.max_epochs=8", "vae.min_steps=0", "report.n_components=[]"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return the names that the commands and blocks leave behind."""
    scope = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("howto"))
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr("latentmix.runs.tables.FEWEST_OF_UMAP", 10_000)
        for command in COMMANDS:
            words = [*command.split(), *(["--set", *QUICKER] if command.startswith("run") else [])]
            assert guarded(lambda words=words: cli.main(words, standalone_mode=False)) == 0
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), scope)
        scope["model of the run"] = load("digits-run")
        for name in ("reader", "anomaly"):
            patch.delitem(sys.modules, name)
    return scope


def test_the_pages_and_the_graph_answer_as_the_run(shown):
    classes = shown["model of the run"].predict_class(shown["images"])
    np.testing.assert_array_equal(shown["classes"], classes)
    for name, values in shown["answers"].items():
        np.testing.assert_allclose(shown["found"][name], values, atol=1e-5)


def test_decoded_images_are_the_models(shown):
    expected = shown["model of the run"].reconstruct(shown["images"][:4])
    np.testing.assert_allclose(shown["decoded"], expected, atol=1e-5)
    np.testing.assert_allclose(shown["shown"], expected, atol=1e-5)


def test_strange_rows_are_the_models(shown):
    scores = shown["model of the run"].anomaly_scores(shown["images"])
    assert scores[shown["strange"]].min() > np.quantile(scores, 0.99)
    assert shown["facts"].keys() >= {"classes", "latentmix", "sha256", "feature_names"}


def test_all_four_formats_are_shown():
    assert [re.search(r"--format (\w+)", command) is not None for command in COMMANDS] == [
        False,
        *[True] * 4,
    ]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert "://" in target or (PAGE.parent / target).exists()
