"""Where a mixture is told to start: what is refused, and what it leaves behind."""

import re

import numpy as np
import pytest

import latentmix
from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError, ParameterError

X = np.random.RandomState(0).randn(60, 2)
NOT_POSITIVE = np.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]])
LOP_SIDED = np.array([[[1.0, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weights_init": [[0.5, 0.5]]}, "'weights' should have the shape of (2,), but got (1, 2)"),
        ({"weights_init": ["a", "b"]}, "'weights' should be an array of numbers"),
        ({"weights_init": [np.nan, 1]}, "weights_init contains NaN"),
        ({"weights_init": [1.5, 0.2]}, "The least is 0.2 and the greatest 1.5"),
        ({"weights_init": [1.2, -0.2]}, "The least is -0.2 and the greatest 1.2"),
        ({"weights_init": [0.3, 0.2]}, "normalized, but got sum(weights) = 0.50000"),
        ({"means_init": [[1.0, 2.0]]}, "'means' should have the shape of (2, 2), but got (1, 2)"),
        ({"precisions_init": np.eye(2)}, "'full precision' should have the shape of (2, 2, 2)"),
        ({"precisions_init": NOT_POSITIVE}, "has the least eigenvalue -1"),
        ({"precisions_init": np.ones((2, 2, 2))}, "symmetric, positive-definite"),
        (
            {"precisions_init": LOP_SIDED},
            "the matrix of component 0 in precisions_init is not symmetric",
        ),
        (
            {"precisions_init": -np.eye(2), "covariance_type": "tied"},
            "'tied precision' should be symmetric, positive-definite",
        ),
        (
            {"precisions_init": np.array([[1.0, 2.0], [0.0, 1.0]]), "covariance_type": "diag"},
            "'diag precision' should be positive, but precisions_init has the least value 0,",
        ),
        (
            # The second is diag(1, 1) - [[1, 1], [1, 1]], with the eigenvalues 1 and -1.
            {
                "precisions_init": [[[1.0, 0], [1, 0]], [[1.0, 1], [1, 1]]],
                "covariance_type": "factor",
                "n_factors": 1,
            },
            "the matrix of component 1 in precisions_init has the least eigenvalue -1",
        ),
        ({"means_init": X[:2] + 1j}, "'means' should be an array of numbers"),
    ],
)
def test_a_start_that_is_none_is_refused(parameters, message):
    with pytest.raises(InputError, match=re.escape(message)):
        GaussianMixture(2, **parameters).fit(X)


@pytest.mark.parametrize("least", [-0.25, -3.0])
@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
def test_the_message_names_the_component_and_its_least_eigenvalue(family, least):
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    bad = turn @ np.diag([2.0, least]) @ turn.T
    precisions = {
        "full": np.stack([np.eye(2), 5 * np.eye(2), bad]),
        "tied": bad,
        "diag": np.array([[1.0, 1.0], [5.0, 5.0], [2.0, least]]),
        "spherical": np.array([1.0, 5.0, least]),
    }[family]
    with pytest.raises(InputError, match=f"'{family} precision' should be") as caught:
        GaussianMixture(3, covariance_type=family, precisions_init=precisions).fit(X)
    message = str(caught.value)
    assert "component 2" in message or family == "tied"
    found = re.search(r"least (?:eigenvalue|value) (-[.\d]*\d)", message)
    assert float(found.group(1)) == pytest.approx(least, abs=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [{"warm_start": None}, {"verbose": -1}, {"verbose_interval": 0}, {"max_iter": -1}],
)
def test_a_parameter_outside_its_domain_is_refused(parameters):
    with pytest.raises(ParameterError, match=next(iter(parameters))):
        GaussianMixture(2, **parameters).fit(X)


def test_what_was_given_stays_as_given():
    given = {
        "weights_init": [0.3, 0.7],
        "means_init": [[0, 0], [1, 1]],
        "precisions_init": np.tile(np.eye(2, dtype=np.float32), (2, 1, 1)),
    }
    mixture = GaussianMixture(2, **given).fit(X)
    assert all(getattr(mixture, name) is value for name, value in given.items())


def test_no_iteration_leaves_the_start_without_a_warning(tmp_path):
    means = [[3.0, 1.0], [-1.0, 2.0]]
    mixture = GaussianMixture(2, means_init=means, max_iter=0).fit(X)
    np.testing.assert_allclose(mixture.means_, means)
    assert (mixture.n_iter_, mixture.lower_bounds_, mixture.converged_) == (0, [], False)
    assert mixture.lower_bound_ == -np.inf
    mixture.save(tmp_path / "mixture")
    loaded = latentmix.load(tmp_path / "mixture")
    assert loaded.lower_bound_ == -np.inf
    np.testing.assert_array_equal(loaded.predict_proba(X), mixture.predict_proba(X))


@pytest.mark.parametrize("changed", [{"n_components": 3}, {"covariance_type": "diag"}])
def test_a_warm_start_needs_the_shapes_of_the_last_fit(changed):
    mixture = GaussianMixture(2, warm_start=True, random_state=0).fit(X)
    with pytest.raises(InputError, match="Set warm_start=False"):
        mixture.set_params(**changed).fit(X)


def test_a_warm_start_goes_on_and_may_converge_at_once():
    mixture = GaussianMixture(2, warm_start=True, random_state=0).fit(X)
    bound = mixture.lower_bound_
    mixture.fit(X)
    assert mixture.converged_
    assert mixture.n_iter_ == 1
    assert mixture.lower_bound_ >= bound


@pytest.mark.parametrize("seed", ["a", -1, 2**32, np.random.default_rng(0), 1.5])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ParameterError, match=r"random_state=.* is no seed"):
        GaussianMixture(2, random_state=seed).fit(X)
    mixture = GaussianMixture(2, random_state=0).fit(X).set_params(random_state=seed)
    with pytest.raises(ParameterError, match=r"random_state=.* is no seed"):
        mixture.sample(3)


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
@pytest.mark.parametrize("means", [[[0.5, 0.5], [1, 1]], [[0, 1], [1, 0]]])
def test_means_on_the_border_are_moved_off_it(kind, means):
    rows = np.random.RandomState(0).randint(0, 2, (50, 2))
    start = kind(2, means_init=means, max_iter=0).fit(rows)
    np.testing.assert_allclose(start.means_, means, atol=1e-10)
    assert np.all(np.isfinite(start.score_samples(rows)))
    assert np.isfinite(kind(2, means_init=means).fit(rows).lower_bound_)


@pytest.mark.parametrize(
    ("kind", "bad", "within"), [(BernoulliMixture, 2.0, "[0, 1]"), (PoissonMixture, -1.0, "[0, ")]
)
def test_means_out_of_the_domain_are_named(kind, bad, within):
    rows = np.random.RandomState(0).randint(0, 2, (50, 2))
    message = f"means_init holds values in [{bad:g}, {bad:g}] but {kind.__name__} needs {within}"
    with pytest.raises(InputError, match=re.escape(message)):
        kind(1, means_init=[[bad, bad]]).fit(rows)


def test_more_factors_than_features_are_refused():
    with pytest.raises(ParameterError, match=r"n_factors=3 .* n_features=2"):
        GaussianMixture(covariance_type="factor", n_factors=3).fit(X)
    as_many = GaussianMixture(covariance_type="factor", n_factors=2).fit(X)
    assert as_many.covariances_.shape == (1, 2, 3)
