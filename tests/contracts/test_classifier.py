"""A mixture with named components as scikit-learn's classifier."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from latentmix import GaussianMixture
from latentmix.errors import InputError

BY_DESIGN = {
    "check_classifiers_classes": "-1 is an unknown label, and -1 and 1 are one class then",
}


@parametrize_with_checks(
    [GaussianMixture(3, random_state=0).as_classifier()],
    expected_failed_checks=lambda classifier: BY_DESIGN,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def half_labelled():
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 100)
    X = rng.randn(200, 2) + 6 * y[:, None]
    y[::2] = -1
    return X, y


def test_rows_without_a_class_are_left_out_of_the_score():
    X, y = half_labelled()
    scores = cross_val_score(GaussianMixture(2, random_state=0).as_classifier(), X, y)
    assert scores.min() > 0.98


def test_grids_are_searched_and_probabilities_calibrated():
    X, y = half_labelled()
    grid = GridSearchCV(
        GaussianMixture(random_state=0).as_classifier(), {"estimator__n_components": [1, 2]}
    ).fit(X, y)
    assert grid.best_params_ == {"estimator__n_components": 2}
    known = y >= 0
    calibrated = CalibratedClassifierCV(GaussianMixture(2, random_state=0).as_classifier(), cv=3)
    assert calibrated.fit(X[known], y[known]).score(X[known], y[known]) > 0.98


def test_a_named_mixture_predicts_at_once():
    X, y = half_labelled()
    mixture = GaussianMixture(2, random_state=0).fit(X, labels=y)
    classifier = mixture.as_classifier()
    np.testing.assert_array_equal(classifier.predict(X), mixture.predict_class(X))


def test_labels_of_two_kinds_are_refused():
    with pytest.raises(InputError, match="mixes text with numbers"):
        GaussianMixture(2).fit(np.arange(8.0).reshape(4, 2), labels=["a", 5, "a", 5])
