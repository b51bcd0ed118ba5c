"""Several VAEs fitted together: each is what its own `fit` would have made of it."""

import numpy as np
import pytest
from sklearn.base import clone

import latentmix.estimators.together as module
from latentmix import VAE, LatentMixture, fit_together
from latentmix.errors import InputError, ParameterError

N, D = 150, 12


def vae(**changes):
    settings = {
        "hidden_dims": (16, 8),
        "latent_dim": 2,
        "batch_size": 32,
        "max_epochs": 4,
        "min_steps": 0,
        "kl_warmup": 0.5,
        "random_state": 0,
    }
    return VAE(**{**settings, **changes})


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).randint(0, 256, (N, D)).astype(np.uint8)


@pytest.fixture(scope="module")
def table():
    random = np.random.RandomState(1)
    return random.standard_normal((N, 3)) @ random.standard_normal((3, D)) + 5.0


DIFFERENT = [
    {},
    {"random_state": 1},
    {"random_state": 2, "learning_rate": 1e-2, "kl_weight": 0.3},
    {"learning_rate": 3e-3, "clip_norm": 5.0},
]


def losses(fitted):
    return np.array(
        [(e.train.reconstruction, e.train.kl, e.train.objective) for e in fitted.history_]
    )


def assert_as_alone(together, X):
    for one in together:
        alone = clone(one).fit(X)
        assert one.stop_reason_ == alone.stop_reason_
        assert one.best_epoch_ == alone.best_epoch_
        np.testing.assert_allclose(losses(one), losses(alone), rtol=1e-4)
        np.testing.assert_allclose(one.transform(X), alone.transform(X), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(one.score(X), alone.score(X), rtol=1e-4)


@pytest.mark.parametrize("vmap", ["auto", True, False])
def test_images_under_other_seeds_and_settings_are_fitted_as_alone(images, vmap):
    assert_as_alone(fit_together([vae(**one) for one in DIFFERENT], images, vmap=vmap), images)


@pytest.mark.parametrize(
    "shared",
    [{"schedule": "constant"}, {"schedule": "linear", "learning_rate_warmup": 0.3}],
)
def test_a_table_under_other_schedules_is_fitted_as_alone(table, shared):
    together = fit_together([vae(**shared, **one) for one in DIFFERENT], table, vmap=True)
    assert_as_alone(together, table)


def test_an_epoch_in_several_shards_is_the_same(images, monkeypatch):
    monkeypatch.setattr("latentmix.training.shards.BYTES_PER_SHARD", 4 * 64 * D)
    assert_as_alone(fit_together([vae(**one) for one in DIFFERENT], images, vmap=True), images)


def test_the_estimators_given_are_the_ones_returned(images):
    given = [vae(), vae(random_state=1)]
    fitted = fit_together(given, images)
    assert all(one is other for one, other in zip(fitted, given, strict=True))
    assert not np.allclose(given[0].transform(images), given[1].transform(images))


def test_auto_trains_large_networks_one_after_another(images, monkeypatch):
    def refuse(*_):
        raise AssertionError("trained side by side")

    monkeypatch.setattr(module, "run_together", refuse)
    with pytest.raises(AssertionError):
        fit_together([vae(), vae()], images)
    fit_together([vae(hidden_dims=(3200, 64), max_epochs=1) for _ in range(2)], images)


@pytest.mark.parametrize("vmap", [True, False])
def test_one_that_diverges_is_named_and_the_others_are_fitted(table, vmap):
    given = [vae(), vae(learning_rate=1e30), vae(random_state=1)]
    with pytest.raises(ParameterError, match=r"diverged for vaes\[1\] \(learning_rate=1e\+30\)"):
        fit_together(given, table, vmap=vmap)
    assert not hasattr(given[1], "network_")
    assert_as_alone([given[0], given[2]], table)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "vaes holds nothing"),
        ([LatentMixture()], "vaes holds LatentMixture"),
        ([vae(), vae(latent_dim=3)], r"latent_dim=2, but vaes\[1\] has 3"),
        ([vae(), vae(), vae(hidden_dims=(16,))], r"hidden_dims=\(16, 8\), but vaes\[2\]"),
        ([vae(), vae(batch_size=16)], "batch_size=32"),
        ([vae(patience=2), vae(patience=2)], "patience=2 needs validation rows"),
    ],
)
def test_what_cannot_be_trained_together_is_refused(images, given, told):
    with pytest.raises(InputError, match=told):
        fit_together(given, images)


def test_the_same_estimator_twice_is_refused(images):
    one = vae()
    with pytest.raises(InputError, match="same estimator twice"):
        fit_together([one, one], images)


def test_hidden_widths_may_be_a_list_here_and_a_tuple_there(images):
    fit_together([vae(max_epochs=1), vae(max_epochs=1, hidden_dims=[16, 8])], images)
