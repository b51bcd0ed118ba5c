"""Warps of images: small changes of where and how something is drawn, not of what it is.

Each image is shifted, turned, sheared, scaled, bent, and its strokes made thicker or thinner, by
random amounts of its own. What a representation learns to keep under them is the what; the how it
drops (Simard, Steinkraus and Platt 2003 for digits, who bend them smoothly, too; Hu et al. 2017,
IMSAT, for clustering).
"""

from __future__ import annotations

from itertools import product
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Warps(NamedTuple):
    """How far images are warped at most; each amount is uniform between minus and plus that.

    Attributes
    ----------
    shift : float
        Share of the side, in each direction.
    rotation : float
        Degrees.
    shear : float
        Tangent of the angle.
    scale : float
        Natural logarithm of the factor, for each direction.
    stroke : float
        [0, 1]: how far towards the brightest (or darkest) of its four neighbours a pixel goes.
    bend : float
        Share of the side: how far half a wave moves pixels; shorter waves move them less.
    """

    shift: float = 0.07
    rotation: float = 11.5
    shear: float = 0.2
    scale: float = 0.12
    stroke: float = 0.5
    bend: float = 0.03


# Waves that bend an image: (half periods across, half periods down), none of them a shift.
MOST_HALF_PERIODS: Final = 4
WAVES: Final = tuple(product(range(MOST_HALF_PERIODS + 1), repeat=2))[1:]

# Random amounts of an image: stroke, rotation, shear, two scales, two shifts, and of each wave one
# across and one down.
N_MOTIONS: Final = 7
N_AMOUNTS: Final = N_MOTIONS + 2 * len(WAVES)

# A stroke is as many pixels wide as the image is large: in smaller ones a neighbour is further.
SIDE_FOR_FULL_STROKE: Final = 28


def warped(
    rows: Float[Array, "B D"],
    amounts: Float[Array, "B A"],
    warps: Warps,
    image_shape: tuple[int, ...],
) -> Float[Array, "B D"]:
    """Return images, each warped by amounts of its own, bilinear, with 0 beyond the border.

    Parameters
    ----------
    rows : (B, D)
        Images row by row, D = height x width (x channels).
    amounts : (B, N_AMOUNTS)
        In [-1, 1]; at 0 an image stays what it is.
    warps : Warps
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    """
    height, width = image_shape[:2]
    images = rows.reshape(len(rows), height, width, -1)
    if warps.stroke:
        strength = warps.stroke * min(1.0, min(height, width) / SIDE_FOR_FULL_STROKE)
        images = _with_strokes(images, strength * amounts[:, 0])
    across, down = _sources(amounts, warps, height, width)
    return _sampled(images, across, down).reshape(rows.shape)


def _with_strokes(
    images: Float[Array, "B H W C"], strength: Float[Array, " B"]
) -> Float[Array, "B H W C"]:
    """Return images moved towards the brightest (darkest) of each pixel and its four neighbours."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    sides = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    brightest, darkest = images, images
    for side in sides:
        brightest, darkest = jnp.maximum(brightest, side), jnp.minimum(darkest, side)
    strength = strength[:, None, None, None]
    thicker, thinner = jnp.maximum(strength, 0.0), jnp.maximum(-strength, 0.0)
    return images + thicker * (brightest - images) - thinner * (images - darkest)


def _sources(
    amounts: Float[Array, "B A"], warps: Warps, height: int, width: int
) -> tuple[Float[Array, "B P"], Float[Array, "B P"]]:
    """Return where each pixel of the answer lies in its image: columns and rows, in pixels."""
    angle = jnp.deg2rad(warps.rotation) * amounts[:, 1, None]
    shear = warps.shear * amounts[:, 2, None]
    factors = jnp.exp(warps.scale * amounts[:, 3:5])
    shifts = warps.shift * amounts[:, 5:7] * jnp.asarray([width, height], jnp.float32)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32) - middle_y,
        jnp.arange(width, dtype=jnp.float32) - middle_x,
        indexing="ij",
    )
    x, y = factors[:, :1] * x.ravel(), factors[:, 1:] * y.ravel()
    x = x + shear * y
    turned_x = jnp.cos(angle) * x - jnp.sin(angle) * y
    turned_y = jnp.sin(angle) * x + jnp.cos(angle) * y
    across, down = turned_x + shifts[:, :1] + middle_x, turned_y + shifts[:, 1:] + middle_y
    if warps.bend:
        by_wave = amounts[:, N_MOTIONS:].reshape(len(amounts), 2, len(WAVES))
        bends = warps.bend * by_wave @ _waves(height, width)
        across, down = across + width * bends[:, 0], down + height * bends[:, 1]
    return across, down


def _waves(height: int, width: int) -> Float[Array, "W P"]:
    """Return cosine waves over the pixels, each the smaller the shorter it is."""
    x, y = (np.pi * (np.arange(side) + 0.5) / side for side in (width, height))
    waves = [np.outer(np.cos(j * y), np.cos(i * x)) / np.hypot(i, j) for i, j in WAVES]
    return jnp.asarray(np.stack(waves).reshape(len(WAVES), -1), jnp.float32)


def _sampled(
    images: Float[Array, "B H W C"], across: Float[Array, "B P"], down: Float[Array, "B P"]
) -> Float[Array, "B P C"]:
    """Return the images at given places, between four pixels each."""
    n_images, height, width, channels = images.shape
    # A border of zeros is all that a place beyond the image can fall on.
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pixels = padded.reshape(n_images, -1, channels)
    across = jnp.clip(across + 1, 0.0, width + 0.999)
    down = jnp.clip(down + 1, 0.0, height + 0.999)
    left, top = jnp.floor(across), jnp.floor(down)
    right_share, lower_share = (across - left)[..., None], (down - top)[..., None]
    stride = width + 2
    corner = top.astype(jnp.int32) * stride + left.astype(jnp.int32)

    def at(places: Array) -> Array:
        return jnp.take_along_axis(
            pixels, places[..., None], axis=1, mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS
        )

    upper = at(corner) * (1 - right_share) + at(corner + 1) * right_share
    lower = at(corner + stride) * (1 - right_share) + at(corner + stride + 1) * right_share
    return upper * (1 - lower_share) + lower * lower_share
