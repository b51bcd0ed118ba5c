"""The mixtures' answers where float64 has least to spare: units, offsets, tight and empty places.

Numbers are compared with scikit-learn's from the same start, or with the closed form where its
own expanded quadratics lose their digits. No warning of NumPy may escape.
"""

import re

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Peer

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHARED_FAMILIES = ("full", "tied", "diag", "spherical")
GAUSSIAN = (*SHARED_FAMILIES, "factor")
D = 3
rng = np.random.RandomState(0)
NOISE = rng.randn(2, 80, D) @ np.array([[1.0, 0.3, 0], [0, 1, -0.4], [0, 0, 1]])
ROWS = np.concatenate([NOISE[0], NOISE[1] + 3])
MEANS = ROWS[[10, 100]]


def mixture_of(family, **parameters):
    given = {"covariance_type": family, "n_factors": 1, "tol": 0, "max_iter": 30}
    return GaussianMixture(2, **{**given, **parameters})


# --- units

SCALES = (1e-150, 1e-8, 1e8, 1e150)


REGULARISED = [
    *((family, regularised) for family in SHARED_FAMILIES for regularised in (False, True)),
    ("factor", True),  # free, a noise variance may go to 0
]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("family", "regularised"), REGULARISED)
def test_units_change_nothing_but_the_units(family, regularised, scale):
    given = {"reg_covar": 0.05 if regularised else 0.0, "relative_reg_covar": regularised}
    if family == "factor":
        # The first factors are found in units that are powers of two: only the end is the same.
        given["max_iter"] = 400
    expected = mixture_of(family, means_init=MEANS, **given).fit(ROWS)
    found = mixture_of(family, means_init=MEANS * scale, **given).fit(ROWS * scale)
    np.testing.assert_allclose(found.weights_, expected.weights_, rtol=1e-9)
    np.testing.assert_allclose(found.means_ / scale, expected.means_, rtol=1e-9)
    np.testing.assert_allclose(
        found.predict_proba(ROWS * scale), expected.predict_proba(ROWS), atol=1e-9
    )
    shift = D * np.log(scale)
    np.testing.assert_allclose(
        found.score_samples(ROWS * scale) + shift, expected.score_samples(ROWS), atol=1e-8
    )
    assert found.lower_bound_ + shift == pytest.approx(expected.lower_bound_, abs=1e-8)
    assert np.isfinite(found.sample(9)[0]).all()


@pytest.mark.parametrize(
    ("family", "regularised"), [pair for pair in REGULARISED if pair[0] != "spherical"]
)
def test_every_column_has_a_unit_of_its_own(family, regularised):
    units = np.array([1e-150, 1.0, 1e150])
    given = {"reg_covar": 0.05 if regularised else 0.0, "relative_reg_covar": regularised}
    given |= {"means_init": MEANS, "weights_init": [0.5, 0.5]}
    expected = mixture_of(family, **given).fit(ROWS)
    given["means_init"] = MEANS * units
    found = mixture_of(family, **given).fit(ROWS * units)
    if family == "factor":
        # Where its first factors point depends on the units; where they end does not.
        for mixture, rows in ((expected, ROWS), (found, ROWS * units)):
            mixture.set_params(max_iter=400).fit(rows)
    tolerance = 1e-5 if family == "factor" else 1e-9
    np.testing.assert_allclose(found.means_ / units, expected.means_, rtol=tolerance)
    np.testing.assert_allclose(
        found.predict_proba(ROWS * units), expected.predict_proba(ROWS), atol=tolerance
    )


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random"])
@pytest.mark.parametrize("scale", SCALES)
def test_a_start_is_drawn_alike_in_all_units(init_params, scale):
    given = {"init_params": init_params, "random_state": 0, "max_iter": 2}
    given |= {"reg_covar": 0.05, "relative_reg_covar": True}
    expected = mixture_of("full", **given).fit(ROWS)
    # A power of two, so that not even rounding differs.
    scale = 2.0 ** round(np.log2(scale))
    found = mixture_of("full", **given).fit(ROWS * scale)
    np.testing.assert_allclose(found.means_ / scale, expected.means_, rtol=1e-9)


