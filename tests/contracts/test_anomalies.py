"""Anomaly scores: what they are made of, what is kept of them, and what they refuse."""

import copy

import numpy as np
import pytest
from scipy.special import entr
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

import latentmix
from latentmix import VAE, GaussianMixture, LatentMixture, Refinement
from latentmix.errors import InputError
from latentmix.estimators.anomaly import TIE, statistics_of

SHAPES = np.zeros((3, 8, 8))
SHAPES[0, :4] = SHAPES[1, :, :4] = SHAPES[2, 2:6, 2:6] = 1


def images(n_rows, seed=0):
    """Return bytes of three kinds of 8x8 images, noisy and of a brightness of their own."""
    random = np.random.RandomState(seed)
    bright = random.uniform(120, 200, (n_rows, 1, 1)) * SHAPES[random.randint(3, size=n_rows)]
    return (bright + random.uniform(0, 50, bright.shape)).astype(np.uint8).reshape(n_rows, 64)


def unfitted(**parameters):
    small = VAE(hidden_dims=(32,), latent_dim=2, batch_size=32, max_epochs=40, min_steps=0)
    return LatentMixture(3, vae=small.set_params(learning_rate=1e-2), random_state=0, **parameters)


@pytest.fixture(scope="module")
def fitted():
    return unfitted().fit(images(300), validation_data=images(99, seed=1))


@pytest.fixture
def model(fitted):
    return copy.copy(fitted)


NEW = images(200, seed=2)


