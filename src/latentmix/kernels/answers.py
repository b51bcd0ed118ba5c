"""What a mixture says of rows: log p(x) and p(k|x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from latentmix.kernels.arrays import Floats
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import (
    LEAST_LOG_DENSITY,
    Model,
    Prepared,
    Work,
    block_rows,
    cut,
    normalise,
)
from latentmix.kernels.incomplete import incomplete_blocks, load_incomplete, log_joint
from latentmix.kernels.rows import Block, PatternBlock, Patterns, Rows, refuse_infinite


class Answers(NamedTuple):
    """log p(x), (N,), in scaled units and nats, and p(k|x), (N, K)."""

    log_density: Float[Floats, " N"]
    responsibilities: Float[Floats, "N K"]


def answers(model: Model, rows: Rows, crew: Crew) -> Answers:
    """Return the log-density and the responsibilities of every row.

    Raises
    ------
    InputError
        If a value is infinite.
    """
    n_rows, n_components = len(rows.x), len(model.mixture.means)
    found = Answers(np.empty(n_rows), np.empty((n_rows, n_components)))
    prepared = Prepared.of(model)
    if rows.patterns is None:
        _answer(prepared, rows, None, found, crew)
        return found
    complete = rows.patterns.complete()
    if len(complete):
        _answer(prepared, rows, complete, found, crew)
    _answer_incomplete(prepared, rows, rows.patterns, found, crew)
    return found


def _answer(
    prepared: Prepared, rows: Rows, numbers: np.ndarray | None, found: Answers, crew: Crew
) -> None:
    """Write the answers for all rows, or for those numbered."""
    n_rows = len(rows.x) if numbers is None else len(numbers)
    size = block_rows(n_rows, len(prepared.theta) + prepared.theta.shape[1], crew.size)

    def share(mine: Sequence[Block]) -> None:
        with np.errstate(all="ignore"):
            work = Work([prepared], rows, size)
            for block in mine:
                logits = work.logits(work.load(block))
                _write(logits, prepared, rows, block, found)

    crew.run(share, cut(n_rows, numbers, size))


def _answer_incomplete(
    prepared: Prepared, rows: Rows, patterns: Patterns, found: Answers, crew: Crew
) -> None:
    """Write the answers for rows with missing entries."""
    family, mixture = prepared.model.family, prepared.model.mixture

    def share(mine: Sequence[PatternBlock]) -> None:
        with np.errstate(all="ignore"):
            for block in mine:
                logits, _ = log_joint(family, mixture, load_incomplete(rows, block))
                _write(logits, prepared, rows, block.rows.ravel(), found)

    crew.run(share, incomplete_blocks(patterns, mixture))


def _write(logits: Floats, prepared: Prepared, rows: Rows, block: Block, found: Answers) -> None:
    """Turn log p(x, k) into the answers for a block, and write them."""
    log_density = normalise(logits, sound=prepared.sound)
    if not (log_density > LEAST_LOG_DENSITY / 2).all():
        refuse_infinite(rows.x, block)
    found.log_density[block] = log_density
    found.responsibilities[block] = logits.T
