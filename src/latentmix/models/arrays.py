"""Which arrays a record holds: JAX's inside compiled functions, NumPy's in their answers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from jaxtyping import Array

ArrayT = TypeVar("ArrayT", Array, np.ndarray)
