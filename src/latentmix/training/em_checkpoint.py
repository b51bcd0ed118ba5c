"""A fit of EM on disk: one safetensors file and one JSON file, so that it can go on later.

Between two passes an EM run is a few arrays, so that a fit which was killed goes on to the same
bits. The JSON file names the other and its SHA-256, and is replaced last: the pair is always
whole. Two fits at once would delete each other's files, so that one holds the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors.numpy import load as tensors_from_bytes

from latentmix.errors import InputError, IntegrityError, WriteError
from latentmix.storage.files import hold_folder, tensor_bytes, write_bytes, write_json
from latentmix.training.em_ascent import Ascent, State
from latentmix.training.sources import ArraySource, Source, Summary

if TYPE_CHECKING:
    from latentmix.training.em_loop import EmRule  # which imports this module

# What the files hold; it grows when that changes.
FORMAT = 2

SECONDS_BETWEEN_SAVES = 5.0

# A save that takes long, as of a large model on a slow disk, is paid for by a longer pause: up
# to so many times its own length, or the usual pause's.
LONGEST_PAUSES = 50

_TENSORS = re.compile(r"em-(\d{1,18})\.safetensors")
# What a write that was cut off has left behind has a random ending.
_OURS = re.compile(r"em\.json|em-\d+\.safetensors|\.em(\.json|-\d+\.safetensors)\.[a-z0-9_]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class EmKeeper:
    """Keeps nothing; `FolderKeeper` keeps a fit in a folder."""

    def begin(self, seeds: Sequence[int]) -> Sequence[int]:
        """Return the seeds of the starts: those given, or those of the fit to go on with."""
        return seeds

    def restore(self, source: Source, summary: Summary, rule: EmRule) -> list[State] | None:
        """Return the runs of an earlier, unfinished fit of the same rows by the same rule."""
        return None

    def save(self, ascents: Sequence[Ascent], *, at_once: bool = False) -> None:
        """Keep the runs, now and then or at once; none of them is in the middle of a step."""

    def remove(self) -> None:
        """Keep nothing any more: the fit is finished."""

    def close(self) -> None:
        """Leave what is kept to the next fit, whether this one is finished or was stopped."""


class _Index(NamedTuple):
    """What ``em.json`` holds."""

    format: int
    fingerprint: str
    seeds: list[int]
    tensors: str
    sha256: str


class FolderKeeper(EmKeeper):
    """Keeps a fit in ``em.json`` and ``em-N.safetensors`` of a folder.

    Parameters
    ----------
    folder : Path
    seconds : float
        Between two saves.
    seeds_given : bool
        Whether the same call draws the same seeds. If not, they are no part of what has to be
        the same, and a fit goes on with those it began with.
    """

    def __init__(
        self, folder: Path, seconds: float = SECONDS_BETWEEN_SAVES, *, seeds_given: bool = True
    ) -> None:
        self.folder, self.seconds, self.seeds_given = folder, seconds, seeds_given
        self.index = folder / "em.json"
        self._held: int | None = None
        self._begun: _Index | None = None
        self._number = 0
        self._seeds: list[int] = []
        self._fingerprint = ""
        self._save_after = time.monotonic() + seconds

    def begin(self, seeds: Sequence[int]) -> Sequence[int]:
        """Return the seeds of the starts: those given, or those of the fit to go on with.

        Raises
        ------
        WriteError
            If the folder is none and cannot be made.
        InputError
            If another fit keeps itself there now.
        IntegrityError
            If its ``em.json`` cannot be read.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._held = hold_folder(self.folder)
        except BlockingIOError as error:
            raise InputError(
                f"checkpoint={str(self.folder)!r} is in use: another fit is keeping itself there. "
                "Wait until it has ended, or give each fit a folder of its own."
            ) from error
        except OSError as error:
            raise WriteError(
                f"checkpoint={str(self.folder)!r} cannot be made or read as a folder: "
                f"{error.strerror or error}. Choose another folder."
            ) from error
        self._begun = index = self._read_index()
        self._seeds = list(seeds)
        if index is not None and not self.seeds_given and len(index.seeds) == len(seeds):
            self._seeds = index.seeds
        return self._seeds

    def restore(self, source: Source, summary: Summary, rule: EmRule) -> list[State] | None:
        """Return the runs of an earlier, unfinished fit of the same rows by the same rule.

        Raises
        ------
        InputError
            If the folder keeps a fit of other rows or by another rule.
        IntegrityError
            If its files cannot be read, or were changed.
        """
        self._fingerprint = _fingerprint(source, summary, rule, self._seeds)
        index = self._begun
        if index is None:
            return None
        if index.fingerprint != self._fingerprint:
            raise InputError(
                f"{self.folder} keeps a fit of other rows or with other parameters. Give the same "
                "rows and parameters to go on with it, or another folder to start again."
            )
        try:
            content = (self.folder / index.tensors).read_bytes()
        except OSError as error:
            raise self._unreadable(f"{index.tensors}: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != index.sha256:
            raise self._unreadable(f"{index.tensors} was changed: its SHA-256 is another")
        return _states(tensors_from_bytes(content))

    def save(self, ascents: Sequence[Ascent], *, at_once: bool = False) -> None:
        """Write the runs, if the last time was some seconds ago or at once."""
        begun = time.monotonic()
        if begun < self._save_after and not at_once:
            return
        content = tensor_bytes(_tensors([ascent.state() for ascent in ascents]))
        self._number += 1
        name = f"em-{self._number}.safetensors"
        sha256 = hashlib.sha256(content).hexdigest()
        index = _Index(FORMAT, self._fingerprint, self._seeds, name, sha256)
        write_bytes(self.folder / name, content)
        write_json(self.index, index._asdict())
        self._remove_all_but(self.index.name, name)
        ended = time.monotonic()
        longest = LONGEST_PAUSES * min(self.seconds, ended - begun)
        self._save_after = ended + max(self.seconds, longest)

    def remove(self) -> None:
        """Delete the files: the fit is finished."""
        # Should this be cut off, nothing is left that names a file which is gone.
        with suppress(OSError):
            self.index.unlink()
        self._remove_all_but()

    def close(self) -> None:
        """Let go of the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _remove_all_but(self, *kept: str) -> None:
        for path in self.folder.glob("*em*"):
            if _OURS.fullmatch(path.name) and path.name not in kept:
                # One that stays does no harm, and is no reason to lose a fit.
                with suppress(OSError):
                    path.unlink()

    def _read_index(self) -> _Index | None:
        try:
            record = json.loads(self.index.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(error) from error
        if not isinstance(record, dict) or set(record) != set(_Index._fields):
            raise self._unreadable(f"expected the keys {', '.join(_Index._fields)}")
        index = _Index(**record)
        if index.format != FORMAT:
            raise self._unreadable(f"it has format {index.format!r}, this version reads {FORMAT}")
        for name in ("fingerprint", "sha256"):
            if not _matches(_SHA256, record[name]):
                raise self._unreadable(f"{name} is no SHA-256")
        if not _matches(_TENSORS, index.tensors):
            raise self._unreadable("tensors is no name of a file em-N.safetensors")
        if not _are_seeds(index.seeds):
            raise self._unreadable("seeds is no list of integers from 0 to 2**32 - 1")
        self._number = int(index.tensors.removeprefix("em-").removesuffix(".safetensors"))
        return index

    def _unreadable(self, why: object) -> IntegrityError:
        return IntegrityError(
            f"{self.index} is no readable checkpoint ({why}). Delete it to start again, or fit "
            "into another folder."
        )


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _are_seeds(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(type(seed) is int and 0 <= seed < 2**32 for seed in value)
    )


def _tensors(states: Sequence[State]) -> State:
    """Return the arrays of all runs, each by its run's number, its name, and its axes' order.

    BLAS takes other ways through matrices that lie the other way round, to other bits.
    """
    tensors = {}
    for i, state in enumerate(states):
        for name, array in state.items():
            axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
            tensors[f"{i}.{name}/{''.join(map(str, axes))}"] = array.transpose(axes)
    return tensors


def _states(tensors: State) -> list[State]:
    """Return each run's arrays: the inverse of `_tensors`."""
    states: dict[int, dict[str, np.ndarray]] = {}
    for key, array in tensors.items():
        path, _, axes = key.partition("/")
        number, _, name = path.partition(".")
        back = np.argsort([int(axis) for axis in axes]).astype(np.intp)
        # A copy, as the file's bytes cannot be written to.
        states.setdefault(int(number), {})[name] = array.copy().transpose(back)
    return [states[i] for i in range(len(states))]


def _fingerprint(source: Source, summary: Summary, rule: EmRule, seeds: Sequence[int]) -> str:
    """Return a digest of all that decides where a fit goes."""
    family = rule.family
    plain = {
        name: float(value) if isinstance(value, Real) else value
        for name, value in vars(rule).items()
        if name not in ("family", "start")
    }
    said = family.name, sorted(vars(family).items()), sorted(plain.items()), list(seeds)
    digest = hashlib.sha256(repr(said).encode())
    records: dict[str, Any] = {"rows": summary, "sample": summary.sample, "start": rule.start}
    arrays = {
        f"{name}.{field}": value
        for name, record in records.items()
        for field, value in record._asdict().items()
        if value is not summary.sample
    }
    if isinstance(source, ArraySource):
        # Sums tell of every row's values, but not of which rows the labels belong to.
        arrays |= {"row_weights": source.weights, "row_labels": source.labels}
    for name, value in arrays.items():
        if value is not None:
            array = np.ascontiguousarray(value)
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(array.data)
    return digest.hexdigest()
