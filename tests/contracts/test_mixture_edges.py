"""Mixtures at the edges of what they are given: rare labels, empty blocks, rows without weight."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from latentmix import (
    BernoulliMixture,
    GaussianMixture,
    PoissonMixture,
    load,
    select_n_components,
)
from latentmix.errors import InputError, ParameterError
from latentmix.kernels.families import DISCRETE, GAUSSIAN
from latentmix.training import em_ascent, sources
from latentmix.training.em_loop import EmRule, best


class Blocks:
    """A stream that can be read again."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)


@pytest.fixture
def rows():
    x = np.random.RandomState(0).randn(200, 3)
    x[100:] += 6
    return x


@pytest.mark.parametrize(
    "labels",
    [
        np.r_[0, np.full(3998, -1), 1],
        np.r_[np.zeros(2000), np.ones(1999), 2],
        np.r_[np.zeros(2000), np.full(1999, 2), 1],
    ],
    ids=["two labelled rows", "one row of the last class", "one row of a class between"],
)
def test_a_class_may_be_missing_from_the_rows_that_starts_are_drawn_from(monkeypatch, labels):
    monkeypatch.setattr(sources, "ROWS_FOR_START", 1000)
    x = np.random.RandomState(0).randn(4000, 2)
    x[2000:] += 6
    mixture = GaussianMixture(3, max_iter=300, random_state=0).fit(x, labels=labels.astype(int))
    assert mixture.class_probs_.shape == (3, len(mixture.classes_))
    np.testing.assert_allclose(mixture.class_probs_.sum(axis=1), 1)


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
def test_a_stream_may_hold_an_empty_block(rows, covariance_type):
    whole = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
    parts = GaussianMixture(2, covariance_type=covariance_type, random_state=0)
    whole.fit(Blocks(rows[:90], rows[90:]))
    parts.fit(Blocks(rows[:90], rows[:0], rows[90:]))
    np.testing.assert_array_equal(parts.means_, whole.means_)


def test_a_stream_needs_as_many_rows_as_components(rows):
    with pytest.raises(InputError, match="n_samples >= n_components"):
        GaussianMixture(5).fit(Blocks(rows[:2], rows[2:4]))


def test_values_of_a_stream_are_checked(rows):
    with pytest.raises(InputError, match="BernoulliMixture needs"):
        BernoulliMixture(2).fit(Blocks((rows > 3) * 1.0, rows))


def test_rows_of_missing_entries_alone_get_the_weights(rows):
    mixture = BernoulliMixture(2, random_state=0).fit((rows > 3) * 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shares = mixture.predict_proba(np.full((1, 3), np.nan))
    np.testing.assert_allclose(shares[0], mixture.weights_)


def test_rows_without_weight_make_no_component(rows):
    weights = np.zeros(200)
    weights[[0, 150]] = 1
    with pytest.raises(InputError, match="n_components = 3, n_samples = 2"):
        GaussianMixture(3).fit(rows, sample_weight=weights)


def test_a_family_that_cannot_learn_online_has_no_partial_fit(rows):
    mixture = GaussianMixture(2, covariance_type="factor")
    assert not hasattr(mixture, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        mixture.partial_fit(rows)
    assert "Give fit the blocks" in str(caught.value.__cause__)
    assert hasattr(mixture.set_params(covariance_type="diag"), "partial_fit")
    assert hasattr(BernoulliMixture(), "partial_fit")


@pytest.fixture
def onto_one_row(rows, monkeypatch):
    """Return a mixture of which a component collapses at once, and is not waited for."""
    monkeypatch.setattr(em_ascent, "MOST_REPAIRS", 0)
    return GaussianMixture(
        3,
        reg_covar=0,
        means_init=[rows[0], [0.0] * 3, [6.0] * 3],
        weights_init=[0.2, 0.4, 0.4],
        precisions_init=np.eye(3) * np.array([1e6, 1, 1])[:, None, None],
    )


@pytest.mark.parametrize("acceleration", [None, "squarem"])
def test_components_that_go_on_collapsing_end_the_fit_without_an_error(
    onto_one_row, rows, acceleration
):
    mixture = onto_one_row.set_params(acceleration=acceleration)
    with pytest.warns(ConvergenceWarning, match=r"EM ended after 1 .* Increase reg_covar"):
        mixture.fit(rows)
    assert (mixture.converged_, mixture.n_iter_, mixture.n_reborn_) == (False, 1, 1)
    assert np.isfinite(mixture.precisions_).all()
    assert np.isfinite(mixture.score_samples(rows)).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_start_that_goes_on_collapsing_holds_no_lines_back(onto_one_row, rows, capsys):
    onto_one_row.set_params(verbose=1, n_init=2).fit(rows)
    assert capsys.readouterr().out.splitlines() == [
        "Initialization 0",
        "Initialization did not converge.",
        "Initialization 1",
        "Initialization did not converge.",
    ]


def test_a_start_that_goes_on_collapsing_is_the_last_choice():
    one, other, third = (
        em_ascent.Ascent(None, 1e-3, 10, None, lower_bounds=[b]) for b in (9.0, 1.0, 2.0)
    )
    one.given_up = True
    assert best([one, other, third], EmRule(GAUSSIAN["full"], 2)) is third
    assert best([one], EmRule(GAUSSIAN["full"], 2)) is one


@pytest.mark.parametrize("init_params", ["k-means++", "random_from_data"])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "factor"])
def test_starts_at_single_rows_need_no_regularisation(rows, init_params, covariance_type):
    given = {"covariance_type": covariance_type, "n_factors": 1, "init_params": init_params}
    mixture = GaussianMixture(2, reg_covar=0, random_state=0, max_iter=500, **given).fit(rows)
    assert mixture.converged_
    np.testing.assert_allclose(
        mixture.score(rows),
        GaussianMixture(2, random_state=0, **given).fit(rows).score(rows),
        atol=0.02,
    )


