"""k-means: seeding, Lloyd and nearest centres, beside scikit-learn and the plain formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from latentmix.kernels import kmeans
from latentmix.kernels.kmeans import descent, seeding
from latentmix.kernels.kmeans import nearest as blockwise


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def blobs(n_rows, n_features, n_blobs, spread=4.0, seed=0):
    rng = np.random.RandomState(seed)
    means = spread * rng.randn(n_blobs, n_features)
    return means[rng.randint(n_blobs, size=n_rows)] + rng.randn(n_rows, n_features)


def table(x, centres):
    return ((np.asarray(x)[:, None] - np.asarray(centres)) ** 2).sum(axis=2)


def inertia(x, centres):
    return table(x, centres).min(axis=1).sum()


def compiled_anew(function):
    """Compile with the module's constants of now."""
    return jax.jit(partial(function.__wrapped__))


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut rows into blocks of 64, as far as functions are compiled anew."""
    monkeypatch.setattr(blockwise, "BYTES_PER_BLOCK", 1)


@pytest.fixture(params=[False, True], ids=["float64", "float32 first"])
def float32_first(request, monkeypatch):
    least = 0 if request.param else 1 << 60
    monkeypatch.setattr(descent, "LEAST_DISTANCES_IN_FLOAT32", least)
    return request.param


# Nearest centres.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_centres", [1, 2, 24, 25, 64, 200])
def test_nearest_is_the_least_distance(n_centres, dtype):
    rng = np.random.RandomState(n_centres)
    x, centres = rng.randn(500, 5).astype(dtype), rng.randn(n_centres, 5).astype(dtype)
    number, distance = blockwise.nearest(jnp.asarray(x), jnp.asarray(centres))
    expected = table(x.astype(float), centres.astype(float))
    own = expected[np.arange(500), np.asarray(number)]
    # In float32 a tie is decided in favour of the first of centres equal to one in 2^15.
    rtol = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(own, expected.min(axis=1), rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(distance, expected.min(axis=1), rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("n_centres", [10, 100])
def test_a_row_on_a_centre_is_nearest_to_the_first_of_its_copies(n_centres):
    rng = np.random.RandomState(0)
    centres = rng.randn(n_centres, 3)
    centres[7] = centres[3]
    expected = np.where(np.arange(n_centres) == 7, 3, np.arange(n_centres))
    answer = kmeans.nearest_centre(jnp.asarray(centres), jnp.asarray(centres))
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(("n_rows", "n_centres"), [(1, 3), (64, 3), (65, 30), (500, 30)])
@pytest.mark.usefixtures("small_blocks")
def test_blocks_of_any_size_agree(n_rows, n_centres):
    rng = np.random.RandomState(n_rows)
    x, centres = rng.randn(n_rows, 4), rng.randn(n_centres, 4)
    weights = rng.uniform(0, 2, n_rows)
    number = compiled_anew(kmeans.nearest_centre)(jnp.asarray(x), jnp.asarray(centres))
    np.testing.assert_array_equal(number, table(x, centres).argmin(axis=1))
    lloyd = compiled_anew(kmeans.lloyd)
    step = lloyd(jnp.asarray(x), jnp.asarray(weights), jnp.asarray(centres), 1)
    for k in np.unique(number):
        mine = np.asarray(number) == k
        mean = np.average(x[mine], axis=0, weights=weights[mine])
        np.testing.assert_allclose(step.centres[k], mean, rtol=1e-9, atol=1e-12)


def test_a_centre_far_from_the_origin_keeps_its_digits():
    x = 1e6 + np.random.RandomState(0).randn(300, 3)
    centres = x[:40]
    answer = kmeans.nearest_centre(jnp.asarray(x), jnp.asarray(centres))
    np.testing.assert_array_equal(answer, table(x, centres).argmin(axis=1))


# k-means++.


def test_plus_plus_finds_far_clusters_and_never_draws_weight_zero():
    rng = np.random.RandomState(1)
    x = np.concatenate([rng.randn(30, 2) + 100 * np.array([k, -k]) for k in range(4)])
    weights = np.ones(120)
    weights[:30] = 0
    for seed in range(20):
        rows = kmeans.plus_plus(jax.random.key(seed), jnp.asarray(x), jnp.asarray(weights), 3)
        assert sorted(np.asarray(rows) // 30) == [1, 2, 3]


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_plus_plus_repeats_no_row_while_distinct_rows_remain(offset):
    # Ten distinct rows of many copies each, two of them a millionth apart.
    distinct = offset + np.arange(10.0)[:, None] ** 3 * [1.0, -1.0]
    distinct[1] = distinct[0] + 1e-6
    x = distinct[np.random.RandomState(0).randint(10, size=400)]
    x[:10] = distinct
    for seed in range(20):
        rows = kmeans.plus_plus(jax.random.key(seed), jnp.asarray(x), jnp.ones(400), 10)
        assert len(np.unique(x[np.asarray(rows)], axis=0)) == 10


def test_plus_plus_draws_every_row_once_of_as_many_as_centres():
    x = jnp.asarray(np.random.RandomState(0).randn(70, 2))
    rows = kmeans.plus_plus(jax.random.key(0), x, jnp.ones(70), 70)
    np.testing.assert_array_equal(np.sort(rows), np.arange(70))


def test_plus_plus_on_identical_rows_draws_different_ones():
    weights = jnp.asarray([1.0] * 5 + [0.0] * 5)
    rows = np.asarray(kmeans.plus_plus(jax.random.key(0), jnp.full((10, 2), 0.1), weights, 5))
    assert sorted(rows) == [0, 1, 2, 3, 4]


def test_draws_are_in_proportion_to_the_potential():
    potential = np.zeros(1000)
    potential[[3, 64, 65, 999]] = [1, 2, 3, 4]
    uniform = (np.arange(1000) + 0.5) / 1000
    rows = np.asarray(seeding._draw(jnp.asarray(uniform), jnp.asarray(potential)))
    counts = np.bincount(rows, minlength=1000)
    np.testing.assert_array_equal(counts, 100 * potential)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draws_at_the_end_of_the_sum_never_fall_where_there_is_nothing(dtype):
    rng = np.random.RandomState(0)
    potential = (rng.uniform(size=5000) * 10.0 ** rng.uniform(-8, 8, size=5000)).astype(dtype)
    potential[rng.uniform(size=5000) < 0.7] = 0
    potential[-200:] = 0
    uniform = np.concatenate([[0.0, 1.0], np.nextafter(dtype(1), dtype(0), dtype=dtype)[None]])
    uniform = np.concatenate([uniform, rng.uniform(size=3000)])
    rows = np.asarray(seeding._draw(jnp.asarray(uniform), jnp.asarray(potential)))
    assert np.all(potential[rows] > 0)


# k-means||.


def test_parallel_is_as_good_a_start_as_plus_plus():
    x = blobs(4000, 3, 30)
    ends = {"plus_plus": [], "parallel": []}
    for seed in range(5):
        key = jax.random.key(seed)
        rows = kmeans.plus_plus(key, jnp.asarray(x), jnp.ones(4000), 30)
        starts = {
            "plus_plus": jnp.asarray(x)[rows],
            "parallel": kmeans.parallel(key, jnp.asarray(x), jnp.ones(4000), 30),
        }
        for name, start in starts.items():
            ends[name].append(inertia(x, start))
    assert np.mean(ends["parallel"]) < 1.03 * np.mean(ends["plus_plus"])
    # Rows drawn evenly start far worse, so that the comparison says something.
    shuffled = (np.random.RandomState(seed).permutation(x) for seed in range(5))
    evenly = [inertia(x, rows[:30]) for rows in shuffled]
    assert np.mean(evenly) > 1.5 * np.mean(ends["plus_plus"])


def test_parallel_gives_no_centre_to_weight_zero():
    x = blobs(1000, 2, 4, spread=1.0)
    x[:100] += 1000
    weights = np.ones(1000)
    weights[:100] = 0
    centres = kmeans.parallel(jax.random.key(0), jnp.asarray(x), jnp.asarray(weights), 8)
    assert np.abs(centres).max() < 100


def test_parallel_of_constant_rows_is_the_row():
    centres = kmeans.parallel(jax.random.key(0), jnp.full((50, 3), 7.25), jnp.ones(50), 5)
    np.testing.assert_allclose(centres, np.full((5, 3), 7.25), rtol=1e-12)


# Lloyd.


@pytest.mark.parametrize("tol", [0.0, 1e-4])
@pytest.mark.parametrize("n_components", [10, 40])
def test_lloyd_is_scikit_learns_from_the_same_centres(n_components, tol, float32_first):
    x = blobs(600, 4, 10, spread=1.5)
    centres = x[np.random.RandomState(3).permutation(600)[:n_components]]
    peer = KMeans(n_components, init=centres, n_init=1, tol=tol).fit(x)
    lloyd = compiled_anew(kmeans.lloyd)
    ours = lloyd(jnp.asarray(x), jnp.ones(600), jnp.asarray(centres), 300, tol)
    if not float32_first:
        assert ours.n_iter == peer.n_iter_
    if tol == 0 or not float32_first:
        np.testing.assert_allclose(ours.centres, peer.cluster_centers_, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(ours.components, peer.labels_)
    assert inertia(x, ours.centres) <= 1.001 * peer.inertia_


@pytest.mark.usefixtures("float32_first")
def test_lloyd_takes_the_steps_it_is_allowed():
    x = blobs(300, 2, 5, spread=1.0)
    lloyd = compiled_anew(kmeans.lloyd)
    for max_iter in (0, 1, 2):
        ours = lloyd(jnp.asarray(x), jnp.ones(300), jnp.asarray(x[:6]), max_iter)
        assert ours.n_iter == max_iter
        expected = x[:6]
        if max_iter > 0:
            peer = KMeans(6, init=x[:6], n_init=1, max_iter=max_iter).fit(x)
            expected = peer.cluster_centers_
        np.testing.assert_allclose(ours.centres, expected, rtol=1e-5)
        np.testing.assert_array_equal(ours.components, table(x, ours.centres).argmin(axis=1))


@pytest.mark.usefixtures("float32_first")
def test_lloyd_tells_tight_clusters_apart_that_float32_cannot():
    # Two pairs of clusters: float32 cannot tell the clusters of a pair from each other.
    rng = np.random.RandomState(0)
    x = 1e-5 * rng.randn(400, 2) + np.repeat([[0, 0], [1e-3, 0], [5e3, 0], [5e3, 1e-3]], 100, 0)
    centres = x[[0, 100, 200, 300]]
    lloyd = compiled_anew(kmeans.lloyd)
    ours = lloyd(jnp.asarray(x), jnp.ones(400), jnp.asarray(centres), 300, 0.0)
    assert inertia(x, ours.centres) < 2 * 400 * 2 * 1e-10


def test_lloyd_never_raises_the_inertia():
    x = blobs(500, 3, 12, spread=1.0)
    centres = jnp.asarray(x[:12])
    before = inertia(x, centres)
    for _ in range(15):
        centres = kmeans.lloyd(jnp.asarray(x), jnp.ones(500), centres, max_iter=1).centres
        after = inertia(x, centres)
        assert after <= before * (1 + 1e-12)
        before = after


@pytest.mark.parametrize("n_components", [3, 30])
def test_integer_weights_are_repeated_rows(n_components):
    rng = np.random.RandomState(5)
    x = blobs(300, 3, 6, spread=1.5)
    counts = rng.randint(0, 4, size=300)
    centres = jnp.asarray(x[:n_components])
    weighted = kmeans.lloyd(jnp.asarray(x), jnp.asarray(counts, float), centres)
    repeated = np.repeat(x, counts, axis=0)
    plain = kmeans.lloyd(jnp.asarray(repeated), jnp.ones(len(repeated)), centres)
    assert weighted.n_iter == plain.n_iter
    np.testing.assert_allclose(weighted.centres, plain.centres, rtol=1e-9)
    np.testing.assert_array_equal(np.repeat(weighted.components, counts), plain.components)


def test_the_scale_of_weights_does_not_matter():
    x = blobs(300, 3, 6)
    start = jnp.asarray(x[:6])
    expected = kmeans.lloyd(jnp.asarray(x), jnp.ones(300), start)
    for scale in (1e-30, 1e30):
        answer = kmeans.lloyd(jnp.asarray(x), jnp.full(300, scale), start)
        np.testing.assert_allclose(answer.centres, expected.centres, rtol=1e-9)


@pytest.mark.parametrize("n_components", [4, 30])
def test_centres_without_rows_are_given_some(n_components):
    x = blobs(400, 2, n_components, spread=30.0)
    # All start in one place: all but the first are without rows.
    centres = np.repeat(x[:1], n_components, axis=0)
    ours = kmeans.lloyd(jnp.asarray(x), jnp.ones(400), jnp.asarray(centres), tol=0.0)
    assert len(np.unique(ours.components)) == n_components
    peer = KMeans(n_components, n_init=1, random_state=0).fit(x)
    assert inertia(x, ours.centres) < 1.5 * peer.inertia_


def test_a_row_of_weight_zero_is_no_place_for_a_centre_without_rows():
    x = np.concatenate([blobs(100, 2, 1), [[1e4, 1e4]]])
    weights = np.append(np.ones(100), 0.0)
    centres = jnp.asarray(np.repeat(x[:1], 2, axis=0))
    for max_iter in (1, 300):
        ours = kmeans.lloyd(jnp.asarray(x), jnp.asarray(weights), centres, max_iter)
        assert np.abs(ours.centres).max() < 100


def test_lloyd_stops_where_centres_outnumber_distinct_rows():
    x = np.repeat([[0.1, 0.2], [3.3, 4.4]], 20, axis=0)
    centres = np.repeat(x[:1], 5, axis=0)
    ours = kmeans.lloyd(jnp.asarray(x), jnp.ones(40), jnp.asarray(centres))
    assert ours.n_iter < 30
    assert inertia(x, ours.centres) < 1e-20


def test_lloyd_with_a_centre_on_every_row_stays_there():
    x = np.random.RandomState(0).randn(50, 3)
    ours = kmeans.lloyd(jnp.asarray(x), jnp.ones(50), jnp.asarray(x))
    np.testing.assert_array_equal(ours.components, np.arange(50))
    np.testing.assert_allclose(ours.centres, x, rtol=1e-12)


# All of it.


@pytest.mark.parametrize("in_parallel", [False, True])
def test_k_means_is_as_good_as_scikit_learns(in_parallel, monkeypatch):
    x = blobs(2000, 4, 12, spread=2.0)
    monkeypatch.setattr(kmeans, "LEAST_DISTANCES_IN_PARALLEL", 0 if in_parallel else 1 << 30)
    ours, peers = [], []
    for seed in range(5):
        answer = kmeans.k_means(jax.random.key(seed), jnp.asarray(x), jnp.ones(2000), 12)
        ours.append(inertia(x, answer.centres))
        peers.append(KMeans(12, n_init=1, random_state=seed).fit(x).inertia_)
    assert np.mean(ours) < 1.03 * np.mean(peers)


def test_one_component_is_the_weighted_mean():
    x = blobs(200, 3, 4)
    weights = np.random.RandomState(0).uniform(size=200)
    answer = kmeans.k_means(jax.random.key(0), jnp.asarray(x), jnp.asarray(weights), 1)
    # The second step finds that no row changes its centre.
    assert answer.n_iter == 2
    np.testing.assert_allclose(answer.centres[0], np.average(x, axis=0, weights=weights), rtol=1e-9)
    np.testing.assert_array_equal(answer.components, np.zeros(200))


def test_constant_rows_are_clustered_without_complaint():
    answer = kmeans.k_means(jax.random.key(0), jnp.full((30, 2), 0.1), jnp.ones(30), 3)
    np.testing.assert_allclose(answer.centres, np.full((3, 2), 0.1), rtol=1e-12)


def test_the_same_key_gives_the_same_bits():
    x = jnp.asarray(blobs(500, 3, 30))
    first, second = (kmeans.k_means(jax.random.key(4), x, jnp.ones(500), 30) for _ in range(2))
    np.testing.assert_array_equal(first.centres, second.centres)
    other = kmeans.k_means(jax.random.key(5), x, jnp.ones(500), 30)
    assert not np.array_equal(first.centres, other.centres)


@pytest.mark.parametrize(("n_components", "x64"), [(8, True), (40, False)])
def test_float32_rows_give_float32_centres(n_components, x64):
    x = blobs(1000, 3, n_components)
    with jax.enable_x64(x64):
        rows, weights = jnp.asarray(x, jnp.float32), jnp.ones(1000, jnp.float32)
        start = kmeans.parallel(jax.random.key(0), rows, weights, n_components)
        answer = kmeans.lloyd(rows, weights, start)
        drawn = kmeans.plus_plus(jax.random.key(0), rows, weights, n_components)
        assert start.dtype == answer.centres.dtype == jnp.float32
        assert answer.components.dtype == drawn.dtype == jnp.int32
        assert len(np.unique(drawn)) == n_components
        found = np.asarray(answer.centres, float)
    peer = KMeans(n_components, init=np.asarray(start, float), n_init=1).fit(x)
    assert inertia(x, found) < 1.001 * peer.inertia_
