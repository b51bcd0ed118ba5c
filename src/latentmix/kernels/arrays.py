"""The arrays that the mixtures compute with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Float64 arrays of NumPy, of any shape; jaxtyping's names say which.
Floats = npt.NDArray[np.float64]
