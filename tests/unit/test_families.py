"""Each family against the textbook density and the textbook moments."""

import numpy as np
import pytest
from scipy import stats

from latentmix.kernels.answers import answers
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, expectation
from latentmix.kernels.families import DISCRETE, FAMILIES, GAUSSIAN, Mixture
from latentmix.kernels.maximisation import maximise
from latentmix.kernels.rescaling import rescale
from latentmix.kernels.rows import Rows

K, D, N = 3, 4, 500


@pytest.fixture(scope="module")
def crew():
    with Crew() as members:
        yield members


def matrices(rng):
    return np.stack([np.cov(rng.randn(D, 12)) + 0.1 * np.eye(D) for _ in range(K)])


def mixture_of(family, seed=0):
    """Return a mixture with random parameters."""
    rng = np.random.RandomState(seed)
    weights = rng.dirichlet(np.full(K, 5.0))
    if family == "bernoulli":
        return FAMILIES[family].of_means(weights, rng.uniform(0.1, 0.9, (K, D)))
    if family == "poisson":
        return FAMILIES[family].of_means(weights, rng.uniform(0.5, 9, (K, D)))
    full = matrices(rng)
    covariances = {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": np.trace(full, axis1=1, axis2=2) / D,
        "factor": np.concatenate([rng.uniform(0.2, 1, (K, D, 1)), rng.randn(K, D, 2)], axis=2),
    }[family]
    return Mixture(weights, rng.randn(K, D), covariances, FAMILIES[family].factors(covariances))


def as_matrices(family, mixture):
    c = mixture.covariances
    return {
        "full": lambda: c,
        "tied": lambda: np.stack([c] * K),
        "diag": lambda: np.stack([np.diag(v) for v in c]),
        "spherical": lambda: np.stack([v * np.eye(D) for v in c]),
        "factor": lambda: np.stack([np.diag(v[:, 0]) + v[:, 1:] @ v[:, 1:].T for v in c]),
    }[family]()


def log_densities(family, mixture, x):
    """Return log p(x|k), (N, K), by scipy."""
    means = mixture.means
    if family == "bernoulli":
        return np.stack([stats.bernoulli(m).logpmf(x).sum(axis=1) for m in means], axis=1)
    if family == "poisson":
        return np.stack([stats.poisson(m).logpmf(x).sum(axis=1) for m in means], axis=1)
    covariances = as_matrices(family, mixture)
    gaussians = [stats.multivariate_normal(m, c) for m, c in zip(means, covariances, strict=True)]
    return np.stack([gaussian.logpdf(x) for gaussian in gaussians], axis=1)


def rows_of(family, mixture, seed=1, n_rows=N):
    random = np.random.RandomState(seed)
    components = random.choice(K, n_rows, p=mixture.weights)
    return FAMILIES[family].draw(random, mixture, components), components


def plain(x, **more):
    return Rows(x, np.zeros(x.shape[1]), np.ones(x.shape[1]), **more)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("centred", [False, True])
