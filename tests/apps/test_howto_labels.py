"""What the how-to for labels shows is run, block after block, and comes out as it says."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to-labels.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown():
    """Return the names that the blocks leave behind."""
    scope = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), scope)
    return scope


def test_a_few_labels_name_most_rows(shown):
    assert shown["accuracy"] > 0.88


def test_six_labels_that_were_asked_for_name_six_components(shown):
    assert shown["by_six"] > 0.75  # all 200 random ones give 0.9
    assert len(set(shown["more"])) == 20 and not set(shown["more"]) & set(shown["asked"])


def test_calibration_brings_confidence_to_accuracy(shown):
    before, after = shown["errors"]
    assert after < before and after < 0.03
    assert shown["table"].rows.sum() == 5800
    assert np.all(np.isfinite(shown["table"].accuracy[4:]))


def test_rows_in_doubt_are_left_without_a_class(shown):
    # A calibrated 0.9 and more is wrong in less than a tenth.
    assert shown["wrong"] < 0.05 < 1 - shown["accuracy"]
    assert 0.6 < shown["answered"].mean() < 0.95
    assert shown["wrong_of_ninety_percent"] < 1 - shown["accuracy"]
    answered = np.searchsorted(-shown["curve"].confidence, -0.9, side="right")
    np.testing.assert_allclose(answered / 5800, shown["answered"].mean())
    np.testing.assert_allclose(shown["curve"].risk[answered - 1], shown["wrong"])


def test_the_interval_holds_the_accuracy(shown):
    interval = shown["interval"]
    assert interval.low < shown["accuracy"] < interval.high
    assert interval.high - interval.low < 0.12


def test_wrong_labels_are_among_the_suspects(shown):
    wrong = np.flatnonzero(shown["given"] != shown["labels"][shown["few"]])
    found = shown["doubtful"].rows
    assert len(wrong) > 8
    # 10 % of the rows lie on the wrong side of a border, and are as suspect.
    assert np.isin(wrong, found[:50]).mean() > 0.7
    assert len(shown["look_again"]) < 60


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert "://" in target or (PAGE.parent / target).exists()


def test_labels_teach_a_copy_and_leave_the_model_without_names(shown):
    assert shown["right"] > 0.85
    assert not hasattr(shown["base"], "classes_")
