"""Tables of any columns: what is prepared and brought back is the table, whatever its order."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentmix.data.frames import as_table
from latentmix.estimators.schema import columns_of
from latentmix.estimators.table_columns import TableColumns
from latentmix.models.likelihoods.mixed import Mixed

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
N_ROWS = 6
words = st.text(min_size=1, max_size=6).filter(str.strip)
whole = st.integers(-(2**31), 2**31)


@st.composite
def columns(draw):
    """Return a kind and the cells of a column of it."""
    kind = draw(st.sampled_from(["continuous", "count", "binary", "categorical", "text"]))
    cells = {
        "continuous": st.floats(-1e6, 1e6, width=32),
        "count": st.integers(0, 2**24),
        "binary": st.integers(0, 1),
        "categorical": whole,
        "text": words,
    }[kind]
    return kind, draw(st.lists(cells, min_size=N_ROWS, max_size=N_ROWS))


tables = st.lists(columns(), min_size=1, max_size=6)


def prepared(table):
    """Return rows as an estimator takes them, and their preparation."""
    kinds = ["categorical" if kind == "text" else kind for kind, _ in table]
    X = np.array([cells for _, cells in table], dtype=object).T
    rows = as_table(X)
    if rows is None:
        rows = X.astype(float)
    held = columns_of(kinds, "mixed", rows)
    return rows, TableColumns.learned("mixed", rows, held)


@QUICK
@given(tables)
def test_what_is_prepared_comes_back(table):
    rows, preparation = prepared(table)
    given_back = preparation.in_units(preparation.rows(rows)[:])
    assert given_back.shape == rows.shape
    for number, (kind, cells) in enumerate(table):
        found = given_back[:, number]
        if kind == "continuous":
            reach = max(1.0, np.abs(np.array(cells, float)).max())
            np.testing.assert_allclose(found.astype(float), cells, atol=1e-5 * reach)
        else:
            assert found.tolist() == cells
    # And is taken in again, to the same.
    again = as_table(given_back)
    again = given_back if again is None else again
    np.testing.assert_allclose(
        preparation.rows(again)[:], preparation.rows(rows)[:], atol=1e-5, rtol=1e-5
    )


@QUICK
@given(tables, st.randoms(use_true_random=False))
def test_fewer_rows_in_another_order_are_prepared_the_same(table, random):
    rows, preparation = prepared(table)
    order = random.sample(range(N_ROWS), random.randint(1, N_ROWS))
    some = rows[order]
    coded = as_table(some)
    found = preparation.rows(some if coded is None else coded)[:]
    np.testing.assert_array_equal(found, preparation.rows(rows)[:][order])


@QUICK
@given(tables, st.integers(0, 2**31))
def test_columns_add_up(table, seed):
    """log p of a row is the sum of what each column says of its own, by its own outputs."""
    rows, preparation = prepared(table)
    x = preparation.rows(rows)[:]
    held = preparation.columns
    likelihood = Mixed(jnp.asarray(x.mean(axis=0)), held)
    start = likelihood.initial_output_bias(jnp.asarray(x.mean(axis=0)))
    outputs = start + 0.5 * jax.random.normal(jax.random.key(seed), (N_ROWS, len(start)))
    parts, at = 0.0, 0
    # Outputs stand kind by kind, and categories by how many there are.
    order = sorted(
        range(len(held)),
        key=lambda n: (
            ["continuous", "count", "binary", "categorical"].index(held[n].kind),
            len(held[n].categories),
        ),
    )
    for number in order:
        width = len(held[number].categories) or 1
        alone = Mixed(jnp.asarray(x[:, [number]].mean(axis=0)), [held[number]])
        parts += alone.log_likelihood(x[:, [number]], outputs[:, at : at + width])
        at += width
    assert at == outputs.shape[1]
    whole = np.asarray(likelihood.log_likelihood(jnp.asarray(x), outputs))
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-3)
    assert likelihood.mean(outputs).shape == x.shape
