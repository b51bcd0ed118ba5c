"""Encoder and decoder trunks, and the dense layers that they are made of.

A decoder's widths are the encoder's in reverse: 784-392-196-98, and 98-196-392-784 for the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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


class Layer(Protocol):
    """An affine function of rows: dense, or a convolution."""

    bias: Array

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Return what it makes of each row."""
        ...


class Trunk(eqx.Module):
    """Layers with a ReLU after each: the hidden part of an encoder or a decoder."""

    layers: tuple[Layer, ...]

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Return the last layer's activations."""
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return x


class Trunks(NamedTuple):
    """The encoder but for its heads, and the decoder with its last layer, which has no ReLU."""

    encoder: Trunk
    decoder: Trunk
    output: Layer


def dense_layers(n_inputs: int, widths: Sequence[int], key: Array) -> tuple[Dense, ...]:
    """Return a layer for each width, to have a ReLU after it."""
    sizes = [n_inputs, *widths]
    keys = jax.random.split(key, len(widths))
    return tuple(
        Dense(inputs, outputs, layer_key, gain=2.0)
        for inputs, outputs, layer_key in zip(sizes, sizes[1:], keys, strict=False)
    )


def dense_trunks(
    sizes: tuple[int, int], widths: Sequence[int], latent_dim: int, keys: Array, *, gain: float
) -> Trunks:
    """Return an encoder of these widths and a decoder of the same in reverse.

    Sizes are those of what the encoder sees and of what the decoder tells, as a rule D and D.

    The encoder's first hidden layer is as wide as the data: the decoder's output, drawn with
    `gain`, stands in its place. Keys are (3,): of the encoder, the decoder and the output.
    """
    n_seen, n_told = sizes
    back = tuple(reversed(widths[1:])) + tuple(widths[:1]) * (len(widths) == 1)
    return Trunks(
        Trunk(dense_layers(n_seen, widths, keys[0])),
        Trunk(dense_layers(latent_dim, back, keys[1])),
        Dense(back[-1], n_told, keys[2], gain=gain),
    )
