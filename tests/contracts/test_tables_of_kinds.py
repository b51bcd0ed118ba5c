"""Tables whose columns differ: text goes in and comes out, and what cannot be told is refused."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import latentmix
from latentmix import VAE, GaussianMixture, LatentMixture, fit_together
from latentmix.errors import InputError, ParameterError

N = 240
FAST = {
    "hidden_dims": (16,),
    "latent_dim": 2,
    "batch_size": 40,
    "max_epochs": 40,
    "min_steps": 0,
    "learning_rate": 1e-2,
    "random_state": 0,
}
KINDS = {"visits": "count"}
COLOURS = ("blue", "green", "red")


def frame():
    """Return rows of two kinds: the old who smoke and like red or green, and the others."""
    random = np.random.RandomState(0)
    kinds = np.arange(N) % 2
    return pd.DataFrame(
        {
            "age": 40.0 + 20 * kinds + 3 * random.randn(N),
            "visits": random.poisson(2 + 8 * kinds),
            "smokes": random.rand(N) < 0.1 + 0.8 * kinds,
            "colour": np.where(kinds, np.where(random.rand(N) < 0.7, "red", "green"), "blue"),
        }
    )


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.fixture(scope="module")
def fitted(table):
    return VAE(columns=KINDS, **FAST).fit(table)


@pytest.fixture(scope="module")
def model(table):
    with_names = LatentMixture(2, vae=VAE(columns=KINDS, **FAST), random_state=0).fit(table)
    return with_names.label(table[:40], np.arange(40) % 2)


def test_columns_are_what_is_said_and_else_as_they_look(fitted):
    assert fitted.likelihood_ == "mixed"
    assert [column.kind for column in fitted.columns_] == [
        "continuous",
        "count",
        "binary",
        "categorical",
    ]
    assert fitted.columns_[3].categories == COLOURS


def test_answers_are_in_the_tables_own_terms(fitted, table):
    for answer in (fitted.reconstruct(table), fitted.sample(N), fitted.inverse_transform([[0, 0]])):
        assert set(answer[:, 3]) <= set(COLOURS)
        numbers = answer[:, :3].astype(float)
        assert 20 < numbers[:, 0].mean() < 80 and (numbers[:, 1] >= 0).all()
        assert ((numbers[:, 2] >= 0) & (numbers[:, 2] <= 1)).all()
    drawn = fitted.sample(N)
    assert set(drawn[:, 2]) == {0, 1} and all(count == int(count) for count in drawn[:, 1])


def test_it_learns_what_goes_with_what(fitted, table):
    found = fitted.reconstruct(table)
    old = table["age"].to_numpy() > 50
    assert np.mean((found[:, 3] == "blue") != old) > 0.95
    assert found[old, 2].mean() > found[~old, 2].mean() + 0.5
    # More than columns that know nothing of each other: entropies of colour and smoking alone.
    scores = fitted.score_samples(table)
    assert np.isfinite(scores).all() and fitted.score(table) > -9.5
    unusual = table.assign(colour=np.where(old, "blue", "red"))
    assert fitted.score(unusual) < fitted.score(table) - 1
    found, error = fitted.log_likelihood(table[:20], 200)
    assert np.all(found > scores[:20] - 4 * error - 0.3)


def test_the_same_rows_in_other_clothes_have_the_same_answers(fitted, table):
    expected = fitted.score_samples(table)
    objects = table.to_numpy(dtype=object)
    category = table.astype({"colour": "category", "smokes": int})
    with pytest.warns(UserWarning, match="feature names"):
        np.testing.assert_array_equal(fitted.score_samples(objects), expected)
        np.testing.assert_array_equal(fitted.score_samples(objects.tolist()), expected)
    np.testing.assert_array_equal(fitted.score_samples(category), expected)
    # A block that lacks a category codes the others differently.
    reds = table[table["colour"] == "red"]
    np.testing.assert_allclose(
        fitted.score_samples(reds), expected[table["colour"] == "red"], rtol=1e-5
    )


def test_what_it_says_it_takes_back(fitted):
    drawn = pd.DataFrame(fitted.sample(30), columns=["age", "visits", "smokes", "colour"])
    assert np.isfinite(fitted.score_samples(drawn)).all()


@pytest.mark.parametrize("which", ["fitted", "model"])
def test_it_is_kept(which, request, table, tmp_path):
    one = request.getfixturevalue(which)
    one.save(tmp_path / "model")
    kept = latentmix.load(tmp_path / "model")
    np.testing.assert_array_equal(kept.sample(20), one.sample(20))
    np.testing.assert_array_equal(kept.reconstruct(table), one.reconstruct(table))
    np.testing.assert_array_equal(kept.score_samples(table), one.score_samples(table))
    vae = kept if which == "fitted" else kept.vae_
    assert vae.get_params()["columns"] == KINDS
    assert clone(vae).set_params(max_epochs=1).fit(table).columns_ == vae.columns_


def test_a_latent_mixture_finds_names_and_draws_them(model, table):
    truth = np.arange(N) % 2
    assert np.mean(model.predict_class(table) == truth) > 0.95
    drawn = model.sample(100, label=1)
    assert np.mean(drawn[:, 3] == "blue") < 0.2
    assert np.isfinite(model.score_samples(table)).all()
    assert np.isfinite(model.log_likelihood(table[:5], 50).log_likelihood).all()
    assert len(model.query(table, 3)) == 3
    classifier = model.as_classifier()
    assert np.mean(classifier.predict(table) == truth) > 0.95


def test_labels_teach_the_same_in_any_order(model, table):
    order = np.random.RandomState(1).permutation(40)
    kinds = np.arange(40) % 2
    first = clone(model).fit(table).label(table[:40], kinds).class_probs_
    again = clone(model).fit(table).label(table.iloc[order], kinds[order]).class_probs_
    np.testing.assert_array_equal(first, again)


def test_codes_come_back_as_numbers():
    random = np.random.RandomState(0)
    X = np.column_stack([random.randn(N), random.choice([3, 7, 90], N)])
    vae = VAE(columns=["continuous", "categorical"], **FAST).fit(X)
    assert vae.columns_[1].categories == (3, 7, 90)
    drawn = vae.sample(50)
    assert drawn.dtype.kind == "f" and set(drawn[:, 1]) <= {3, 7, 90}
    # The same codes, written as text.
    words = np.array([[a, str(int(b))] for a, b in X], dtype=object)
    np.testing.assert_array_equal(vae.score_samples(words), vae.score_samples(X))
    with pytest.raises(InputError, match=r"X holds 4 at row 0, column 1, which is categorical"):
        vae.transform([[0.0, 4.0]])


def test_a_category_that_is_held_out_is_known_all_the_same(table):
    rare = table.assign(colour=["violet", *table["colour"][1:]])
    vae = VAE(columns=KINDS, validation_fraction=0.5, **{**FAST, "max_epochs": 1})
    for seed in range(4):  # in some of these the row is held out, in others not
        assert "violet" in vae.set_params(random_state=seed).fit(rare).columns_[3].categories


def test_validation_rows_are_of_the_same_categories(table):
    rare = table[:20].assign(colour="violet")
    with pytest.raises(InputError, match=r"'violet' at row 0, column 'colour'.*'blue', 'green'"):
        VAE(columns=KINDS, **FAST).fit(table, validation_data=rare)


def test_blocks_are_of_declared_categories(table):
    blocks = [table[table["colour"] == colour] for colour in COLOURS]
    vae = VAE(columns={**KINDS, "colour": list(COLOURS)}, **FAST)
    for block in blocks * 3:
        vae.partial_fit(block)
    assert np.isfinite(vae.score(table)) and set(vae.sample(30)[:, 3]) <= set(COLOURS)
    undeclared = VAE(columns=KINDS, **FAST).partial_fit(blocks[0])
    with pytest.raises(InputError, match=r"'green' at row 0, column 'colour'.*columns=\{"):
        undeclared.partial_fit(blocks[1])
    with pytest.raises(InputError, match="columns was changed to 'continuous' for column 'visits'"):
        vae.set_params(columns={"visits": "continuous"}).partial_fit(table)


def test_trained_beside_another_it_is_as_alone(fitted, table):
    other = VAE(columns=dict(KINDS), **{**FAST, "random_state": 5})
    _, beside = fit_together([other, clone(fitted)], table, vmap=True)
    assert beside.score(table) == pytest.approx(fitted.score(table), rel=1e-3)
    differing = VAE(columns={"visits": "continuous"}, **FAST)
    with pytest.raises(InputError, match=r"vaes\[1\] has \{'visits': 'continuous'\}"):
        fit_together([other, differing], table)


def test_a_file_is_read_the_same(fitted, table, tmp_path):
    table.astype({"smokes": int}).to_csv(tmp_path / "t.csv", index=False)
    vae = VAE(columns={**KINDS, "smokes": "binary"}, **FAST).fit(tmp_path / "t.csv")
    assert vae.columns_ == fitted.columns_
    np.testing.assert_allclose(vae.transform(tmp_path / "t.csv"), fitted.transform(table), rtol=0.1)


# What is refused

MIXED = np.array([["a", 1.0, "x"], ["b", 2.0, 3], ["a", 4.0, "x"], ["b", 0.0, "x"]], dtype=object)


@pytest.mark.parametrize(
    ("X", "columns", "match"),
    [
        (MIXED, None, r"X holds '3' beside 'x' as text in column 2, .*columns=\{2: 'categorical'"),
        (MIXED.astype(str), None, r"X holds '0\.0' as text in column 1, .*convert the column"),
        (MIXED, {2: "count"}, r"X holds '3' in column 2, which is count. Expected numbers"),
        ([["a", 1.0], ["b", 2.0]], None, "holds 2 different texts in 2 rows.*which repeat"),
        ([["a", 1.0], [None, 2.0], ["a", 1.0]], None, "NaN or blanks: None at row 1, column 0"),
        ([["a", 1.0], ["", 2.0], ["a", 1.0]], None, "NaN or blanks: '' at row 1, column 0"),
        ([["a", np.nan], ["a", 2.0]], None, "X contains NaN or infinity: nan at row 0"),
        ([["a", 1j], ["a", 2.0]], None, "X holds values of type complex in column 1"),
        (
            [["a", -1], ["a", 2], ["b", 1], ["b", 1]],
            {1: "count"},
            r"X holds -1 at row 0, column 1, which is count. Expected whole numbers from 0 to",
        ),
        (
            [["a", 2], ["a", 1], ["b", 1], ["b", 1]],
            {1: "binary"},
            r"X holds 2 at row 0, column 1, which is binary. Expected 0 or 1; correct it, or call",
        ),
        ([[0.5, 1], [1.5, 2]], {0: "categorical"}, r"X holds \d\.5 in column 0, .*whole numbers"),
        (
            [["a", 1], ["a", 2], ["c", 1], ["a", 1]],
            {0: ["a", "b"]},
            r"X holds 'c' at row 2, column 0, .*'a', 'b'; correct it, or fit with all",
        ),
    ],
)
def test_what_cannot_be_told_or_does_not_fit_is_one_sentence(X, columns, match):
    with pytest.raises(InputError, match=match) as caught:
        VAE(likelihood="mixed", columns=columns, **FAST).fit(X)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"columns": ["count"]}, "columns names 1 kinds but X has 4 columns. Expected one"),
        ({"columns": {"visit": "count"}}, "columns names 'visit', but .*Did you mean 'visits'"),
        ({"columns": {9: "count"}}, "columns names 9, but .*numbers from 0 to 3"),
        ({"columns": {"visits": "counts"}}, "'counts' is unknown.* Did you mean 'count'"),
        ({"columns": {"colour": ["red", "red"]}}, r"columns holds \['red', 'red'\].*each once"),
        ({"columns": {"colour": 3}}, "columns holds 3. Expected a kind"),
        ({"columns": "count"}, "columns='count' is neither a list nor a mapping"),
        ({"columns": KINDS, "likelihood": "poisson"}, "likelihood='poisson', which tells all"),
        ({"columns": KINDS, "likelihood": "categorical"}, "calls column 1 'count', but"),
    ],
)
def test_a_declaration_that_says_nothing_is_one_sentence(table, settings, match):
    with pytest.raises(ParameterError, match=match):
        VAE(**{**FAST, **settings}).fit(table)


def test_numbers_alone_do_not_say_of_what_kind_they_are():
    with pytest.raises(ParameterError, match=r"likelihood='mixed' was given without columns"):
        VAE(likelihood="mixed", **FAST).fit(np.ones((9, 3)))


def test_text_is_for_likelihoods_that_tell_columns_apart(table):
    with pytest.raises(InputError, match="X holds text, but likelihood='gaussian' tells numbers"):
        VAE(likelihood="gaussian", **FAST).fit(table)
    numbers = VAE(**{**FAST, "max_epochs": 1}).fit(table[["age", "visits"]])
    assert numbers.likelihood_ == "gaussian"
    with pytest.raises(InputError, match="X holds text, but likelihood='gaussian'"):
        numbers.transform(table[["colour", "visits"]].set_axis(["age", "visits"], axis=1))
    with pytest.raises(InputError, match=r"X holds the text '(blue|red|green)'. Expected numbers"):
        GaussianMixture(2).fit(table)


def test_dates_are_no_numbers(table):
    dates = table.assign(age=pd.Timestamp("2020-01-01"))
    with pytest.raises(InputError, match=r"values of type datetime64\S+ in column 'age'"):
        VAE(**FAST).fit(dates)


def test_other_columns_are_refused(fitted, table):
    with pytest.raises(InputError, match="feature names"):
        fitted.transform(table[["visits", "age", "smokes", "colour"]])
    with pytest.raises(InputError, match="feature"):
        fitted.transform(table[["age", "visits", "colour"]])
    with (
        pytest.warns(UserWarning, match="feature names"),
        pytest.raises(InputError, match="has 3 features, but VAE is expecting 4"),
    ):
        fitted.transform(table.to_numpy(dtype=object)[:, 1:])
    with pytest.raises(InputError, match="X holds 'blue' in column 'age', which is continuous"):
        fitted.transform(table.assign(age="blue"))
    with pytest.raises(InputError, match="X holds 'violet' at row 1, column 'colour'"):
        fitted.reconstruct(table.assign(colour=["blue", "violet"] * (N // 2)))
