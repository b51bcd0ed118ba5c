"""What every estimator promises beyond scikit-learn's suite."""

import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import latentmix
from latentmix import VAE, GaussianMixture, LatentMixture
from latentmix.errors import InputError, MissingError, NotNamedError, ParameterError, WriteError

FAST = {
    "hidden_dims": (16,),
    "latent_dim": 2,
    "max_epochs": 3,
    "min_steps": 60,
    # At 1e-3 sixty steps leave the two kinds in one place for some seeds.
    "learning_rate": 1e-2,
}


def two_kinds(n_rows=60, seed=0):
    """Return bytes of two kinds of 16-pixel images, and which is which."""
    rng = np.random.RandomState(seed)
    labels = np.arange(n_rows) % 2
    bright = np.where(labels[:, None] == (np.arange(16) < 8), 220, 30)
    return np.clip(bright + rng.randint(-20, 21, (n_rows, 16)), 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def model():
    X, labels = two_kinds()
    return LatentMixture(2, vae=VAE(**FAST), random_state=0).fit(X).label(X[:10], labels[:10])


def answers(model, X):
    return {
        "transform": model.transform(X),
        "predict": model.predict(X),
        "predict_proba": model.predict_proba(X),
        "predict_class": model.predict_class(X),
        "predict_class_proba": model.predict_class_proba(X),
        "score_samples": model.score_samples(X),
        "log_likelihood": model.log_likelihood(X, n_draws=40).log_likelihood,
        "reconstruct": model.reconstruct(X),
        "sample": model.sample(3),
        "sample label": model.sample(3, label=1),
    }


def assert_same(one, other):
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_shapes_and_ranges(model):
    X, labels = two_kinds(31, seed=1)
    found = answers(model, X)
    assert found["transform"].shape == (31, 2)
    assert found["predict"].shape == (31,)
    assert found["predict_class_proba"].shape == (31, 2)
    np.testing.assert_allclose(found["predict_class_proba"].sum(axis=1), 1, rtol=1e-6)
    for name in ("reconstruct", "sample", "sample label"):
        assert found[name].shape[1] == 16
        assert found[name].min() >= 0 and found[name].max() <= 1
    assert (found["predict_class"] == labels).mean() == 1.0
    assert model.classes_.tolist() == [0, 1]


def test_answers_are_deterministic_whatever_the_block_and_company_of_a_row(model):
    X, _ = two_kinds(31, seed=1)
    assert_same(answers(model, X), answers(model, X))
    np.testing.assert_allclose(model.score_samples(X)[:3], model.score_samples(X[:3]), rtol=1e-5)


def test_load_of_save_gives_the_same_bits(model, tmp_path):
    X, _ = two_kinds(31, seed=1)
    model.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    model.random_state = loaded.random_state = 5
    assert_same(answers(model, X), answers(loaded, X))
    model.random_state = 0
    with pytest.raises(WriteError):
        model.save(tmp_path / "model")
    with pytest.raises(MissingError):
        latentmix.load(tmp_path / "nothing")


@pytest.mark.parametrize("kind", [VAE, GaussianMixture])
def test_parts_are_saved_alone_too(kind, tmp_path):
    X = np.random.RandomState(0).randn(40, 3)
    part = (VAE(**FAST, random_state=0) if kind is VAE else GaussianMixture(2)).fit(X)
    part.save(tmp_path / "part")
    loaded = latentmix.load(tmp_path / "part")
    assert type(loaded) is kind
    np.testing.assert_array_equal(part.score_samples(X), loaded.score_samples(X))
    assert loaded.get_params() == part.get_params()


def test_the_same_in_float64_mode_and_from_a_thread(model):
    X, _ = two_kinds(31, seed=1)
    expected = answers(model, X)
    with jax.enable_x64(True):
        assert_same(expected, answers(model, X))
        fitted = LatentMixture(2, vae=VAE(**FAST), random_state=0).fit(two_kinds()[0])
    X_fit, labels_fit = two_kinds()
    assert_same(expected, answers(fitted.label(X_fit[:10], labels_fit[:10]), X))
    found = {}
    thread = threading.Thread(target=lambda: found.update(answers(model, X)))
    thread.start()
    thread.join()
    assert_same(expected, found)


@pytest.mark.parametrize("of", ["whole", "network"])
def test_the_log_likelihood_is_no_less_than_the_bound_and_a_row_keeps_its_own(model, of):
    X, _ = two_kinds(3000, seed=1)
    asked = model if of == "whole" else model.vae_
    found = asked.log_likelihood(X, n_draws=64)
    assert found.log_likelihood.dtype == found.standard_error.dtype == np.float64
    assert found.log_likelihood.mean() > asked.score(X)
    assert (found.standard_error > 0).all()
    alone = asked.log_likelihood(X[2900:2903], n_draws=64)
    for all_rows, few in zip(found, alone, strict=True):
        np.testing.assert_allclose(all_rows[2900:2903], few, rtol=1e-4)


def test_same_seed_same_bits_other_seed_other_bits():
    X, _ = two_kinds()
    fits = [LatentMixture(2, vae=VAE(**FAST), random_state=s).fit(X) for s in (3, 3, 4)]
    np.testing.assert_array_equal(fits[0].latents_, fits[1].latents_)
    assert not np.array_equal(fits[0].latents_, fits[2].latents_)


def test_classes_before_any_name_say_what_to_do():
    X, _ = two_kinds()
    unnamed = LatentMixture(2, vae=VAE(**FAST), random_state=0).fit(X)
    for ask in (unnamed.predict_class, unnamed.predict_class_proba):
        with pytest.raises(NotNamedError, match=r"label\(X, labels\)"):
            ask(X)
    with pytest.raises(NotNamedError):
        unnamed.sample(2, label="cat")


def test_unknown_labels_are_left_out_and_strings_stay_strings(model):
    X, labels = two_kinds()
    names = np.where(labels == 0, "left", "right").astype(object)
    names[5:] = None
    model.label(X, names)
    assert model.classes_.tolist() == ["left", "right"]
    assert set(model.predict_class(X)) == {"left", "right"}
    assert model.sample(4, label="left").shape == (4, 16)
    with pytest.raises(ParameterError, match="label='up' is unknown"):
        model.sample(4, label="up")
    with pytest.raises(InputError, match="None of the 60 labels"):
        model.label(X, np.full(60, -1))
    with pytest.raises(InputError, match="60 rows"):
        model.label(X, labels[:59])
    model.label(X[:10], labels[:10])


def test_components_no_labelled_row_reached_say_so():
    X, labels = two_kinds(200)
    model = LatentMixture(6, vae=VAE(**FAST), random_state=0).fit(X)
    with pytest.warns(UserWarning, match="No labelled row reached"):
        model.label(X[:2], labels[:2])
    assert len(model.unnamed_components_) > 0
    shares = model.class_probs_[model.unnamed_components_]
    np.testing.assert_allclose(shares, np.full_like(shares, 0.5), atol=0.3)


def test_fit_ignores_y_and_takes_labels_by_name():
    X, labels = two_kinds()
    build = lambda: LatentMixture(2, vae=VAE(**FAST), random_state=0)  # noqa: E731
    np.testing.assert_array_equal(build().fit(X).latents_, build().fit(X, labels).latents_)
    assert build().fit(X, labels=labels).classes_.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (GaussianMixture(0), "n_components=0 is out of range"),
        (GaussianMixture(covariance_type="digonal"), "Did you mean 'diag'?"),
        (GaussianMixture(init_params="kmean"), "Did you mean 'kmeans'?"),
        (GaussianMixture(tol=float("nan")), "tol=nan"),
        (VAE(likelihood="gausian"), "Did you mean 'gaussian'?"),
        (VAE(latent_dim=1.5), "latent_dim=1.5"),
        (VAE(learning_rate=0), "learning_rate=0"),
        (VAE(hidden_dims=(4, 0)), "width"),
        (VAE(schedule="cosin"), "Did you mean 'cosine'?"),
        (VAE(learning_rate_warmup=2), "learning_rate_warmup=2"),
        (VAE(clip_norm=0), "clip_norm=0"),
        (VAE(patience=0), "patience=0"),
        (VAE(patience=3), "needs validation rows to judge epochs by. Give fit validation_data"),
        (VAE(validation_fraction=1.5), "validation_fraction=1.5"),
        (VAE(verbose=-1), "verbose=-1"),
        (LatentMixture(verbose="yes"), "verbose='yes'"),
        (LatentMixture(latents="zz"), "latents='zz'"),
        (LatentMixture(n_components=-1), "n_components=-1"),
    ],
)
def test_parameters_outside_their_domain_are_refused(estimator, message):
    with pytest.raises(ParameterError, match=message.replace("?", r"\?")):
        estimator.fit(np.random.RandomState(0).randn(30, 3))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, np.inf], [0.0, 1.0]] * 10), "inf at row 0, column 1"),
        (np.zeros((0, 3)), "0 sample"),
        (np.ones((3, 3)), "n_components ?= ?10"),
        (np.zeros((4, 3, 3)), "dim 3"),
    ],
)
@pytest.mark.parametrize("kind", [GaussianMixture, LatentMixture])
def test_rows_that_cannot_be_used_are_refused(kind, X, message):
    with pytest.raises(InputError, match=message):
        kind(10).fit(X)


