"""Rows with weights, and rows with labels inside the fit: what they mean and what is refused."""

import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from latentmix import (
    VAE,
    BernoulliMixture,
    GaussianMixture,
    LatentMixture,
    PoissonMixture,
    select_n_components,
)
from latentmix.errors import InputError, NotNamedError, ParameterError
from latentmix.kernels.kmeans import centres as kmeans

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAUSSIAN = ("full", "tied", "diag", "spherical", "factor")
FAMILIES = (*GAUSSIAN, "bernoulli", "poisson")
D = 3
rng = np.random.RandomState(0)
KIND = np.arange(240) % 3
ROWS = rng.randn(240, D) + np.array([[0.0, 0, 0], [2, 0, 1], [0, 3, -1]])[KIND]
COUNTS = rng.poisson(np.array([[1.0, 5, 2], [4, 1, 6], [2, 2, 2]])[KIND]) * 1.0
WEIGHTS = rng.randint(0, 4, 240)
NAMES = np.array(["ash", "birch", "cedar"])
MEANS = {"bernoulli": [[0.3, 0.6, 0.4], [0.6, 0.3, 0.7]], "poisson": [[2.0, 4, 3], [3, 2, 5]]}


def rows_of(family):
    return {"bernoulli": (COUNTS > 2) * 1.0, "poisson": COUNTS}.get(family, ROWS)


def mixture_of(family, **parameters):
    given = {"means_init": MEANS.get(family, [[0.0] * D, [2.0] * D]), "tol": 0, "max_iter": 20}
    given |= parameters
    if family == "bernoulli":
        return BernoulliMixture(2, **given)
    if family == "poisson":
        return PoissonMixture(2, **given)
    return GaussianMixture(2, covariance_type=family, **given)


def assert_same(mixture, other, tolerance=1e-9):
    for name in ("weights_", "means_", "covariances_", "lower_bounds_", "class_probs_"):
        if hasattr(other, name):
            np.testing.assert_allclose(
                getattr(mixture, name), getattr(other, name), tolerance, tolerance, err_msg=name
            )


# --- weights


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_weights_are_repeated_rows(family, missing):
    X = rows_of(family).copy()
    if missing:
        X[np.random.RandomState(1).uniform(size=X.shape) < 0.2] = np.nan
    weighted = mixture_of(family).fit(X, sample_weight=WEIGHTS)
    assert_same(weighted, mixture_of(family).fit(np.repeat(X, WEIGHTS, axis=0)))
    assert np.abs(weighted.means_ - mixture_of(family).fit(X).means_).max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("init_params", ["kmeans", "k-means||", "labels"])
def test_random_starts_too_are_those_of_repeated_rows(init_params, seed):
    shared = {"init_params": init_params, "random_state": seed, "tol": 0, "max_iter": 5}
    weighted = GaussianMixture(3, **shared).fit(ROWS, sample_weight=WEIGHTS)
    assert_same(weighted, GaussianMixture(3, **shared).fit(np.repeat(ROWS, WEIGHTS, axis=0)))


