"""EM at the edges of what numbers hold: scales far apart, rows far away, few labels."""

import numpy as np
import pytest

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError
from latentmix.kernels.families import FAMILIES, GAUSSIAN, Mixture
from latentmix.training import sources
from latentmix.training.em_ascent import Ascent
from latentmix.training.em_loop import EmRule, best

pytestmark = pytest.mark.filterwarnings(
    "error::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)

rng = np.random.RandomState(0)
ROWS = np.concatenate([rng.randn(60, 2), rng.randn(60, 2) + 4])


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
def test_features_in_units_as_far_apart_as_numbers_go(covariance_type):
    lengths = np.array([1e-150, 1e150])
    mixture = GaussianMixture(
        2, covariance_type=covariance_type, n_factors=1, reg_covar=0, random_state=0
    ).fit(ROWS * lengths)
    answer = mixture.predict(ROWS * lengths)
    if covariance_type != "spherical":  # to which the first feature is nothing
        assert len(np.unique(answer[:60])) == len(np.unique(answer[60:])) == 1
    assert np.all(np.isfinite(mixture.score_samples(ROWS * lengths)))


def test_a_block_past_all_squares_leaves_what_was_learnt():
    mixture = GaussianMixture(2, random_state=0).partial_fit(ROWS)
    with pytest.raises(InputError, match="largest value is 1e\\+200"):
        mixture.partial_fit(np.concatenate([ROWS, [[1e200, 0]]]))
    other = GaussianMixture(2, random_state=0).partial_fit(ROWS)
    np.testing.assert_array_equal(
        mixture.partial_fit(ROWS[::-1]).means_, other.partial_fit(ROWS[::-1]).means_
    )


@pytest.mark.parametrize("n_init", [1, 4])
def test_the_few_labelled_rows_of_many_are_there_from_the_start(n_init):
    rows = np.random.RandomState(1).randn(150_000, 1)
    rows[75_000:] += 6
    labels = np.full(150_000, -1)
    labels[0], labels[-1] = 0, 1
    mixture = GaussianMixture(2, random_state=0, n_init=n_init).fit(rows, labels=labels)
    assert mixture.predict_class([[0.0], [6.0]]).tolist() == [0, 1]


def labelled(counts, n_rows):
    labels = np.full(n_rows, -1)
    start = 0
    for number, count in enumerate(counts):
        labels[start : start + count] = number
        start += count
    return np.random.RandomState(0).permutation(labels)


def test_rows_of_every_class_are_drawn_and_weigh_what_all_rows_do():
    labels = labelled([3, 0, 10_000, 400], 60_000)
    x = np.random.RandomState(1).randn(60_000, 2)
    x[labels >= 0] += 3  # labelled rows are not like the others
    source = sources.ArraySource(x, None, labels)
    sample = summary_of(source, most=4_000)
    drawn = np.bincount(sample.labels[sample.labels >= 0], minlength=4)
    assert len(sample.x) == 4_000
    assert drawn[0] == 3
    assert drawn[1] == 0
    assert drawn[2] >= 250
    assert drawn[3] >= 250
    # The more there are of a class, the less its rows weigh.
    mean = np.average(sample.x, axis=0, weights=sample.weights)
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=0.15)


def summary_of(source, most):
    before = sources.ROWS_FOR_START, sources.ROWS_A_TIME
    sources.ROWS_FOR_START, sources.ROWS_A_TIME = most, 1_000
    try:
        return sources.summarise(source, np.random.RandomState(0)).sample
    finally:
        sources.ROWS_FOR_START, sources.ROWS_A_TIME = before


def test_rows_are_drawn_alike_however_they_are_cut():
    """A row has a random number of its own, and is drawn or not by it alone."""
    keys = sources.keys_of(3, 0, 1000)
    for first, n_rows in ((0, 5), (1, 7), (2, 3), (3, 8), (4, 4), (513, 200)):
        part = sources.keys_of(3, first, n_rows)
        np.testing.assert_array_equal(part, keys[first : first + n_rows])
    x = np.random.RandomState(0).randn(20_000, 3)
    whole = sources.summarise(sources.ArraySource(x), np.random.RandomState(1))
    for size in (20_000, 4_001, 333):
        cut = sources.StreamSource(
            lambda size=size: [x[i : i + size] for i in range(0, 20_000, size)], 3
        )
        found = sources.summarise(cut, np.random.RandomState(1))
        np.testing.assert_array_equal(found.sample.x, whole.sample.x)
        np.testing.assert_allclose(found.deviation, whole.deviation, rtol=1e-13)
        np.testing.assert_allclose(found.reach, whole.reach, rtol=1e-13)


def test_without_labels_rows_are_drawn_evenly():
    keys = np.random.RandomState(0).random_sample(500)
    rows, factors = sources.draw(keys, None, 0, 50, 500)
    np.testing.assert_array_equal(rows, np.sort(np.argsort(keys)[:50]))
    assert np.all(factors == 1)


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
@pytest.mark.parametrize(
    ("length", "dtype"),
    [
        (1e155, "float64"),
        (1e300, "float64"),
        (1e-170, "float64"),
        (1e25, "float32"),
        (1e-25, "float32"),
    ],
)
def test_variances_past_the_range_of_the_rows_are_refused(covariance_type, length, dtype):
    mixture = GaussianMixture(
        2, covariance_type=covariance_type, n_factors=1, reg_covar=0, random_state=0
    ).fit(ROWS)
    before = mixture.means_.copy()
    with pytest.raises(InputError, match=f"leave the range of {dtype}.* Rescale X"):
        mixture.fit((ROWS * length).astype(dtype))
    np.testing.assert_array_equal(mixture.means_, before)


