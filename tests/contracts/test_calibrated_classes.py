"""Probabilities of classes that were made to say how often they are right, in any estimator."""

import json

import numpy as np
import pytest

import latentmix
from latentmix import VAE, BernoulliMixture, GaussianMixture, LatentMixture
from latentmix.errors import InputError, NotNamedError, ParameterError
from latentmix.metrics import expected_calibration_error

KINDS = np.array(["bird", "cat", "dog"])


def overlapping(n_rows, seed=0):
    """Return rows of three kinds that overlap, and which is which."""
    random = np.random.RandomState(seed)
    kinds = random.randint(3, size=n_rows)
    return np.array([[0.0, 0], [2.0, 0], [0, 2.0]])[kinds] + random.randn(n_rows, 2), kinds


def unsure_of_itself():
    """Return a mixture whose components are much wider than the kinds: too much in doubt."""
    X, _ = overlapping(3000, seed=1)
    mixture = GaussianMixture(3, random_state=0).fit(X)
    mixture.means_ = np.array([[0.0, 0], [2.0, 0], [0, 2.0]])
    mixture.covariances_ = np.tile(6 * np.eye(2), (3, 1, 1))
    mixture.precisions_cholesky_ = np.tile(np.eye(2) / np.sqrt(6), (3, 1, 1))
    return mixture


@pytest.fixture(scope="module")
def labelled():
    X, kinds = overlapping(300, seed=2)
    return X, KINDS[kinds]


def test_probabilities_come_to_say_how_often_they_are_right(labelled):
    mixture = unsure_of_itself().label(*labelled)
    X, kinds = overlapping(20_000, seed=3)
    before, classes = mixture.predict_class_proba(X), mixture.predict_class(X)
    assert mixture.temperature_ == 1.0
    assert expected_calibration_error(before, kinds) > 0.1
    assert mixture.calibrate(*labelled) is mixture
    assert mixture.temperature_ < 0.6
    after = mixture.predict_class_proba(X)
    assert expected_calibration_error(after, kinds) < 0.04
    np.testing.assert_allclose(after.sum(axis=1), 1)
    np.testing.assert_array_equal(mixture.predict_class(X), classes)
    np.testing.assert_array_equal(mixture.as_classifier().predict_proba(X), after)


def test_rows_that_named_nothing_need_no_folds(labelled):
    mixture = unsure_of_itself().label(*labelled)
    X, kinds = overlapping(3000, seed=4)
    mixture.calibrate(X, KINDS[kinds], n_folds=None)
    test_X, test_kinds = overlapping(20_000, seed=3)
    assert expected_calibration_error(mixture.predict_class_proba(test_X), test_kinds) < 0.03


def test_names_given_anew_are_uncalibrated_again(labelled):
    X, kinds = overlapping(500)
    mixture = GaussianMixture(3, random_state=0).fit(X)
    assert not hasattr(mixture, "temperature_")
    mixture.label(*labelled).calibrate(*labelled)
    assert mixture.temperature_ != 1.0
    mixture.label(*labelled)
    assert mixture.temperature_ == 1.0
    mixture.calibrate(*labelled).fit(X, labels=kinds)
    assert mixture.temperature_ == 1.0
    mixture.fit(X)
    assert not hasattr(mixture, "temperature_")


def test_the_temperature_is_kept_on_disk(labelled, tmp_path):
    mixture = unsure_of_itself().label(*labelled).calibrate(*labelled)
    mixture.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    assert loaded.temperature_ == mixture.temperature_
    np.testing.assert_array_equal(
        loaded.predict_class_proba(labelled[0]), mixture.predict_class_proba(labelled[0])
    )
    record = json.loads((tmp_path / "model" / "model.json").read_text())
    assert record["temperature"] == mixture.temperature_


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "latent"])
def test_the_same_labels_in_another_order_teach_the_same_bits(kind):
    X, kinds = overlapping(203)
    bits = (X > 0.8).astype(np.uint8)
    model = {
        "gaussian": lambda: GaussianMixture(4, random_state=0).fit(X),
        "bernoulli": lambda: BernoulliMixture(2, random_state=0).fit(bits),
        "latent": lambda: LatentMixture(
            3, vae=VAE(hidden_dims=(8,), max_epochs=1, min_steps=100), random_state=0
        ).fit(X),
    }[kind]()
    X = bits if kind == "bernoulli" else X
    order = np.random.RandomState(0).permutation(len(X))
    found = []
    for rows in (np.arange(len(X)), order):
        model.label(X[rows], kinds[rows]).calibrate(X[rows], kinds[rows])
        found.append((model.class_probs_, model.labelled_rows_, model.temperature_))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_calibrated_says_so(labelled):
    X, labels = labelled
    mixture = unsure_of_itself()
    with pytest.raises(NotNamedError, match=r"label\(X, labels\)"):
        mixture.calibrate(X, labels)
    mixture.label(X, labels)
    with pytest.raises(InputError, match=r"holds the class 'cow'.*named by bird, cat, dog"):
        mixture.calibrate(X, np.where(labels == "cat", "cow", labels))
    with pytest.raises(InputError, match=r"5 rows have a label but n_folds=10.*fewer folds"):
        mixture.calibrate(X[:5], labels[:5])
    with pytest.raises(ParameterError, match="n_folds=1"):
        mixture.calibrate(X, labels, n_folds=1)
    with pytest.raises(InputError, match="300 rows"):
        mixture.calibrate(X, labels[:10])


@pytest.mark.parametrize(
    ("classes", "missing_label", "mark"),
    [
        (KINDS, -1, ""),
        (np.array([3, 5, 7]), -1, -1),
        (np.array([-1, 0, 1]), 99, 99),
        (np.array([-1, 0, 1]), None, None),
        (np.array([0.5, 1.5, 2.5]), -1, -1),
    ],
)
def test_rows_in_doubt_get_the_mark_of_an_unknown_class(classes, missing_label, mark):
    X, kinds = overlapping(2000)
    mixture = GaussianMixture(3, random_state=0, missing_label=missing_label).fit(X)
    mixture.label(X[:300], classes[kinds[:300]])
    proba, certain = mixture.predict_class_proba(X), mixture.predict_class(X)
    found = mixture.predict_class(X, reject_below=0.8)
    doubtful = proba.max(axis=1) < 0.8
    assert 0.1 < doubtful.mean() < 0.9
    assert all(label == mark for label in found[doubtful].tolist())
    np.testing.assert_array_equal(found[~doubtful], certain[~doubtful])
    if mark is not None:
        assert found.dtype == certain.dtype
    assert np.mean(found[~doubtful] == classes[kinds[~doubtful]]) > np.mean(
        certain == classes[kinds]
    )
    # What was left open is unknown when it comes back as labels.
    again = mixture.label(X, found)
    np.testing.assert_allclose(again.labelled_rows_.sum(), (~doubtful).sum())


def test_a_threshold_that_is_no_probability_is_refused(labelled):
    mixture = unsure_of_itself().label(*labelled)
    for threshold in (-0.1, 1.5, "high"):
        with pytest.raises(ParameterError, match="reject_below"):
            mixture.predict_class(labelled[0], reject_below=threshold)