@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_a_start_from_single_rows_is_that_of_repeated_rows(seed):
    shared = {"init_params": "k-means++", "random_state": seed, "tol": 0, "max_iter": 1}
    weighted = GaussianMixture(3, **shared).fit(ROWS, sample_weight=WEIGHTS)
    assert_same(weighted, GaussianMixture(3, **shared).fit(np.repeat(ROWS, WEIGHTS, axis=0)))


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random_from_data"])
def test_a_start_is_drawn_in_proportion_to_the_weights(init_params):
    """Half of the weight lies on one far row: as good as every start has a component there."""
    X = np.concatenate([ROWS, [[0.0, 0, 40]]])
    weights = np.append(np.ones(240), 240)
    hits = 0
    for seed in range(30):
        shared = {"init_params": init_params, "random_state": seed, "max_iter": 0}
        mixture = GaussianMixture(1, **shared).fit(X, sample_weight=weights)
        hits += mixture.means_[0, 2] > 15
    # A mean of all rows lies at 20; a row drawn is the far one in half of the cases.
    assert hits == 30 if init_params in ("kmeans", "k-means||") else 5 < hits < 25


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", ["given", "drawn"])
def test_rows_without_weight_are_left_out(family, start):
    X, weights = rows_of(family), (WEIGHTS > 0) * 1.0
    more = {} if start == "given" else {"means_init": None, "random_state": 0}
    left = mixture_of(family, **more).fit(X[WEIGHTS > 0])
    assert_same(mixture_of(family, **more).fit(X, sample_weight=weights), left)
    shuffled = np.random.RandomState(2).permutation(X)
    wild = np.where((WEIGHTS > 0)[:, None], X, shuffled)
    assert_same(mixture_of(family, **more).fit(wild, sample_weight=weights), left)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_rows_without_weight_may_lie_anywhere(family):
    far = np.concatenate([ROWS, [[1e200, -1e200, 0], [1e300, 1e300, -1e300]]])
    found = mixture_of(family).fit(far, sample_weight=np.append(np.ones(240), [0, 0]))
    assert_same(found, mixture_of(family).fit(ROWS))


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1e9, 1e200])
def test_only_the_weights_shares_matter(scale):
    expected = mixture_of("full").fit(ROWS, sample_weight=WEIGHTS)
    assert_same(mixture_of("full").fit(ROWS, sample_weight=WEIGHTS * scale), expected)


def test_weights_of_any_kind():
    pandas = pytest.importorskip("pandas")
    expected = mixture_of("full").fit(ROWS, sample_weight=WEIGHTS)
    for weights in (WEIGHTS.tolist(), pandas.Series(WEIGHTS), WEIGHTS.astype(np.float32)):
        assert_same(mixture_of("full").fit(ROWS, sample_weight=weights), expected)
    flags = WEIGHTS > 1
    expected = mixture_of("full").fit(ROWS[flags])
    assert_same(mixture_of("full").fit(ROWS, sample_weight=flags), expected)


