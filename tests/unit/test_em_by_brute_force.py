"""One EM step after the other beside a plain one that goes row by row, for every family.

Rows may have missing entries, weights and labels. The plain one conditions the joint normal of a
row and its factors on what was seen, in dense matrices, with SciPy's densities.
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import bernoulli, multivariate_normal, poisson

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAUSSIAN = ("full", "tied", "diag", "spherical", "factor")
FAMILIES = (*GAUSSIAN, "bernoulli", "poisson")
N, D, K, Q = 60, 3, 2, 1
REG = 1e-3


class Parameters(NamedTuple):
    """Weights (K,), means (K, D), covariances as scikit-learn shapes them, p(y|k) (K, C)."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray | None
    class_probs: np.ndarray | None


def parameters_of(mixture):
    return Parameters(
        mixture.weights_,
        mixture.means_,
        getattr(mixture, "covariances_", None),
        getattr(mixture, "class_probs_", None),
    )


def matrices(family, covariances):
    """Return each component's covariance of a row and its factors, (K, D + Q, D + Q)."""
    if family == "factor":
        noise, loads = covariances[:, :, 0], covariances[:, :, 1:]
        return np.stack(
            [
                np.block([[load @ load.T + np.diag(psi), load], [load.T, np.eye(Q)]])
                for psi, load in zip(noise, loads, strict=True)
            ]
        )
    return {
        "full": lambda: covariances,
        "tied": lambda: np.stack([covariances] * K),
        "diag": lambda: np.stack([np.diag(row) for row in covariances]),
        "spherical": lambda: np.stack([variance * np.eye(D) for variance in covariances]),
    }[family]()


def log_joint(family, x, parameters):
    """Return log p(x_seen, k), (K,)."""
    seen = ~np.isnan(x)
    logs = np.log(parameters.weights)
    if not seen.any():
        return logs
    if family in ("bernoulli", "poisson"):
        law = bernoulli if family == "bernoulli" else poisson
        return logs + law.logpmf(x[seen], parameters.means[:, seen]).sum(axis=1)
    return logs + [
        multivariate_normal(mean[seen], matrix[:D, :D][np.ix_(seen, seen)]).logpdf(x[seen])
        for mean, matrix in zip(
            parameters.means, matrices(family, parameters.covariances), strict=True
        )
    ]


def completed(x, mean, matrix):
    """Return E[v] and E[vv'] of v, the row and its factors, given what was seen of the row."""
    seen = np.zeros(len(matrix), bool)
    seen[:D] = ~np.isnan(x)
    centre = np.append(mean, np.zeros(len(matrix) - D))
    within = np.linalg.inv(matrix[np.ix_(seen, seen)])
    spread = matrix[:, seen] @ within
    expected = centre + spread @ (x[seen[:D]] - centre[seen])
    return expected, np.outer(expected, expected) + matrix - spread @ matrix[seen]


def gaussian_m_step(family, counts, first, second, total):
    means = first[:, :D] / counts[:, None]
    square = second[:, :D, :D]
    if family == "factor":
        covariances = np.empty((K, D, 1 + Q))
        for k in range(K):
            # Rows regressed on [factors, 1].
            latent = np.append(first[k, D:], counts[k])
            gram = np.block([[second[k, D:, D:], first[k, D:, None]], [latent[None]]])
            target = np.column_stack([second[k, :D, D:], first[k, :D]])
            solution = target @ np.linalg.inv(gram)
            residual = np.diag(square[k]) - np.sum(solution * target, axis=1)
            means[k] = solution[:, -1]
            covariances[k] = np.column_stack([residual / counts[k] + REG, solution[:, :-1]])
        return means, covariances
    outer = means[:, :, None] * means[:, None, :]
    own = square / counts[:, None, None] - outer + REG * np.eye(D)
    if family == "full":
        return means, own
    if family == "tied":
        return means, np.tensordot(counts, own, 1) / total
    variances = np.diagonal(own, axis1=1, axis2=2)
    return means, variances if family == "diag" else variances.mean(axis=1)


def step(family, X, weights, labels, parameters, smoothing):
    """Return the parameters after one EM step, and the mean log-posterior before it."""
    width = D + Q if family == "factor" else D
    counts, first = np.zeros(K), np.zeros((K, width))
    second, bound = np.zeros((K, width, width)), 0.0
    n_classes = 0 if labels is None else parameters.class_probs.shape[1]
    class_counts = np.zeros((K, n_classes))
    with np.errstate(divide="ignore"):
        log_names = None if labels is None else np.log(parameters.class_probs)
    for n, x in enumerate(X):
        joint = log_joint(family, x, parameters)
        if labels is not None and labels[n] >= 0:
            joint = joint + log_names[:, labels[n]]
        bound += weights[n] * logsumexp(joint)
        shares = weights[n] * np.exp(joint - logsumexp(joint))
        counts += shares
        if labels is not None and labels[n] >= 0:
            class_counts[:, labels[n]] += shares
        for k in range(K):
            if family in GAUSSIAN:
                matrix = matrices(family, parameters.covariances)[k]
                one, two = completed(x, parameters.means[k], matrix)
                second[k] += shares[k] * two
            else:
                one = np.where(np.isnan(x), parameters.means[k], x)
            first[k] += shares[k] * one
    if family in GAUSSIAN:
        means, covariances = gaussian_m_step(family, counts, first, second, weights.sum())
    else:
        means, covariances = first / counts[:, None], None
    names = None
    if labels is not None:
        frequencies = class_counts.sum(axis=0) / class_counts.sum()
        # The prior counts in what EM climbs; a class no component has heard of adds nothing.
        seen = frequencies > 0
        bound += smoothing * np.sum(log_names[:, seen] @ frequencies[seen])
        names = class_counts + smoothing * frequencies
        names /= names.sum(axis=1, keepdims=True)
    return Parameters(counts / weights.sum(), means, covariances, names), bound / weights.sum()