@pytest.mark.parametrize("length", [1e-170, 1e-60])
def test_a_variance_may_be_all_regularisation(length):
    mixture = GaussianMixture(2, reg_covar=1e-6, random_state=0).fit(ROWS * length)
    np.testing.assert_allclose(mixture.covariances_, [np.eye(2) * 1e-6] * 2, atol=1e-100)


def test_rows_that_cannot_be_added_up_are_refused():
    with pytest.raises(InputError, match=r"values as large as 1\.5e\+308"):
        GaussianMixture(1).fit([[1.5e308], [-1.5e308], [1.5e308]])


def test_a_share_of_variances_past_all_squares():
    rows = ROWS * [1e-100, 1e100]
    mixture = GaussianMixture(1, reg_covar=0.5, relative_reg_covar=True).fit(rows)
    plain = GaussianMixture(1, reg_covar=0.5, relative_reg_covar=True).fit(ROWS)
    lengths = np.outer([1e-100, 1e100], [1e-100, 1e100])
    np.testing.assert_allclose(mixture.covariances_ / lengths, plain.covariances_)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_a_covariance_that_float32_rounds_away_can_be_drawn_from(covariance_type):
    rows = np.outer(np.random.RandomState(0).randn(200), [1, 1.0001]).astype(np.float32)
    mixture = GaussianMixture(
        1, covariance_type=covariance_type, reg_covar=1e-12, random_state=0
    ).fit(rows)
    draws = mixture.sample(5000)[0].astype(np.float64)
    np.testing.assert_allclose(draws.std(axis=0), rows.std(axis=0), rtol=0.05)
    assert np.abs(draws[:, 1] - 1.0001 * draws[:, 0]).max() < 1e-4


def test_a_component_of_shares_or_counts_is_born_again_within_reach_of_all_rows():
    shares = (np.random.RandomState(0).uniform(size=(200, 40)) < 0.9) * 1.0
    counts = np.random.RandomState(0).poisson(0.5, (200, 5))
    even = {"weights_init": [0.5, 0.5], "max_iter": 1}
    for mixture, rows in (
        (BernoulliMixture(2, means_init=[[0.9] * 40, [1e-6] * 40], **even), shares),
        (PoissonMixture(2, means_init=[[0.5] * 5, [300.0] * 5], **even), counts),
    ):
        mixture.fit(rows)
        assert mixture.n_reborn_ == 1
        assert mixture.means_.min() > 0
        assert np.all(np.isfinite(mixture.score_samples(rows)))
        assert mixture.set_params(max_iter=500).fit(rows).converged_


@pytest.mark.parametrize("name", ["full", "tied"])
def test_a_leap_past_all_covariances_is_no_error(name):
    family = FAMILIES[name]
    covariances = np.broadcast_to(np.eye(2), family.shape(3, 2)).copy()
    like = Mixture(np.ones(3) / 3, np.zeros((3, 2)), covariances, covariances)
    vector = family.unconstrained(like)
    vector[-1] = -1e4  # a factor of exp(-10000)
    assert not np.isfinite(family.from_unconstrained(vector, like).covariances).all()


@pytest.mark.parametrize("covariance_type", sorted(GAUSSIAN))
@pytest.mark.parametrize("constant", [4.0, 0.1, 0.0, -1e100])
def test_a_share_of_the_variance_of_a_constant_feature(covariance_type, constant):
    rows = np.column_stack([ROWS, np.full(len(ROWS), constant)])
    shared = {"covariance_type": covariance_type, "n_factors": 1, "random_state": 0}
    mixture = GaussianMixture(2, relative_reg_covar=True, reg_covar=1e-3, **shared).fit(rows)
    if constant != -1e100:  # beside which the others are nothing to k-means
        assert len(np.unique(mixture.predict(rows)[:60])) == 1
    np.testing.assert_allclose(mixture.means_[:, 2], constant, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-9])
def test_weights_of_blocks_are_repeated_rows(scale):
    random = np.random.RandomState(3)
    rows, weights = random.permutation(ROWS), random.randint(0, 3, len(ROWS))
    weighted, repeated = (GaussianMixture(2, means_init=[[0, 0], [4, 4]]) for _ in range(2))
    for part in np.split(np.arange(len(rows)), 4):
        weighted.partial_fit(rows[part], sample_weight=weights[part] * scale)
        repeated.partial_fit(np.repeat(rows[part], weights[part], axis=0))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-9)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-8)


@pytest.mark.parametrize("higher", [0, 1])
def test_rounding_does_not_choose_among_starts_that_met(higher):
    bounds = [[-3.0], [-3.0], [-4.0]]
    bounds[higher] = [-3.0 + 1e-15]
    ascents = [Ascent(None, 0.0, 9, None, lower_bounds=bound) for bound in bounds]
    rule = EmRule(FAMILIES["full"], 1)
    assert best(ascents, rule) is ascents[0]
    assert best([ascents[2], ascents[1]], rule) is ascents[1]
