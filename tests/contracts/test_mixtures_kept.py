"""Mixtures that are saved, pickled, cloned, or fitted in several threads and processes at once."""

import copy
import pickle
import threading

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info

import latentmix
from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAUSSIAN = ("full", "tied", "diag", "spherical", "factor")
FAMILIES = (*GAUSSIAN, "bernoulli", "poisson")
D = 3
rng = np.random.RandomState(0)
KIND = np.arange(240) % 3
ROWS = rng.randn(240, D) + np.array([[0.0, 0, 0], [3, 0, 1], [0, 4, -1]])[KIND]
COUNTS = rng.poisson(np.array([[1.0, 5, 2], [4, 1, 6], [2, 2, 2]])[KIND]) * 1.0
LABELS = np.where(np.arange(240) % 4 == 0, np.array(["ash", "birch", "cedar"])[KIND], "")


def rows_of(family):
    return {"bernoulli": (COUNTS > 2) * 1.0, "poisson": COUNTS}.get(family, ROWS)


def mixture_of(family, **parameters):
    given = {"random_state": 0, "max_iter": 30, **parameters}
    if family == "bernoulli":
        return BernoulliMixture(3, **given)
    if family == "poisson":
        return PoissonMixture(3, **given)
    return GaussianMixture(3, covariance_type=family, n_factors=1, **given)


def answers(mixture, X):
    holes = X[:30].copy()
    holes[::3, 1] = np.nan
    told = {
        "predict_proba": mixture.predict_proba(X),
        "score_samples": mixture.score_samples(holes),
        "impute": mixture.impute(holes),
        "sample": mixture.sample(7)[0],
        "bic": mixture.bic(X),
    }
    if hasattr(mixture, "classes_"):
        told["predict_class"] = mixture.predict_class(X)
        told["predict_class_proba"] = mixture.predict_class_proba(X)
    if isinstance(mixture, GaussianMixture):
        told["conditional"] = mixture.conditional({0: 1.0}).score_samples(X[:, 1:])
    return told


def assert_same_answers(mixture, other, X):
    found = answers(other, X)
    for name, value in answers(mixture, X).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def through_a_folder(mixture, folder):
    mixture.save(folder / "model")
    return latentmix.load(folder / "model")


WAYS = {
    "folder": through_a_folder,
    "pickle": lambda mixture, folder: pickle.loads(pickle.dumps(mixture)),
    "copy": lambda mixture, folder: copy.deepcopy(mixture),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_bits_come_back(family, way, dtype, tmp_path):
    X = rows_of(family).astype(dtype)
    mixture = mixture_of(family).fit(X, labels=LABELS)
    other = WAYS[way](mixture, tmp_path)
    assert_same_answers(mixture, other, X)
    assert other.get_params() == mixture.get_params()
    public = {name for name in vars(mixture) if name.endswith("_") and not name.startswith("_")}
    for name in public:
        value, found = getattr(mixture, name), getattr(other, name)
        np.testing.assert_array_equal(found, value, err_msg=name)
        assert getattr(found, "dtype", None) == getattr(value, "dtype", None), name


@pytest.mark.parametrize("family", GAUSSIAN)
def test_precisions_come_back_too(family, tmp_path):
    mixture = mixture_of(family).fit(ROWS)
    other = through_a_folder(mixture, tmp_path)
    np.testing.assert_array_equal(other.precisions_, mixture.precisions_)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_precisions_of_float32_rows_come_back_too(family, tmp_path):
    mixture = mixture_of(family).fit(ROWS.astype(np.float32))
    other = through_a_folder(mixture, tmp_path)
    np.testing.assert_array_equal(other.precisions_, mixture.precisions_)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "factor"])
def test_after_partial_fit_too(family, way, tmp_path):
    X = rows_of(family)
    mixture = mixture_of(family).partial_fit(X[:120]).partial_fit(X[120:])
    other = WAYS[way](mixture, tmp_path)
    assert_same_answers(mixture, other, X)
    assert other.n_iter_ == mixture.n_iter_


