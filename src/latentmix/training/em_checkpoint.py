"""A fit of EM on disk: one safetensors file and one JSON file, so that it can go on later.

Between two passes an EM run is its mixture and a few numbers, so that a fit which was killed
goes on to the same bits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file

from latentmix.errors import InputError, IntegrityError
from latentmix.kernels.arrays import Floats
from latentmix.kernels.families import Mixture
from latentmix.storage.files import write_json, write_tensors
from latentmix.training.em_ascent import Ascent
from latentmix.training.sources import Summary

SECONDS_BETWEEN_SAVES = 5.0

_NUMBERS = ("n_iter", "n_reborn", "n_falls", "converged", "failed", "repaired", "previous")


class KeptAscent(NamedTuple):
    """What an ascent was when it was saved."""

    mixture: Mixture
    log_class_probs: Float[Floats, "K C"] | None
    numbers: dict[str, Any]
    lower_bounds: list[float]

    def put_into(self, ascent: Ascent) -> None:
        """Bring an ascent that has not begun to where this one was."""
        ascent.model = ascent.model._replace(
            mixture=self.mixture, log_class_probs=self.log_class_probs
        )
        for name, value in self.numbers.items():
            setattr(ascent, name, value)
        ascent.lower_bounds = list(self.lower_bounds)


class EmKeeper:
    """Keeps nothing; `FolderKeeper` keeps a fit in a folder."""

    def restore(self, summary: Summary, rule: Any) -> list[KeptAscent] | None:
        """Return the runs of an earlier, unfinished fit of the same rows by the same rule."""
        return None

    def save(self, ascents: Sequence[Ascent]) -> None:
        """Keep the runs, now and then."""


class FolderKeeper(EmKeeper):
    """Keeps a fit in ``em.json`` and ``em-N.safetensors`` of a folder."""

    def __init__(self, folder: Path, seconds: float = SECONDS_BETWEEN_SAVES) -> None:
        self.folder, self.seconds = folder, seconds
        self.index = folder / "em.json"
        self._saved_at = time.monotonic()
        self._fingerprint = ""

    def restore(self, summary: Summary, rule: Any) -> list[KeptAscent] | None:
        """Return the runs of an earlier, unfinished fit of the same rows by the same rule.

        Raises
        ------
        InputError
            If the folder keeps a fit of other rows or by another rule.
        IntegrityError
            If its files cannot be read.
        """
        self._fingerprint = _fingerprint(summary, rule)
        if not self.index.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            return None
        try:
            record = json.loads(self.index.read_text())
            tensors = load_file(self.folder / Path(record["tensors"]).name)
            kept = [_read(entry, tensors, i) for i, entry in enumerate(record["runs"])]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise IntegrityError(
                f"{self.index} is no readable checkpoint ({error}). Fit into another folder."
            ) from error
        if record["fingerprint"] != self._fingerprint:
            raise InputError(
                f"{self.folder} keeps a fit of other rows or with other parameters. Give the same "
                "rows and parameters to go on with it, or another folder to start again."
            )
        return kept

    def save(self, ascents: Sequence[Ascent]) -> None:
        """Write the runs if the last time was some seconds ago and no cycle is half done."""
        recent = time.monotonic() - self._saved_at < self.seconds
        if recent or not all(ascent.at_boundary for ascent in ascents):
            return
        tensors: dict[str, np.ndarray] = {}
        for i, ascent in enumerate(ascents):
            for name, array in ascent.model.mixture._asdict().items():
                tensors[f"{i}.{name}"] = np.ascontiguousarray(array)
            if ascent.model.log_class_probs is not None:
                tensors[f"{i}.log_class_probs"] = ascent.model.log_class_probs
        name = f"em-{sum(ascent.n_iter for ascent in ascents)}.safetensors"
        write_tensors(self.folder / name, tensors)
        runs = [
            {
                "numbers": {key: _plain(getattr(ascent, key)) for key in _NUMBERS},
                "lower_bounds": ascent.lower_bounds,
            }
            for ascent in ascents
        ]
        record = {"fingerprint": self._fingerprint, "tensors": name, "runs": runs}
        write_json(self.index, record)
        self._remove_tensors(keep=name)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Delete the files: the fit is finished."""
        self.index.unlink(missing_ok=True)
        self._remove_tensors(keep=None)

    def _remove_tensors(self, keep: str | None) -> None:
        for path in self.folder.glob("em-*.safetensors"):
            if path.name != keep:
                path.unlink()


def _plain(value: Any) -> Any:
    # JSON has no infinity.
    return None if isinstance(value, float) and np.isinf(value) else value


def _read(entry: dict[str, Any], tensors: dict[str, np.ndarray], i: int) -> KeptAscent:
    mixture = Mixture(*(tensors[f"{i}.{name}"] for name in Mixture._fields))
    numbers = {name: entry["numbers"][name] for name in _NUMBERS}
    if numbers["previous"] is None:
        numbers["previous"] = -np.inf
    return KeptAscent(mixture, tensors.get(f"{i}.log_class_probs"), numbers, entry["lower_bounds"])


def _fingerprint(summary: Summary, rule: Any) -> str:
    """Return a digest of what has to be the same for a fit to go on."""
    plain = {k: v for k, v in vars(rule).items() if k not in ("family", "start")}
    shape = rule.family.shape(rule.n_components, len(summary.mean))
    digest = hashlib.sha256(repr((rule.family.name, shape, sorted(plain.items()))).encode())
    sample = summary.sample
    sums = (summary.n_rows, summary.total, *summary[2:6], summary.class_counts)
    for part in (*sums, *sample, *rule.start):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
