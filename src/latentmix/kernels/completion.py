"""What a mixture knows of missing entries: their expectation, and the conditional mixture.

Given the seen features s of a row, p(k|x_s) weighs the components, and within one the rest is
Gaussian again: mean_m + S_ms S_ss^-1 (x_s - mean_s), covariance S_mm - S_ms S_ss^-1 S_sm (Bishop,
PRML, equations 2.81 and 2.82). Families with independent features keep their means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from latentmix.kernels.answers import answers
from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model, normalise
from latentmix.kernels.families import Family, Mixture
from latentmix.kernels.incomplete import incomplete_blocks, load_incomplete, log_joint
from latentmix.kernels.rows import PatternBlock, Rows, patterns_of, refuse_infinite


def impute(model: Model, x: Float[Floats, "N D"], crew: Crew) -> Float[Floats, "N D"]:
    """Return the rows with each NaN replaced by its conditional expectation.

    Raises
    ------
    InputError
        If a value is infinite.
    """
    filled = np.array(x, np.float64)
    refuse_infinite(filled, slice(0, len(filled)))
    patterns = patterns_of(filled)
    if patterns is None:
        return filled
    n_features = filled.shape[1]
    rows = Rows(filled, np.zeros(n_features), np.ones(n_features), patterns=patterns)

    def share(mine: Sequence[PatternBlock]) -> list[tuple[Int[np.ndarray, " B"], Floats]]:
        found = []
        with np.errstate(all="ignore"):
            for block in mine:
                incomplete = load_incomplete(rows, block)
                logits, completed = log_joint(model.family, model.mixture, incomplete)
                normalise(logits, sound=True)
                found.append((block.rows.ravel(), completed.expected(logits).T))
        return found

    for part in crew.run(share, incomplete_blocks(patterns, model.mixture)):
        for numbers, expected in part:
            filled[numbers] = np.where(np.isnan(filled[numbers]), expected, filled[numbers])
    return filled


def condition(
    model: Model, seen: np.ndarray, values: Float[Floats, " S"], crew: Crew
) -> tuple[Family, Mixture]:
    """Return the mixture of the other features, given the values of those seen, and its family."""
    family, mixture = model.family, model.mixture
    row = np.full((1, len(seen)), np.nan)
    row[0, seen] = values
    unit = np.zeros(len(seen)), np.ones(len(seen))
    given = answers(model, Rows(row, *unit, patterns=patterns_of(row)), crew)
    rest, components = family.conditional(mixture, seen, values)
    return rest, components._replace(weights=given.responsibilities[0])
