"""An accuracy's interval, estimated from a draw of labelled rows, holds it as often as it says."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest

from latentmix import GaussianMixture
from latentmix.errors import InputError, ParameterError
from latentmix.kernels.cross_fitting import cross_fitted
from latentmix.kernels.naming import name_components
from latentmix.metrics import cross_fitted_interval, wilson_interval


@pytest.mark.parametrize(("n_right", "n_rows"), [(0, 10), (7, 10), (195, 200), (200, 200)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilsons_interval_is_scipys(n_right, n_rows, level):
    expected = binomtest(n_right, n_rows).proportion_ci(level, method="wilson")
    found = wilson_interval(n_right / n_rows, n_rows, level)
    np.testing.assert_allclose(found, (n_right / n_rows, *expected), atol=1e-12)


def test_names_that_differ_from_fold_to_fold_widen_the_interval():
    same = cross_fitted_interval(180, 200, np.full(10, 0.9))
    assert same == wilson_interval(0.9, 200)
    accuracies = 0.9 + 0.01 * np.resize([1, -1], 10)
    # The jackknife's variance is 9 / 10 of ten squares of 0.01.
    rows = 182 / 204 * 22 / 204 / 200
    np.testing.assert_allclose(
        cross_fitted_interval(180, 200, accuracies), wilson_interval(0.9, 200 / (1 + 9e-4 / rows))
    )
    all_right = cross_fitted_interval(20, 20, np.full(10, 1.0))
    assert all_right.high == 1.0 and 0.8 < all_right.low < 0.9


def population(n_components, sharpness, seed=0, n_rows=20_000):
    """Return p(k|x) and classes of rows whose components say only mostly what class they are."""
    random = np.random.RandomState(seed)
    component = random.randint(n_components, size=n_rows)
    class_probs = random.dirichlet(np.full(4, 0.04), size=n_components)
    classes = (class_probs[component].cumsum(axis=1) > random.random_sample((n_rows, 1))).argmax(1)
    logits = random.randn(n_rows, n_components) + sharpness * np.eye(n_components)[component]
    return softmax(logits, axis=1), classes


@pytest.mark.parametrize(("n_components", "sharpness"), [(6, 6.0), (30, 6.0)])
def test_intervals_hold_the_accuracy_on_the_rest_as_often_as_they_say(n_components, sharpness):
    responsibilities, classes = population(n_components, sharpness)
    random, held, accuracies, estimates = np.random.RandomState(1), 0, [], []
    for _ in range(400):
        drawn = np.zeros(len(classes), bool)
        drawn[random.permutation(len(classes))[:200]] = True
        few, labels = responsibilities[drawn], classes[drawn]
        named = name_components(few, np.eye(4)[labels], 1.0)
        rest = (responsibilities[~drawn] @ named.class_probs).argmax(axis=1)
        accuracy = np.mean(rest == classes[~drawn])
        found = cross_fitted(few, labels, 4, 1.0, 10)
        n_right = int((found.class_proba.argmax(axis=1) == labels).sum())
        interval = cross_fitted_interval(n_right, 200, found.accuracies)
        held += interval.low <= accuracy <= interval.high
        accuracies.append(accuracy)
        estimates.append(interval.estimate)
    # 400 draws know a share of 0.95 to 0.011. Where components stand between two classes, a few
    # labels decide about many rows at once, and such intervals hold a little less often.
    assert 0.90 < held / 400 < 0.985
    assert abs(np.mean(estimates) - np.mean(accuracies)) < 0.01


def test_the_estimator_gives_the_interval_and_stays_as_it_was():
    random = np.random.RandomState(0)
    kinds = random.randint(3, size=4000)
    X = np.array([[0.0, 0], [2.5, 0], [0, 2.5]])[kinds] + random.randn(4000, 2)
    mixture = GaussianMixture(3, random_state=0).fit(X)
    labels = np.where(np.arange(4000) < 300, kinds, -1)
    found = mixture.accuracy_interval(X, labels)
    assert not hasattr(mixture, "classes_")
    mixture.label(X, labels)
    accuracy = np.mean(mixture.predict_class(X[300:]) == kinds[300:])
    assert found.low < accuracy < found.high
    assert found.low < found.estimate < found.high
    wide = mixture.accuracy_interval(X, labels, level=0.99, n_folds=20)
    assert wide.high - wide.low > found.high - found.low
    order = random.permutation(4000)
    assert mixture.accuracy_interval(X[order], labels[order]) == found
    with pytest.raises(ParameterError, match=r"level=1.5 .*\(0, 1\)"):
        mixture.accuracy_interval(X, labels, level=1.5)
    with pytest.raises(InputError, match="9 rows have a label but n_folds=10"):
        mixture.accuracy_interval(X[:9], labels[:9])
