"""What the mixtures take for rows, and what they refuse: matrices, files, streams of blocks."""

import re
import tracemalloc

import numpy as np
import pytest

from latentmix import BernoulliMixture, GaussianMixture, PoissonMixture
from latentmix.errors import InputError, MissingError
from latentmix.kernels.families import factor_analytic
from latentmix.training import sources

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GAUSSIAN = ("full", "tied", "diag", "spherical", "factor")
FAMILIES = (*GAUSSIAN, "bernoulli", "poisson")
D = 3
rng = np.random.RandomState(0)
ROWS = np.concatenate([rng.randn(150, D), rng.randn(150, D) * 2 + 3])
COUNTS = rng.poisson(np.repeat([[1.0, 5, 2], [4, 1, 6]], 150, axis=0)) * 1.0
MEANS = {"bernoulli": [[0.3, 0.6, 0.4], [0.6, 0.3, 0.7]], "poisson": [[2.0, 4, 3], [3, 2, 5]]}


def rows_of(family):
    return {"bernoulli": (COUNTS > 2) * 1.0, "poisson": COUNTS}.get(family, ROWS)


def mixture_of(family, **parameters):
    given = {"means_init": MEANS.get(family, [[0.0] * D, [3.0] * D]), "tol": 0, "max_iter": 15}
    given |= parameters
    if family == "bernoulli":
        return BernoulliMixture(2, **given)
    if family == "poisson":
        return PoissonMixture(2, **given)
    return GaussianMixture(2, covariance_type=family, **given)


def fitted(mixture):
    return {
        name: getattr(mixture, name)
        for name in ("weights_", "means_", "covariances_", "lower_bounds_")
        if hasattr(mixture, name)
    }


