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


def test_calibration_brings_confidence_to_accuracy(shown):
    before, after = shown["errors"]
    assert after < before and after < 0.03
    assert shown["table"].rows.sum() == 5800
    assert np.all(np.isfinite(shown["table"].accuracy[4:]))


def test_the_interval_holds_the_accuracy(shown):
    interval = shown["interval"]
    assert interval.low < shown["accuracy"] < interval.high
    assert interval.high - interval.low < 0.12


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target):
    assert "://" in target or (PAGE.parent / target).exists()
