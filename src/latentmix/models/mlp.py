"""Fully connected encoder and decoder trunks.

The seed's widths for D inputs are D, D/2, D/4, D/8 (784-392-196-98 for MNIST), the decoder
the same in reverse, ending in D outputs: 98-196-392-784.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SMALLEST_WIDTH, LARGEST_WIDTH = 16, 1024


def default_widths(n_features: int) -> tuple[int, ...]:
    """Return the encoder's hidden widths D, D/2, D/4, D/8, clipped to [16, 1024]."""
    return tuple(
        min(max(n_features // divisor, SMALLEST_WIDTH), LARGEST_WIDTH) for divisor in (1, 2, 4, 8)
    )


class Dense(eqx.Module):
    """An affine layer, x @ weight + bias; weight is (inputs, outputs)."""

    weight: Float[Array, "I O"]
    bias: Float[Array, " O"]

    def __init__(self, n_inputs: int, n_outputs: int, key: Array, *, gain: float) -> None:
        """Draw weights from N(0, gain / n_inputs).

        Gain is 2 before a ReLU (He et al. 2015), else 1.
        """
        scale = (gain / n_inputs) ** 0.5
        self.weight = scale * jax.random.normal(key, (n_inputs, n_outputs), jnp.float32)
        self.bias = jnp.zeros(n_outputs, jnp.float32)

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Return x @ weight + bias."""
        return affine(x, self.weight, self.bias)


# On a processor, products back to the inputs of no more rows than this are turned.
MOST_TURNED_ROWS = 64


@jax.custom_vjp
def affine(
    x: Float[Array, "B I"], weight: Float[Array, "I O"], bias: Float[Array, " O"]
) -> Float[Array, "B O"]:
    """Return x @ weight + bias; its derivative is the usual one, in a quicker order.

    Large weights lie outside the cache. For g, the gradient of the answer, g weight^T reads
    them across their rows; weight g^T reads along them, and in training takes five sixths of
    the time, where nothing copies the weights first (`training.vae_rule`). Barriers keep the
    compiler from turning the product back.
    """
    return product(x, weight) + bias


def product(left: Array, right: Array) -> Array:
    """Return left @ right in all of float32's digits: accelerators would keep ten bits of them."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)


def _forward(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return affine(x, weight, bias), (x, weight)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, weight = saved
    to_inputs = jax.lax.platform_dependent(g, weight, cpu=_turned, default=_straight)
    return to_inputs, product(x.T, g), jnp.sum(g, axis=0)


def _straight(g: Array, weight: Array) -> Array:
    return product(g, weight.T)


def _turned(g: Array, weight: Array) -> Array:
    # With more rows, turning g and the answer costs what the product saves.
    if len(g) > MOST_TURNED_ROWS:
        return _straight(g, weight)
    turned: Array = _kept(product(weight, _kept(g.T)))
    return turned.T


def _kept(array: Array) -> Array:
    # JAX leaves this function untyped.
    kept: Array = jax.lax.optimization_barrier(array)  # type: ignore[no-untyped-call]
    return kept


affine.defvjp(_forward, _backward)


class Trunk(eqx.Module):
    """Dense layers with a ReLU after each: the hidden part of an encoder or a decoder."""

    layers: tuple[Dense, ...]

    def __init__(self, n_inputs: int, widths: Sequence[int], key: Array) -> None:
        """Build one layer for each width."""
        sizes = [n_inputs, *widths]
        keys = jax.random.split(key, len(widths))
        self.layers = tuple(
            Dense(inputs, outputs, layer_key, gain=2.0)
            for inputs, outputs, layer_key in zip(sizes, sizes[1:], keys, strict=False)
        )

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Return the last layer's activations."""
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return x
