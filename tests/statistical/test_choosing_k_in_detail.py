"""How sizes are compared: the table by an independent calculation, and every kind of rows."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture as Peer

from latentmix import GaussianMixture, select_n_components
from latentmix.training import em_selection
from latentmix.training.em_start import Starter

CENTRES = np.array([[0.0, 0], [9, 0], [0, 9]])


def three(n_rows=300, spread=1.0, seed=0):
    """Return rows of three clusters of different sizes, cluster after cluster, and which is whose.

    Centres are nine apart, and `spread` is the clusters' deviation.
    """
    own = np.repeat([0, 1, 2], [n_rows // 2, n_rows // 3, n_rows - n_rows // 2 - n_rows // 3])
    return spread * np.random.RandomState(seed).randn(n_rows, 2) + CENTRES[own], own


# --- the table


def halves_of(n_rows, random_state):
    """Return the halves of the rows that `random_state` draws."""
    seed = np.random.RandomState(random_state).randint(2**31 - 1)
    order = np.random.RandomState(seed).permutation(n_rows)
    return order[: n_rows // 2], order[n_rows // 2 :]


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("spread", [1.0, 2.2], ids=["apart", "touching"])
def test_heldout_and_stability_are_those_of_fits_to_halves(spread, covariance_type):
    X, _ = three(400, spread)
    row = select_n_components(X, [3], covariance_type=covariance_type, random_state=5).table[0]
    halves = halves_of(len(X), 5)
    # All of its start is given: a start by k-means would differ from one time to the next.
    precisions = {"full": np.tile(np.eye(2), (3, 1, 1)), "diag": np.ones((3, 2))}
    start = {
        "weights_init": np.full(3, 1 / 3),
        "means_init": CENTRES,
        "precisions_init": precisions[covariance_type] / spread**2,
    }
    one, other = (
        Peer(3, covariance_type=covariance_type, tol=1e-3, **start).fit(X[half]) for half in halves
    )
    heldout = (one.score(X[halves[1]]) + other.score(X[halves[0]])) / 2
    seen = (one.score(X[halves[0]]) + other.score(X[halves[1]])) / 2
    assert row.heldout == pytest.approx(heldout, abs=0.004)
    assert abs(seen - heldout) > 0.02  # rows that were fitted to would be told from others
    # A row between two clusters goes with either, and EM stops a little before its end.
    stability = adjusted_rand_score(one.predict(X), other.predict(X))
    assert row.stability == pytest.approx(stability, abs=0.05)
    assert (stability == 1) == (spread == 1)


# --- kinds of rows


def test_whole_weights_choose_as_repeated_rows_do():
    X, _ = three(240)
    weights = np.random.RandomState(1).randint(0, 4, len(X))
    X[weights == 0] = 40 * np.random.RandomState(2).randn(int((weights == 0).sum()), 2)
    given = {"covariance_type": "full", "random_state": 0}
    weighted = select_n_components(X, range(1, 6), sample_weight=weights, **given)
    repeated = select_n_components(np.repeat(X, weights, axis=0), range(1, 6), **given)
    assert weighted.n_components == repeated.n_components == 3
    for one, other in zip(weighted.table[:3], repeated.table[:3], strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=2e-3)
        assert one.bic == pytest.approx(other.bic, abs=2e-3 * 2 * weights.sum())


def test_sizes_of_rows_with_missing_entries():
    X, _ = three(300)
    X[np.random.RandomState(0).rand(*X.shape) < 0.1] = np.nan
    selection = select_n_components(X, range(2, 5), random_state=0)
    assert selection.n_components == 3
    row = selection.table[1]
    mixture = GaussianMixture(
        3, covariance_type=row.covariance_type, means_init=CENTRES, tol=1e-6, max_iter=500
    ).fit(X)
    assert row.log_likelihood == pytest.approx(mixture.score(X), abs=2e-3)
    assert row.heldout == pytest.approx(mixture.score(X), abs=0.1)
    assert row.stability > 0.8  # what is left of a row may tell little


def test_of_many_rows_twenty_thousand_are_compared():
    X, _ = three(30_000)
    selection = select_n_components(X, range(2, 5), covariance_type="spherical", random_state=0)
    assert selection.n_components == 3
    for row in selection.table:
        n_parameters = 4 * row.n_components - 1
        n_rows = 20_000
        assert row.bic == pytest.approx(
            -2 * n_rows * row.log_likelihood + n_parameters * np.log(n_rows)
        )
    # The first 20,000 rows hold two clusters alone: they are drawn from all.
    whole = GaussianMixture(3, covariance_type="spherical", means_init=CENTRES).fit(X).score(X)
    assert selection.table[1].log_likelihood == pytest.approx(whole, abs=0.03)


# --- growth


def test_only_the_smallest_size_is_started_from_scratch(monkeypatch):
    drawn, fitted = [], []
    draw, best = Starter.draw, em_selection.Grower.best

    def counted_draw(self, n_components, *given, **named):
        drawn.append(n_components)
        return draw(self, n_components, *given, **named)

    def counted_best(self, models):
        fitted.extend(len(model.mixture.weights) for model in models)
        return best(self, models)

    monkeypatch.setattr(Starter, "draw", counted_draw)
    monkeypatch.setattr(em_selection.Grower, "best", counted_best)
    X, _ = three()
    select_n_components(X, range(1, 8), random_state=0)
    assert drawn == [1, 1, 1]  # of all rows, and of either half
    # Of each size EM runs from the best two splits and merges, not from a draw of its own.
    assert max(fitted.count(size) for size in range(1, 8)) <= 3 * 2 * em_selection.MOVES
    drawn.clear()
    select_n_components(X, range(3, 6), random_state=0)
    assert drawn == [3, 3, 3]


# --- n_components="auto"


def test_auto_takes_weights():
    """A hundred rows that weigh next to nothing are no cluster."""
    X, own = three(300)
    far = np.array([[60.0, 60]]) + np.random.RandomState(3).randn(100, 2)
    weights = np.append(np.random.RandomState(1).randint(1, 4, 300), np.full(100, 1e-9))
    mixture = GaussianMixture("auto", random_state=0).fit(np.r_[X, far], sample_weight=weights)
    assert mixture.n_components_ == 3
    order = np.argsort(mixture.means_ @ [1.0, 2.0])
    for k, component in zip(range(3), order, strict=True):
        mine = own == k
        mean = np.average(X[mine], axis=0, weights=weights[:300][mine])
        np.testing.assert_allclose(mixture.means_[component], mean, atol=0.05)
        share = weights[:300][mine].sum() / weights.sum()
        assert mixture.weights_[component] == pytest.approx(share, abs=1e-3)


def test_auto_names_what_it_finds():
    """Two of three clusters have one name between them."""
    X, own = three(300)
    names = np.array(["ash", "birch", "ash"], object)[own]
    labels = np.where(np.arange(300) % 5 == 0, names, None)
    mixture = GaussianMixture("auto", random_state=0).fit(X, labels=labels)
    assert mixture.n_components_ == 3
    assert mixture.classes_.tolist() == ["ash", "birch"]
    assert mixture.class_probs_.shape == (3, 2)
    assert mixture.labelled_rows_.sum() == pytest.approx(60)
    assert np.mean(mixture.predict_class(X) == names) > 0.99


def test_auto_is_one_start_whatever_n_init_says():
    X, _ = three(300)
    starts = set()
    given = {"random_state": 0, "tol": 1e-5}
    mixture = GaussianMixture("auto", n_init=5, **given)
    mixture.fit(X, listener=lambda event: starts.add(event.start))
    assert starts == {0}
    assert mixture.n_components_ == 3
    np.testing.assert_array_equal(mixture.means_, GaussianMixture("auto", **given).fit(X).means_)
