"""A training on disk: one safetensors file and one JSON file, so that it can go on later."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from safetensors import SafetensorError
from safetensors.numpy import load_file

from latentmix.errors import IntegrityError
from latentmix.models.named_tensors import from_tensors, to_tensors
from latentmix.storage.files import write_json, write_tensors
from latentmix.training.events import Averages, EpochEnd
from latentmix.training.vae_loop import Training

SECONDS_BETWEEN_SAVES = 60.0


class Checkpoint:
    """Where a training is kept: ``checkpoint-N.safetensors`` and ``checkpoint.json``.

    The JSON file names the tensors' file and is replaced last, so the pair is always whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "checkpoint.json"
        self._saved_at = time.monotonic()

    def save(self, training: Training) -> None:
        """Write the training, unless it was written less than a minute ago at an epoch's end."""
        finished = training.epoch == training.rule.n_epochs
        recent = time.monotonic() - self._saved_at < SECONDS_BETWEEN_SAVES
        if recent and training.step == 0 and not finished:
            return
        name = f"checkpoint-{training.epoch}-{training.step}.safetensors"
        write_tensors(self.folder / name, to_tensors(training.state))
        write_json(
            self.index,
            {
                "tensors": name,
                "epoch": training.epoch,
                "step": training.step,
                "seconds": training.seconds,
                "history": [asdict(record) for record in training.history],
            },
        )
        self._remove_tensors(keep=name)
        self._saved_at = time.monotonic()

    def restore(self, training: Training) -> None:
        """Bring a training before its first step to where the saved one was; else leave it.

        Raises
        ------
        IntegrityError
            If the files are not a checkpoint of such a training.
        """
        if not self.index.is_file():
            return
        try:
            record = json.loads(self.index.read_text())
            tensors = load_file(self.folder / Path(record["tensors"]).name)
            history = [_epoch_end(entry) for entry in record["history"]]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise IntegrityError(
                f"{self.index} is no readable checkpoint ({error}). Start again in another folder."
            ) from error
        state = from_tensors(training.state, tensors)
        training.state = jax.block_until_ready(state)  # type: ignore[no-untyped-call]  # as JAX has it
        training.epoch, training.step = record["epoch"], record["step"]
        training.seconds, training.history = record["seconds"], history

    def names(self) -> tuple[str, ...]:
        """Return the names of the checkpoint's files."""
        tensors = (path.name for path in self.folder.glob("checkpoint-*.safetensors"))
        return (self.index.name, *tensors)

    def remove(self) -> None:
        """Delete the checkpoint's files."""
        self.index.unlink(missing_ok=True)
        self._remove_tensors(keep=None)

    def _remove_tensors(self, keep: str | None) -> None:
        for path in self.folder.glob("checkpoint-*.safetensors"):
            if path.name != keep:
                path.unlink()


def _epoch_end(entry: dict[str, Any]) -> EpochEnd:
    validation = entry["validation"]
    return EpochEnd(
        entry["epoch"],
        entry["n_epochs"],
        Averages(**entry["train"]),
        None if validation is None else Averages(**validation),
        entry["seconds"],
    )
