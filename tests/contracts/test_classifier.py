"""A mixture with named components as scikit-learn's classifier."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import accuracy_score
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


def test_the_score_is_scikit_learn_s_of_the_known_rows():
    X, y = half_labelled()
    known, weights = y >= 0, np.random.RandomState(1).rand(200)
    classifier = GaussianMixture(2, random_state=0).as_classifier().fit(X, y)
    wrong = np.where(np.arange(200) % 7 == 1, 1 - y, y)
    wrong[~known] = -1
    expected = accuracy_score(wrong[known], classifier.predict(X)[known])
    assert classifier.score(X, wrong) == pytest.approx(expected)
    expected = accuracy_score(
        wrong[known], classifier.predict(X)[known], sample_weight=weights[known]
    )
    assert classifier.score(X, wrong, weights) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n_labels", "weights", "message"),
    [
        (200, np.ones(201), r"sample_weight has shape \(201,\) but X has 200 rows"),
        (200, np.ones(199), r"sample_weight has shape \(199,\) but X has 200 rows"),
        (200, -np.ones(200), "sample_weight holds -1.0 at row 0"),
        (200, (np.arange(200) % 2 == 0) * 1.0, "zero for every row with a known class"),
        (150, None, r"labels has shape \(150,\) but X has 200 rows"),
    ],
)
def test_a_score_needs_classes_and_weights_that_fit_the_rows(n_labels, weights, message):
    X, y = half_labelled()
    classifier = GaussianMixture(2, random_state=0).as_classifier().fit(X, y)
    with pytest.raises(InputError, match=message):
        classifier.score(X, y[:n_labels], weights)


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
