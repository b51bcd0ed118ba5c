"""The affine layer's derivative, written by hand, is that of the calculus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentmix.models.mlp import MOST_TURNED_ROWS, affine

FEW, MANY = 32, MOST_TURNED_ROWS + 1


def loss(layer, x, weight, bias):
    return jnp.sum(jnp.tanh(layer(x, weight, bias)))


def of_the_calculus(x, weight, bias):
    return x @ weight + bias


def arguments(n_rows, *batch):
    random = np.random.RandomState(0)
    shapes = (n_rows, 40), (40, 24), (24,)
    return [
        jnp.asarray(0.2 * random.standard_normal((*batch, *shape)), jnp.float32) for shape in shapes
    ]


@pytest.mark.parametrize("n_rows", [1, FEW, MANY])
def test_gradients_are_those_of_the_calculus(n_rows):
    gradients, expected = (
        jax.jit(jax.grad(loss, argnums=(1, 2, 3)), static_argnums=0)(layer, *arguments(n_rows))
        for layer in (affine, of_the_calculus)
    )
    for gradient, same in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, same, rtol=1e-5, atol=1e-5)


def test_gradients_of_several_layers_at_once_are_those_of_each():
    several = arguments(FEW, 3)
    gradient = jax.grad(loss, argnums=(1, 2, 3))
    together = jax.vmap(lambda *one: gradient(affine, *one))(*several)
    for i in range(3):
        alone = gradient(of_the_calculus, *(array[i] for array in several))
        for found, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n_rows", "barriers"), [(FEW, True), (MANY, False)])
def test_products_of_few_rows_alone_are_turned(n_rows, barriers):
    compiled = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)
    lowered = compiled.trace(affine, *arguments(n_rows)).lower(lowering_platforms=("cpu",))
    assert ("optimization_barrier" in lowered.as_text()) == barriers


def test_an_accelerator_is_given_the_plain_product():
    compiled = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)
    lowered = compiled.trace(affine, *arguments(FEW)).lower(lowering_platforms=("cuda",))
    assert "optimization_barrier" not in lowered.as_text()