def test_reg_covar_is_in_the_rows_squared_units_unless_relative():
    absolute = mixture_of("diag", means_init=MEANS, reg_covar=0.5, max_iter=1).fit(ROWS)
    free = mixture_of("diag", means_init=MEANS, reg_covar=0.0, max_iter=0).fit(ROWS)
    begun = mixture_of("diag", means_init=MEANS, reg_covar=0.5, max_iter=0).fit(ROWS)
    np.testing.assert_allclose(begun.covariances_ - free.covariances_, 0.5, rtol=1e-12)
    relative = mixture_of(
        "diag", means_init=MEANS, reg_covar=0.5, relative_reg_covar=True, max_iter=0
    ).fit(ROWS)
    np.testing.assert_allclose(
        relative.covariances_ - free.covariances_, 0.5 * np.tile(ROWS.var(axis=0), (2, 1))
    )
    assert absolute.n_iter_ == 1


# --- far apart


def closed_form(family, parts):
    """Return the covariances of components of which each has its rows for certain."""
    parts = [part.astype(np.longdouble) for part in parts]
    centred = [part - part.mean(axis=0) for part in parts]
    own = np.stack([one.T @ one / len(one) for one in centred]).astype(float)
    variances = np.stack([np.diag(matrix) for matrix in own])
    return {
        "full": own,
        "tied": np.average(own, axis=0, weights=[len(part) for part in parts]),
        "diag": variances,
        "spherical": variances.mean(axis=1),
    }[family]


def same_start(family, rows, spread):
    given = {"weights_init": [0.4, 0.6], "means_init": rows[[10, 100]] + 0.1}
    given["precisions_init"] = {
        "full": np.tile(np.eye(D), (2, 1, 1)),
        "tied": np.eye(D),
        "diag": np.ones((2, D)),
        "spherical": np.ones(2),
    }[family]
    return {**given, "covariance_type": family, "reg_covar": 0.0, "tol": 0, "max_iter": 10}


