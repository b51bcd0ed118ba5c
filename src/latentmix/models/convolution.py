"""Convolutions, which see an image as one: an alternative to the dense layers of `models.mlp`.

An encoder's halve the sides, (28, 28) to (14, 14) to (7, 7), and dense layers follow. The decoder
goes the same way back: dense layers, then convolutions whose answers are laid out as 2 x 2 pixels
each (Shi et al. 2016, "Real-time single image and video super-resolution using an efficient
sub-pixel convolutional neural network"), so that no pixel is reached by more weights than its
neighbour. Layers take rows and give rows, as dense ones do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentmix.models.mlp import Trunk, Trunks, dense_layers

# (height, width, channels)
Shape = tuple[int, int, int]

# Pixels that a weight reaches, up and down, left and right.
SIDE = 3


class Halving(eqx.Module):
    """A convolution, 3 x 3 with stride 2: half as high and as wide, rounded up."""

    weight: Float[Array, "3 3 I O"]
    bias: Float[Array, " O"]
    shape: Shape = eqx.field(static=True)

    def __init__(self, shape: Shape, n_channels: int, key: Array) -> None:
        """Draw weights for images of a shape from N(0, 2 / n_inputs) (He et al. 2015)."""
        self.shape = shape
        self.weight = _weights(shape[2], n_channels, key, gain=2.0)
        self.bias = jnp.zeros(n_channels, jnp.float32)

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B O"]:
        """Return the smaller images, as rows."""
        smaller = _convolved(x.reshape(-1, *self.shape), self.weight, stride=2) + self.bias
        return smaller.reshape(len(x), -1)


class Doubling(eqx.Module):
    """A convolution, 3 x 3, that tells four pixels for each: twice as high and as wide.

    Where the larger image is to have an odd side, its last line is cut off. Each pixel has a bias
    of its own, as in a dense layer: images are not alike in the middle and at the border.
    """

    weight: Float[Array, "3 3 I O"]
    bias: Float[Array, " D"]
    smaller: Shape = eqx.field(static=True)
    larger: Shape = eqx.field(static=True)

    def __init__(self, smaller: Shape, larger: Shape, key: Array, *, gain: float) -> None:
        """Draw weights from N(0, gain / n_inputs) for the way between two shapes."""
        self.smaller, self.larger = smaller, larger
        self.weight = _weights(smaller[2], 4 * larger[2], key, gain=gain)
        self.bias = jnp.zeros(math.prod(larger), jnp.float32)

    def __call__(self, x: Float[Array, "B I"]) -> Float[Array, "B D"]:
        """Return the larger images, as rows."""
        height, width, n_channels = self.larger
        told = _convolved(x.reshape(-1, *self.smaller), self.weight, stride=1)
        pixels = told.reshape(*told.shape[:3], 2, 2, n_channels).swapaxes(2, 3)
        pixels = pixels.reshape(len(x), 2 * self.smaller[0], 2 * self.smaller[1], n_channels)
        return pixels[:, :height, :width].reshape(len(x), -1) + self.bias


def convolutional_trunks(
    image_shape: Sequence[int],
    channels: Sequence[int],
    widths: Sequence[int],
    latent_dim: int,
    keys: Array,
    *,
    gain: float,
) -> Trunks:
    """Return an encoder that halves once for each number of channels, and a decoder back.

    Dense layers of these widths follow the encoder's convolutions. Keys are (3,): of the encoder,
    the decoder and its last layer, which is drawn with `gain`.
    """
    shapes = shapes_of(image_shape, channels)
    sizes = list(pairwise(shapes))
    n_smallest = math.prod(shapes[-1])
    key, dense_key = jax.random.split(keys[0])
    halvings = [
        Halving(larger, smaller[2], key)
        for (larger, smaller), key in zip(sizes, jax.random.split(key, len(sizes)), strict=True)
    ]
    key, back_key = jax.random.split(keys[1])
    doublings = [
        Doubling(smaller, larger, key, gain=2.0)
        for (larger, smaller), key in zip(
            sizes[1:], jax.random.split(key, len(sizes))[1:], strict=True
        )
    ]
    back = (*reversed(widths), n_smallest)
    return Trunks(
        Trunk((*halvings, *dense_layers(n_smallest, widths, dense_key))),
        Trunk((*dense_layers(latent_dim, back, back_key), *reversed(doublings))),
        Doubling(shapes[1], shapes[0], keys[2], gain=gain),
    )


def shapes_of(image_shape: Sequence[int], channels: Sequence[int]) -> list[Shape]:
    """Return the image's shape and that after each halving; (height, width) is of one channel."""
    height, width, n_channels = (*image_shape, 1)[:3]
    shapes = [(height, width, n_channels)]
    for n_channels in channels:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        shapes.append((height, width, n_channels))
    return shapes


def _weights(n_inputs: int, n_outputs: int, key: Array, *, gain: float) -> Array:
    scale = math.sqrt(gain / (SIDE * SIDE * n_inputs))
    return scale * jax.random.normal(key, (SIDE, SIDE, n_inputs, n_outputs), jnp.float32)


def _convolved(images: Array, weight: Array, *, stride: int) -> Array:
    answer: Array = jax.lax.conv_general_dilated(
        images,
        weight,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    return answer
