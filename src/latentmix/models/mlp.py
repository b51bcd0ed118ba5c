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
        return x @ self.weight + self.bias


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
