"""A training on disk, so that it can go on later: its last two states, each one safetensors file.

A file is flushed before it gets its name, and the name ends in the content's SHA-256: one that
is damaged all the same is known for it, and the state before is gone on with.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_from_bytes

from latentmix.errors import IntegrityError
from latentmix.models.named_tensors import from_tensors, to_tensors
from latentmix.storage.files import tensor_bytes, write_bytes
from latentmix.training.data_parallel import leads, said_by_first
from latentmix.training.events import Listener, Stage, epoch_end_of, nobody
from latentmix.training.vae_loop import Training

SECONDS_BETWEEN_SAVES = 60.0
KEPT = 2

_NAME = re.compile(
    r"checkpoint(?:-round(\d{1,9}))?-(\d{1,18})-(\d{1,18})-([0-9a-f]{16})\.safetensors"
)
# A round's second opinion, the answer of a classifier that took minutes to teach.
_OPINION = re.compile(r"opinion-round\d{1,9}-[0-9a-f]{16}\.safetensors")
_PROBA = "proba"
# What is no array of the state, as the bytes of JSON: the position, the history.
_RECORD = "record"
# What the names of the best epoch's weights begin with, where early stopping keeps them.
_BEST = "best."


class Checkpoint:
    """Where a training is kept: ``checkpoint-EPOCH-STEP-SHA256.safetensors``, the last two.

    A training of several rounds keeps each round's, ``checkpoint-roundN-...``, until the whole is
    finished: a round begins with what the one before it came to. A round's second opinion lies
    beside them, ``opinion-roundN-SHA256.safetensors``.

    Parameters
    ----------
    folder : Path
    listener : callable, optional
        Told of a checkpoint that was damaged.
    number : int, optional
        The round's, from 1; None for a training without any, or for what comes before them.
    """

    def __init__(
        self, folder: Path, listener: Listener = nobody, number: int | None = None
    ) -> None:
        self.folder = folder
        self._listener = listener
        self._number = number
        self._saved_at = time.monotonic()

    def of_round(self, number: int) -> Checkpoint:
        """Return where a round's training is kept, in the same folder."""
        return Checkpoint(self.folder, self._listener, number)

    def save(self, training: Training, *, at_once: bool = False) -> None:
        """Write the training if the last time was a minute ago, at once, or at its end.

        Raises
        ------
        WriteError
            If it cannot be written; what was kept before is kept still.
        """
        finished = training.stop_reason is not None
        recent = time.monotonic() - self._saved_at < SECONDS_BETWEEN_SAVES
        if (recent and not at_once and not finished) or not leads():
            return
        best = {} if training.best is None else to_tensors(training.best)
        tensors = {f"{_BEST}{name}": tensor for name, tensor in best.items()}
        tensors |= {**to_tensors(training.state), _RECORD: _record_of(training)}
        content = tensor_bytes(tensors)
        which = "" if self._number is None else f"-round{self._number}"
        place = f"{training.epoch}-{training.step}"
        name = f"checkpoint{which}-{place}-{_sha256(content)}.safetensors"
        write_bytes(self.folder / name, content)
        self._keep_up_to(training)
        self._saved_at = time.monotonic()

    def restore(self, training: Training) -> None:
        """Bring a training before its first step to where the saved one was; else leave it.

        Raises
        ------
        IntegrityError
            If there are files, and none is a checkpoint of such a training.
        """
        kept = said_by_first(lambda: self._restored(training))
        if kept and not leads():
            _restore(training, kept)

    def _restored(self, training: Training) -> dict[str, np.ndarray]:
        """Restore the newest undamaged checkpoint, and return what it holds; {}: there is none."""
        damaged: list[Path] = []
        why: Exception | None = None
        for path in self._newest_first():
            try:
                kept = _tensors_of(path)
                _restore(training, kept)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                damaged.append(path)
                why = error
            else:
                self._say(damaged, training)
                # Those to come would else be older than one that is of no use.
                self._remove(damaged)
                return kept
        if damaged:
            raise IntegrityError(
                f"{damaged[0]} is no readable checkpoint ({why}). Start again in another folder."
            ) from why
        return {}

    def save_opinion(self, proba: np.ndarray) -> None:
        """Write a round's second opinion, p(k|x), before its training begins.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        content = tensor_bytes({_PROBA: proba})
        write_bytes(self._opinion_named(_sha256(content)), content)

    def opinion(self) -> np.ndarray | None:
        """Return the round's second opinion; None where none is kept undamaged: ask anew."""
        for path in self.folder.glob(self._opinion_named("*").name):
            with suppress(OSError, ValueError, KeyError, SafetensorError):
                proba: np.ndarray = _tensors_of(path)[_PROBA]
                return proba
        return None

    def _opinion_named(self, digest: str) -> Path:
        return self.folder / f"opinion-round{self._number}-{digest}.safetensors"

    def names(self) -> tuple[str, ...]:
        """Return the names of all the folder's checkpoints, the newest first, and opinions."""
        return tuple(path.name for path in [*self._all(), *self._opinions()])

    def remove(self) -> None:
        """Delete all the folder's checkpoints."""
        self._remove([*self._all(), *self._opinions()])

    def _all(self) -> list[Path]:
        found = [path for path in self.folder.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: (_round(path) or 0, _position(path)), reverse=True)

    def _opinions(self) -> list[Path]:
        return [path for path in self.folder.glob("opinion-*") if _OPINION.fullmatch(path.name)]

    def _newest_first(self) -> list[Path]:
        return [path for path in self._all() if _round(path) == self._number]

    def _keep_up_to(self, training: Training) -> None:
        """Leave the last ones up to where the training is: what is past it has diverged."""
        here = training.epoch, training.step
        course = [path for path in self._newest_first() if _position(path) <= here]
        self._remove([path for path in self._newest_first() if path not in course[:KEPT]])

    def _say(self, damaged: list[Path], training: Training) -> None:
        if damaged:
            names = " and ".join(path.name for path in damaged)
            where = f"{training.epoch} epochs and {training.step} steps"
            self._listener(Stage(f"{names} is damaged: going on from the one before, at {where}"))

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            # One that stays does no harm, and is no reason to lose a training.
            with suppress(OSError):
                path.unlink()