def assert_same(mixture, other, tolerance=1e-9):
    for name, value in fitted(mixture).items():
        np.testing.assert_allclose(
            value, getattr(other, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


class Blocks:
    """Blocks that can be read again and again."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)


class OnceOnly:
    """Blocks that can be read once, though the object itself is no iterator."""

    def __init__(self, *blocks):
        self.left = iter(blocks)

    def __iter__(self):
        return self.left


class Dwindling:
    """Blocks of which fewer come each time."""

    def __init__(self, *blocks):
        self.blocks = list(blocks)

    def __iter__(self):
        yield from self.blocks
        if len(self.blocks) > 1:
            self.blocks.pop()


class Convertible:
    """Something else with an array inside."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


def cut(X, size):
    return Blocks(*(X[start : start + size] for start in range(0, len(X), size)))


# --- what is accepted


def as_memmap(X, folder):
    mapped = np.memmap(folder / "rows.dat", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    mapped.flush()
    return np.memmap(folder / "rows.dat", X.dtype, "r", shape=X.shape)


def as_npy(X, folder):
    np.save(folder / "rows.npy", X)
    return np.load(folder / "rows.npy", mmap_mode="r")


def as_npy_path(X, folder):
    np.save(folder / "rows.npy", X)
    return folder / "rows.npy"


def as_table(X, folder):
    return pytest.importorskip("pandas").DataFrame(X, columns=["a", "b", "c"])


def as_parquet(X, folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / "rows.parquet"
    columns = {name: X[:, i] for i, name in enumerate("abc")}
    parquet.write_table(pyarrow.table(columns), path, row_group_size=70)
    return path


KINDS = {
    "array": lambda X, folder: X,
    "list": lambda X, folder: X.tolist(),
    "tuple": lambda X, folder: tuple(map(tuple, X)),
    "Fortran order": lambda X, folder: np.asfortranarray(X),
    "every other column": lambda X, folder: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X, folder: X[::-1].copy()[::-1],
    "read only": lambda X, folder: np.frombuffer(X.tobytes()).reshape(X.shape),
    "big-endian": lambda X, folder: X.astype(">f8"),
    "convertible": lambda X, folder: Convertible(X),
    "memory-mapped": as_memmap,
    "npy": as_npy,
    "npy, by path": as_npy_path,
    "npy, by name": lambda X, folder: str(as_npy_path(X, folder)),
    "table": as_table,
    "Parquet": as_parquet,
    "Parquet, by name": lambda X, folder: str(as_parquet(X, folder)),
    "blocks": lambda X, folder: cut(X, 64),
    "blocks of lists": lambda X, folder: Blocks(X[:9].tolist(), X[9:].tolist()),
    "blocks of tables": lambda X, folder: Blocks(*(as_table(X[i::2], folder) for i in (0, 1))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rows_gives_one_answer(kind, tmp_path):
    given = KINDS[kind](ROWS, tmp_path)
    assert_same(mixture_of("full").fit(given), mixture_of("full").fit(ROWS))


@pytest.mark.parametrize("kind", ["memory-mapped", "table", "Parquet", "blocks"])
def test_every_kind_may_have_missing_entries(kind, tmp_path):
    X = np.where(np.random.RandomState(1).uniform(size=ROWS.shape) < 0.2, np.nan, ROWS)
    given = KINDS[kind](X, tmp_path)
    assert_same(mixture_of("full").fit(given), mixture_of("full").fit(X))


def test_whole_numbers_bytes_and_truth_values():
    for dtype in (np.uint8, np.int64, np.int16):
        for family in ("poisson", "full"):
            expected = mixture_of(family, means_init=MEANS["poisson"]).fit(COUNTS)
            for X in (COUNTS.astype(dtype), cut(COUNTS.astype(dtype), 100)):
                found = mixture_of(family, means_init=MEANS["poisson"]).fit(X)
                assert_same(found, expected)
                assert found.means_.dtype == np.float64
    flags = rows_of("bernoulli").astype(bool)
    for X in (flags, cut(flags, 77)):
        assert_same(mixture_of("bernoulli").fit(X), mixture_of("bernoulli").fit(flags * 1.0))


def test_bytes_are_never_copied_into_floats(tmp_path):
    rows = np.random.RandomState(0).randint(0, 255, (600_000, 8)).astype(np.uint8)
    mapped = as_memmap(rows, tmp_path)
    means = [[100.0] * 8, [150.0] * 8]
    more = peak_of(mapped, means) - peak_of(mapped[:300_000], means)
    assert more < 0.3 * 300_000 * 8  # a third of what those bytes take themselves


def peak_of(X, means):
    mixture = GaussianMixture(2, covariance_type="diag", means_init=means, max_iter=2, tol=0)
    tracemalloc.start()
    try:
        mixture.fit(X)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_large_file_is_read_block_by_block(streamed, tmp_path):
    """Twice the rows take no more memory: only the sample of 100,000 rows is ever held."""
    rows = np.random.RandomState(0).randn(600_000, 4).astype(np.float32)
    mapped = as_memmap(rows, tmp_path)
    part, means = mapped[:300_000], [[-1.0] * 4, [1.0] * 4]
    part_bytes = part.nbytes
    if streamed:
        mapped, part = cut(mapped, 20_000), cut(part, 20_000)
    assert peak_of(mapped, means) - peak_of(part, means) < 0.3 * part_bytes


# --- streams


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1, 37, 1000])
def test_neither_the_order_nor_the_blocks_matter(family, size):
    X, mixture = rows_of(family), mixture_of(family, max_iter=3 if size == 1 else 15)
    expected = mixture_of(family, max_iter=mixture.max_iter).fit(X)
    order = np.random.RandomState(size).permutation(len(X))
    for rows in (X[np.lexsort(X.T)], X[order]):
        assert_same(mixture.fit(cut(rows, size)), expected, 1e-6)
        assert_same(mixture.fit(rows), expected, 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_matters_with_missing_entries(family):
    X = rows_of(family)
    X = np.where(np.random.RandomState(1).uniform(size=X.shape) < 0.3, np.nan, X)
    expected = mixture_of(family).fit(X)
    assert_same(mixture_of(family).fit(cut(X[::-1], 50)), expected, 1e-6)


@pytest.mark.parametrize("first", ["complete", "with holes", "empty rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_with_and_without_missing_entries(family, first):
    X = rows_of(family).copy()
    X[200:][np.random.RandomState(1).uniform(size=(100, D)) < 0.3] = np.nan
    blocks = {
        "complete": [X[:200], X[200:]],
        "with holes": [X[200:], X[:100], X[100:200]],
        "empty rows": [np.full((5, D), np.nan), X[:200], X[200:]],
    }[first]
    found = mixture_of(family).fit(Blocks(*blocks))
    assert_same(found, mixture_of(family).fit(np.concatenate(blocks)), 1e-6)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_nor_does_which_rows_are_sampled_matter(family, wide, monkeypatch):
    """The first factors too are those of all rows, where means are given."""
    monkeypatch.setattr(sources, "ROWS_FOR_START", 1000)
    if wide:
        monkeypatch.setattr(factor_analytic, "MOST_FEATURES_FOR_EIGENVECTORS", D - 1)
    X = rows_of(family)
    X = (
        np.concatenate([X + shift for shift in range(10)])
        if family in GAUSSIAN
        else np.repeat(X, 10, axis=0)
    )
    expected = mixture_of(family, max_iter=3).fit(X)
    assert_same(mixture_of(family, max_iter=3).fit(X[::-1]), expected, 1e-6)
    assert_same(mixture_of(family, max_iter=3).fit(cut(X[np.lexsort(X.T)], 333)), expected, 1e-6)


def test_blocks_of_sorted_rows_give_the_variance_of_all():
    """Mini-batch EM believes each block in turn: on such rows it finds 1.5 in place of 9.1."""
    rng = np.random.RandomState(0)
    X = np.sort(np.concatenate([rng.normal(0, 3, 5000), rng.normal(0, 3.1, 5000)]))[:, None]
    mixture = GaussianMixture(1).fit(cut(X, 500))
    assert mixture.covariances_[0, 0, 0] == pytest.approx(X.var() + 1e-6, rel=1e-9)
    assert mixture.means_[0, 0] == pytest.approx(X.mean(), rel=1e-9)
    two = GaussianMixture(2, random_state=0, max_iter=500)
    found = two.fit(cut(X, 500)).sample(1)  # fitted, and usable like any other
    assert found[0].shape == (1, 1)
    law = two.weights_ @ (two.covariances_[:, 0, 0] + two.means_[:, 0] ** 2)
    assert law - (two.weights_ @ two.means_[:, 0]) ** 2 == pytest.approx(X.var(), rel=1e-5)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "k-means||", "random_from_data"])
def test_a_stream_is_started_like_a_matrix(init_params):
    shared = {"n_components": 2, "init_params": init_params, "random_state": 3, "n_init": 2}
    assert_same(GaussianMixture(**shared).fit(cut(ROWS, 41)), GaussianMixture(**shared).fit(ROWS))


def test_a_stream_leaves_no_names_of_an_earlier_table():
    pandas = pytest.importorskip("pandas")
    mixture = mixture_of("full").fit(pandas.DataFrame(ROWS, columns=["a", "b", "c"]))
    mixture.fit(cut(ROWS, 100))
    assert not hasattr(mixture, "feature_names_in_")
    assert mixture.n_features_in_ == D


def test_float32_blocks_give_float64_answers_to_float32_digits():
    mixture = mixture_of("full").fit(cut(ROWS.astype(np.float32), 50))
    assert_same(mixture, mixture_of("full").fit(ROWS), 1e-4)


@pytest.mark.parametrize(
    ("family", "spread"),
    [*((family, 0.0) for family in FAMILIES), *((family, 1e6) for family in GAUSSIAN)],
)
def test_an_empty_block_in_mid_stream_changes_nothing(family, spread):
    X = rows_of(family) + spread * (np.arange(300) >= 150)[:, None]
    means = X[[0, 299]] if spread else mixture_of(family).means_init
    expected = mixture_of(family, means_init=means, max_iter=3).fit(X)
    blocks = Blocks(X[:0], X[:50], X[:0], X[50:], X[:0])
    assert_same(mixture_of(family, means_init=means, max_iter=3).fit(blocks), expected, 1e-6)


# --- what is refused

INFINITE = ROWS.copy()
INFINITE[177, 1] = -np.inf


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((block for block in [ROWS]), "X is a generator, which can be read once"),
        (iter([ROWS]), "X is a list_iterator, which can be read once"),
        (map(np.abs, [ROWS]), "call partial_fit with each block"),
        (Blocks(ROWS[:50], ROWS[50:, :2]), "Block 1 of X has 2 features, but the first had 3"),
        (Blocks(ROWS[:50], ROWS[50]), "Block 1 of X has shape (3,). Expected 2-D blocks"),
        (Blocks(ROWS[0]), "Block 0 of X has shape (3,)"),
        (Blocks(ROWS[:9], [["a", "b", "c"]]), "Block 1 of X is no matrix of numbers"),
        (Blocks(), "X holds no block"),
        (Blocks(ROWS[:0]), "X holds no row"),
        (Blocks(INFINITE[:50], INFINITE[50:]), "-inf at row 177, column 1"),
        (INFINITE, "-inf at row 177, column 1"),
        ([ROWS[:150], ROWS[150:]], "dim 3"),
        ({"a": ROWS}, "Expected 2-D blocks"),
        (ROWS[:, 0], "Expected 2D array"),
        (7, "Expected 2D array"),
        (None, "Expected 2D array"),
    ],
)
def test_what_are_no_rows_is_refused(rows, message):
    with pytest.raises(InputError, match=re.escape(message)):
        GaussianMixture(2).fit(rows)


@pytest.mark.parametrize("wrap", [OnceOnly, lambda *blocks: map(np.abs, blocks)])
def test_blocks_that_can_be_read_once_are_refused_before_any_is_read(wrap):
    rows = wrap(ROWS[:100], ROWS[100:200], ROWS[200:])
    for method in ("fit", "fit_predict"):
        with pytest.raises(InputError, match=r"read once.*partial_fit|only fit reads streams"):
            getattr(GaussianMixture(2), method)(rows)
    assert len(list(rows)) == 3


ANSWERS = ("predict", "predict_proba", "score_samples", "score", "impute", "bic", "aic")


@pytest.mark.parametrize(
    ("stream", "what"),
    [
        (cut(ROWS, 50), "a Blocks"),
        ((block for block in [ROWS]), "a generator"),
        ({"a": ROWS}, "a dict"),
        ("rows.parquet", "the path 'rows.parquet'"),
    ],
)
def test_answers_take_no_streams(stream, what):
    mixture = mixture_of("full").fit(ROWS, labels=np.arange(300) // 150)
    for method in (*ANSWERS, "predict_class", "fit_predict", "partial_fit"):
        with pytest.raises(InputError, match=re.escape(f"X is {what}, but only fit reads")):
            getattr(mixture, method)(stream)
    with pytest.raises(InputError, match="Expected a matrix of rows"):
        mixture.label(stream, np.arange(300) // 150)


def test_a_stream_that_dwindles_is_refused():
    with pytest.raises(InputError, match="rows"):
        GaussianMixture(2).fit(Dwindling(ROWS[:100], ROWS[100:200], ROWS[200:]))


@pytest.mark.parametrize("asked", [{"sample_weight": np.ones(300)}, {"labels": np.arange(300) % 2}])
def test_weights_and_labels_do_not_go_with_a_stream(asked):
    with pytest.raises(InputError, match="sample_weight and labels go with a matrix"):
        GaussianMixture(2).fit(cut(ROWS, 50), **asked)


@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
def test_fewer_rows_than_components_in_a_stream_are_refused(init_params):
    with pytest.raises(InputError, match="n_components = 5, n_samples = 2"):
        GaussianMixture(5, init_params=init_params, random_state=0).fit(Blocks(ROWS[:2]))


def test_a_file_that_is_not_there_or_is_no_table_is_refused(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with pytest.raises(MissingError, match="nowhere"):
        GaussianMixture(2).fit(tmp_path / "nowhere.parquet")
    with pytest.raises(MissingError, match="nowhere"):
        GaussianMixture(2).fit(tmp_path / "nowhere.npy")
    (tmp_path / "text.npy").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"is no \.npy array"):
        GaussianMixture(2).fit(tmp_path / "text.npy")
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        GaussianMixture(2).fit(tmp_path / "text.parquet")
    parquet.write_table(pyarrow.table({"a": [1.0, 2], "b": ["x", "y"]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match="numeric columns"):
        GaussianMixture(2).fit(str(tmp_path / "b.parquet"))
    parquet.write_table(pyarrow.table({"a": pyarrow.array([], "f8")}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="X holds no"):
        GaussianMixture(2).fit(tmp_path / "none.parquet")


def test_a_null_in_a_parquet_file_is_a_missing_entry(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"a": [1, None, 3, 4, 8], "b": [1.5, 2.5, None, 0.5, 3.0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    X = np.array([[1, 1.5], [np.nan, 2.5], [3, np.nan], [4, 0.5], [8, 3.0]])
    shared = {"tol": 1e-9, "max_iter": 500}
    assert_same(
        GaussianMixture(1, **shared).fit(tmp_path / "rows.parquet"),
        GaussianMixture(1, **shared).fit(X),
    )


@pytest.mark.parametrize(
    ("kind", "bad"), [(BernoulliMixture, -0.5), (BernoulliMixture, 2.0), (PoissonMixture, -1.0)]
)
def test_values_outside_the_domain_are_refused(kind, bad):
    X = rows_of("bernoulli")
    mixture = kind(2, random_state=0).fit(X)
    wrong = X.copy()
    wrong[7, 1] = bad
    asked = {
        "fit": lambda: kind(2).fit(wrong),
        "partial_fit": lambda: kind(2).partial_fit(wrong),
        "later partial_fit": lambda: kind(2).partial_fit(X).partial_fit(wrong),
        "predict": lambda: mixture.predict(wrong),
        "predict_proba": lambda: mixture.predict_proba(wrong),
        "score_samples": lambda: mixture.score_samples(wrong),
        "label": lambda: mixture.label(wrong, np.arange(300) % 2),
    }
    for ask in asked.values():
        with pytest.raises(InputError, match=f"{kind.__name__} needs"):
            ask()
    with pytest.raises(InputError, match=f"{kind.__name__} needs"):
        kind(2, means_init=wrong[[0, 7]]).fit(X)


@pytest.mark.parametrize(
    ("kind", "bad"), [(BernoulliMixture, -0.5), (BernoulliMixture, 2.0), (PoissonMixture, -1.0)]
)
def test_values_outside_the_domain_are_refused_in_blocks_and_when_imputing(kind, bad):
    X = rows_of("bernoulli")
    wrong = X.copy()
    wrong[7, 1] = bad
    wrong[7, 0] = np.nan
    for ask in (
        lambda: kind(2, random_state=0).fit(cut(wrong, 50)),
        lambda: kind(2, random_state=0).fit(X).impute(wrong),
    ):
        with pytest.raises(InputError, match=f"{kind.__name__} needs"):
            ask()


@pytest.mark.parametrize(
    "method",
    [
        "fit", "partial_fit", "predict", "predict_proba", "score_samples", "score", "impute",
        "label", "later partial_fit",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [GaussianMixture, PoissonMixture])
def test_infinite_values_are_refused_by_every_method(kind, method):
    wrong = COUNTS.copy()
    wrong[177, 1] = np.inf
    mixture = kind(2, random_state=0)
    if method not in ("fit", "partial_fit"):
        getattr(mixture, "partial_fit" if "later" in method else "fit")(COUNTS)
    more = [np.arange(300) % 2] if method == "label" else []
    with pytest.raises(InputError, match="inf at row 177, column 1"):
        getattr(mixture, method.removeprefix("later "))(wrong, *more)


@pytest.mark.parametrize("family", GAUSSIAN)
def test_a_finite_row_has_a_finite_answer_however_far_it_lies(family):
    mixture = mixture_of(family).fit(ROWS)
    far = np.array([[1e200, -1e200, 1e200], [1e160, 1e160, -1e160], [-1e300, 1e300, 0]])
    score, shares = mixture.score_samples(far), mixture.predict_proba(far)
    assert np.all(np.isfinite(score))
    assert np.all(score < -1e100)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_another_width_is_refused_by_every_method():
    mixture = mixture_of("full").fit(ROWS)
    for method in ("predict", "predict_proba", "score_samples", "score", "impute"):
        with pytest.raises(InputError, match="2 features"):
            getattr(mixture, method)(ROWS[:, :2])


# --- precision


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_rows_give_float32_answers(family):
    X = rows_of(family).astype(np.float32)
    mixture = mixture_of(family).fit(X)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(mixture, name, X).dtype == np.float32
    holes = X.copy()
    holes[3, 1] = np.nan
    assert mixture.predict_proba(X).dtype == np.float32
    assert mixture.score_samples(holes).dtype == np.float32
    assert mixture.impute(holes).dtype == np.float32
    assert mixture.sample(5)[0].dtype == np.float32
    assert isinstance(mixture.score(X), float)
    assert mixture.score(X) == mixture.score_samples(X).mean()
    if family in GAUSSIAN:
        answer = mixture.conditional({0: 1.0})
        assert answer.means_.dtype == answer.covariances_.dtype == np.float32
        assert answer.score_samples(X[:, 1:]).dtype == np.float32
    if family != "factor":
        assert mixture_of(family).partial_fit(X).means_.dtype == np.float32
    double = mixture_of(family).fit(X.astype(np.float64))
    np.testing.assert_array_equal(mixture.means_, double.means_.astype(np.float32))


@pytest.mark.parametrize("named_by", ["fit", "label"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_rows_give_float32_classes_and_draws(family, named_by):
    X, labels = rows_of(family).astype(np.float32), np.arange(300) // 150
    if named_by == "fit":
        mixture = mixture_of(family).fit(X, labels=labels)
    else:
        mixture = mixture_of(family).fit(X).label(X, labels)
    assert mixture.predict_class_proba(X).dtype == np.float32
    assert mixture.class_probs_.dtype == mixture.labelled_rows_.dtype == np.float32
    assert mixture.draw(np.array([0, 1])).dtype == np.float32
    # A fit with the same labels goes on from them.
    again = mixture.set_params(warm_start=True, tol=1e-3).fit(X, labels=labels)
    assert again.class_probs_.dtype == np.float32


def test_a_stream_answers_in_the_dtype_of_its_first_block():
    for dtype in (np.float32, np.float64):
        mixture = mixture_of("full").fit(cut(ROWS.astype(dtype), 70))
        assert mixture.means_.dtype == mixture.sample(3)[0].dtype == dtype


def test_an_array_that_is_no_matrix_is_told_by_its_shape():
    with pytest.raises(InputError, match=r"its shape is \(500,\)\. Reshape") as caught:
        GaussianMixture().fit(np.arange(500.0))
    assert "array=" not in str(caught.value)
