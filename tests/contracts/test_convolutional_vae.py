"""A VAE with convolutions: kept and read again, in rounds and runs, and refused for tables."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import latentmix
from latentmix import VAE, LatentMixture, Refinement
from latentmix.errors import ParameterError

SMALL = {"hidden_dims": (16,), "latent_dim": 2, "max_epochs": 2, "min_steps": 0, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, _ = load_digits(return_X_y=True)
    return (X[:300] * 15).astype(np.uint8)


def convolutional(**changes):
    return VAE(**{**SMALL, "channels": (4, 6), "image_shape": (8, 8), **changes})


def test_it_is_read_again_as_it_was(digits, tmp_path):
    vae = convolutional(channels=np.array([4, 6]), hidden_dims=None).fit(digits)
    assert vae.architecture_.hidden_dims == (256,)
    vae.save(tmp_path / "model")
    again = latentmix.load(tmp_path / "model")
    assert again.architecture_ == vae.architecture_
    for answer in ("transform", "reconstruct", "score_samples"):
        np.testing.assert_array_equal(getattr(again, answer)(digits), getattr(vae, answer)(digits))
    np.testing.assert_array_equal(again.sample(3).shape, (3, 64))


def test_training_that_goes_on_sees_images_too(digits):
    vae = convolutional()
    for block in np.array_split(digits, 3):
        vae.partial_fit(block)
    assert np.isfinite(vae.score(digits))


def test_rounds_train_it_with_its_mixture(digits):
    rounds = Refinement(n_rounds=1, epochs=1, min_steps=0, classifier_rounds=0, image_shape=(8, 8))
    model = LatentMixture(3, vae=convolutional(), refinement=rounds, random_state=0)
    assert model.fit(digits).predict_proba(digits).shape == (300, 3)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_shape": None}, "channels need images, but image_shape=None"),
        ({"image_shape": (8, 9)}, "has 72 values but X has 64 features"),
        ({"image_shape": (64,)}, "image_shape=(64,)"),
        ({"likelihood": "categorical"}, "likelihood='categorical' tells of a table's columns"),
        ({"channels": (4, 0)}, "channels' number=0"),
        ({"channels": (4, 2.5)}, "channels' number=2.5"),
    ],
)
def test_what_is_no_image_is_refused(digits, changes, expected):
    with pytest.raises(ParameterError) as refused:
        convolutional(**changes).fit(digits)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
