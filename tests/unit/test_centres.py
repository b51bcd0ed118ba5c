"""Seeding, Lloyd and nearest centres, beside scikit-learn and the plain formulas."""

from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.cluster import KMeans, kmeans_plusplus

from latentmix.kernels.crew import Crew
from latentmix.kernels.kmeans import centres, margins, nearest, potential


@pytest.fixture(params=[1, 2, 5])
def crew(request):
    with crew_of(request.param) as crew:
        yield crew


@contextmanager
def crew_of(size):
    with Crew() as crew:
        crew.size = size
        yield crew


@pytest.fixture(params=["small blocks", "whole"])
def block_size(request, monkeypatch):
    """Cut even a few rows into blocks for several threads, or none."""
    if request.param == "small blocks":
        monkeypatch.setattr(nearest, "TABLE_ENTRIES", 96)
        monkeypatch.setattr(margins, "MOST_ROWS", 37)
        monkeypatch.setattr(margins, "LEAST_ENTRIES", 0)
        monkeypatch.setattr(potential, "LEAST_ENTRIES", 0)
        monkeypatch.setattr(centres, "BLOCK_ROWS", 13)


def blobs(n_rows, n_features, n_blobs, spread=4.0, seed=0):
    rng = np.random.RandomState(seed)
    means = spread * rng.randn(n_blobs, n_features)
    x = means[rng.randint(n_blobs, size=n_rows)] + rng.randn(n_rows, n_features)
    return x - x.mean(axis=0)


def squares(x, chosen):
    return np.sum((x[:, None] - chosen) ** 2, axis=2)


def inertia(x, chosen, weights=1.0):
    return np.sum(weights * squares(x, chosen).min(axis=1))


def seeded(x, n_components, seed=0):
    return x[np.random.RandomState(seed).choice(len(x), n_components, replace=False)]


# Nearest centres.


def nearest_centre(x, chosen, crew):
    return centres.lloyd(x, np.ones(len(x)), chosen, crew, max_iter=0).components


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("n_centres", [1, 2, 7, 300])
def test_nearest_is_the_least_distance(n_centres, crew):
    x = blobs(500, 3, 5)
    chosen = seeded(x, n_centres)
    found = nearest_centre(x, chosen, crew)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, squares(x, chosen).argmin(axis=1))


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e150])
def test_what_float32_cannot_tell_apart_is_told_apart(unit, crew):
    rng = np.random.RandomState(0)
    x = np.array([[1.0, 0.0], [-1.0, 0.0]])[rng.randint(2, size=200)] + 1e-10 * rng.randn(200, 2)
    found = nearest_centre(x * unit, x[:20] * unit, crew)
    np.testing.assert_array_equal(found, squares(x, x[:20]).argmin(axis=1))


@pytest.mark.usefixtures("block_size")
def test_the_first_of_equal_centres_is_nearest(crew):
    x = blobs(300, 2, 3)
    chosen = np.repeat(seeded(x, 4), 2, axis=0)
    assert not np.any(nearest_centre(x, chosen, crew) % 2)


# Lloyd.


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_components"), [(400, 2, 3), (600, 5, 12), (300, 1, 20)]
)
def test_lloyd_is_scikit_learn_s(n_rows, n_features, n_components, weighted, tol, crew):
    x = blobs(n_rows, n_features, n_components, spread=1.5)
    weights = np.random.RandomState(1).rand(n_rows) + 0.1 if weighted else np.ones(n_rows)
    start = seeded(x, n_components)
    # scikit-learn's tolerance knows no weights.
    variance = np.cov(x.T, aweights=weights, bias=True).reshape(n_features, -1).trace()
    theirs = KMeans(n_components, init=start, n_init=1, tol=tol * variance / x.var(axis=0).sum())
    theirs.fit(x, sample_weight=weights)
    ours = centres.lloyd(x, weights, start, crew, tol=tol)
    np.testing.assert_array_equal(ours.components, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, atol=1e-10)
    found = centres.inertia(x, weights, ours, crew)
    assert found == pytest.approx(theirs.inertia_, rel=1e-10)
    assert ours.n_iter == theirs.n_iter_


