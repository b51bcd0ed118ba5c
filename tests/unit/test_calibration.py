"""Calibration errors, risk-coverage curves and temperatures, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from latentmix.errors import ParameterError
from latentmix.kernels.temperature import COLDEST, HOTTEST, best_temperature, tempered
from latentmix.metrics import (
    area_under_risk_coverage,
    error_at_coverage,
    expected_calibration_error,
    reliability_table,
    risk_coverage,
)

# Confidences 0.9, 0.8, 0.8, 0.6, 0.55; the second and the last are wrong, and one is unknown.
PROBA = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.4, 0.6], [0.55, 0.45], [0.3, 0.7]])
LABELS = np.array([0, 0, 0, 1, 1, -1])


def test_bins_hold_their_upper_edge_and_leave_out_what_is_unknown():
    table = reliability_table(PROBA, LABELS, n_bins=5)
    assert table.rows.tolist() == [0, 0, 2, 2, 1]
    np.testing.assert_allclose(table.confidence[2:], [0.575, 0.8, 0.9])
    np.testing.assert_allclose(table.accuracy[2:], [0.5, 0.5, 1])
    assert np.isnan(table.confidence[:2]).all() and np.isnan(table.accuracy[:2]).all()
    np.testing.assert_allclose(table.up_to - table.above, 0.2)


def test_the_calibration_error_weighs_bins_by_their_rows():
    expected = (2 * 0.075 + 2 * 0.3 + 0.1) / 5
    assert expected_calibration_error(PROBA, LABELS, n_bins=5) == pytest.approx(expected)
    # One bin: mean confidence beside accuracy.
    assert expected_calibration_error(PROBA, LABELS, n_bins=1) == pytest.approx(3.65 / 5 - 0.6)
    assert np.isnan(expected_calibration_error(PROBA, np.full(6, -1)))
    with pytest.raises(ParameterError, match="n_bins=0"):
        expected_calibration_error(PROBA, LABELS, n_bins=0)


def test_the_risk_of_the_most_confident_and_ties_shared():
    curve = risk_coverage(PROBA, LABELS)
    np.testing.assert_allclose(curve.coverage, [0.2, 0.4, 0.6, 0.8, 1])
    np.testing.assert_allclose(curve.risk, [0, 0.25, 1 / 3, 0.25, 0.4])
    np.testing.assert_allclose(curve.confidence, [0.9, 0.8, 0.8, 0.6, 0.55])
    assert area_under_risk_coverage(PROBA, LABELS) == pytest.approx(np.mean(curve.risk))
    assert error_at_coverage(PROBA, LABELS, 1.0) == pytest.approx(0.4)
    assert error_at_coverage(PROBA, LABELS, 0.6) == pytest.approx(1 / 3)
    assert error_at_coverage(PROBA, LABELS, 0.01) == 0
    assert np.isnan(error_at_coverage(PROBA, np.full(6, -1), 0.5))
    assert np.isnan(area_under_risk_coverage(PROBA, np.full(6, -1)))
    with pytest.raises(ParameterError, match=r"coverage=1.5 .*share in \(0, 1\]"):
        error_at_coverage(PROBA, LABELS, 1.5)


@given(st.integers(0, 2**31 - 1), st.integers(1, 40), st.integers(2, 5))
def test_the_curve_ends_in_the_error_and_no_order_of_rows_matters(seed, n_rows, n_classes):
    random = np.random.RandomState(seed)
    proba = softmax(2 * random.randn(n_rows, n_classes), axis=1).round(1)
    labels = random.randint(n_classes, size=n_rows)
    error = np.mean(proba.argmax(axis=1) != labels)
    curve = risk_coverage(proba, labels)
    assert curve.risk[-1] == pytest.approx(error)
    assert np.all(np.diff(curve.confidence) <= 0)
    shuffled = random.permutation(n_rows)
    again = risk_coverage(proba[shuffled], labels[shuffled])
    np.testing.assert_allclose(again.risk, curve.risk)
    assert 0 <= expected_calibration_error(proba, labels, 10) <= 1


def test_temperature_one_changes_no_bit_and_any_keeps_the_order():
    random = np.random.RandomState(0)
    proba = random.dirichlet(np.ones(4), size=50).astype(np.float32)
    assert tempered(proba, 1.0) is proba
    for temperature in (COLDEST, 0.5, 3.0, HOTTEST):
        found = tempered(proba, temperature)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found.argmax(axis=1), proba.argmax(axis=1))
    np.testing.assert_allclose(tempered(np.array([[0.2, 0.8]]), 0.5), [[0.04 / 0.68, 0.64 / 0.68]])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    random = np.random.RandomState(1)
    proba = softmax(3 * random.randn(20_000, 4), axis=1)
    drawn = tempered(proba, temperature).cumsum(axis=1) > random.random_sample((20_000, 1))
    labels = drawn.argmax(axis=1)
    found = best_temperature(proba, labels, prior_rows=1.0)
    assert found == pytest.approx(temperature, rel=0.03)
    before = expected_calibration_error(proba, labels)
    after = expected_calibration_error(tempered(proba, found), labels)
    assert after < 0.012
    if temperature != 1.0:
        assert before > 0.04


def test_a_few_rows_that_are_all_right_leave_some_doubt():
    proba = np.tile([0.9, 0.1], (20, 1))
    labels = np.zeros(20, int)
    assert COLDEST <= best_temperature(proba, labels, prior_rows=0.0) < 0.1
    # Counts of both kinds of rows: 20.9 for the class and 0.1 for the other.
    found = tempered(proba, best_temperature(proba, labels, prior_rows=1.0))
    np.testing.assert_allclose(found[0], [20.9 / 21, 0.1 / 21], rtol=1e-3)


def test_a_class_that_was_ruled_out_and_came_true_is_no_infinite_temperature():
    proba = np.array([[1.0, 0.0]] * 10)
    labels = np.array([0] * 9 + [1])
    found = best_temperature(proba, labels, prior_rows=0.0)
    assert 1 < found < HOTTEST
    np.testing.assert_allclose(tempered(proba, found)[0], [0.9, 0.1], atol=1e-3)
