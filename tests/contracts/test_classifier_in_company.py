"""The classifier around a mixture: in pipelines, searches and calibration, and what it lacks."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latentmix import BernoulliMixture, GaussianMixture, LatentMixture, PoissonMixture
from latentmix.errors import InputError

rng = np.random.RandomState(0)
CORNER = rng.randint(4, size=400)
X = np.array([[0, 0], [5, 0], [0, 5], [5, 5.0]])[CORNER] + rng.randn(400, 2)
# Either class has two corners, opposite ones: one component a class can never tell them apart.
Y = np.array(["no", "yes", "yes", "no"])[CORNER]


def classifier(n_components=4, **parameters):
    given = {"random_state": 0, "n_init": 3, **parameters}
    return GaussianMixture(n_components, **given).as_classifier()


def test_a_search_finds_how_many_components_the_classes_need():
    grid = {"estimator__n_components": [2, 4], "estimator__covariance_type": ["full", "spherical"]}
    search = GridSearchCV(classifier(), grid, cv=3).fit(X, Y)
    assert search.best_params_["estimator__n_components"] == 4
    assert search.best_score_ > 0.95
    assert search.predict(X[:5]).dtype.kind == "U"
    np.testing.assert_allclose(search.predict_proba(X).sum(axis=1), 1)


def test_cross_validation_by_any_score():
    for scoring in (None, "accuracy", "neg_log_loss", "roc_auc"):
        scores = cross_val_score(classifier(), X, Y, cv=3, scoring=scoring, error_score="raise")
        assert np.all(np.isfinite(scores))
    shares = cross_val_predict(classifier(), X, Y, cv=3, method="predict_proba")
    assert log_loss(Y, shares) < 0.15


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    calibrated = CalibratedClassifierCV(classifier(), cv=3, method=method).fit(X, Y)
    assert calibrated.score(X, Y) > 0.95
    named = GaussianMixture(4, random_state=0, n_init=3).fit(X).label(X[:40], Y[:40])
    frozen = CalibratedClassifierCV(FrozenEstimator(named.as_classifier()), method=method)
    assert frozen.fit(X, Y).score(X, Y) > 0.95


def test_in_a_pipeline_and_with_missing_entries():
    holes = np.where(np.random.RandomState(1).uniform(size=X.shape) < 0.1, np.nan, X)
    pipeline = make_pipeline(StandardScaler(), classifier())
    assert cross_val_score(pipeline, holes, Y, cv=3, error_score="raise").min() > 0.8


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_around_every_mixture(kind):
    rates = np.array([[1.0, 6, 2, 8], [6, 1, 8, 2]])[(Y == "yes") * 1]
    counts = np.random.RandomState(0).poisson(rates) * 1.0
    rows = counts if kind is PoissonMixture else (counts > 3) * 1.0
    fitted = kind(2, random_state=0).as_classifier().fit(rows, Y)
    assert fitted.score(rows, Y) > 0.9


def test_what_is_fitted_stays_fitted_and_a_clone_is_not():
    fitted = classifier().fit(X, Y)
    other = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(other.predict_proba(X), fitted.predict_proba(X))
    assert is_classifier(fitted)
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert fitted.n_features_in_ == 2
    for empty in (clone(fitted), GaussianMixture(4, random_state=0).fit(X).as_classifier()):
        with pytest.raises(NotFittedError):
            empty.predict(X)


def test_the_mixture_given_is_left_alone():
    mixture = GaussianMixture(4, random_state=0)
    mixture.as_classifier().fit(X, Y)
    assert not hasattr(mixture, "means_")
    mixture.fit(X).label(X, Y)
    means, names = mixture.means_.copy(), mixture.class_probs_.copy()
    mixture.as_classifier().fit(X[:100], Y[:100])
    np.testing.assert_array_equal(mixture.means_, means)
    np.testing.assert_array_equal(mixture.class_probs_, names)


def test_rows_without_a_class_help_with_the_fit_and_stay_out_of_the_score():
    numbers = (Y == "yes") * 1
    few = np.where(np.arange(400) < 24, numbers, -1)
    helped = classifier().fit(X, few)
    alone = GaussianMixture(4, random_state=0, n_init=3).as_classifier().fit(X[:24], numbers[:24])
    assert helped.score(X, few) == np.mean(helped.predict(X[:24]) == numbers[:24])
    assert np.mean(helped.predict(X) == numbers) > np.mean(alone.predict(X) == numbers)
    half = np.where(np.arange(400) % 2 == 0, numbers, -1)
    assert cross_val_score(classifier(), X, half, cv=3).min() > 0.95


def test_no_class_and_no_y_are_refused():
    with pytest.raises(InputError, match="None of the 400 labels"):
        classifier().fit(X, np.full(400, -1))
    with pytest.raises(InputError, match="requires y"):
        classifier().fit(X, None)


def test_weights_reach_the_mixture():
    weights = np.where(np.arange(400) < 200, 1.0, 0.0)
    found = classifier().fit(X, Y, sample_weight=weights)
    left = classifier().fit(X[:200], Y[:200])
    np.testing.assert_allclose(found.predict_proba(X), left.predict_proba(X), atol=1e-9)


def test_weights_pass_through_searches_calibration_and_pipelines():
    # Rows without weight have wrong classes: whoever loses the weights on the way finds nothing.
    weights = np.where(np.arange(400) % 3 == 0, 0.0, 1.0)
    wrong = np.where(weights > 0, Y, np.where(Y == "yes", "no", "yes"))
    wholes = {
        "search": GridSearchCV(classifier(), {"estimator__n_components": [4]}, cv=3),
        "calibration": CalibratedClassifierCV(classifier(), cv=3),
        "pipeline": make_pipeline(StandardScaler(), classifier()),
    }
    for name, whole in wholes.items():
        step = "mixtureclassifier__" if name == "pipeline" else ""
        whole.fit(X, wrong, **{f"{step}sample_weight": weights})
        assert whole.score(X, Y) > 0.95, name
        if name == "search":
            left = classifier().fit(X[weights > 0], Y[weights > 0])
            found = whole.best_estimator_.estimator_.class_probs_
            np.testing.assert_allclose(found, left.estimator_.class_probs_, atol=1e-9)


def test_weights_are_refused_where_the_estimator_takes_none():
    with pytest.raises(InputError, match="LatentMixture weighs no rows"):
        LatentMixture(2).as_classifier().fit(X, Y, sample_weight=np.ones(400))
