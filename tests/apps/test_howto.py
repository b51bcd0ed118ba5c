"""What the how-to for mixtures shows is run, block after block, and comes out as it says."""

import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


def ran(page):
    """Run a page's blocks, one after another, and return the names that they leave behind."""
    scope = {}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks, page.name
    for number, block in enumerate(blocks):
        exec(compile(block, f"{page.name}, block {number}", "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return the names that the blocks leave behind."""
    pytest.importorskip("pyarrow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("howto"))
        return ran(DOCS / "how-to-mixtures.md")


@pytest.mark.parametrize("name", ["from_disk", "from_parquet", "from_blocks"])
def test_rows_on_disk_give_the_answer_of_the_matrix(shown, name):
    np.testing.assert_allclose(shown[name].means_, shown["mixture"].means_, atol=1e-5)


@pytest.mark.parametrize("name", ["online", "weighted", "incomplete", "best", "automatic"])
def test_other_ways_to_fit_come_close(shown, name):
    means = [np.sort(shown[other].means_[:, 0]) for other in (name, "mixture")]
    assert len(means[0]) == 3
    np.testing.assert_allclose(*means, atol=0.2)


def test_a_few_labels_name_the_components(shown):
    assert (shown["named"] == shown["kinds"]).mean() > 0.98
    assert (shown["probabilities"].argmax(axis=1) == shown["kinds"]).mean() > 0.98
    assert shown["accuracy"] > 0.98


def test_what_is_missing_is_filled_in(shown):
    assert np.isfinite(shown["filled"]).all()
    np.testing.assert_allclose(shown["expected"], [0, 3], atol=0.3)


def test_discrete_means_are_probabilities_and_rates(shown):
    np.testing.assert_allclose(np.sort(shown["answers"].means_.mean(axis=1)), [0.1, 0.8], atol=0.05)
    np.testing.assert_allclose(np.sort(shown["visits"].means_.mean(axis=1)), [2, 9], atol=0.3)


def test_acceleration_takes_fewer_iterations(shown):
    assert shown["quick"].n_iter_ < shown["plain"].n_iter_
    assert shown["quick"].lower_bound_ > shown["plain"].lower_bound_ - 1e-3


def test_an_ended_fit_leaves_no_checkpoint(shown):
    assert shown["fitted"].converged_


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_every_link_of_the_docs_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_page_on_training_a_vae_runs():
    scope = ran(DOCS / "models" / "vae-training.md")
    assert scope["patient"].stop_reason_ == "patience"
    assert scope["ended"].stop_reason_ == "listener"
    assert len(scope["online"].history_) == 3
    assert scope["best"] in scope["several"]


def test_the_page_on_likelihoods_runs():
    scope = ran(DOCS / "models" / "likelihoods.md")
    assert [column.kind for column in scope["vae"].columns_] == [
        "continuous",
        "count",
        "categorical",
    ]
    assert set(scope["vae"].sample(20)[:, 2]) <= {"blue", "red"}


def test_the_page_on_anomalies_runs():
    scope = ran(DOCS / "models" / "anomaly.md")
    assert set(scope["scores"].argsort()[-2:]) == {10, 11}
    assert scope["p_values"][-2:].max() < 0.05


# Last bits differ between versions of JAX, and with them whether every component gets a label.
@pytest.mark.filterwarnings("ignore:No labelled row reached")
def test_the_front_page_of_the_site_runs(tmp_path, monkeypatch):
    page = DOCS / "index.md"
    assert page.read_text(encoding="utf-8").count("```python") == 1
    monkeypatch.chdir(tmp_path)
    scope = ran(page)
    assert scope["accuracy"] > 0.6 and scope["threes"].shape == (16, 64)