@pytest.mark.parametrize("max_iter", [0, 1, 2, 5])
def test_components_and_inertia_are_those_of_the_centres(max_iter, crew):
    x = blobs(500, 3, 6, spread=1.0)
    found = centres.lloyd(x, np.ones(500), seeded(x, 6), crew, max_iter=max_iter, tol=0.0)
    assert found.n_iter == max_iter
    np.testing.assert_array_equal(found.components, squares(x, found.centres).argmin(axis=1))
    left = centres.inertia(x, np.ones(500), found, crew)
    assert left == pytest.approx(inertia(x, found.centres))


def test_a_descent_measures_nothing_that_nobody_asked_for(crew, monkeypatch):
    asked = []
    monkeypatch.setattr(centres, "_squared_distances", lambda *rows: asked.append(rows))
    x = blobs(500, 3, 6)
    centres.lloyd(x, np.ones(500), seeded(x, 6), crew)
    assert not asked


@pytest.mark.parametrize("n_components", [3, 40])
def test_block_and_crew_sizes_do_not_matter(n_components, monkeypatch):
    x = blobs(2000, 4, 8, spread=1.0)
    found = []
    for entries in (64, 1000, 1 << 19):
        monkeypatch.setattr(nearest, "TABLE_ENTRIES", entries)
        for least in (0, 1 << 20):
            monkeypatch.setattr(margins, "LEAST_ENTRIES", least)
            for size in (1, 2, 3):
                with crew_of(size) as crew:
                    found.append(centres.lloyd(x, np.ones(2000), seeded(x, n_components), crew))
    for other in found[1:]:
        np.testing.assert_array_equal(other.components, found[0].components)
        np.testing.assert_allclose(other.centres, found[0].centres, atol=1e-12)
        assert other.n_iter == found[0].n_iter


@pytest.mark.usefixtures("block_size")
def test_the_same_call_gives_the_same_bits(crew):
    x, weights = blobs(1000, 3, 5, spread=1.0), np.ones(1000)
    one, other = (
        centres.lloyd(x, weights, x[centres.plus_plus(random, x, weights, 9, crew)], crew)
        for random in (np.random.RandomState(3), np.random.RandomState(3))
    )
    np.testing.assert_array_equal(one.centres, other.centres)
    np.testing.assert_array_equal(one.components, other.components)
    left = [centres.inertia(x, weights, found, crew) for found in (one, other)]
    assert left[0] == left[1]


@pytest.mark.usefixtures("block_size")
def test_integer_weights_are_repeated_rows(crew):
    x = blobs(300, 3, 5, spread=1.0)
    counts = np.random.RandomState(0).randint(0, 4, size=300)
    start = seeded(x, 5)
    weighted = centres.lloyd(x, counts.astype(float), start, crew)
    repeated = centres.lloyd(np.repeat(x, counts, axis=0), np.ones(counts.sum()), start, crew)
    assert weighted.n_iter == repeated.n_iter
    np.testing.assert_allclose(weighted.centres, repeated.centres, atol=1e-12)
    np.testing.assert_array_equal(np.repeat(weighted.components, counts), repeated.components)
    left = centres.inertia(x, counts.astype(float), weighted, crew)
    assert left == pytest.approx(inertia(np.repeat(x, counts, axis=0), repeated.centres))


@pytest.mark.usefixtures("block_size")
def test_centres_without_rows_move_as_scikit_learn_s(crew):
    x = blobs(400, 2, 6)
    start = np.concatenate([seeded(x, 4), [[1e3, 0.0], [0.0, 1e3]]])
    theirs = KMeans(6, init=start, n_init=1).fit(x)
    ours = centres.lloyd(x, np.ones(400), start, crew)
    np.testing.assert_array_equal(ours.components, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, atol=1e-10)
    assert np.all(np.bincount(ours.components, minlength=6) > 0)


def test_each_centre_without_rows_moves_to_another_row(crew):
    x = np.repeat(np.arange(6.0), 4)[:, None] ** 2
    start = np.full((6, 1), -9.0)
    found = centres.lloyd(x, np.ones(24), start, crew)
    np.testing.assert_allclose(np.sort(found.centres[:, 0]), np.arange(6.0) ** 2, atol=1e-12)
    assert centres.inertia(x, np.ones(24), found, crew) == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize("n_components", [2, 7])