def rows(family, missing, seed=0):
    """Return overlapping rows of two kinds; with `missing`, one row is empty."""
    rng = np.random.RandomState(seed)
    if family in GAUSSIAN:
        X = rng.randn(N, D) @ rng.randn(D, D) + np.outer(np.arange(N) % 2, [2.0, -1, 1])
    else:
        rates = np.array([[0.8, 0.3, 0.5], [0.3, 0.6, 0.7]])[np.arange(N) % 2]
        X = rng.uniform(size=(N, D)) < rates if family == "bernoulli" else rng.poisson(4 * rates)
        X = X.astype(float)
    if missing:
        X[rng.uniform(size=X.shape) < 0.25] = np.nan
        X[0] = np.nan
    return X


def mixture_of(family, X, max_iter, **more):
    means = np.nanquantile(X, [0.3, 0.7], axis=0)
    given = {"means_init": means, "weights_init": [0.4, 0.6], "tol": 0, "max_iter": max_iter}
    if family == "bernoulli":
        return BernoulliMixture(K, **{**given, "means_init": 0.3 + 0.4 * means}, **more)
    if family == "poisson":
        return PoissonMixture(K, **given, **more)
    return GaussianMixture(K, covariance_type=family, n_factors=Q, reg_covar=REG, **given, **more)


def assert_steps(family, X, n_steps, *, weights=None, labels=None, smoothing=1.0):
    asked = {"sample_weight": weights, "labels": labels}
    w = np.ones(len(X)) if weights is None else np.asarray(weights, float)
    begun = mixture_of(family, X, 0, smoothing=smoothing).fit(X, **asked)
    expected, bounds = parameters_of(begun), []
    for _ in range(n_steps):
        expected, bound = step(family, X, w, labels, expected, smoothing)
        bounds.append(bound)
    mixture = mixture_of(family, X, n_steps, smoothing=smoothing).fit(X, **asked)
    np.testing.assert_allclose(mixture.lower_bounds_, bounds, rtol=1e-8)
    found = parameters_of(mixture)
    for name, one in expected._asdict().items():
        if one is not None:
            np.testing.assert_allclose(
                getattr(found, name), one, rtol=1e-8, atol=1e-9, err_msg=name
            )


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps(family, missing):
    assert_steps(family, rows(family, missing), 3)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_with_weights_and_labels(family, missing):
    weights = np.random.RandomState(1).uniform(0, 3, N)
    weights[5:9] = 0
    labels = np.where(np.arange(N) % 5 == 1, np.arange(N) % 3, -1)
    assert_steps(family, rows(family, missing), 3, weights=weights, labels=labels, smoothing=0.7)


@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_the_fixed_point_with_few_labels_on_overlapping_rows(smoothing):
    X = rows("full", False, seed=4)
    labels = np.full(N, -1)
    labels[[3, 9, 20, 31, 44, 50]] = [1, 1, 0, 1, 0, 0]
    mixture = mixture_of("full", X, 1000, smoothing=smoothing).fit(X, labels=labels)
    fixed = parameters_of(mixture)
    moved, bound = step("full", X, np.ones(N), labels, fixed, smoothing)
    for one, other in zip(moved, fixed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
    assert mixture.lower_bound_ == pytest.approx(bound, rel=1e-9)
    # The labels have moved the solution, or this shows nothing.
    left = mixture_of("full", X, 1000).fit(X)
    assert np.abs(mixture.means_ - left.means_).max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_never_falls_with_missing_entries(family):
    mixture = mixture_of(family, rows(family, True), 40).set_params(
        **({"reg_covar": 0.0} if family in GAUSSIAN else {})
    )
    bounds = mixture.fit(rows(family, True)).lower_bounds_
    assert np.diff(bounds).min() > -1e-10
    assert bounds[-1] > bounds[0] + 0.01
    assert mixture.n_falls_ == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_rows_with_missing_entries(family):
    X = rows(family, True)
    mixture = mixture_of(family, X, 3).fit(X)
    joint = np.stack([log_joint(family, x, parameters_of(mixture)) for x in X])
    density = logsumexp(joint, axis=1)
    np.testing.assert_allclose(mixture.score_samples(X), density, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mixture.predict_proba(X), np.exp(joint - density[:, None]))
    np.testing.assert_array_equal(mixture.predict(X), joint.argmax(axis=1))
    assert mixture.score(X) == pytest.approx(density.mean())