def test_missing_entries_are_refused_by_a_network():
    X = np.array([[1.0, np.nan], [0.0, 1.0]] * 10)
    with pytest.raises(InputError, match="NaN or infinity: nan at row 0, column 1"):
        LatentMixture(10).fit(X)


def test_values_outside_the_unit_interval_are_refused_for_bernoulli():
    X = np.random.RandomState(0).randn(30, 3)
    with pytest.raises(InputError, match=r"needs \[0, 1\]. Rescale X"):
        VAE(likelihood="bernoulli").fit(X)


def test_a_singular_covariance_is_reported():
    X = np.repeat(np.eye(3), 5, axis=0)
    with pytest.raises(InputError, match=r"ill-defined.*reg_covar=0"):
        GaussianMixture(3, reg_covar=0).fit(X)
    assert np.all(np.isfinite(GaussianMixture(3, random_state=0).fit(X).covariances_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_components_than_places_to_be_never_gives_nan():
    X = np.repeat(np.arange(3.0), 20)[:, None]
    mixture = GaussianMixture(8, random_state=0, max_iter=30).fit(X)
    assert np.all(np.isfinite(mixture.means_)) and np.all(mixture.weights_ > 0)
    assert np.all(np.isfinite(mixture.score_samples(X)))


@pytest.mark.parametrize("kind", [VAE, GaussianMixture, LatentMixture])
def test_a_notebook_shows_an_estimator_with_its_parameters(kind):
    shown = kind(random_state=7)._repr_html_()
    assert kind.__name__ in shown and "random_state" in shown


def test_a_mixture_imports_no_jax():
    program = (
        "import sys, numpy as np\n"
        "from latentmix import GaussianMixture\n"
        "GaussianMixture(2, random_state=0).fit(np.arange(20.0).reshape(10, 2))\n"
        "assert 'jax' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