def test_a_first_block_that_collapses_is_refused():
    with pytest.raises(InputError, match="ill-defined empirical covariance"):
        GaussianMixture(2, reg_covar=0).partial_fit(np.ones((20, 2)))


def test_names_go_when_components_begin_anew(rows):
    mixture = GaussianMixture(2, random_state=0).fit(rows)
    mixture.label(rows, [0] * 100 + [1] * 100)
    mixture.partial_fit(rows[::-1])
    assert not hasattr(mixture, "classes_")


@pytest.mark.parametrize("precision", [0.0, 1.0])
def test_precisions_of_factors_that_belong_to_no_covariance_are_refused(rows, precision):
    mixture = GaussianMixture(
        2, covariance_type="factor", precisions_init=np.full((2, 3, 3), precision)
    )
    with pytest.raises(InputError, match="positive-definite"):
        mixture.fit(rows)


@pytest.mark.parametrize("max_iter", range(2, 12))
def test_an_accelerated_fit_does_not_end_with_a_leap_not_looked_at(max_iter):
    x = np.random.RandomState(0).randn(300, 2)
    mixture = GaussianMixture(
        4, acceleration="squarem", max_iter=max_iter, tol=0, reg_covar=0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(x)
    assert mixture.score(x) >= mixture.lower_bound_ - 1e-9


def test_a_loaded_mixture_has_every_attribute_of_a_fitted_one(rows, tmp_path):
    mixture = GaussianMixture(2, random_state=0).fit(rows)
    mixture.n_reborn_ = 3
    mixture.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.n_reborn_ == 3
    public = {name for name in vars(mixture) if name.endswith("_")}
    assert public == {name for name in vars(loaded) if name.endswith("_")}


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
def test_components_without_a_row_of_their_own_do_not_end_the_fit(covariance_type):
    x = np.repeat([[0.0] * 5, [1.0] * 5], 5, axis=0)
    mixture = GaussianMixture(
        10, covariance_type=covariance_type, random_state=0, max_iter=1000
    ).fit(x)
    assert mixture.converged_
    np.testing.assert_array_equal(mixture.predict(x), np.repeat(mixture.predict(x[[0, 5]]), 5))


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_float32_puts_no_probability_on_the_border(kind):
    X = np.random.RandomState(0).randint(0, 2, (50, 2)).astype(np.float32)
    X[:, 1] = 1  # kept as 1 - 1e-10, which float32 rounds to 1
    mixture = kind(2, random_state=0).fit(X)
    assert mixture.means_.dtype == np.float32
    assert np.all(np.isfinite(mixture.score_samples(X)))
    np.testing.assert_allclose(mixture.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("count", [1e155, 1e300])
def test_counts_that_float64_cannot_square_are_refused(count):
    with pytest.raises(InputError, match=r"X holds values in .* PoissonMixture needs \[0, 1e\+150"):
        PoissonMixture(1).fit(np.array([[count], [1.0], [2.0]]))
    assert PoissonMixture(1).fit(np.array([[1e150], [1.0], [2.0]])).means_ > 1e149


def test_a_family_without_covariances_does_not_speak_of_them():
    failed = em_ascent.Ascent(None, 1e-3, 10, None, failed=True)
    with pytest.raises(InputError, match="no start stayed finite") as raised:
        best([failed], EmRule(DISCRETE["poisson"], 2))
    assert "covar" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"b": "x"}, "given holds 'x' for the feature 'b'"),
        ({1: 1j}, "given holds 1j for the feature 1"),
        ([1.0, "x", np.nan], "given is no row of numbers"),
    ],
)
def test_a_condition_that_is_no_number_is_refused(given, message):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(np.random.RandomState(0).randn(50, 3), columns=list("abc"))
    with pytest.raises(InputError, match=message):
        GaussianMixture().fit(table).conditional(given)


@pytest.mark.parametrize("checkpoint", [3, "", True, b"folder"])
def test_a_checkpoint_that_is_no_path_is_refused(rows, checkpoint):
    with pytest.raises(ParameterError, match=r"checkpoint=.* is no folder"):
        GaussianMixture().fit(rows, checkpoint=checkpoint)


def test_a_single_row_has_no_sizes_to_compare(rows):
    with pytest.raises(InputError, match="X has 1 row") as raised:
        select_n_components(rows[:1], [1])
    assert "BaseEstimator" not in str(raised.value)
    with pytest.raises(InputError, match="0 sample") as raised:
        select_n_components(rows[:0], [1])
    assert "BaseEstimator" not in str(raised.value)
