"""Whatever likelihood a VAE has: it learns, answers, is kept, and refuses rows it does not tell."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

import latentmix
from latentmix import VAE, LatentMixture, Refinement, fit_together
from latentmix.data import Dataset
from latentmix.data.columns import Column
from latentmix.errors import InputError
from latentmix.estimators.preparation import PREPARATIONS
from latentmix.models.likelihoods import LIKELIHOODS

N, D = 160, 16
FAST = {
    "hidden_dims": (16,),
    "latent_dim": 2,
    "batch_size": 32,
    "max_epochs": 20,
    "min_steps": 0,
    "learning_rate": 1e-2,
    "random_state": 0,
}


def two_kinds(low, high):
    """Return what rows of two kinds expect: low numbers on one half, high ones on the other."""
    return np.where((np.arange(N) % 2)[:, None] == (np.arange(D) < 8), float(high), float(low))


RANDOM = np.random.RandomState(0)
ROWS = {
    "numbers": two_kinds(-10, 30) + RANDOM.standard_normal((N, D)),
    "intensities": (two_kinds(30, 220) + RANDOM.randint(-20, 21, (N, D))).astype(np.uint8),
    "counts": RANDOM.poisson(two_kinds(2, 40)).astype(float),
}
ROWS["levels"] = ROWS["drawn bits"] = ROWS["intensities"]
# Four columns of each kind, side by side.
KINDS = ("continuous", "count", "binary", "categorical")
ROWS["columns"] = np.hstack(
    [
        ROWS["numbers"][:, :4],
        ROWS["counts"][:, 4:8],
        RANDOM.binomial(1, two_kinds(0.05, 0.95)[:, 8:12]),
        RANDOM.binomial(3, two_kinds(0.1, 0.9)[:, 12:]),
    ]
)

# Rows outside a domain, and the sentence that refuses them.
OUTSIDE = {
    "intensities": [
        (ROWS["numbers"], r"X holds values in \[-\S+, \S+\] but .* needs \[0, 1\]\. Rescale X"),
    ],
    "counts": [
        (ROWS["counts"] - ROWS["counts"].max(), r"X holds -\d+ at row \d+, .* needs counts, whole"),
        (ROWS["counts"] + 0.25, r"X holds \d+\.25 at row 0, column 0, .*Correct those values, or"),
        (ROWS["counts"] * 1e8, r"X holds \S+ at row 0, .* from 0 to 16777216"),
    ],
    "drawn bits": [
        (ROWS["numbers"], r"X holds values in \[-\S+, \S+\] but .* needs \[0, 1\]\. Rescale X"),
    ],
    "columns": [
        (ROWS["columns"] + 0.5, r"X holds \S+\.\d+ .*column \d+, which is \w+\. Expected"),
        (ROWS["columns"] - 1e6, r"X holds -\S+ .*column \d+, which is \w+\. Expected"),
    ],
    "levels": [
        (
            ROWS["intensities"] / 255,
            r"X holds 0\.\d+ at row 0, .* needs bytes, .*Give images as uint8",
        ),
        (ROWS["intensities"] * 2.0, r"X holds \d+ at row \d+, .* whole numbers from 0 to 255"),
    ],
}


# One likelihood of each domain, by which trainings differ; those left out have other tests.
ONE_EACH = [
    name
    for domain, name in {kind.domain: name for name, kind in LIKELIHOODS.items()}.items()
    if domain not in ("numbers", "intensities")
]


def vae(likelihood, **changes):
    columns = np.repeat(KINDS, 4).tolist() if likelihood == "mixed" else None
    return VAE(likelihood=likelihood, columns=columns, **{**FAST, **changes})


def rows_of(likelihood):
    if likelihood == "categorical":
        return np.tile(ROWS["columns"][:, 12:], 4)
    return ROWS[LIKELIHOODS[likelihood].domain]


def answers(model, X):
    return (model.transform(X), model.score_samples(X), model.reconstruct(X), model.sample(5))


@pytest.fixture(scope="module")
def fit():
    """Return a function that gives the fitted VAE of a likelihood, the same one each time."""
    known = {}

    def fit(likelihood):
        if likelihood not in known:
            known[likelihood] = vae(likelihood).fit(rows_of(likelihood))
        return known[likelihood]

    return fit


@pytest.fixture(params=LIKELIHOODS)
def fitted(request, fit):
    return fit(request.param)


@pytest.fixture(params=ONE_EACH)
def one_each(request, fit):
    return fit(request.param)


def test_every_domain_is_looked_at():
    assert set(ROWS) == set(PREPARATIONS) == {*OUTSIDE, "numbers"}


def test_it_learns(fitted):
    X = rows_of(fitted.likelihood)
    course = [epoch.train.objective for epoch in fitted.history_]
    assert course[-1] < course[0]
    shown = fitted.in_output_units(X)
    assert np.corrcoef(fitted.reconstruct(X).ravel(), shown.ravel())[0, 1] > 0.9


def test_its_answers_are_finite_and_do_not_depend_on_where_a_row_stands(fitted):
    X = rows_of(fitted.likelihood)
    for answer in answers(fitted, X):
        assert np.isfinite(answer).all()
    scores = fitted.score_samples(X)
    np.testing.assert_array_equal(fitted.score_samples(X), scores)
    np.testing.assert_allclose(fitted.score_samples(X[100:])[::-1], scores[:99:-1], rtol=1e-5)


def test_its_answers_are_in_the_units_of_the_rows_as_shown(fitted):
    shown = fitted.in_output_units(rows_of(fitted.likelihood))
    room = 0.5 * np.ptp(shown)
    for answer in (fitted.reconstruct(rows_of(fitted.likelihood)), fitted.sample(20)):
        assert answer.shape[1:] == (D,)
        assert shown.min() - room <= np.median(answer) <= shown.max() + room


def test_it_is_kept(fitted, tmp_path):
    X = rows_of(fitted.likelihood)
    fitted.save(tmp_path / "model")
    kept = latentmix.load(tmp_path / "model")
    for ours, theirs in zip(answers(fitted, X), answers(kept, X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rows_on_disk_and_in_other_shards_train_the_same(one_each, tmp_path, monkeypatch):
    X = rows_of(one_each.likelihood)
    np.save(tmp_path / "rows.npy", X)
    monkeypatch.setattr("latentmix.training.shards.BYTES_PER_SHARD", 64 * D * 4)
    mapped = clone(one_each).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    np.testing.assert_array_equal(mapped.transform(X), one_each.transform(X))


def test_trained_beside_another_it_is_as_alone(one_each):
    X = rows_of(one_each.likelihood)
    _, beside = fit_together(
        [vae(one_each.likelihood, random_state=7), clone(one_each)], X, vmap=True
    )
    np.testing.assert_allclose(beside.score(X), one_each.score(X), rtol=1e-3)


def test_it_takes_rows_block_by_block(one_each):
    X = rows_of(one_each.likelihood)
    online = clone(one_each)
    for _ in range(10):
        for block in np.array_split(X, 2):
            online.partial_fit(block)
    assert online.history_[-1].train.objective < online.history_[0].train.objective
    assert np.isfinite(online.score(X))


@pytest.mark.filterwarnings("ignore::latentmix.errors.TrainingWarning")
@pytest.mark.parametrize("likelihood", ONE_EACH)
def test_network_and_mixture_are_trained_together_under_it(likelihood):
    X = rows_of(likelihood)
    rounds = Refinement(n_rounds=1, epochs=2, min_steps=0, classifier_rounds=0, image_shape=(4, 4))
    mixture = latentmix.GaussianMixture(2, covariance_type="diag")
    model = LatentMixture(vae=vae(likelihood), mixture=mixture, refinement=rounds, random_state=0)
    model.fit(X, validation_data=X[:40])
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.vae_.history_[-1].validation.reconstruction)


@pytest.mark.parametrize(
    ("likelihood", "X", "match"),
    [
        (name, X, match)
        for name, kind in LIKELIHOODS.items()
        for X, match in OUTSIDE.get(kind.domain, [])
    ],
)
def test_rows_outside_its_domain_are_refused(fit, likelihood, X, match):
    with pytest.raises(InputError, match=match):
        vae(likelihood).fit(X)
    good = fit(likelihood)
    for ask in (good.transform, good.score_samples, good.partial_fit):
        with pytest.raises(InputError, match=match):
            ask(X)


def test_the_automatic_kl_weight_is_1_unless_the_first_term_is_a_cross_entropy(fitted):
    crossed = fitted.likelihood in ("bernoulli", "relu-bernoulli")
    assert fitted.kl_weight_ == (D / 784 if crossed else 1.0)


@pytest.mark.parametrize("likelihood", ["gaussian", "continuous-bernoulli"])
def test_a_density_is_of_x_in_its_own_units(fit, likelihood):
    X, fitted = rows_of(likelihood), fit(likelihood)
    in_units = copy.copy(fitted)
    in_units.shift_, in_units.scale_ = np.zeros(D), np.ones(D)
    scores = in_units.score_samples((X - fitted.shift_) / fitted.scale_)
    expected = scores - np.log(fitted.scale_).sum()
    np.testing.assert_allclose(fitted.score_samples(X), expected, rtol=1e-4)
    assert np.abs(fitted.score_samples(X) - scores).min() > 1


def test_levels_and_counts_are_the_same_in_any_dtype(fit):
    for likelihood in ("discretised-logistic", "poisson"):
        model, X = fit(likelihood), rows_of(likelihood)
        scores = [model.score_samples(X.astype(kind)) for kind in (np.uint8, float, int)]
        np.testing.assert_array_equal(scores[0], scores[1])
        np.testing.assert_array_equal(scores[0], scores[2])


def test_what_is_no_density_is_the_same_in_all_units(fitted):
    assert (fitted.log_jacobian_ == 0) == (LIKELIHOODS[fitted.likelihood].measure != "density")


@pytest.mark.parametrize("likelihood", ONE_EACH)
def test_a_run_has_it_and_its_model_answers(carry_out, tmp_path, likelihood):
    X = rows_of(likelihood)
    dataset = Dataset("rows", "rows of two kinds", X, image_shape=(4, 4))
    if likelihood == "mixed":
        codes = tuple(map(str, range(4)))
        held = tuple(
            Column(kind, codes if kind == "categorical" else ())
            for kind in np.repeat(KINDS, 4).tolist()
        )
        dataset = replace(dataset, image_shape=None, columns=held)
    settings = ("mixture.n_components=2", "report.n_components=[2]", "vae.max_epochs=3")
    metrics = carry_out(
        tmp_path / "run", f"vae.likelihood={likelihood}", *settings, dataset=dataset
    )
    model = latentmix.load(tmp_path / "run")
    assert model.vae_.likelihood_ == likelihood
    assert np.isfinite(model.score_samples(X)).all() and np.isfinite(metrics["test"]["elbo"])
