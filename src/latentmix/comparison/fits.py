"""One fit: a method, its rows and its seed, in a process of its own, its predictions kept.

A fit is a folder, written under another name and renamed when all is there: a fit that was cut
off leaves nothing that could be taken for an answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentmix import __version__
from latentmix.comparison.plans import Plan, sha256_of_record
from latentmix.comparison.protocol import Predictions, RowFiles, sealed
from latentmix.data.dataset import plain_name
from latentmix.errors import InputError, MissingError, RunFailedError
from latentmix.storage.files import write_json

_UNDER_WAY = ".under-way-"


@dataclass(frozen=True)
class Fit:
    """What is to be fitted: a method to rows, with a seed."""

    plan: Plan
    rows: RowFiles
    seed: int
    unit_interval: bool = False

    def identity(self) -> dict[str, Any]:
        """Return what makes two fits the same."""
        return {
            "method": self.plan.record,
            "n_components": self.plan.n_components,
            "seed": self.seed,
            "data": self.rows.name,
            "rows_sha256": self.rows.sha256,
            "image_shape": self.rows.image_shape and list(self.rows.image_shape),
            "unit_interval": self.unit_interval,
            "latentmix": __version__,
        }

    @property
    def sha256(self) -> str:
        """The hash of the identity."""
        return sha256_of_record(self.identity())

    def folder_name(self) -> str:
        """Return the name of its folder, for people and unlike any other fit's."""
        plain = plain_name(f"{self.rows.name}-{self.plan.label}-seed{self.seed}")
        return f"{plain[:80]}-{self.sha256[:12]}"


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method's process said; no label has been looked at yet.

    `nll` is in nats a test row, `validation_nll` a validation row, `peak_memory` in bytes; None
    where the method or the system has none. `density` says what the first two are of.
    """

    predictions: Predictions
    nll: float | None
    validation_nll: float | None
    density: str
    fit_seconds: float
    predict_seconds: float
    peak_memory: float | None
    machine: str
    versions: str


def carry_out(fit: Fit, folder: Path, peer_python: str | None) -> Answer:
    """Return what a fit answers: from its folder if it was done before, or else by doing it.

    Parameters
    ----------
    fit : Fit
    folder : Path
        Where fits are kept.
    peer_python : str or None
        The interpreter of scripts.

    Raises
    ------
    RunFailedError
        If the process ended without an answer; what it said is kept beside the fits.
    """
    kept = folder / fit.folder_name()
    if _is_done(fit, kept):
        return read_answer(fit, kept)
    shutil.rmtree(kept, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(prefix=_UNDER_WAY, dir=folder))
    try:
        _ask(fit, begun, peer_python)
        answer = read_answer(fit, begun)
        record = {**fit.identity(), "predictions_sha256": answer.predictions.sha256}
        (begun / "request.json").unlink()
        write_json(begun / "fit.json", record)
        begun.rename(kept)
        _log_of_failure(fit, folder).unlink(missing_ok=True)
    except RunFailedError:
        (begun / "log.txt").replace(_log_of_failure(fit, folder))
        raise
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return answer


def remove_cut_off_fits(folder: Path) -> None:
    """Delete what fits left behind that were killed."""
    for begun in folder.glob(f"{_UNDER_WAY}*"):
        shutil.rmtree(begun, ignore_errors=True)


def read_answer(fit: Fit, folder: Path) -> Answer:
    """Return the answer in a folder, its predictions sealed.

    Raises
    ------
    RunFailedError
        If there is none, or it is not what was asked for.
    """
    try:
        with np.load(folder / "answer.npz", allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        validation, test = found["validation"], found["test"]
        n_rows = fit.rows.n_rows
        if (len(validation), len(test)) != (n_rows["validation"], n_rows["test"]):
            raise InputError(
                f"It holds {len(validation)} validation and {len(test)} test predictions. "
                f"Expected {n_rows['validation']} and {n_rows['test']}."
            )
        return Answer(
            sealed(validation, test, _n_components(fit, found)),
            _number(found, "nll"),
            _number(found, "validation_nll"),
            str(found.get("density", "")),
            float(found["fit_seconds"]),
            float(found.get("predict_seconds", np.nan)),
            _number(found, "peak_memory"),
            str(found.get("machine", "")),
            str(found.get("versions", "")),
        )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise RunFailedError(
            f"{fit.plan.label} wrote no answer that can be used ({error}). Expected answer.npz as "
            "docs/benchmark.md describes it."
        ) from error


def _n_components(fit: Fit, found: Mapping[str, np.ndarray]) -> int:
    """Return K: what was asked for, or what the method chose."""
    asked = fit.plan.n_components
    return int(found["n_components"]) if asked is None else asked


def _number(found: Mapping[str, np.ndarray], name: str) -> float | None:
    """Return a number, None where it is not there or not finite."""
    value = float(found.get(name, np.nan))
    return value if np.isfinite(value) else None


def _is_done(fit: Fit, kept: Path) -> bool:
    """Tell whether a folder holds this fit, with the predictions that were sealed."""
    try:
        record: dict[str, Any] = json.loads((kept / "fit.json").read_text("utf-8"))
        hashed = read_answer(fit, kept).predictions.sha256
    except (OSError, ValueError, RunFailedError):
        return False
    return record == {**fit.identity(), "predictions_sha256": hashed}


def _ask(fit: Fit, folder: Path, peer_python: str | None) -> None:
    """Have a process carry out the fit, and wait for it."""
    request, log = folder / "request.json", folder / "log.txt"
    write_json(
        request,
        {
            "rows": {part: str(path.absolute()) for part, path in fit.rows.paths.items()},
            "method": fit.plan.record,
            "settings": fit.plan.record.get("settings", {}),
            "n_components": fit.plan.n_components,
            "seed": fit.seed,
            "image_shape": fit.rows.image_shape and list(fit.rows.image_shape),
            "unit_interval": fit.unit_interval,
            "answer": str((folder / "answer.npz").absolute()),
        },
    )
    script = fit.plan.script
    ours = [sys.executable, "-m", "latentmix.comparison.worker"]
    command = ours if script is None else [str(peer_python), str(script)]
    code = run_process([*command, str(request.absolute())], log)
    if code:
        said = log.read_text("utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), "nothing")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise RunFailedError(f"{fit.plan.label} {how}, saying: {last[:300]}")


def no_interpreter(python: str, why: str | None) -> MissingError:
    """Return the error that a python which is to run scripts cannot be run."""
    return MissingError(
        f"{python} cannot be run as an interpreter: {why}. Give --peer-python the path of the "
        "python that has the peers' packages."
    )


def run_process(command: Sequence[str], log: Path) -> int:
    """Run a command, what it prints going to a file, and return its exit code.

    It is ended if this process is interrupted; and it can tell by the end of its standard input
    when this one was killed.

    Raises
    ------
    MissingError
        If there is no such program.
    """
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise no_interpreter(command[0], error.strerror) from error
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()


def _log_of_failure(fit: Fit, folder: Path) -> Path:
    return folder / f"{fit.folder_name()}.failed.txt"
