"""Rows with missing entries: cut into blocks, made ready, and given to the components.

What the components say of them is in `families.incomplete`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from latentmix.kernels.arrays import Floats
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.families.family import Completed, Incomplete
from latentmix.kernels.rows import PatternBlock, Patterns, Rows, pattern_blocks

# Of the completed rows of a block, or of its patterns' matrices, under all components: 5 MB.
MOST_ENTRIES = 5 << 17
MOST_ROWS = 8184


def incomplete_blocks(patterns: Patterns, mixture: Mixture) -> list[PatternBlock]:
    """Cut the rows in which some entry is missing into blocks."""
    n_components, n_features = mixture.means.shape
    most_rows = int(np.clip(MOST_ENTRIES // (n_components * n_features), 64, MOST_ROWS))
    return pattern_blocks(patterns, most_rows, MOST_ENTRIES // n_components)


def load_incomplete(rows: Rows, block: PatternBlock) -> Incomplete:
    """Return a block's rows, scaled, features first; rows without weight lie at 0."""
    numbers = block.rows.ravel()
    x = np.empty((rows.x.shape[1], len(numbers)))
    np.subtract(np.asarray(rows.x[numbers]).T, rows.shift[:, None], out=x)
    # Scales are powers of two: multiplying by the inverse is exact.
    x *= 1 / rows.scale[:, None]
    np.copyto(x, 0.0, where=np.isnan(x))
    if rows.weights is not None:
        x[:, rows.weights[numbers] == 0] = 0.0
    return Incomplete(x, block.seen)


def log_joint(
    family: Family, mixture: Mixture, incomplete: Incomplete
) -> tuple[Float[Floats, "K B"], Completed]:
    """Return log p(seen, k), and what else the components say."""
    completed = family.completed(mixture, incomplete)
    with np.errstate(divide="ignore"):
        log_weights = np.log(mixture.weights)
    return completed.log_densities + log_weights[:, None], completed