def test_more_centres_than_distinct_rows_stay(n_components, crew):
    found = centres.lloyd(np.zeros((10, 2)), np.ones(10), np.ones((n_components, 2)), crew)
    assert np.isfinite(found.centres).all()
    assert centres.inertia(np.zeros((10, 2)), np.ones(10), found, crew) == 0.0
    assert found.n_iter < 5


@pytest.mark.usefixtures("block_size")
def test_one_centre_is_the_mean(crew):
    x, weights = blobs(100, 3, 2), np.random.RandomState(0).rand(100)
    found = centres.lloyd(x, weights, x[:1], crew)
    np.testing.assert_allclose(found.centres[0], weights @ x / weights.sum(), atol=1e-12)
    assert not found.components.any()


def test_lanes_that_blas_discards_raise_no_warning():
    # For one row of three columns and three centres, OpenBLAS's AVX-512 product reads what lies
    # behind its buffer on the stack: here signalling NaNs, left by an earlier product. (No other
    # product is known to, so elsewhere this passes in any case.)
    nans = np.full(400, 0x7FA00001, np.uint32).view(np.float32)[::2]
    row, chosen = np.random.RandomState(0).randn(1, 3), np.eye(3)
    with crew_of(1) as crew:
        rows = nearest.ReadyRows(row, crew)
        factors, _ = rows.coefficients(chosen)
        space = nearest.Workspace()
        with np.errstate(all="ignore"):
            np.dot(np.ones((7, 200), np.float32), nans)
        distances = space.distances(rows, np.arange(1), factors)
    np.testing.assert_allclose(distances.T * rows.unit**2, squares(row, chosen), rtol=1e-5)


@pytest.mark.usefixtures("block_size")
def test_as_many_centres_as_rows_are_the_rows(crew):
    x = blobs(60, 3, 2)
    found = centres.lloyd(x, np.ones(60), x, crew)
    np.testing.assert_array_equal(found.components, np.arange(60))
    assert centres.inertia(x, np.ones(60), found, crew) == pytest.approx(0.0, abs=1e-20)


@pytest.mark.usefixtures("block_size")
def test_rows_of_weight_zero_follow_but_do_not_lead(crew):
    x = blobs(300, 2, 4)
    weights = np.ones(300)
    weights[:50], x[:50] = 0.0, x[:50] + 100.0
    start = seeded(x[50:], 4)
    found = centres.lloyd(x, weights, start, crew)
    without = centres.lloyd(x[50:], weights[50:], start, crew)
    np.testing.assert_allclose(found.centres, without.centres, atol=1e-12)
    np.testing.assert_array_equal(found.components, squares(x, found.centres).argmin(axis=1))
    left = centres.inertia(x[50:], weights[50:], without, crew)
    assert centres.inertia(x, weights, found, crew) == pytest.approx(left)


# Seeding.