def at(row, value):
    weights = np.ones(240)
    weights[row] = value
    return weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (at(7, -0.5), "sample_weight holds -0.5 at row 7"),
        (at(9, np.nan), "sample_weight holds nan at row 9"),
        (at(9, np.inf), "sample_weight holds inf at row 9"),
        (np.zeros(240), "sample_weight is zero for every row"),
        (np.ones(239), "sample_weight has shape (239,) but X has 240 rows"),
        (np.ones((240, 1)), "sample_weight has shape (240, 1)"),
        (2.0, "sample_weight has shape ()"),
        (["a"] * 240, "sample_weight is no array of numbers"),
        (np.full(240, 1 + 5j), "sample_weight is no array of numbers (it holds complex numbers)"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights_that_are_none_are_refused(weights, message, method):
    with pytest.raises(InputError, match=re.escape(message)):
        getattr(mixture_of("full"), method)(ROWS, sample_weight=weights)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_components_need_as_many_rows_with_weight(init_params):
    mixture = GaussianMixture(3, init_params=init_params, random_state=0)
    with pytest.raises(InputError, match="n_components = 3, n_samples = 2"):
        mixture.fit(ROWS, sample_weight=(np.arange(240) < 2) * 1.0)


# --- labels (their EM is held against a plain one in tests/unit/test_em_by_brute_force.py)


def some_labels(every=4, unknown=None):
    labels = NAMES[KIND].astype(object)
    labels[np.arange(240) % every != 0] = unknown
    return labels


def test_classes_are_told_of_rows_and_components():
    mixture = GaussianMixture(5, random_state=0).fit(ROWS, labels=some_labels())
    assert mixture.classes_.tolist() == NAMES.tolist()
    assert mixture.class_probs_.shape == (5, 3)
    np.testing.assert_allclose(mixture.class_probs_.sum(axis=1), 1)
    assert mixture.labelled_rows_.sum() == pytest.approx(60)
    shares = mixture.predict_class_proba(ROWS)
    np.testing.assert_allclose(shares, mixture.predict_proba(ROWS) @ mixture.class_probs_)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    classes = mixture.predict_class(ROWS)
    np.testing.assert_array_equal(classes, NAMES[shares.argmax(axis=1)])
    assert np.mean(classes == NAMES[KIND]) > 0.8


@pytest.mark.parametrize("draw", [0, 1])
def test_a_hundred_labels_inside_the_fit_beat_them_after_it(draw):
    digits = load_digits()
    X = PCA(10, random_state=0).fit_transform(digits.data)
    labels = np.full(len(X), -1)
    known = np.random.RandomState(draw).permutation(len(X))[:100]
    labels[known] = digits.target[known]
    mixture = GaussianMixture(10, random_state=0)
    inside = np.mean(mixture.fit(X, labels=labels).predict_class(X) == digits.target)
    after = np.mean(mixture.fit(X).label(X, labels).predict_class(X) == digits.target)
    assert inside > after + 0.05  # 0.836 and 0.751, 0.918 and 0.759


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
def test_a_start_from_labels_is_that_of_the_classes_labelled_rows(family):
    """Weighted means and covariances; rows without a label have no say."""
    labels, weights = some_labels(), np.where(WEIGHTS > 0, WEIGHTS, 1.0)
    X = np.where((labels == None)[:, None], ROWS[::-1] * 3, ROWS)  # noqa: E711
    shared = {"covariance_type": family, "init_params": "labels", "reg_covar": 0.0, "max_iter": 0}
    mixture = GaussianMixture(3, **shared).fit(X, sample_weight=weights, labels=labels)
    own = [labels == name for name in NAMES]
    means = [np.average(X[rows], axis=0, weights=weights[rows]) for rows in own]
    matrices = [np.cov(X[rows].T, aweights=weights[rows], bias=True) for rows in own]
    np.testing.assert_allclose(mixture.means_, means, atol=1e-12)
    covariances = {
        "full": np.array(matrices),
        "tied": np.tensordot(mixture.weights_, matrices, 1),
        "diag": np.array([np.diagonal(matrix) for matrix in matrices]),
        "spherical": np.array([np.trace(matrix) / D for matrix in matrices]),
    }
    np.testing.assert_allclose(mixture.covariances_, covariances[family], atol=1e-12)


def test_with_few_labels_a_class_it_starts_from_is_where_they_are(monkeypatch):
    """Then k-means goes on from their means: so few rows show no covariance."""
    begun, lloyd = [], kmeans.lloyd

    def watched(x, weights, centres, crew):
        begun.append(centres)
        return lloyd(x, weights, centres, crew)

    monkeypatch.setattr(kmeans, "lloyd", watched)
    labels, weights = some_labels(40), 1.0 + np.arange(240) % 7
    given = {"init_params": "labels", "random_state": 0, "max_iter": 0}
    mixture = GaussianMixture(4, **given).fit(ROWS, sample_weight=weights, labels=labels)
    own = [labels == name for name in NAMES]
    means = np.array([np.average(ROWS[rows], axis=0, weights=weights[rows]) for rows in own])
    # k-means counts in a unit of its own, from the mean of all rows.
    unit = 2.0 ** np.ceil(np.log2(np.abs(ROWS - np.average(ROWS, axis=0, weights=weights)).max()))
    centred = means - np.average(ROWS, axis=0, weights=weights)
    np.testing.assert_allclose(begun[0][:3] * unit, centred, atol=1e-12)
    np.testing.assert_allclose(mixture.means_[:3], means, atol=2.0)


def test_labels_leave_a_choice_of_starts():
    """Two classes that cross at one mean: their means say nothing of where they lie."""
    rng, truth = np.random.RandomState(0), np.arange(400) % 2
    X = rng.randn(400, 2) * np.where(truth[:, None] == 0, [3, 0.5], [0.5, 3])
    labels = np.where(np.arange(400) < 60, truth, -1)
    mixture = GaussianMixture(2, random_state=0, n_init=5, max_iter=500).fit(X, labels=labels)
    assert np.mean(mixture.predict_class(X) == truth) > 0.85  # 0.908 where it starts unlabelled


def test_a_class_may_have_several_components():
    rng = np.random.RandomState(0)
    centres = np.array([[0, 0], [6, 0], [0, 6], [6, 6.0]])
    corner = np.arange(400) % 4
    X, classes = centres[corner] + rng.randn(400, 2), np.array([0, 1, 1, 0])[corner]
    labels = np.where(np.arange(400) < 40, classes, -1)
    mixture = GaussianMixture(4, random_state=0, n_init=5).fit(X, labels=labels)
    assert np.mean(mixture.predict_class(X) == classes) > 0.98
    assert sorted(mixture.class_probs_.argmax(axis=1)) == [0, 0, 1, 1]


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_every_family_takes_labels(kind):
    X = COUNTS if kind is PoissonMixture else (COUNTS > 2) * 1.0
    mixture = kind(3, random_state=0).fit(X, labels=some_labels(2))
    assert np.mean(mixture.predict_class(X) == NAMES[KIND]) > 0.6


@pytest.mark.parametrize("missing_label", [-1, None, "", np.nan, "?", 99])
def test_unknown_labels_by_any_name(missing_label):
    expected = GaussianMixture(3, random_state=0).fit(ROWS, labels=some_labels())
    mixture = GaussianMixture(3, random_state=0, missing_label=missing_label)
    assert_same(mixture.fit(ROWS, labels=some_labels(unknown=missing_label)), expected)
    assert mixture.classes_.tolist() == NAMES.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        KIND.tolist(),
        KIND.astype(float),
        KIND.astype(np.uint8),
        np.where(np.arange(240) % 2 == 0, KIND, np.nan),
        [None if i % 2 else int(k) for i, k in enumerate(KIND)],
    ],
    ids=["list", "floats", "bytes", "NaN", "None"],
)
def test_numbers_for_classes(labels):
    mixture = GaussianMixture(3, random_state=0).fit(ROWS, labels=labels)
    assert mixture.classes_.tolist() == [0, 1, 2]
    assert np.mean(mixture.predict_class(ROWS) == KIND) > 0.8