@pytest.mark.parametrize("spread", [1.0, 1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_tight_components_keep_their_digits(family, spread):
    rows = np.concatenate([NOISE[0], NOISE[1] + spread])
    given = same_start(family, rows, spread)
    mixture = GaussianMixture(2, **given).fit(rows)
    if spread <= 1e2 or family == "full":
        # There, and there only, scikit-learn's own sums have digits to compare with.
        peer = Peer(2, **given).fit(rows)
        tolerance = max(1e-9, spread * 1e-14)
        # Rows are seen from their mean, which costs a unit in the spread's last place.
        np.testing.assert_allclose(mixture.means_, peer.means_, rtol=1e-9, atol=spread * 2e-16)
        np.testing.assert_allclose(mixture.covariances_, peer.covariances_, rtol=tolerance)
        np.testing.assert_allclose(mixture.weights_, peer.weights_, rtol=1e-9)
        np.testing.assert_allclose(mixture.lower_bounds_, peer.lower_bounds_, atol=tolerance)
        np.testing.assert_allclose(
            mixture.score_samples(rows), peer.score_samples(rows), atol=100 * tolerance
        )
    if spread >= 1e4:
        parts = rows[:80], rows[80:]
        np.testing.assert_allclose(
            mixture.covariances_, closed_form(family, parts), rtol=1e-9, atol=spread * 2e-16
        )
        np.testing.assert_allclose(mixture.means_, [part.mean(axis=0) for part in parts])
        near = mixture.score_samples(rows)
        alone = GaussianMixture(1, covariance_type=family, reg_covar=0.0).fit(NOISE[0])
        if family != "tied":  # whose one covariance is that of both
            rounding = 1e-6 + spread * 1e-14
            expected = alone.score_samples(NOISE[0]) + np.log(0.5)
            np.testing.assert_allclose(near[:80], expected, atol=rounding)


@pytest.mark.parametrize("spread", [1e4, 1e6, 1e8])
@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_far_components_are_scikit_learn_s_of_each_one_s_centred_rows(family, spread):
    """So far apart each row has one component, and of centred rows scikit-learn loses no digit.

    'tied' is of both components' rows, each about its own mean.
    """
    rows = np.concatenate([NOISE[0], NOISE[1] + spread])
    mixture = GaussianMixture(2, **same_start(family, rows, spread)).fit(rows)
    parts = [rows[:80], rows[80:] - spread]  # exact: no digit is lost but by adding spread
    centred = [part - part.mean(axis=0) for part in parts]
    ends = [[0, 1]] * 2 if family == "tied" else [[0], [1]]
    log_density = []
    for k, own in enumerate(ends):
        peer = Peer(1, covariance_type=family, reg_covar=0.0)
        peer.fit(np.concatenate([centred[i] for i in own]))
        found = mixture.covariances_ if family == "tied" else mixture.covariances_[k]
        expected = peer.covariances_ if family == "tied" else peer.covariances_[0]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=spread * 2e-16)
        log_density.append(peer.score_samples(centred[k]) + np.log(0.5))
    rounding = 1e-9 + spread * 1e-14
    np.testing.assert_allclose(
        mixture.score_samples(rows), np.concatenate(log_density), atol=100 * rounding
    )
    assert mixture.lower_bound_ == pytest.approx(np.mean(log_density), abs=rounding)


@pytest.mark.parametrize("offset", [1e6, 1e12])
@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_huge_offset_costs_no_more_than_the_rows_lost_to_it(family, offset):
    rows = ROWS + offset
    left = rows - offset  # what is left of the rows, exactly
    found = mixture_of(family, means_init=rows[[10, 100]], reg_covar=0.0).fit(rows)
    expected = mixture_of(family, means_init=left[[10, 100]], reg_covar=0.0).fit(left)
    ulp = np.spacing(offset)
    np.testing.assert_allclose(found.means_ - offset, expected.means_, atol=2 * ulp)
    np.testing.assert_allclose(found.covariances_, expected.covariances_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.lower_bounds_, expected.lower_bounds_, atol=1e-8)
    # The means are stored to a unit in the last place, and a score feels that.
    np.testing.assert_allclose(
        found.score_samples(rows), expected.score_samples(left), atol=1e-6 + 20 * ulp
    )


def test_two_float32_rows_far_apart():
    mixture = GaussianMixture(2, random_state=0).fit(np.array([[9999], [0]], np.float32))
    order = mixture.means_[:, 0].argsort()
    np.testing.assert_array_equal(mixture.means_[order, 0], [0, 9999])
    np.testing.assert_allclose(mixture.covariances_, np.full((2, 1, 1), 1e-6), rtol=1e-6)
    np.testing.assert_allclose(mixture.weights_, [0.5, 0.5])


# --- few and equal rows


@pytest.mark.parametrize("family", GAUSSIAN)
def test_duplicates_are_rows_like_any_other(family):
    expected = mixture_of(family, means_init=MEANS).fit(ROWS)
    found = mixture_of(family, means_init=MEANS).fit(np.tile(ROWS, (3, 1)))
    np.testing.assert_allclose(found.means_, expected.means_, rtol=1e-9)
    np.testing.assert_allclose(found.covariances_, expected.covariances_, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", ["full", "tied", "diag"])
def test_a_constant_column_keeps_reg_covar_for_a_variance(family):
    rows = np.column_stack([ROWS, np.full(160, 7.0)])
    means = np.column_stack([MEANS, [7.0, 7.0]])
    mixture = mixture_of(family, means_init=means, reg_covar=1e-4).fit(rows)
    left = mixture_of(family, means_init=MEANS, reg_covar=1e-4).fit(ROWS)
    np.testing.assert_allclose(mixture.means_[:, :3], left.means_, rtol=1e-9)
    np.testing.assert_allclose(mixture.means_[:, 3], 7.0, rtol=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(rows), left.predict_proba(ROWS), atol=1e-9)
    last = mixture.covariances_[:, 3] if family == "diag" else mixture.covariances_[..., 3, 3]
    np.testing.assert_allclose(last, 1e-4, rtol=1e-9)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_without_reg_covar_a_constant_column_has_no_covariance(family):
    if family == "spherical":
        pytest.skip("its one variance is a mean over features")
    rows = np.column_stack([ROWS, np.full(160, 7.0)])
    with pytest.raises(InputError, match="increase reg_covar"):
        mixture_of(family, reg_covar=0.0, random_state=0).fit(rows)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_relative_reg_covar_stands_a_constant_column(family):
    given = {"relative_reg_covar": True, "reg_covar": 0.01, "means_init": MEANS}
    left = mixture_of(family, **given).fit(ROWS)
    given["means_init"] = np.column_stack([MEANS, [7.0, 7.0]])
    mixture = mixture_of(family, **given).fit(np.column_stack([ROWS, np.full(160, 7.0)]))
    np.testing.assert_allclose(mixture.means_[:, 3], 7.0, rtol=1e-12)
    if family not in ("spherical", "factor"):  # whose other features feel it
        np.testing.assert_allclose(mixture.means_[:, :3], left.means_, rtol=1e-9)


@pytest.mark.parametrize("n_components", [1, 2, 5])
@pytest.mark.parametrize("family", GAUSSIAN)
def test_rows_that_are_all_equal(family, n_components):
    rows = np.full((20, D), 3.25)
    mixture = GaussianMixture(n_components, covariance_type=family, random_state=0).fit(rows)
    np.testing.assert_allclose(mixture.means_, 3.25)
    assert mixture.weights_.sum() == pytest.approx(1)
    assert np.isfinite(mixture.score(rows))
    with pytest.raises(InputError, match="ill-defined"):
        GaussianMixture(n_components, covariance_type=family, reg_covar=0.0).fit(rows)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random_from_data"])
@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_component_for_every_row(family, init_params):
    rows = ROWS[:6] * 10
    mixture = GaussianMixture(
        6, covariance_type=family, init_params=init_params, random_state=0, n_factors=1
    ).fit(rows)
    assert np.isfinite(mixture.means_).all()
    assert np.isfinite(mixture.score_samples(rows)).all()
    if family != "tied":
        np.testing.assert_allclose(np.sort(mixture.means_, axis=0), np.sort(rows, axis=0))


class Blocks:
    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)


ONE_ROW = {
    "matrix": (ROWS[:1], None),
    "stream": (Blocks(ROWS[:1]), None),
    "stream with an empty block": (Blocks(ROWS[:0], ROWS[:1]), None),
    "one row of two with weight": (ROWS[:2], [0.0, 3.0]),
}


@pytest.mark.parametrize("given", ONE_ROW)
@pytest.mark.parametrize("n_components", [1, "auto"])
def test_one_row_is_refused_in_one_sentence(given, n_components):
    X, weights = ONE_ROW[given]
    with pytest.raises(InputError, match=r"^X has 1 sample with any weight, .* to at least 2"):
        GaussianMixture(n_components, random_state=0).fit(X, sample_weight=weights)


def test_two_rows_are_enough_for_two_components():
    mixture = GaussianMixture(1).fit(ROWS[:2])
    np.testing.assert_allclose(mixture.means_[0], ROWS[:2].mean(axis=0))
    with pytest.raises(InputError, match=re.escape("n_components = 3, n_samples = 2")):
        GaussianMixture(3).fit(ROWS[:2])


# --- components that lose their rows


@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_component_that_no_row_reaches_is_started_again(family):
    means = np.concatenate([MEANS, [[1e7] * D]])
    given = {"covariance_type": family, "n_factors": 1, "max_iter": 200}
    mixture = GaussianMixture(3, means_init=means, **given).fit(ROWS)
    assert mixture.n_reborn_ >= 1
    assert np.abs(mixture.means_).max() < 10
    assert mixture.weights_.min() > 1e-3
    assert GaussianMixture(2, means_init=MEANS, **given).fit(ROWS).n_reborn_ == 0


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_a_discrete_component_that_no_row_reaches_is_started_again(kind):
    rng = np.random.RandomState(0)
    if kind is BernoulliMixture:
        rows, means = (rng.uniform(size=(200, 40)) < 0.9) * 1.0, [[0.9] * 40, [1e-6] * 40]
    else:
        rows, means = rng.poisson(0.5, (200, 5)) * 1.0, [[0.5] * 5, [300.0] * 5]
    mixture = kind(2, means_init=means, weights_init=[0.5, 0.5]).fit(rows)
    assert mixture.n_reborn_ >= 1
    assert np.isfinite(mixture.score(rows))
    assert mixture.weights_.min() > 1e-3


@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_falls_of_the_likelihood_are_counted_and_are_reg_covars(family):
    """EM with reg_covar climbs no likelihood: near its end it goes down again."""
    given = {"means_init": MEANS, "tol": 0, "max_iter": 60}
    mixture = mixture_of(family, reg_covar=1.0, **given).fit(ROWS)
    bounds = np.array(mixture.lower_bounds_)
    falls = np.sum(np.diff(bounds) < -1e-9 * np.maximum(1, np.abs(bounds[1:])))
    assert mixture.n_falls_ == falls > 0
    free = mixture_of(family, reg_covar=0.0, **given).fit(ROWS)
    assert free.n_falls_ == 0
    assert np.diff(free.lower_bounds_).min() > -1e-10


# --- what else must never happen


def test_draws_from_a_thin_covariance_in_float32_are_numbers():
    rng = np.random.RandomState(0)
    rows = np.outer(rng.randn(200), [1.0, 2.0, -1.0]) + 1e-4 * rng.randn(200, 3)
    mixture = GaussianMixture(1, reg_covar=0.0).fit(rows.astype(np.float32))
    assert np.isfinite(mixture.sample(100)[0]).all()


def awkward(seed):
    """Return rows and parameters as nobody would choose them."""
    rng = np.random.RandomState(seed)
    n_rows, n_features = rng.choice([2, 3, 5, 10, 40]), rng.choice([1, 2, 5])
    X = rng.randn(n_rows, n_features)
    kind = seed % 7
    if kind == 1:
        X = X[rng.randint(0, max(1, n_rows // 3), n_rows)]
    elif kind == 2:
        X[:, rng.randint(n_features)] = rng.randn()
    elif kind == 3:
        X = np.outer(X[:, 0], rng.randn(n_features))
    elif kind == 4:
        X = X * 10.0 ** -rng.randint(0, 9) + rng.randint(0, 3, n_rows)[:, None]
    elif kind == 5:
        X = rng.standard_cauchy(X.shape) * 10.0 ** rng.uniform(0, 5)
    elif kind == 6:
        X = X + 10.0 ** rng.uniform(3, 13)
    if seed % 2:
        X = X * 10.0 ** rng.uniform(-140, 140, n_features)
    if seed % 3 == 0:
        X[1:] = np.where(rng.uniform(size=X[1:].shape) < 0.3, np.nan, X[1:])
    parameters = {
        "n_components": int(rng.choice([1, 2, min(5, n_rows)])),
        "covariance_type": rng.choice(GAUSSIAN),
        "n_factors": min(2, n_features),
        "init_params": rng.choice(["kmeans", "k-means++", "k-means||", "random"]),
        "acceleration": rng.choice([None, "squarem"]),
        "reg_covar": rng.choice([0.0, 1e-6, 1e-3]),
        "relative_reg_covar": bool(rng.uniform() < 0.4),
        "max_iter": int(rng.choice([1, 30])),
        "random_state": seed,
    }
    return X, {
        name: getattr(value, "item", lambda v=value: v)() for name, value in parameters.items()
    }


@pytest.mark.parametrize("first", range(0, 280, 70))
def test_awkward_rows_are_fitted_or_refused_in_our_words(first):
    n_fitted = 0
    for seed in range(first, first + 70):
        X, parameters = awkward(seed)
        try:
            mixture = GaussianMixture(**parameters).fit(X)
        except InputError:
            continue
        n_fitted += 1
        assert mixture.weights_.sum() == pytest.approx(1)
        for answer in (
            mixture.means_, mixture.covariances_, mixture.precisions_cholesky_,
            mixture.score_samples(X), mixture.predict_proba(X), mixture.impute(X),
            mixture.sample(3)[0],
        ):  # fmt: skip
            assert np.isfinite(answer).all(), (seed, parameters)
    assert n_fitted > 30


def test_it_warns_of_nothing_but_convergence():
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        mixture_of("full", max_iter=2, random_state=0).fit(ROWS)