@pytest.mark.usefixtures("block_size")
def test_no_duplicates_while_distinct_rows_remain(crew):
    rng = np.random.RandomState(0)
    distinct = np.concatenate([rng.randn(12, 2), 1e-9 * rng.randn(8, 2) + 5.0])
    x = np.repeat(distinct, 5, axis=0)
    x -= x.mean(axis=0)
    for seed in range(20):
        rows = centres.plus_plus(np.random.RandomState(seed), x, np.ones(100), 20, crew)
        assert len(np.unique(rows // 5)) == 20
        chosen = centres.parallel(np.random.RandomState(seed), x, np.ones(100), 20, crew)
        assert len(np.unique(chosen, axis=0)) == 20


def test_rows_next_to_each_other_are_distinct(crew):
    x = np.repeat(1.0 + np.arange(8) * np.finfo(np.float64).eps, 5)[:, None]
    for seed in range(5):
        rows = centres.plus_plus(np.random.RandomState(seed), x, np.ones(40), 8, crew)
        assert len(np.unique(rows // 5)) == 8


@pytest.mark.usefixtures("block_size")
def test_rows_of_weight_zero_are_never_drawn(crew):
    x, weights = blobs(200, 2, 3), np.ones(200)
    weights[::2] = 0.0
    for seed in range(10):
        random = np.random.RandomState(seed)
        assert np.all(centres.plus_plus(random, x, weights, 30, crew) % 2)
        chosen = centres.parallel(random, x, weights, 3, crew)
        assert inertia(x, chosen, weights) < inertia(x, x[:1], weights)


@pytest.mark.usefixtures("block_size")
def test_fixed_centres_keep_new_ones_away(crew):
    x = np.repeat(np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]), 30, axis=0)
    x = x + np.random.RandomState(0).randn(90, 2)
    for seed in range(10):
        random = np.random.RandomState(seed)
        rows = centres.plus_plus(random, x, np.ones(90), 2, crew, fixed=x[:1])
        assert sorted(rows // 30) == [1, 2]


def test_draws_are_in_proportion_to_weight_times_squared_distance(crew):
    x = np.arange(5.0)[:, None]
    weights = np.array([1.0, 2.0, 0.0, 4.0, 1.0])
    rows = nearest.ReadyRows(x, crew, "F")
    drawn = potential.Potential(rows, weights)
    random = np.random.RandomState(0)
    shares = np.bincount(drawn.draw(random, 20000), minlength=5) / 20000
    np.testing.assert_allclose(shares, weights / 8, atol=0.02)
    drawn.add(x[1:2])
    shares = np.bincount(drawn.draw(random, 20000), minlength=5) / 20000
    expected = weights * (x[:, 0] - 1) ** 2
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.02)


@pytest.mark.usefixtures("block_size")
def test_remainders_are_what_a_candidate_would_leave(crew):
    x, weights = blobs(500, 3, 4), np.random.RandomState(0).rand(500)
    seen = potential.Potential(nearest.ReadyRows(x, crew, "F"), weights)
    seen.add(x[:2])
    seen.add(x[2:3])
    left = [inertia(x, x[[0, 1, 2, i]], weights) for i in range(10, 20)]
    found = seen.remainders(x[10:20])
    np.testing.assert_allclose(found / found[0], left / left[0], rtol=1e-5)
    components = squares(x, x[:3]).argmin(axis=1)
    np.testing.assert_allclose(seen.masses(), np.bincount(components, weights))


def test_seeding_is_as_good_as_scikit_learn_s(crew):
    x = blobs(3000, 4, 15)
    weights, starts = np.ones(3000), {"ours": [], "theirs": [], "parallel": []}
    for seed in range(12):
        random = np.random.RandomState(seed)
        starts["ours"].append(x[centres.plus_plus(random, x, weights, 15, crew)])
        starts["theirs"].append(kmeans_plusplus(x, 15, random_state=seed)[0])
        starts["parallel"].append(centres.parallel(random, x, weights, 15, crew))
    before = {who: np.mean([inertia(x, start) for start in starts[who]]) for who in starts}
    assert before["ours"] < 1.1 * before["theirs"]
    ends = {
        who: [centres.lloyd(x, weights, start, crew) for start in starts[who]] for who in starts
    }
    after = {
        who: np.mean([centres.inertia(x, weights, end, crew) for end in ends[who]]) for who in ends
    }
    assert after["ours"] < 1.05 * after["theirs"]
    assert after["parallel"] < 1.05 * after["ours"]


@pytest.mark.parametrize("n_components", [1, 2, 6, 10])
def test_constant_rows(n_components, crew):
    x, random = np.zeros((10, 3)), np.random.RandomState(0)
    assert len(centres.plus_plus(random, x, np.ones(10), n_components, crew)) == n_components
    chosen = centres.parallel(random, x, np.ones(10), n_components, crew)
    assert chosen.shape == (n_components, 3)
    found = centres.lloyd(x, np.ones(10), chosen, crew)
    assert centres.inertia(x, np.ones(10), found, crew) == 0.0


@pytest.mark.parametrize("n_components", [1, 10])
def test_from_one_centre_to_as_many_as_rows(n_components, crew):
    x, random = blobs(10, 3, 2), np.random.RandomState(0)
    rows = centres.plus_plus(random, x, np.ones(10), n_components, crew)
    assert len(np.unique(rows)) == n_components
    chosen = centres.parallel(random, x, np.ones(10), n_components, crew)
    assert len(np.unique(chosen, axis=0)) == n_components
