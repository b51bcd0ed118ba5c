"""Which arrays a record holds: JAX's inside compiled functions, NumPy's in their answers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Array

# What the mixtures compute with: float64 arrays of NumPy.
Floats = npt.NDArray[np.float64]

ArrayT = TypeVar("ArrayT", Array, np.ndarray)