def _restore(training: Training, kept: Mapping[str, np.ndarray]) -> None:
    """Bring a training to where it was kept."""
    tensors = dict(kept)
    record = json.loads(tensors.pop(_RECORD).tobytes())
    history = [epoch_end_of(entry) for entry in record["history"]]
    best = {
        name.removeprefix(_BEST): tensors.pop(name) for name in [*tensors] if name.startswith(_BEST)
    }
    training.best = from_tensors(training.state.network, best) if best else None
    state = from_tensors(training.state, tensors)
    training.state = jax.block_until_ready(state)  # type: ignore[no-untyped-call]  # as JAX has it
    training.epoch, training.step = record["epoch"], record["step"]
    training.seconds, training.history = record["seconds"], history
    training.stopped = record["stopped"]


def _position(path: Path) -> tuple[int, int]:
    """Return the epoch and step in a checkpoint's name."""
    *_, epoch, step, _ = path.stem.split("-")
    return int(epoch), int(step)


def _round(path: Path) -> int | None:
    """Return the round in a checkpoint's name."""
    matched = _NAME.fullmatch(path.name)
    return None if matched is None or matched[1] is None else int(matched[1])


def _tensors_of(path: Path) -> dict[str, np.ndarray]:
    """Return what a file holds whose name ends in its content's digest, or refuse it."""
    content = path.read_bytes()
    if path.stem.rpartition("-")[2] != _sha256(content):
        raise IntegrityError(f"{path.name} was changed: its SHA-256 is another")
    return dict(tensors_from_bytes(content))


def _sha256(content: bytes) -> str:
    """Return as much of the digest as tells damage from none."""
    return hashlib.sha256(content).hexdigest()[:16]


def _record_of(training: Training) -> np.ndarray:
    record = {
        "epoch": training.epoch,
        "step": training.step,
        "seconds": training.seconds,
        "stopped": training.stopped,
        "history": [asdict(entry) for entry in training.history],
    }
    # An average over held-out rows may be infinite; Python reads what it writes for that.
    return np.frombuffer(json.dumps(record).encode(), np.uint8)
