"""Black or white drawn for each pixel, with the pixel's intensity for the probability of white.

In training the draw is another one each time a row is seen (Salakhutdinov and Murray 2008; Burda et
al. 2016). For answers it is always the same: a function of the row's intensities alone, so that a
row has one score wherever it stands, and rows have draws that know nothing of each other.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

# Intensities are told apart by so many steps: rounding to float32 changes no row's draw.
LEVELS: Final = 65535

# SplitMix64 (Steele, Lea and Flood 2014): a counter's step, then what scatters its bits.
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FACTORS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def binarised(x: Float[Array, "B D"], keys: Key[Array, " B"]) -> Float[Array, "B D"]:
    """Return 0 or 1 for each intensity in [0, 1], each row by its own key; 0 and 1 stay."""
    width = x.shape[1:]
    draws = jax.vmap(lambda key: jax.random.uniform(key, width, jnp.float32))(keys)
    return (draws < x).astype(jnp.float32)


def fixed_binarisation(x: Float[np.ndarray, "B D"]) -> UInt8[np.ndarray, "B D"]:
    """Return 0 or 255 for each intensity in [0, 1], always the same for the same row."""
    counters = _STEP * np.arange(1, x.shape[1] + 1, dtype=np.uint64)
    levels = np.rint(np.asarray(x, np.float64) * LEVELS).astype(np.uint64)
    # Odd factors: rows that differ in one pixel have another sum.
    seeds = _scattered((levels * (_scattered(counters) | np.uint64(1))).sum(axis=1))
    bits = _scattered(seeds[:, None] + counters) >> np.uint64(11)
    return np.where(bits * 2.0**-53 < x, np.uint8(255), np.uint8(0))


def _scattered(counters: np.ndarray) -> np.ndarray:
    first, second = _FACTORS
    mixed: np.ndarray = (counters ^ (counters >> np.uint64(30))) * first
    mixed = (mixed ^ (mixed >> np.uint64(27))) * second
    mixed ^= mixed >> np.uint64(31)
    return mixed