@pytest.mark.parametrize(
    "dtype",
    [
        "object",
        "category",
        "string",
        "Int64",
    ],
)
def test_labels_in_a_table(dtype):
    pandas = pytest.importorskip("pandas")
    known = pandas.Series(KIND if dtype == "Int64" else NAMES[KIND], dtype=dtype)
    labels = known.where(np.arange(240) % 2 == 0)
    mixture = GaussianMixture(3, random_state=0).fit(ROWS, labels=labels)
    assert len(mixture.classes_) == 3
    assert np.mean(mixture.predict_class(ROWS) == np.asarray(known)) > 0.8


def test_truth_values_for_classes():
    mixture = GaussianMixture(2, random_state=0).fit(ROWS, labels=KIND == 1)
    assert mixture.classes_.tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "labels has shape (2,) but X has 240 rows"),
        (np.zeros((240, 2)), "labels has shape (240, 2)"),
        (np.full(240, -1), "None of the 240 labels is known"),
        ([None] * 240, "None of the 240 labels is known"),
        (np.where(np.arange(240) < 5, 4, -1), "labels holds one class alone"),
        (["yes"] * 240, "labels holds one class alone"),
        (np.where(np.arange(240) < 5, np.inf, 1.0), "labels holds infinity, 5 times"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(InputError, match=re.escape(message)):
        GaussianMixture(2, random_state=0).fit(ROWS, labels=labels)


def test_a_lonely_class_is_named_as_it_was_given():
    with pytest.raises(InputError, match="one class alone, 4,"):
        GaussianMixture(2).fit(ROWS, labels=np.where(np.arange(240) < 5, 4, -1))


def test_minus_one_and_one_as_classes_warn():
    mixture = GaussianMixture(2, random_state=0)
    labels = np.where(KIND == 1, 1, -1)
    with (
        pytest.warns(UserWarning, match="-1 is read as unknown"),
        pytest.raises(InputError, match="one class alone"),
    ):
        mixture.fit(ROWS, labels=labels)
    with pytest.warns(UserWarning, match="call them 0 and 1"):
        mixture.fit(ROWS).label(ROWS, labels)
    # With another mark they are two classes like any other.
    mixture.set_params(missing_label=None).fit(ROWS, labels=labels)
    assert mixture.classes_.tolist() == [-1, 1]


def test_y_is_no_label():
    mixture = GaussianMixture(2, random_state=0).fit(ROWS, KIND)
    assert not hasattr(mixture, "classes_")
    assert_same(mixture, GaussianMixture(2, random_state=0).fit(ROWS))


@pytest.mark.parametrize("ask", ["predict_class", "predict_class_proba"])
def test_without_labels_there_are_no_classes(ask):
    mixture = GaussianMixture(2, random_state=0).fit(ROWS)
    with pytest.raises(NotNamedError, match=re.escape("Call label(X, labels)")):
        getattr(mixture, ask)(ROWS)


def test_labels_after_the_fit_leave_the_fit_alone():
    mixture = GaussianMixture(4, random_state=0).fit(ROWS)
    means = mixture.means_.copy()
    assert mixture.label(ROWS, some_labels(2)) is mixture
    np.testing.assert_array_equal(mixture.means_, means)
    assert np.mean(mixture.predict_class(ROWS) == NAMES[KIND]) > 0.8
    # A fit without labels forgets them, one with others replaces them.
    assert not hasattr(mixture.fit(ROWS), "classes_")
    mixture.fit(ROWS, labels=np.where(KIND == 1, "b", "a"))
    assert mixture.classes_.tolist() == ["a", "b"]


def test_smoothing_keeps_names_from_certainty():
    labels = some_labels(40)
    sharp = GaussianMixture(3, random_state=0, smoothing=0).fit(ROWS, labels=labels)
    soft = GaussianMixture(3, random_state=0, smoothing=5).fit(ROWS, labels=labels)
    assert sharp.class_probs_.max() > 0.99
    assert soft.class_probs_.max() < 0.9
    with pytest.raises(ParameterError, match="smoothing"):
        GaussianMixture(3, smoothing=-1).fit(ROWS)


def test_weights_count_for_labels_too():
    labels = some_labels(2)
    shared = {"means_init": ROWS[:3] * 0.5, "tol": 0, "max_iter": 10}
    weighted = GaussianMixture(3, **shared).fit(ROWS, sample_weight=WEIGHTS, labels=labels)
    repeated = GaussianMixture(3, **shared)
    repeated.fit(np.repeat(ROWS, WEIGHTS, axis=0), labels=np.repeat(labels, WEIGHTS))
    assert_same(weighted, repeated)


@pytest.mark.parametrize("bare", ["ash", "cedar"])
def test_a_class_without_weight_is_left_out(bare):
    labels, weights = NAMES[KIND], 1.0 * (NAMES[KIND] != bare)
    mixture = mixture_of("full").fit(ROWS, labels=labels, sample_weight=weights)
    left = mixture_of("full").fit(ROWS[weights > 0], labels=labels[weights > 0])
    assert_same(mixture, left)
    assert mixture.classes_.tolist() == left.classes_.tolist()


def test_labels_without_any_weight_are_refused():
    labels = np.where(np.arange(240) < 9, KIND, -1)
    with pytest.raises(InputError, match="label"):
        GaussianMixture(2).fit(ROWS, labels=labels, sample_weight=1.0 * (labels < 0))


@pytest.mark.parametrize("n_init", [1, 3])
def test_a_handful_of_labels_among_many_rows(n_init):
    rng = np.random.RandomState(0)
    truth = np.arange(250_000) % 2
    X = rng.randn(250_000, 1) + 6 * truth[:, None]
    labels = np.full(250_000, -1)
    labels[[10, 201, 40_000, 99_999]] = truth[[10, 201, 40_000, 99_999]]
    mixture = GaussianMixture(2, random_state=0, n_init=n_init, covariance_type="diag")
    assert np.mean(mixture.fit(X, labels=labels).predict_class(X[:999]) == truth[:999]) > 0.98


def test_a_rare_class_among_many_rows():
    rng = np.random.RandomState(0)
    X = rng.randn(250_000, 1) + 6 * (np.arange(250_000) % 2)[:, None]
    labels = np.arange(250_000) % 2
    labels[[7, 8]] = 2
    mixture = GaussianMixture(2, random_state=0, covariance_type="diag").fit(X, labels=labels)
    assert mixture.classes_.tolist() == [0, 1, 2]
    assert np.all(mixture.class_probs_[:, 2] < 1e-3)


@pytest.mark.parametrize("other", [NAMES[KIND], np.where(KIND == 1, "b", "a"), KIND % 2])
def test_a_warm_start_with_other_classes_starts_their_names_anew(other):
    mixture = GaussianMixture(3, warm_start=True, random_state=0).fit(ROWS, labels=2 - KIND)
    start = mixture.set_params(max_iter=0).fit(ROWS, labels=other)
    assert start.class_probs_.shape == (3, len(np.unique(other)))
    assert np.mean(start.predict_class(ROWS) == other) > 0.6


def test_the_pull_of_smoothing_is_no_fall():
    rng = np.random.RandomState(4)
    X = np.concatenate([rng.randn(100, 2), rng.randn(100, 2) + 1.5])
    labels = np.repeat([0, 1], 100)
    labels[rng.rand(200) > 0.1] = -1
    shared = {"random_state": 4, "tol": 1e-6, "max_iter": 1000, "reg_covar": 0.0}
    assert GaussianMixture(3, smoothing=0, **shared).fit(X, labels=labels).n_falls_ == 0
    assert GaussianMixture(3, **shared).fit(X, labels=labels).n_falls_ == 0


@pytest.mark.parametrize("seed", [3, 7, 11])
def test_as_many_components_as_for_repeated_rows(seed):
    random = np.random.RandomState(seed)
    X = 6 * random.randn(3, 2)[random.randint(3, size=500)] + random.randn(500, 2)
    weights = random.randint(0, 4, 500)
    found = GaussianMixture("auto", random_state=1).fit(X, sample_weight=weights)
    repeated = GaussianMixture("auto", random_state=1).fit(np.repeat(X, weights, axis=0))
    assert found.n_components_ == repeated.n_components_
    np.testing.assert_allclose(found.means_, repeated.means_, atol=1e-9)


@pytest.mark.parametrize("total", [1.0, 1e-6])
def test_weights_that_are_shares_of_one_find_as_many_components(total):
    random = np.random.RandomState(0)
    X = 6 * random.randn(3, 2)[random.randint(3, size=500)] + random.randn(500, 2)
    expected = GaussianMixture("auto", random_state=1).fit(X)
    shares = np.full(500, total / 500)
    found = GaussianMixture("auto", random_state=1).fit(X, sample_weight=shares)
    assert found.n_components_ == expected.n_components_ == 3
    chosen = select_n_components(X, range(1, 6), sample_weight=shares, random_state=1)
    assert chosen.n_components == 3


def test_labels_are_in_the_fit_of_a_model_without_rounds():
    """Its mixture is that of z and y together, and is named by the same labels."""
    labels = np.where(np.arange(240) % 5 == 0, NAMES[KIND], "")
    vae = VAE(hidden_dims=(8,), latent_dim=2, max_epochs=3, min_steps=0)
    model = LatentMixture(3, vae=vae, random_state=0).fit(ROWS, labels=labels)
    together = clone(model.mixture_).fit(model.latents_, labels=labels)
    np.testing.assert_array_equal(model.mixture_.means_, together.means_)
    alone = clone(model.mixture_).fit(model.latents_)
    assert np.abs(together.means_ - alone.means_).max() > 1e-3, "labels make no difference"
    again = LatentMixture(3, vae=vae, random_state=0).fit(ROWS, labels=labels)
    named = again.label(ROWS, labels)
    np.testing.assert_array_equal(model.class_probs_, named.class_probs_)
