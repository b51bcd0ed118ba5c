"""How good an answer is: NumPy in, floats out, everything in nats or in [0, 1]."""

from latentmix.metrics.calibration import (
    area_under_risk_coverage,
    error_at_coverage,
    expected_calibration_error,
    reliability_table,
    risk_coverage,
)
from latentmix.metrics.classification import accuracy, confusion_matrix
from latentmix.metrics.clustering import (
    adjusted_rand_index,
    contingency_table,
    hungarian_accuracy,
    normalized_mutual_info,
    purity,
    purity_per_component,
)
from latentmix.metrics.density import active_dimensions
from latentmix.metrics.intervals import Interval, cross_fitted_interval, wilson_interval

__all__ = [
    "Interval",
    "accuracy",
    "active_dimensions",
    "adjusted_rand_index",
    "area_under_risk_coverage",
    "confusion_matrix",
    "contingency_table",
    "cross_fitted_interval",
    "error_at_coverage",
    "expected_calibration_error",
    "hungarian_accuracy",
    "normalized_mutual_info",
    "purity",
    "purity_per_component",
    "reliability_table",
    "risk_coverage",
    "wilson_interval",
]