def test_answers_are_the_textbook_density(family, centred, crew):
    mixture = mixture_of(family)
    x, _ = rows_of(family, mixture, n_rows=40)
    joint = log_densities(family, mixture, x) + np.log(mixture.weights)
    expected = np.logaddexp.reduce(joint, axis=1)
    found = answers(Model(FAMILIES[family], mixture, centred=centred), plain(x), crew)
    np.testing.assert_allclose(found.log_density, expected, rtol=1e-10)
    np.testing.assert_allclose(
        found.responsibilities, np.exp(joint - expected[:, None]), rtol=1e-8, atol=1e-14
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("centred", [False, True])
def test_an_em_step_gives_the_textbook_moments(family, centred, crew):
    mixture = mixture_of(family)
    x, _ = rows_of(family, mixture)
    model = Model(FAMILIES[family], mixture, centred=centred)
    r = answers(model, plain(x), crew).responsibilities
    step = maximise(model, expectation([model], plain(x), crew)[0], np.zeros(D)).model.mixture
    counts = r.sum(axis=0)
    means = r.T @ x / counts[:, None]
    np.testing.assert_allclose(step.weights, counts / N, rtol=1e-10)
    if family == "factor":
        return  # its M step has no closed form in moments: see the likelihood's ascent
    np.testing.assert_allclose(step.means, means, rtol=1e-10)
    if family in DISCRETE:
        return
    within = np.stack([(r[:, k, None] * (x - m)).T @ (x - m) for k, m in enumerate(means)])
    variances = np.diagonal(within, axis1=1, axis2=2)
    expected = {
        "full": within / counts[:, None, None],
        "tied": within.sum(axis=0) / N,
        "diag": variances / counts[:, None],
        "spherical": variances.mean(axis=1) / counts,
    }[family]
    np.testing.assert_allclose(step.covariances, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("family", ["full", "diag", "spherical", "factor"])
def test_expected_distances_are_traces(family):
    mixture, other = mixture_of(family), mixture_of(family, seed=1)
    precisions = np.linalg.inv(as_matrices(family, mixture))
    expected = np.einsum("kab,jab->kj", precisions, as_matrices(family, other))
    found = GAUSSIAN[family].expected_distances(mixture, other.covariances)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_shapes_and_inverses_agree(family):
    kind, mixture = GAUSSIAN[family], mixture_of(family)
    assert mixture.covariances.shape == kind.shape(K, D)
    back = kind.from_precisions(kind.precisions(kind.factors(mixture.covariances)))
    inverse = mixture._replace(covariances=back)
    np.testing.assert_allclose(
        as_matrices(family, inverse), as_matrices(family, mixture), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(kind.matrices(mixture), as_matrices(family, mixture), rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_without_constraints_stands_for_the_same_mixture(family, crew):
    kind, mixture = FAMILIES[family], mixture_of(family)
    back = kind.from_unconstrained(kind.unconstrained(mixture), mixture)
    x, _ = rows_of(family, mixture, n_rows=30)
    before, after = (answers(Model(kind, one), plain(x), crew) for one in (mixture, back))
    np.testing.assert_allclose(before.log_density, after.log_density, rtol=1e-9)
    # Any other vector is a mixture too.
    moved = kind.unconstrained(mixture) + np.random.RandomState(5).randn(
        kind.unconstrained(mixture).size
    )
    other = kind.from_unconstrained(moved, mixture)
    assert np.isfinite(answers(Model(kind, other), plain(x), crew).log_density).all()
    np.testing.assert_allclose(other.weights.sum(), 1)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_rescaled_rows_have_the_rescaled_density(family, crew):
    kind, mixture = GAUSSIAN[family], mixture_of(family)
    scale = np.array([2.0, 0.5, 8.0, 1.0]) if kind.scaling == "feature" else np.full(D, 4.0)
    shift = np.arange(4.0)
    x, _ = rows_of(family, mixture, n_rows=30)
    moved = rescale(kind, mixture, shift, scale)
    near = answers(Model(kind, mixture), plain(x), crew).log_density
    far = answers(Model(kind, moved), plain(x * scale + shift), crew).log_density
    np.testing.assert_allclose(far + np.log(scale).sum(), near, rtol=1e-9)
    # And a pass in units of the rows is one over rows in those units.
    unit = answers(Model(kind, mixture), Rows(x * scale + shift, shift, scale), crew).log_density
    np.testing.assert_allclose(unit, near, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_have_the_moments_asked_for(family):
    mixture = mixture_of(family)
    drawn = FAMILIES[family].draw(np.random.RandomState(3), mixture, np.full(40_000, 1))
    np.testing.assert_allclose(drawn.mean(axis=0), mixture.means[1], atol=0.06)
    expected = {
        "bernoulli": lambda: np.diag(mixture.means[1] * (1 - mixture.means[1])),
        "poisson": lambda: np.diag(mixture.means[1]),
    }.get(family, lambda: as_matrices(family, mixture)[1])()
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.2, rtol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_free_parameters_are_counted(family):
    expected = {
        "full": K * D + K * D * (D + 1) // 2,
        "tied": K * D + D * (D + 1) // 2,
        "diag": 2 * K * D,
        "spherical": K * D + K,
        # Loadings of two factors, up to one rotation.
        "factor": K * (2 * D + 2 * D - 1),
        "bernoulli": K * D,
        "poisson": K * D,
    }[family]
    assert FAMILIES[family].n_parameters(K, D) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dead_component_is_born_again_at_the_worst_row(family, crew):
    mixture = mixture_of(family)
    x, _ = rows_of(family, mixture)
    model = Model(FAMILIES[family], mixture._replace(weights=np.array([0.5, 0.5, 0.0])))
    statistics = expectation([model], plain(x), crew)[0]
    log_density = answers(model, plain(x), crew).log_density
    worst = x[np.argmin(log_density)]
    step = maximise(model, statistics, np.full(D, 1e-6))
    assert step.reborn.tolist() == [False, False, True]
    reborn = step.model.mixture
    if family in ("bernoulli", "poisson"):  # half way: at a row itself a 0 would exclude others
        shares = statistics.moments.counts[:2] / statistics.moments.counts[:2].sum()
        worst = (worst + shares @ reborn.means[:2]) / 2
    np.testing.assert_allclose(reborn.means[2], worst)
    np.testing.assert_allclose(reborn.weights.sum(), 1)
    assert np.isfinite(reborn.factors).all()