@pytest.mark.parametrize(
    "missing_label",
    [-1, None, "?", "nan", np.int64(7), np.nan, np.float32(np.nan)],
)
def test_any_mark_of_unknown_labels_is_kept(missing_label, tmp_path):
    labels = np.where(LABELS == "", "?", LABELS).astype(object)
    labels[labels == "?"] = missing_label
    mixture = mixture_of("full", missing_label=missing_label).fit(ROWS, labels=labels)
    other = through_a_folder(mixture, tmp_path)
    assert_same_answers(mixture, other, ROWS)
    np.testing.assert_equal(other.missing_label, missing_label)
    # And understood as it was.
    other.label(ROWS, labels)
    assert other.classes_.tolist() == ["ash", "birch", "cedar"]


@pytest.mark.parametrize("classes", [[0, 1, 2], [False, True], ["b c", "ä", "日本"], [-5, 10**12]])
def test_classes_of_any_kind_are_kept(classes, tmp_path):
    labels = np.array(classes)[KIND % len(classes)]
    mixture = mixture_of("full").fit(ROWS, labels=labels)
    other = through_a_folder(mixture, tmp_path)
    assert other.classes_.tolist() == classes
    assert other.classes_.dtype.kind == mixture.classes_.dtype.kind


def test_names_of_columns_are_kept(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    mixture = mixture_of("full").fit(table)
    other = through_a_folder(mixture, tmp_path)
    assert other.feature_names_in_.tolist() == ["a", "b", "c"]
    given = other.conditional({"b": 0.5})
    np.testing.assert_array_equal(given.means_, mixture.conditional({"b": 0.5}).means_)


def test_a_loaded_mixture_goes_on_where_it_was(tmp_path):
    mixture = mixture_of("full", warm_start=True, max_iter=5).fit(ROWS)
    other = through_a_folder(mixture, tmp_path)
    np.testing.assert_array_equal(other.fit(ROWS).means_, mixture.fit(ROWS).means_)


def test_a_conditional_mixture_is_a_mixture_like_any_other(tmp_path):
    given = mixture_of("full").fit(ROWS, labels=LABELS).conditional({0: 1.0})
    other = through_a_folder(given, tmp_path)
    rest = ROWS[:, 1:]
    np.testing.assert_array_equal(other.score_samples(rest), given.score_samples(rest))
    again = clone(given).fit(rest)
    assert again.means_.shape == (3, 2)
    one = given.conditional([np.nan, 0.0])
    assert one.means_.shape == (3, 1)


def test_a_conditional_mixture_is_fitted_again_without_the_start_of_the_whole():
    start = {
        "weights_init": [0.2, 0.3, 0.5],
        "means_init": ROWS[:3],
        "precisions_init": np.tile(np.eye(D), (3, 1, 1)),
    }
    given = mixture_of("full", **start).fit(ROWS).conditional({0: 1.0})
    again = clone(given).fit(ROWS[:, 1:])
    fresh = mixture_of("full").fit(ROWS[:, 1:])
    np.testing.assert_array_equal(again.means_, fresh.means_)


@pytest.mark.parametrize("covariance_type", GAUSSIAN)
def test_a_component_is_split_and_all_others_stay(covariance_type, tmp_path):
    mixture = mixture_of(covariance_type).fit(ROWS)
    halves = mixture.split(1, ROWS)
    assert halves.n_components_ == 4
    np.testing.assert_allclose(halves.weights_.sum(), 1)
    np.testing.assert_allclose(halves.weights_[[0, 2]], mixture.weights_[[0, 2]])
    np.testing.assert_allclose(halves.means_[[0, 2]], mixture.means_[[0, 2]])
    if covariance_type != "tied":
        np.testing.assert_allclose(halves.covariances_[[0, 2]], mixture.covariances_[[0, 2]], 1e-6)
        # EM inside it: its own rows are told better by two than by one.
        own = mixture.predict(ROWS) == 1
        assert halves.score(ROWS[own]) > mixture.score(ROWS[own])
    else:
        np.testing.assert_allclose(halves.covariances_, mixture.covariances_, 1e-6)
    other = through_a_folder(halves, tmp_path)
    np.testing.assert_array_equal(other.predict_proba(ROWS), halves.predict_proba(ROWS))
    assert clone(halves).fit(ROWS).n_components_ == 4


def test_what_cannot_be_split_says_so():
    mixture = mixture_of("full").fit(ROWS)
    with pytest.raises(ParameterError, match="component=3 is unknown"):
        mixture.split(3, ROWS)
    with pytest.raises(InputError, match="Expected two different ones"):
        mixture.split(0, np.repeat(mixture.means_[:1], 5, axis=0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clone_has_the_parameters_and_nothing_else(family):
    mixture = mixture_of(family, acceleration="squarem").fit(rows_of(family), labels=LABELS)
    other = clone(mixture)
    assert other.get_params() == mixture.get_params()
    assert [name for name in vars(other) if name.endswith("_") and name[0] != "_"] == []
    with pytest.raises(NotFittedError):
        other.predict(rows_of(family))
    np.testing.assert_array_equal(other.fit(rows_of(family)).means_.shape, (3, D))


def test_parameters_are_set_by_name():
    mixture = GaussianMixture().set_params(n_components=4, covariance_type="factor", n_factors=1)
    assert mixture.fit(ROWS).covariances_.shape == (4, D, 2)
    with pytest.raises(ValueError, match="n_component"):
        mixture.set_params(n_component=4)


# --- at the same time


def in_threads(works):
    done, failed = {}, []

    def run(number, work):
        try:
            done[number] = work()
        except Exception as error:  # shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return [done[number] for number in range(len(works))]


def blas_threads():
    return [
        library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"
    ]


def test_fits_in_several_threads_are_right():
    rng = np.random.RandomState(0)
    tables = [
        rng.randn(4000 + 1500 * i, 4) + 3 * (np.arange(4000 + 1500 * i) % 2)[:, None]
        for i in range(4)
    ]
    means = [[0.0] * 4, [3.0] * 4]

    def fit(X, family):
        given = {"means_init": means, "tol": 0, "max_iter": 15}
        return lambda: GaussianMixture(2, covariance_type=family, **given).fit(X)

    before = blas_threads()
    works = [
        fit(X, family) for X, family in zip(tables, ("full", "tied", "diag", "full"), strict=True)
    ]
    alone = [work() for work in works]
    for _ in range(3):
        for mixture, expected in zip(in_threads(works), alone, strict=True):
            np.testing.assert_allclose(mixture.means_, expected.means_, rtol=1e-9)
            np.testing.assert_allclose(
                mixture.covariances_, expected.covariances_, rtol=1e-8, atol=1e-9
            )
    # And BLAS has as many threads as it had.
    assert blas_threads() == before


def test_one_fitted_mixture_answers_several_threads():
    mixture = mixture_of("full").fit(ROWS, labels=LABELS)
    expected = mixture.predict_class_proba(ROWS)
    for found in in_threads([lambda: mixture.predict_class_proba(ROWS)] * 6):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_fit_that_fails_in_a_thread_gives_everything_back():
    before = blas_threads()

    def fail():
        with pytest.raises(ValueError, match="ill-defined"):
            GaussianMixture(2, reg_covar=0.0).fit(np.ones((2000, 3)))

    in_threads([fail] * 3)
    assert blas_threads() == before


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_inside_joblib(backend):
    # Within the test, so that it travels by value: another process may not find this module.
    def fit_and_tell(seed, X):
        return GaussianMixture(3, random_state=seed, max_iter=10, tol=0).fit(X).lower_bound_

    expected = [fit_and_tell(seed, ROWS) for seed in range(4)]
    found = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fit_and_tell)(seed, ROWS) for seed in range(4)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