def strange(kind, n_rows=100):
    random = np.random.RandomState(3)
    if kind == "noise":
        return random.randint(0, 256, (n_rows, 64)).astype(np.uint8)
    if kind == "plain":  # without the noise, so that all there is of it is told
        return (200 * SHAPES).astype(np.uint8).reshape(3, 64).repeat(n_rows // 3, axis=0)
    turned = images(n_rows, seed=4).reshape(-1, 8, 8)[:, ::-1, ::-1]
    shifted = np.roll(turned, 3, axis=(1, 2)).reshape(n_rows, 64)
    return np.ascontiguousarray(shifted)


def told_apart(usual, anomalous):
    return roc_auc_score(np.repeat([0, 1], [len(usual), len(anomalous)]), [*usual, *anomalous])


@pytest.mark.parametrize("kind", ["noise", "plain", "shifted"])
def test_strange_rows_score_higher(model, kind):
    scores, others = model.anomaly_scores(NEW), model.anomaly_scores(strange(kind))
    assert told_apart(scores, others) > 0.95
    assert np.median(model.anomaly_p_values(strange(kind))) <= 0.05


def test_rows_that_are_too_likely_are_strange_where_the_bound_finds_them_usual(model):
    plain = strange("plain")
    assert told_apart(-model.score_samples(NEW), -model.score_samples(plain)) < 0.01
    assert told_apart(model.anomaly_scores(NEW), model.anomaly_scores(plain)) > 0.95


def test_a_row_is_summed_up_at_its_posterior_mean(model):
    z, proba = model.transform(NEW), model.predict_proba(NEW).astype(np.float64)
    x, mean = NEW / 255, model.reconstruct(NEW).astype(np.float64)
    cross_entropy = -(x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum(axis=1)
    expected = np.column_stack(
        [
            cross_entropy,
            (entr(x) + entr(1 - x)).sum(axis=1),
            ((x - mean) ** 2).sum(axis=1),
            model.mixture_.score_samples(z),
            model.vae_._posterior(NEW).log_variance.sum(axis=1),
            entr(proba).sum(axis=1),
        ]
    )
    found = statistics_of(model.vae_, model.mixture_, NEW)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_p_values_are_counted_among_the_held_out_rows(model):
    held_out, scores = model.anomaly_scores(images(99, seed=1)), model.anomaly_scores(NEW)
    # Scores that differ in their last digits alone count as one.
    least = scores - TIE * np.maximum(np.abs(scores), 1)
    expected = (1 + (held_out[None] >= least[:, None]).sum(axis=1)) / 100
    np.testing.assert_array_equal(model.anomaly_p_values(NEW), expected)
    other = model.learn_usual(images(300), images(50, seed=5)).anomaly_p_values(NEW)
    assert set(np.round(other * 51, 9)) <= set(range(1, 52))


def test_kept_models_answer_with_the_same_bits(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    for rows in (NEW, strange("noise")):
        np.testing.assert_array_equal(loaded.anomaly_scores(rows), model.anomaly_scores(rows))
        np.testing.assert_array_equal(loaded.anomaly_p_values(rows), model.anomaly_p_values(rows))
    again = unfitted().fit(images(300), validation_data=images(99, seed=1))
    np.testing.assert_array_equal(again.anomaly_scores(NEW), model.anomaly_scores(NEW))


def test_a_model_of_an_earlier_version_learns_it_later(model, tmp_path):
    scores = model.anomaly_scores(NEW)
    model._forget_usual()
    model.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    with pytest.raises(NotFittedError, match=r"does not know what is usual. Call learn_usual\(X\)"):
        loaded.anomaly_scores(NEW)
    later = loaded.learn_usual(images(300)).anomaly_scores(NEW)
    np.testing.assert_array_equal(later, scores)


def test_without_held_out_rows_there_are_scores_and_no_p_values():
    model = unfitted().fit(images(300))
    assert np.isfinite(model.anomaly_scores(NEW)).all()
    with pytest.raises(NotFittedError, match=r"no held-out rows.*Give fit validation_data"):
        model.anomaly_p_values(NEW)
    with pytest.raises(NotFittedError):
        unfitted().learn_usual(NEW)
    with pytest.raises(NotFittedError):
        unfitted().anomaly_scores(NEW)


def test_another_mixture_has_to_learn_what_is_usual_under_it(model):
    other = model.with_mixture(GaussianMixture(2, random_state=0), model.latents_, "z")
    with pytest.raises(NotFittedError, match="learn_usual"):
        other.anomaly_scores(NEW)
    assert told_apart(model.anomaly_scores(NEW), model.anomaly_scores(strange("noise"))) > 0.98
    other.learn_usual(images(300))
    assert told_apart(other.anomaly_scores(NEW), other.anomaly_scores(strange("noise"))) > 0.98


@pytest.mark.filterwarnings("ignore:All rows")
def test_refining_learns_it_anew():
    rounds = Refinement(n_rounds=1, epochs=1, min_steps=0, classifier_rounds=0, image_shape=(8, 8))
    mixture = GaussianMixture(covariance_type="diag")
    model = unfitted(mixture=mixture, refinement=rounds)
    model.fit(images(300), validation_data=images(99, seed=1))
    before = model.usual_
    model.refine(images(300), validation_data=images(50, seed=6))
    assert len(before.held_out) == 99
    assert len(model.usual_.held_out) == 50
    assert told_apart(model.anomaly_scores(NEW), model.anomaly_scores(strange("noise"))) > 0.98


def test_tables_have_scores_and_a_row_beyond_all_bounds_is_as_strange_as_can_be():
    random = np.random.RandomState(0)
    centres = 6 * np.eye(3)[random.randint(3, size=400)]
    X = np.hstack([centres, centres]) + random.randn(400, 6)
    model = unfitted().fit(X[:200], validation_data=X[200:300])
    far = X[300:] + 30 * random.randn(100, 6)
    assert told_apart(model.anomaly_scores(X[300:]), model.anomaly_scores(far)) > 0.98
    beyond = np.vstack([X[300:301], np.full((1, 6), 1e30)])
    assert np.isinf(model.anomaly_scores(beyond)).tolist() == [False, True]
    assert model.anomaly_p_values(beyond)[1] == 1 / 101
    with pytest.raises(InputError):
        model.anomaly_scores(np.full((1, 6), np.nan))


@pytest.mark.filterwarnings("ignore:All rows")
@pytest.mark.parametrize("n_rows", [2, 7])
def test_a_few_rows_are_enough_to_answer(n_rows):
    model = unfitted().set_params(n_components=1)
    model.fit(images(n_rows), validation_data=images(1, seed=1))
    assert np.isfinite(model.anomaly_scores(NEW)).all()
    assert set(model.anomaly_p_values(NEW)) <= {0.5, 1.0}
