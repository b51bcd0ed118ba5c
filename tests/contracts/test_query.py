"""Rows to label next, asked of every estimator with components."""

import numpy as np
import pytest

from latentmix import VAE, BernoulliMixture, GaussianMixture, LatentMixture
from latentmix.errors import InputError, ParameterError

CENTRES = np.array([[0.0, 0], [6, 0], [0, 6], [6, 6]])


def four_kinds(n_rows=600, seed=0):
    """Return rows of four kinds, the first far more often than the last, and which is which."""
    random = np.random.RandomState(seed)
    kinds = random.choice(4, size=n_rows, p=[0.5, 0.3, 0.15, 0.05])
    return CENTRES[kinds] + random.randn(n_rows, 2), kinds


@pytest.fixture(scope="module")
def mixture():
    X, _ = four_kinds()
    return GaussianMixture(4, means_init=CENTRES, random_state=0).fit(X)


def test_four_rows_name_four_components(mixture):
    X, kinds = four_kinds()
    asked = mixture.query(X, 4)
    assert kinds[asked].tolist() == [0, 1, 2, 3]  # the largest first
    # Each lies close to the mean of its component.
    assert np.abs(X[asked] - mixture.means_[mixture.predict(X[asked])]).max() < 0.8
    named = GaussianMixture(4, means_init=CENTRES).fit(X).label(X[asked], kinds[asked])
    assert (named.predict_class(X) == kinds).mean() > 0.98


def test_the_same_answer_again_and_never_a_row_with_a_label(mixture):
    X, _ = four_kinds()
    labels = np.full(600, -1)
    labels[mixture.query(X, 10)] = 0
    asked = mixture.query(X, 50, labels=labels)
    np.testing.assert_array_equal(asked, mixture.query(X, 50, labels=labels))
    assert len(set(asked)) == 50 and (labels[asked] == -1).all()
    np.testing.assert_array_equal(mixture.query(X, 7, labels=np.full(600, -1)), mixture.query(X, 7))


def test_names_that_leave_doubt_draw_the_questions():
    X, kinds = four_kinds()
    model = GaussianMixture(4, means_init=CENTRES).fit(X)
    mixed = np.where(kinds == 2, np.arange(600) % 2, kinds)  # the third kind is two classes
    few = np.concatenate([np.flatnonzero(kinds == kind)[:20] for kind in range(4)])
    labels = np.full(600, -1)
    labels[few] = mixed[few]
    asked = model.label(X, labels).query(X, 20, labels=labels)
    assert (kinds[asked] == 2).mean() > 0.6  # 15 % of the rows


@pytest.mark.parametrize("kind", ["latent", "bernoulli", "missing"])
def test_networks_other_families_and_missing_entries_ask_too(kind):
    X, _ = four_kinds(400)
    if kind == "latent":
        vae = VAE(hidden_dims=(16,), latent_dim=2, min_steps=300, max_epochs=1, random_state=0)
        model = LatentMixture(4, vae=vae, random_state=0).fit(X)
    elif kind == "bernoulli":
        X = (X > 3).astype(np.uint8)
        model = BernoulliMixture(4, random_state=0, n_init=5).fit(X)
    else:
        X[::7, 0] = np.nan
        model = GaussianMixture(4, means_init=CENTRES).fit(X)
    asked = model.query(X, 30)
    assert len(set(asked)) == 30
    # Before any name, a row of every cluster comes first.
    first = model.predict(X[asked])[: len(np.unique(model.predict(X)))]
    assert len(set(first)) == len(first)


def test_what_cannot_be_asked_for_says_so(mixture):
    X, _ = four_kinds()
    labels = np.zeros(600, int)
    labels[:5] = -1
    with pytest.raises(InputError, match="n=6 rows are asked for but only 5 of the 600 rows"):
        mixture.query(X, 6, labels=labels)
    with pytest.raises(InputError, match=r"n=601 .* only 600 of the 600"):
        mixture.query(X, 601)
    with pytest.raises(InputError, match="has 600 rows"):
        mixture.query(X, 2, labels=labels[:10])
    for n in (0, 1.5):
        with pytest.raises(ParameterError, match="n="):
            mixture.query(X, n)
